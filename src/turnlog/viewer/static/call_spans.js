// Spans as a tree: turns, and what ran in each. It lists what the canvas draws, for keyboards and screen readers.

import { clock, excerpt, ms } from "./call_data.js";
import { el, markOf } from "./call_dom.js";

/** The tree in `box`; `chosen(span)` is called for a press. A branch's items are made when it is opened. */
export function makeSpans(box, chosen) {
  let index = null,
    selected = null;

  const label = (span) => spanButton(span, span.id === selected, chosen);

  function branch(span) {
    if (!index.children.has(span.id)) return el("li", {}, label(span));
    const toggle = el("button", {
      type: "button",
      className: "toggle",
      "data-branch": span.id,
      "aria-expanded": "false",
      "aria-label": `Spans of ${excerpt(span.name, 160)}`,
      onclick: () => setOpen(item, toggle.getAttribute("aria-expanded") === "false"),
    });
    const item = el("li", {}, toggle, label(span), el("ul", { hidden: true }));
    return item;
  }

  function setOpen(item, open) {
    const toggle = item.firstChild,
      list = item.lastChild;
    toggle.setAttribute("aria-expanded", String(open));
    list.hidden = !open;
    if (open && !list.childElementCount) list.append(...index.children.get(toggle.dataset.branch).map(branch));
  }

  const branchOf = (id) => box.querySelector(`[data-branch="${CSS.escape(id)}"]`)?.parentElement;

  /** The spans without a parent here: during a call, the turns. */
  const roots = (doc) => doc.spans.filter((span) => !index.byId.has(span.parent));

  function fill(doc) {
    const open = [...box.querySelectorAll('[data-branch][aria-expanded="true"]')].map(
      (toggle) => toggle.dataset.branch,
    );
    const first = roots(doc);
    box.querySelector(".tree")?.remove();
    box.prepend(el("ul", { className: "tree" }, ...first.map(branch)));
    for (const id of open.length ? open : first.length === 1 ? [first[0].id] : [])
      if (branchOf(id)) setOpen(branchOf(id), true);
  }

  function mark(span) {
    box.querySelector("[data-span][aria-current]")?.removeAttribute("aria-current");
    box.querySelector(".attributes")?.remove();
    if (!span) return;
    const above = [];
    for (let at = index.byId.get(span.parent); at; at = index.byId.get(at.parent)) above.unshift(at.id);
    for (const id of above) if (branchOf(id)) setOpen(branchOf(id), true);
    const button = box.querySelector(`[data-span="${CSS.escape(span.id)}"]`);
    button?.setAttribute("aria-current", "true");
    button?.scrollIntoView({ block: "nearest" });
    box.append(attributesOf(span));
  }

  return {
    set(doc, newIndex, view) {
      const renewed = index !== newIndex;
      index = newIndex;
      if (renewed) fill(doc);
      if (renewed || selected !== view.span) mark(index.byId.get((selected = view.span)));
    },
  };
}

function spanButton(span, selected, chosen) {
  const facts = [
    clock(span.start),
    span.end > span.start ? ms(span.ms) : "",
    span.status === "done" ? "" : span.status,
  ]
    .filter(Boolean)
    .join(" · ");
  return el(
    "button",
    {
      type: "button",
      className: "span",
      "data-span": span.id,
      "aria-current": selected ? "true" : null,
      onclick: () => chosen(span),
    },
    el("span", { className: `swatch ${markOf(span.lane)}`, "aria-hidden": "true" }),
    el("bdi", {}, excerpt(span.name, 160)),
    el("span", { className: "muted" }, ` ${facts}`),
  );
}

function attributesOf(span) {
  const rows = Object.entries(span.attributes).map(([name, value]) =>
    el(
      "div",
      {},
      el("dt", {}, name),
      el("dd", {}, el("bdi", {}, excerpt(typeof value === "object" ? JSON.stringify(value) : value, 2000))),
    ),
  );
  return el("dl", { className: "attributes" }, ...rows);
}
