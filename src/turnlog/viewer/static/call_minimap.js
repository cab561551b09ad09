// The whole call in a strip: a bar for each response, voices, errors and barge-ins, and the part that the axis shows.

import { clock } from "./call_data.js";
import { colours, freshContext, laneColour } from "./call_colours.js";

const HEIGHT = 56;
const VOICE = 6;
const BARS = HEIGHT - 2 * VOICE - 6;
const KEYS = { ArrowLeft: -0.25, ArrowRight: 0.25, PageUp: -1, PageDown: 1 };

/** The strip on a canvas, with a frame around the part that the axis shows. */
export class Minimap {
  #picture = document.createElement("canvas"); // the call, drawn once; the frame is drawn over it
  #doc = null;
  #range = [0, 1];
  #grip = null; // seconds from the frame's left to the pointer
  #waiting = false;
  #stale = true;
  #drawnWidth = 0;

  /** `show(from, to)` moves the axis. */
  constructor(canvas, show) {
    this.canvas = canvas;
    this.show = show;
    canvas.style.height = `${HEIGHT}px`;
    canvas.addEventListener("pointerdown", (event) => this.#press(event));
    canvas.addEventListener("pointermove", (event) => this.#grip !== null && this.#move(event));
    canvas.addEventListener("pointerup", () => (this.#grip = null));
    canvas.addEventListener("pointercancel", () => (this.#grip = null));
    canvas.addEventListener("keydown", (event) => this.#key(event));
    new ResizeObserver(() => this.redraw()).observe(canvas);
  }

  get width() {
    return this.canvas.clientWidth || 600;
  }

  /** Show this document. */
  set(doc) {
    this.#stale ||= this.#doc !== doc;
    this.#doc = doc;
    this.redraw();
  }

  /** Show that the axis has this part of the call in view. */
  frame(from, to) {
    this.#range = [from, to];
    if (this.#doc) this.#describe();
    this.redraw();
  }

  /** Draw again, in the colours that are now valid. */
  refresh() {
    this.#stale = true;
    this.redraw();
  }

  redraw() {
    if (!this.#waiting) requestAnimationFrame(() => this.#draw());
    this.#waiting = true;
  }

  #draw() {
    this.#waiting = false;
    if (!this.#doc) return;
    const { width } = this;
    if (this.#stale || this.#drawnWidth !== width)
      drawCall(freshContext(this.#picture, width, HEIGHT), this.#doc, width);
    this.#stale = false;
    this.#drawnWidth = width;
    const context = freshContext(this.canvas, width, HEIGHT);
    context.drawImage(this.#picture, 0, 0, width, HEIGHT);
    drawFrame(
      context,
      this.#range.map((time) => xOf(this.#doc, width, time)),
      width,
    );
  }

  #press(event) {
    if (!this.#doc) return;
    this.canvas.setPointerCapture(event.pointerId);
    const [from, to] = this.#range;
    const at = this.#timeAt(event);
    const inside = at >= from && at <= to && to - from < this.#doc.seconds * 0.95;
    this.#grip = inside ? at - from : (to - from) / 2;
    this.#move(event);
  }

  #move(event) {
    const from = this.#timeAt(event) - this.#grip;
    this.show(from, from + this.#range[1] - this.#range[0]);
  }

  #timeAt(event) {
    return (event.offsetX / this.width) * this.#doc.seconds;
  }

  #key(event) {
    const [from, to] = this.#range;
    const by = KEYS[event.key] * (to - from);
    if (event.key in KEYS) this.show(from + by, to + by);
    else if (event.key === "Home") this.show(0, to - from);
    else if (event.key === "End") this.show(this.#doc.seconds - (to - from), this.#doc.seconds);
    else return;
    event.preventDefault();
  }

  #describe() {
    const [from, to] = [Math.max(0, this.#range[0]), Math.min(this.#doc.seconds, this.#range[1])];
    this.canvas.setAttribute("aria-valuemax", String(Math.ceil(this.#doc.seconds)));
    this.canvas.setAttribute("aria-valuenow", String(Math.round(from)));
    this.canvas.setAttribute("aria-valuetext", `${clock(from, 0)} to ${clock(to, 0)}`);
  }
}

const xOf = (doc, width, seconds) => (seconds / Math.max(doc.seconds, 0.05)) * width;

function drawCall(context, doc, width) {
  const c = colours();
  for (const span of doc.spans) {
    if (span.lane !== "user" && span.lane !== "agent") continue;
    const left = xOf(doc, width, span.start);
    const top = HEIGHT - (span.lane === "user" ? 2 * VOICE : VOICE);
    context.fillStyle = laneColour(span.lane);
    context.fillRect(left, top, Math.max(0.5, xOf(doc, width, span.until) - left), VOICE - 1);
  }
  const most = Math.max(1, ...doc.turns.map((turn) => turn.e2e_latency ?? 0));
  const wide = Math.max(2, Math.min(6, (width / doc.turns.length) * 0.5));
  for (const turn of doc.turns) drawTurn(context, turn, xOf(doc, width, turn.user_stopped ?? turn.start), wide, most);
  context.strokeStyle = c.line;
  context.strokeRect(0.5, 0.5, width - 1, HEIGHT - 1);
}

/** A bar as high as the response is long; an open box where an answer is missing; a tick where it was interrupted. */
function drawTurn(context, turn, x, wide, most) {
  const c = colours();
  const bottom = BARS + 3;
  if (turn.e2e_latency !== null) {
    const high = Math.max(2, (turn.e2e_latency / most) * BARS);
    context.fillStyle = turn.errors.length ? c.error : c.muted;
    context.fillRect(x, bottom - high, wide, high);
  } else if (turn.no_response !== "no question") {
    context.strokeStyle = c.bad;
    context.strokeRect(x + 0.5, bottom - 6, 4, 5);
  }
  if (turn.interrupted) {
    context.fillStyle = c["barge-in"];
    context.fillRect(x - 1, 0, 5, 3);
  }
}

function drawFrame(context, [from, to], width) {
  const c = colours();
  const left = Math.max(0, from);
  const right = Math.min(width, to);
  context.fillStyle = c.background;
  context.globalAlpha = 0.6;
  context.fillRect(0, 0, left, HEIGHT);
  context.fillRect(right, 0, width - right, HEIGHT);
  context.globalAlpha = 1;
  context.strokeStyle = c.accent;
  context.lineWidth = 2;
  context.strokeRect(left + 1, 1, Math.max(3, right - left - 2), HEIGHT - 2);
}
