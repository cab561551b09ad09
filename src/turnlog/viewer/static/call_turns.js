// The transcript: each turn with what was said and what the caller waited for.

import { clock, excerpt, ms, partsOf } from "./call_data.js";
import { el, markOf, reveal } from "./call_dom.js";

const SPOKEN = 600; // characters of a text in the list; the turn itself shows more
const AT_ONCE = 60; // turns whose items are made together; a long call is shown before all of them are

/** The turns in a list that scrolls; the selected one is marked and in view. */
export class Turns {
  #doc = null;
  #changed = new Set();
  #items = new Map(); // by number: the turn, whether it is marked as changed, and its item
  #before = new Map(); // the items of the document before this one
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
      this.#changed = changed;
      this.#before = this.#items;
      this.#items = new Map();
      this.list.replaceChildren(...this.#make(Math.max(AT_ONCE, this.#before.size)));
      if (!doc.turns.length) this.list.append(el("li", { className: "empty" }, "No turns."));
      this.#selected = null;
      this.#makeRest(doc);
    }
    if (view.turn === this.#selected) return;
    this.reveal(view.turn);
    this.#mark(this.#selected, false);
    this.#selected = view.turn;
    this.#mark(view.turn, true);
  }

  /** Scroll to a turn. */
  reveal(number) {
    if (!this.#items.has(number)) this.list.append(...this.#make(this.#doc.turns.findIndex((t) => t.turn === number) + 1));
    reveal(this.list, this.#items.get(number)?.element);
  }

  /** Make the list again when it is set next, as other turns are marked as changed. */
  forget() {
    this.#doc = null;
  }

  /** The items that are missing among the first `count`. */
  #make(count) {
    const turns = this.#doc.turns.slice(this.#items.size, count);
    return turns.map((turn) => {
      const item = this.#item(turn, this.#changed.has(turn.turn));
      this.#items.set(turn.turn, item);
      return item.element;
    });
  }

  #makeRest(doc) {
    if (this.#items.size >= doc.turns.length) return;
    setTimeout(() => {
      if (doc !== this.#doc) return;
      this.list.append(...this.#make(this.#items.size + AT_ONCE));
      this.#makeRest(doc);
    });
  }

  #item(turn, changed) {
    const before = this.#before.get(turn.turn);
    if (before && before.changed === changed && isSame(before.turn, turn)) {
      before.element.firstChild.removeAttribute("aria-current");
      return { ...before, turn };
    }
    return { turn, changed, element: turnItem(turn, changed, this.chosen) };
  }

  #mark(number, selected) {
    const button = this.#items.get(number)?.element.firstChild;
    if (selected) button?.setAttribute("aria-current", "true");
    else button?.removeAttribute("aria-current");
  }
}

/** Whether two turns have the same values; those of a growing call mostly are the same objects. */
function isSame(one, other) {
  return one === other || JSON.stringify(one) === JSON.stringify(other);
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
