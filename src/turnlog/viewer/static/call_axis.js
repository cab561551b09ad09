// The time axis: what is in view, and how mouse, touch and keys change it.

import { clock, excerpt, firstIndex, ms, turnAt } from "./call_data.js";
import { byId } from "./call_dom.js";
import { freshContext } from "./call_colours.js";
import { drawAxis, layOut, ROW } from "./call_draw.js";

const CLOSEST = 0.005; // seconds that the whole width shows at most zoom
const STILL = 4; // pixels that a press may move and still be a click

/** The axis on `canvas`. `chosen(span, turn)` is called for a click, `moved(from, to)` when the view changes. */
export function makeAxis(canvas, chosen, moved) {
  const tip = byId("tip");
  let doc = null,
    index = null,
    view = null,
    from = 0,
    to = 1,
    layout = layOut([]),
    waiting = false;

  const width = () => canvas.clientWidth || 600;
  const gutter = () => (width() < 600 ? 58 : 88);
  const scale = () => (width() - gutter()) / (to - from);
  const timeAt = (x) => from + (x - gutter()) / scale();
  const length = () => Math.max(doc?.seconds ?? 1, 0.05);

  function draw() {
    waiting = false;
    if (!doc) return;
    const context = freshContext(canvas, width(), layout.height);
    drawAxis({
      context,
      width: width(),
      height: layout.height,
      gutter: gutter(),
      from,
      scale: scale(),
      doc,
      view,
      places: layout.places,
      turns: index.turns,
    });
  }

  function redraw() {
    if (!waiting) requestAnimationFrame(draw);
    waiting = true;
  }

  /** Show this stretch, within the call and a margin around it. */
  function show(first, last, by = "page") {
    const margin = length() * 0.02,
      span = Math.min(Math.max(last - first, CLOSEST), length() + 2 * margin);
    from = Math.min(Math.max(first, -margin), length() + margin - span);
    to = from + span;
    redraw();
    moved(from, to, by);
  }

  const zoom = (factor, around = (from + to) / 2) =>
    show(around - (around - from) * factor, around + (to - around) * factor, "user");
  const pan = (share) => show(from + share * (to - from), to + share * (to - from), "user");
  const whole = () => show(-length() * 0.02, length() * 1.02, "user");

  function hit(x, y) {
    const place = layout.places.find(({ lane, y: top }) => y >= top && y < top + lane.rows * ROW);
    const at = timeAt(x),
      near = 4 / scale();
    const row = place?.lane.lines[Math.floor((y - place.y) / ROW)];
    if (!row) return { span: null, turn: turnIn(at) };
    let best = null;
    for (
      let n = firstIndex(row.spans.length, (i) => row.ends[i] >= at - near);
      n < row.spans.length && row.spans[n].start <= at + near;
      n += 1
    ) {
      const span = row.spans[n],
        away = Math.max(span.start - at, at - span.until, 0);
      if (best === null || away < best.away) best = { span, away };
    }
    return { span: best?.span ?? null, turn: best?.span.turn ?? turnIn(at) };
  }

  function turnIn(at) {
    const turn = turnAt(doc, at);
    return turn && at <= turn.end + 4 / scale() && at >= turn.start - 4 / scale() ? turn.turn : null;
  }

  let press = null;
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    press = { x: event.offsetX, from, to, moved: false };
  });
  canvas.addEventListener("pointermove", (event) => {
    if (press === null) return hover(event);
    const by = event.offsetX - press.x;
    press.moved ||= Math.abs(by) > STILL;
    if (press.moved) show(press.from - by / scale(), press.to - by / scale(), "user");
  });
  canvas.addEventListener("pointerup", (event) => {
    if (press && !press.moved && doc) {
      const found = hit(event.offsetX, event.offsetY);
      chosen(found.span, found.turn);
    }
    press = null;
  });
  canvas.addEventListener("pointercancel", () => (press = null));
  canvas.addEventListener("pointerleave", () => (tip.hidden = true));
  canvas.addEventListener("dblclick", (event) => {
    const turn = index.turns.get(hit(event.offsetX, event.offsetY).turn);
    if (turn) showTurn(turn, true);
  });
  canvas.addEventListener(
    "wheel",
    (event) => {
      event.preventDefault();
      const sideways = Math.abs(event.deltaX) > Math.abs(event.deltaY) || event.shiftKey;
      if (sideways) pan((event.deltaX || event.deltaY) / width());
      else zoom(Math.exp(Math.max(-100, Math.min(100, event.deltaY)) * 0.004), timeAt(event.offsetX));
    },
    { passive: false },
  );

  function hover(event) {
    const span = doc && hit(event.offsetX, event.offsetY).span;
    tip.hidden = !span;
    if (!span) return;
    const state = span.status === "done" ? "" : `, ${span.status}`;
    tip.textContent = `${excerpt(span.name, 200)}\n${clock(span.start)} · ${ms(span.ms)}${state}`;
    tip.style.left = `${Math.min(event.offsetX + 12, width() - 240)}px`;
    tip.style.top = `${event.offsetY + 18}px`;
  }

  const KEYS = {
    ArrowLeft: () => pan(-0.15),
    ArrowRight: () => pan(0.15),
    a: () => pan(-0.15),
    d: () => pan(0.15),
    ArrowUp: () => zoom(0.7),
    ArrowDown: () => zoom(1 / 0.7),
    w: () => zoom(0.7),
    s: () => zoom(1 / 0.7),
    "+": () => zoom(0.7),
    "=": () => zoom(0.7),
    "-": () => zoom(1 / 0.7),
    PageUp: () => pan(-0.9),
    PageDown: () => pan(0.9),
    Home: () => show(0, to - from, "user"),
    End: () => show(length() - (to - from), length(), "user"),
    0: whole,
  };
  canvas.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || !KEYS[event.key]) return;
    event.preventDefault();
    KEYS[event.key]();
  });

  /** Bring a turn into view; `fit`: fill the view with it. */
  function showTurn(turn, fit = false) {
    const wide = Math.max(turn.end - turn.start, 0.2),
      margin = wide * 0.08;
    const visible = turn.start >= from && turn.end <= to && wide > (to - from) / 8;
    if (fit || !visible) show(turn.start - margin, turn.end + margin);
  }

  /** Bring these times into view, zooming out if need be. */
  function showTimes(times) {
    const first = Math.min(...times),
      last = Math.max(...times);
    if (times.length && (first < from || last > to)) {
      const wide = Math.max(to - from, (last - first) * 1.1),
        middle = (first + last) / 2;
      show(middle - wide / 2, middle + wide / 2);
    }
  }

  new ResizeObserver(redraw).observe(canvas);
  return {
    zoom,
    pan,
    whole,
    show,
    showTurn,
    showTimes,
    redraw,
    draw,
    range: () => [from, to],
    /** Draw this document in this state. */
    set(newDoc, newIndex, newView) {
      const atEnd = doc !== null && to >= length() - 0.001,
        grew = doc === null ? 0 : newDoc.seconds - doc.seconds,
        begun = doc === null;
      doc = newDoc;
      view = newView;
      if (index !== newIndex) {
        index = newIndex;
        layout = layOut(index.lanes);
        canvas.style.height = `${layout.height}px`;
      }
      if (begun) whole();
      else if (grew > 0 && atEnd) show(from + (to - from < length() * 0.9 ? grew : 0), to + grew, "live");
      else redraw();
    },
  };
}
