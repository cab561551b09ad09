// The time axis: what is in view, and what is at a place of it.

import { firstIndex, turnAt } from "./call_data.js";
import { freshContext } from "./call_colours.js";
import { drawAxis, layOut, ROW } from "./call_draw.js";

const CLOSEST = 0.005; // seconds that the whole width shows at most zoom
const NEAR = 4; // pixels by which a pointer may miss a span
const MARGIN = 0.02; // share of the call that is shown before and after it

/** A view of the call from one time to a later one, on a canvas. */
export class Axis {
  #doc = null;
  #index = null;
  #view = null;
  #layout = layOut([]);
  #waiting = false;

  /** `moved(from, to, by)` is called when the view changes: by the "user", the "page" or a "live" call. */
  constructor(canvas, moved) {
    this.canvas = canvas;
    this.moved = moved;
    this.from = 0;
    this.to = 1;
    new ResizeObserver(() => this.redraw()).observe(canvas);
  }

  get width() {
    return this.canvas.clientWidth || 600;
  }

  /** Pixels at the left that have the names of the lanes. */
  get gutter() {
    return this.width < 600 ? 58 : 88;
  }

  /** Pixels a second. */
  get scale() {
    return (this.width - this.gutter) / (this.to - this.from);
  }

  /** Seconds of the call. */
  get length() {
    return Math.max(this.#doc?.seconds ?? 1, 0.05);
  }

  timeAt(x) {
    return this.from + (x - this.gutter) / this.scale;
  }

  /** Draw this document in this state; at the end of a growing call, stay there. */
  set(doc, index, view) {
    const before = this.#doc;
    const atEnd = before !== null && this.to >= this.length - 0.001;
    this.#doc = doc;
    this.#view = view;
    if (this.#index !== index) {
      this.#index = index;
      this.#layout = layOut(index.lanes);
      this.canvas.style.height = `${this.#layout.height}px`;
    }
    const grew = before === null ? 0 : doc.seconds - before.seconds;
    if (before === null) this.whole();
    else if (grew > 0 && atEnd) {
      const whole = this.to - this.from >= this.length * 0.9;
      this.show(whole ? this.from : this.from + grew, this.to + grew, "live");
    } else this.redraw();
  }

  redraw() {
    if (!this.#waiting) requestAnimationFrame(() => this.#draw());
    this.#waiting = true;
  }

  #draw() {
    this.#waiting = false;
    if (this.#doc === null) return;
    const { width, gutter, from, scale } = this;
    const { places, height } = this.#layout;
    const context = freshContext(this.canvas, width, height);
    const { turns, byId } = this.#index;
    const chosen = byId.get(this.#view.span) ?? null;
    drawAxis({ context, width, height, gutter, from, scale, places, turns, chosen, doc: this.#doc, view: this.#view });
  }

  /** Show this stretch, within the call and its margins. */
  show(first, last, by = "page") {
    const margin = this.length * MARGIN;
    const span = Math.min(Math.max(last - first, CLOSEST), this.length + 2 * margin);
    this.from = Math.min(Math.max(first, -margin), this.length + margin - span);
    this.to = this.from + span;
    this.redraw();
    this.moved(this.from, this.to, by);
  }

  zoom(factor, around = (this.from + this.to) / 2) {
    this.show(around - (around - this.from) * factor, around + (this.to - around) * factor, "user");
  }

  /** Pan by this share of what is in view. */
  pan(share) {
    const by = share * (this.to - this.from);
    this.show(this.from + by, this.to + by, "user");
  }

  whole() {
    this.show(-this.length * MARGIN, this.length * (1 + MARGIN), "user");
  }

  start() {
    this.show(0, this.to - this.from, "user");
  }

  end() {
    this.show(this.length - (this.to - this.from), this.length, "user");
  }

  /** Bring a turn into view; `fit`: fill the view with it. */
  showTurn(turn, fit = false) {
    const wide = Math.max(turn.end - turn.start, 0.2);
    const visible = turn.start >= this.from && turn.end <= this.to && wide > (this.to - this.from) / 8;
    if (fit || !visible) this.show(turn.start - wide * 0.08, turn.end + wide * 0.08);
  }

  /** Bring these times into view, zooming out if need be. */
  showTimes(times) {
    if (!times.length) return;
    const first = Math.min(...times);
    const last = Math.max(...times);
    if (first >= this.from && last <= this.to) return;
    const wide = Math.max(this.to - this.from, (last - first) * 1.1);
    this.show((first + last - wide) / 2, (first + last + wide) / 2);
  }

  /** The span and the number of the turn at a place of the canvas; null where there is none. */
  at(x, y) {
    if (this.#doc === null) return { span: null, turn: null };
    const time = this.timeAt(x);
    const place = this.#layout.places.find(({ lane, y: top }) => y >= top && y < top + lane.rows * ROW);
    const row = place?.lane.lines[Math.floor((y - place.y) / ROW)];
    const span = row ? nearest(row, time, NEAR / this.scale) : null;
    return { span, turn: span?.turn ?? this.#turnAt(time) };
  }

  turn(number) {
    return this.#index.turns.get(number) ?? null;
  }

  #turnAt(time) {
    const turn = turnAt(this.#doc, time);
    const far = NEAR / this.scale;
    return turn && time <= turn.end + far && time >= turn.start - far ? turn.turn : null;
  }
}

/** The span of the row that is at this time, or nearest to it within `far` seconds. */
function nearest({ spans, ends }, time, far) {
  let found = null;
  let least = Infinity;
  for (let n = firstIndex(spans.length, (i) => ends[i] >= time - far); n < spans.length; n += 1) {
    const span = spans[n];
    if (span.start > time + far) break;
    const away = Math.max(span.start - time, time - span.until, 0);
    if (away <= far && away < least) [found, least] = [span, away];
  }
  return found;
}
