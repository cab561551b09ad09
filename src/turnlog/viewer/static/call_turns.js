// The transcript: each turn with what was said and what the caller waited for.

import { clock, excerpt, ms } from "./call_data.js";
import { el, markOf, reveal } from "./call_dom.js";

const SPOKEN = 600; // characters of a text in the list; the turn itself shows more

/** The list of turns in `list`; `chosen(number)` is called for a press. */
export function makeTurns(list, chosen) {
  let doc = null,
    items = new Map(),
    selected = null,
    shown = new Map();

  function item(turn, changed) {
    const wait =
      turn.e2e_latency === null
        ? el("span", { className: "no-response" }, turn.no_response ?? "")
        : el("span", { className: "wait" }, ms(turn.e2e_latency));
    const button = el(
      "button",
      { type: "button", className: "turn-head", onclick: () => chosen(turn.turn) },
      el("span", { className: "turn-number" }, `Turn ${turn.turn}`),
      el("span", { className: "muted" }, clock(turn.start, 1)),
      changed && el("span", { className: "turn-changed" }, "≠ differs"),
      turn.interrupted && el("span", { className: "flag" }, "▼ interrupted"),
      turn.errors.length > 0 &&
        el("span", { className: "flag" }, `× ${turn.errors.length === 1 ? "error" : `${turn.errors.length} errors`}`),
      wait,
    );
    return el(
      "li",
      {},
      button,
      turn.response && miniBar(turn.response),
      said("User", turn.user_speech),
      said("Agent", turn.agent_speech),
    );
  }

  function miniBar(response) {
    const bar = el("div", { className: "mini", "aria-hidden": "true" });
    for (const part of response.parts) {
      const piece = el("span", { className: markOf(part.name) });
      piece.style.flexGrow = String(part.ms);
      bar.append(piece);
    }
    return bar;
  }

  function said(who, text) {
    return text
      ? el("p", { className: `said ${who.toLowerCase()}` }, el("b", {}, who), " ", el("bdi", {}, excerpt(text, SPOKEN)))
      : null;
  }

  function mark(number) {
    if (number === selected) return;
    items.get(selected)?.firstChild.removeAttribute("aria-current");
    items.get(number)?.firstChild.setAttribute("aria-current", "true");
    selected = number;
    reveal(list, items.get(number));
  }

  return {
    /** Show these turns; only those that differ from the ones shown are made again. */
    set(newDoc, view, changed) {
      if (doc !== newDoc) {
        doc = newDoc;
        const before = shown,
          kept = items;
        items = new Map();
        shown = new Map();
        for (const turn of doc.turns) {
          const key = JSON.stringify([turn, changed.has(turn.turn)]);
          shown.set(turn.turn, key);
          items.set(
            turn.turn,
            before.get(turn.turn) === key ? kept.get(turn.turn) : item(turn, changed.has(turn.turn)),
          );
        }
        list.replaceChildren(...items.values());
        if (!doc.turns.length) list.append(el("li", { className: "empty" }, "No turns."));
        selected = null;
      }
      mark(view.turn);
    },
    /** Scroll to a turn that the axis shows. */
    reveal: (number) => reveal(list, items.get(number)),
    forget: () => (doc = null),
  };
}
