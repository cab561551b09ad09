// The list of events: only the rows in view are elements, so that a call may have any number of them.

import { clock, count, eventOf, excerpt, visible } from "./call_data.js";
import { el } from "./call_dom.js";

const ROW_HEIGHT = 24,
  AROUND = 12,
  SHOWN = 160,
  WHOLE = 20000;

/** The list in `box`, with the arguments of the selected event in `details`; `chosen(at)` is called for a selection. */
export function makeEvents(box, details, chosen) {
  const list = el("div", { className: "event-rows", role: "presentation" });
  box.append(list);
  let doc = null,
    view = { events: new Set(), event: null, at: null },
    made = [0, 0],
    waiting = false;

  const length = () => (doc ? doc.events.length : 0);

  function row(at) {
    const event = eventOf(doc.events[at], at),
      marked = view.events.has(at),
      late = view.at !== null && at > view.at;
    const element = el(
      "div",
      {
        id: `event-${at}`,
        role: "option",
        className: `event${marked ? " marked" : ""}${late ? " late" : ""}`,
        title: `origin ${event.origin}, seq ${event.seq}`,
        "aria-selected": String(view.event === at),
        "aria-setsize": String(length()),
        "aria-posinset": String(at + 1),
        onclick: () => chosen(at),
      },
      el("span", { className: "event-mark" }, marked ? "●" : ""),
      el("span", { className: "number muted" }, clock(event.seconds)),
      el("span", { className: "number muted" }, `#${at}`),
      el("span", { className: "hook" }, event.hook),
      el(
        "span",
        { className: "arguments muted" },
        event.payload === "{}" ? "" : visible(event.payload.slice(0, SHOWN)),
      ),
    );
    element.style.top = `${at * ROW_HEIGHT}px`;
    return element;
  }

  function draw(force = false) {
    waiting = false;
    const first = Math.max(0, Math.floor(box.scrollTop / ROW_HEIGHT) - AROUND);
    const last = Math.min(length(), Math.ceil((box.scrollTop + box.clientHeight) / ROW_HEIGHT) + AROUND);
    if (!force && first === made[0] && last === made[1]) return;
    made = [first, last];
    list.style.height = `${length() * ROW_HEIGHT}px`;
    list.replaceChildren(...Array.from({ length: Math.max(0, last - first) }, (_, n) => row(first + n)));
    if (view.event !== null && view.event >= first && view.event < last)
      box.setAttribute("aria-activedescendant", `event-${view.event}`);
    else box.removeAttribute("aria-activedescendant");
  }

  function scrollTo(at) {
    const top = at * ROW_HEIGHT;
    if (top < box.scrollTop || top + ROW_HEIGHT > box.scrollTop + box.clientHeight)
      box.scrollTop = Math.max(0, top - box.clientHeight / 3);
  }

  function showDetails() {
    if (view.event === null || !doc.events[view.event]) return details.replaceChildren();
    const event = eventOf(doc.events[view.event], view.event);
    details.replaceChildren(
      el(
        "p",
        {},
        el("b", {}, event.hook),
        ` #${count(event.at)} · ${clock(event.seconds)} · origin `,
        el("bdi", {}, event.origin),
        ` seq ${event.seq}`,
      ),
      el("pre", { tabIndex: 0, "aria-label": "Arguments of the event" }, excerpt(pretty(event.payload), WHOLE)),
    );
  }

  function pretty(payload) {
    try {
      return payload.length > WHOLE ? payload : JSON.stringify(JSON.parse(payload), null, 2);
    } catch {
      return payload;
    }
  }

  box.addEventListener("scroll", () => {
    if (!waiting) requestAnimationFrame(() => draw());
    waiting = true;
  });
  box.addEventListener("keydown", (event) => {
    const page = Math.max(1, Math.floor(box.clientHeight / ROW_HEIGHT) - 1),
      now = view.event ?? -1;
    const to = {
      ArrowDown: now + 1,
      ArrowUp: now - 1,
      PageDown: now + page,
      PageUp: now - page,
      Home: 0,
      End: length() - 1,
    }[event.key];
    if (to === undefined || !length()) return;
    event.preventDefault();
    chosen(Math.min(length() - 1, Math.max(0, to)));
  });
  new ResizeObserver(() => draw(true)).observe(box);

  return {
    set(newDoc, newView) {
      const scroll =
        newView.event !== null && newView.event !== view.event
          ? newView.event
          : newView.events !== view.events && newView.events.size
            ? Math.min(...newView.events)
            : null;
      const changed = doc?.events !== newDoc.events || view.event !== newView.event;
      doc = newDoc;
      view = { ...newView };
      list.style.height = `${length() * ROW_HEIGHT}px`;
      if (scroll !== null) scrollTo(scroll);
      draw(true);
      if (changed) showDetails();
    },
  };
}
