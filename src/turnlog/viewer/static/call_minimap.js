// The whole call in a strip: a bar for each response, voices, errors and barge-ins, and the part that the axis shows.

import { clock } from "./call_data.js";
import { colours, freshContext, laneColour } from "./call_colours.js";

const HEIGHT = 56,
  VOICE = 6,
  BARS = HEIGHT - 2 * VOICE - 6;

/** The minimap on `canvas`; `show(from, to)` moves the axis. */
export function makeMinimap(canvas, show) {
  const picture = document.createElement("canvas");
  let doc = null,
    range = [0, 1],
    waiting = false,
    stale = true,
    drawnWidth = 0;
  canvas.style.height = `${HEIGHT}px`;

  const width = () => canvas.clientWidth || 600;
  const xOf = (seconds) => (seconds / Math.max(doc.seconds, 0.05)) * width();
  const timeAt = (x) => (x / width()) * doc.seconds;

  function drawPicture() {
    const context = freshContext(picture, width(), HEIGHT),
      c = colours();
    const most = Math.max(1, ...doc.turns.map((turn) => turn.e2e_latency ?? 0)),
      bottom = BARS + 3;
    for (const span of doc.spans) {
      if (span.lane !== "user" && span.lane !== "agent") continue;
      context.fillStyle = laneColour(span.lane);
      context.fillRect(
        xOf(span.start),
        HEIGHT - (span.lane === "user" ? 2 * VOICE : VOICE),
        Math.max(0.5, xOf(span.end) - xOf(span.start)),
        VOICE - 1,
      );
    }
    for (const turn of doc.turns) {
      const x = xOf(turn.user_stopped ?? turn.start);
      if (turn.e2e_latency !== null) {
        const high = Math.max(2, (turn.e2e_latency / most) * BARS);
        context.fillStyle = turn.errors.length ? c.error : c.muted;
        context.fillRect(x, bottom - high, Math.max(2, Math.min(6, (width() / doc.turns.length) * 0.5)), high);
      } else if (turn.no_response !== "no question") {
        context.strokeStyle = c.bad;
        context.strokeRect(x + 0.5, bottom - 6, 4, 5);
      }
      if (turn.interrupted) {
        context.fillStyle = c["barge-in"];
        context.fillRect(x - 1, 0, 5, 3);
      }
    }
    context.strokeStyle = c.line;
    context.strokeRect(0.5, 0.5, width() - 1, HEIGHT - 1);
    stale = false;
    drawnWidth = width();
  }

  function draw() {
    waiting = false;
    if (!doc) return;
    if (stale || drawnWidth !== width()) drawPicture();
    const context = freshContext(canvas, width(), HEIGHT),
      c = colours();
    context.drawImage(picture, 0, 0, width(), HEIGHT);
    const left = Math.max(0, xOf(range[0])),
      right = Math.min(width(), xOf(range[1]));
    context.fillStyle = c.background;
    context.globalAlpha = 0.6;
    context.fillRect(0, 0, left, HEIGHT);
    context.fillRect(right, 0, width() - right, HEIGHT);
    context.globalAlpha = 1;
    context.strokeStyle = c.accent;
    context.lineWidth = 2;
    context.strokeRect(left + 1, 1, Math.max(3, right - left - 2), HEIGHT - 2);
  }

  function redraw() {
    if (!waiting) requestAnimationFrame(draw);
    waiting = true;
  }

  let grip = null;
  const move = (event) => {
    const wide = range[1] - range[0],
      at = timeAt(event.offsetX) - grip;
    show(at, at + wide);
  };
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    const at = timeAt(event.offsetX),
      inside = at >= range[0] && at <= range[1] && range[1] - range[0] < doc.seconds * 0.95;
    grip = inside ? at - range[0] : (range[1] - range[0]) / 2;
    move(event);
  });
  canvas.addEventListener("pointermove", (event) => grip !== null && move(event));
  canvas.addEventListener("pointerup", () => (grip = null));
  canvas.addEventListener("pointercancel", () => (grip = null));
  canvas.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: -0.25, ArrowRight: 0.25, PageUp: -1, PageDown: 1 }[event.key],
      wide = range[1] - range[0];
    if (by !== undefined) show(range[0] + by * wide, range[1] + by * wide);
    else if (event.key === "Home") show(0, wide);
    else if (event.key === "End") show(doc.seconds - wide, doc.seconds);
    else return;
    event.preventDefault();
  });
  new ResizeObserver(redraw).observe(canvas);

  function describe() {
    canvas.setAttribute("aria-valuemax", String(Math.ceil(doc.seconds)));
    canvas.setAttribute("aria-valuenow", String(Math.max(0, Math.round(range[0]))));
    canvas.setAttribute(
      "aria-valuetext",
      `${clock(Math.max(0, range[0]), 0)} to ${clock(Math.min(doc.seconds, range[1]), 0)}`,
    );
  }

  return {
    set(newDoc) {
      stale ||= doc !== newDoc;
      doc = newDoc;
      redraw();
    },
    refresh() {
      stale = true;
      redraw();
    },
    range(from, to) {
      range = [from, to];
      if (doc) describe();
      redraw();
    },
  };
}
