// The transcript: each turn with what was said and what the caller waited for.

import { clock, excerpt, ms, partsOf } from "./call_data.js";
import { el, markOf, reveal } from "./call_dom.js";

const SPOKEN = 600; // characters of a text in the list; the turn itself shows more

/** The turns in a list that scrolls; the selected one is marked and in view. */
export class Turns {
  #doc = null;
  #items = new Map(); // by number: what the item shows, as text, and the item
  #selected = null;

  /** `chosen(number)` is called for a press. */
  constructor(list, chosen) {
    this.list = list;
    this.chosen = chosen;
  }

  /** Show these turns, those in `changed` marked; only items that differ from the ones shown are made again. */
  set(doc, view, changed) {
    if (this.#doc !== doc) {
      this.#doc = doc;
      this.#items = new Map(doc.turns.map((turn) => [turn.turn, this.#item(turn, changed.has(turn.turn))]));
      this.list.replaceChildren(...[...this.#items.values()].map(({ element }) => element));
      if (!doc.turns.length) this.list.append(el("li", { className: "empty" }, "No turns."));
      this.#selected = null;
    }
    if (view.turn === this.#selected) return;
    this.#mark(this.#selected, false);
    this.#selected = view.turn;
    this.#mark(view.turn, true);
    this.reveal(view.turn);
  }

  /** Scroll to a turn. */
  reveal(number) {
    reveal(this.list, this.#items.get(number)?.element);
  }

  /** Make the list again when it is set next, as other turns are marked as changed. */
  forget() {
    this.#doc = null;
  }

  #item(turn, changed) {
    const shows = JSON.stringify([turn, changed]);
    const before = this.#items.get(turn.turn);
    if (before?.shows === shows) {
      before.element.firstChild.removeAttribute("aria-current");
      return before;
    }
    return { shows, element: turnItem(turn, changed, this.chosen) };
  }

  #mark(number, selected) {
    const button = this.#items.get(number)?.element.firstChild;
    if (selected) button?.setAttribute("aria-current", "true");
    else button?.removeAttribute("aria-current");
  }
}

function turnItem(turn, changed, chosen) {
  const errors = turn.errors.length;
  const head = el(
    "button",
    { type: "button", className: "turn-head", onclick: () => chosen(turn.turn) },
    el("span", { className: "turn-number" }, `Turn ${turn.turn}`),
    el("span", { className: "muted" }, clock(turn.start, 1)),
    changed && el("span", { className: "turn-changed" }, "≠ differs"),
    turn.interrupted && el("span", { className: "flag" }, "▼ interrupted"),
    errors > 0 && el("span", { className: "flag" }, `× ${errors === 1 ? "error" : `${errors} errors`}`),
    turn.e2e_latency === null
      ? el("span", { className: "no-response" }, turn.no_response ?? "")
      : el("span", { className: "wait" }, ms(turn.e2e_latency)),
  );
  const parts = partsOf(turn);
  const bar = parts.length > 0 && partsBar(parts);
  return el("li", {}, head, bar, said("User", turn.user_speech), said("Agent", turn.agent_speech));
}

function partsBar(parts) {
  const bar = el("div", { className: "mini", "aria-hidden": "true" });
  for (const part of parts) {
    const piece = el("span", { className: markOf(part.name) });
    piece.style.flexGrow = String(part.ms);
    bar.append(piece);
  }
  return bar;
}

function said(who, text) {
  if (!text) return null;
  const words = el("bdi", {}, excerpt(text, SPOKEN));
  return el("p", { className: `said ${who.toLowerCase()}` }, el("b", {}, who), " ", words);
}
