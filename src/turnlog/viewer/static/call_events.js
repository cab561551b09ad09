// The list of events: only the rows in view are elements, so that a call may have any number of them.

import { clock, count, eventOf, excerpt, visible } from "./call_data.js";
import { el } from "./call_dom.js";

const ROW_HEIGHT = 24;
const AROUND = 12; // rows above and below those in view
const SHOWN = 160; // characters of the arguments in a row
const WHOLE = 20000; // characters of the arguments of the selected event

/** The events in a box that scrolls, and the arguments of the selected one. */
export class Events {
  #list = el("div", { className: "event-rows", role: "presentation" });
  #rows = [];
  #view = { events: new Set(), event: null, at: null };
  #made = [0, 0];
  #waiting = false;

  /** The selected event is shown in `details`; `chosen(at)` is called for a selection. */
  constructor(box, details, chosen) {
    this.box = box;
    this.details = details;
    this.chosen = chosen;
    box.append(this.#list);
    box.addEventListener("scroll", () => {
      if (!this.#waiting) requestAnimationFrame(() => this.#draw());
      this.#waiting = true;
    });
    box.addEventListener("keydown", (event) => this.#key(event));
    new ResizeObserver(() => this.#draw(true)).observe(box);
  }

  /** Show these events in this state; scroll to an event that is newly selected or marked. */
  set(doc, view) {
    const before = this.#view;
    const selected = view.event !== before.event;
    const changed = this.#rows !== doc.events || selected;
    this.#rows = doc.events;
    this.#view = { ...view };
    this.#list.style.height = `${doc.events.length * ROW_HEIGHT}px`;
    if (selected && view.event !== null) this.#scrollTo(view.event);
    else if (view.events !== before.events && view.events.size) this.#scrollTo(Math.min(...view.events));
    this.#draw(true);
    if (changed) this.#showDetails();
  }

  #draw(force = false) {
    this.#waiting = false;
    const { scrollTop, clientHeight } = this.box;
    const first = Math.max(0, Math.floor(scrollTop / ROW_HEIGHT) - AROUND);
    const last = Math.min(this.#rows.length, Math.ceil((scrollTop + clientHeight) / ROW_HEIGHT) + AROUND);
    if (!force && first === this.#made[0] && last === this.#made[1]) return;
    this.#made = [first, last];
    const rows = Array.from({ length: Math.max(0, last - first) }, (_, n) => this.#row(first + n));
    this.#list.replaceChildren(...rows);
    const { event } = this.#view;
    if (event !== null && event >= first && event < last)
      this.box.setAttribute("aria-activedescendant", `event-${event}`);
    else this.box.removeAttribute("aria-activedescendant");
  }

  #row(at) {
    const event = eventOf(this.#rows[at], at);
    const marked = this.#view.events.has(at);
    const late = this.#view.at !== null && at > this.#view.at;
    const properties = {
      id: `event-${at}`,
      role: "option",
      className: `event${marked ? " marked" : ""}${late ? " late" : ""}`,
      title: `origin ${visible(event.origin)}, seq ${event.seq}`,
      "aria-selected": String(this.#view.event === at),
      "aria-setsize": String(this.#rows.length),
      "aria-posinset": String(at + 1),
      onclick: () => this.chosen(at),
    };
    const element = el(
      "div",
      properties,
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

  #scrollTo(at) {
    const top = at * ROW_HEIGHT;
    const { scrollTop, clientHeight } = this.box;
    const inView = top >= scrollTop && top + ROW_HEIGHT <= scrollTop + clientHeight;
    if (!inView) this.box.scrollTop = Math.max(0, top - clientHeight / 3);
  }

  #showDetails() {
    const at = this.#view.event;
    if (at === null || !this.#rows[at]) return this.details.replaceChildren();
    const event = eventOf(this.#rows[at], at);
    const origin = el("bdi", {}, visible(event.origin));
    this.details.replaceChildren(
      el(
        "p",
        {},
        el("b", {}, event.hook),
        ` #${count(at)} · ${clock(event.seconds)} · origin `,
        origin,
        ` seq ${event.seq}`,
      ),
      el("pre", { tabIndex: 0, "aria-label": "Arguments of the event" }, excerpt(pretty(event.payload), WHOLE)),
    );
  }

  #key(event) {
    const page = Math.max(1, Math.floor(this.box.clientHeight / ROW_HEIGHT) - 1);
    const now = this.#view.event ?? -1;
    const last = this.#rows.length - 1;
    const keys = { ArrowDown: now + 1, ArrowUp: now - 1, PageDown: now + page, PageUp: now - page, Home: 0, End: last };
    if (!(event.key in keys) || last < 0) return;
    event.preventDefault();
    this.chosen(Math.min(last, Math.max(0, keys[event.key])));
  }
}

function pretty(payload) {
  try {
    return payload.length > WHOLE ? payload : JSON.stringify(JSON.parse(payload), null, 2);
  } catch {
    return payload;
  }
}
