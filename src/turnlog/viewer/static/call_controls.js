// How mouse, touch and keys change what the time axis shows.

import { clock, excerpt, ms } from "./call_data.js";

const STILL = 4; // pixels that a press may move and still be a click
const KEYS = {
  ArrowLeft: (axis) => axis.pan(-0.15),
  ArrowRight: (axis) => axis.pan(0.15),
  ArrowUp: (axis) => axis.zoom(0.7),
  ArrowDown: (axis) => axis.zoom(1 / 0.7),
  PageUp: (axis) => axis.pan(-0.9),
  PageDown: (axis) => axis.pan(0.9),
  Home: (axis) => axis.start(),
  End: (axis) => axis.end(),
  0: (axis) => axis.whole(),
};
const SAME = {
  a: "ArrowLeft",
  d: "ArrowRight",
  w: "ArrowUp",
  s: "ArrowDown",
  "+": "ArrowUp",
  "=": "ArrowUp",
  "-": "ArrowDown",
};

/** Connect the axis with its canvas. `chosen(span, turn)` is called for a click; `tip` shows what the pointer is on. */
export function connectAxis(axis, tip, chosen) {
  drag(axis, tip, chosen);
  axis.canvas.addEventListener("dblclick", (event) => {
    const turn = axis.turn(axis.at(event.offsetX, event.offsetY).turn);
    if (turn) axis.showTurn(turn, true);
  });
  axis.canvas.addEventListener("wheel", (event) => turnWheel(axis, event), { passive: false });
  axis.canvas.addEventListener("keydown", (event) => {
    const action = KEYS[SAME[event.key] ?? event.key];
    if (event.ctrlKey || event.metaKey || event.altKey || !action) return;
    event.preventDefault();
    action(axis);
  });
}

/** One pointer pans, or clicks; two zoom: the times under them stay under them. */
function drag(axis, tip, chosen) {
  const { canvas } = axis;
  const pointers = new Map(); // by id: where it is now
  let press = null;
  const begin = () => {
    const [one, two] = [...pointers.values()];
    press = one && { x: one.x, from: axis.from, to: axis.to, moved: press?.moved && pointers.size > 0 };
    if (two) press = { moved: true, times: [axis.timeAt(one.x), axis.timeAt(two.x)] };
  };
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, { x: event.offsetX });
    if (pointers.size === 1) press = null;
    begin();
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!pointers.has(event.pointerId)) return showTip(axis, tip, event);
    pointers.set(event.pointerId, { x: event.offsetX });
    if (press.times) return pinch(axis, press.times, [...pointers.values()]);
    const by = event.offsetX - press.x;
    press.moved ||= Math.abs(by) > STILL;
    if (press.moved) axis.show(press.from - by / axis.scale, press.to - by / axis.scale, "user");
  });
  const lift = (event, click) => {
    const found = axis.at(event.offsetX, event.offsetY);
    pointers.delete(event.pointerId);
    if (click && press && !press.moved) chosen(found.span, found.turn);
    begin();
  };
  canvas.addEventListener("pointerup", (event) => lift(event, true));
  canvas.addEventListener("pointercancel", (event) => lift(event, false));
  canvas.addEventListener("pointerleave", () => (tip.hidden = true));
}

/** Show what brings two times under two pointers. */
function pinch(axis, [first, second], [one, two]) {
  const apart = two.x - one.x;
  if (Math.abs(apart) < STILL || (second - first) / apart <= 0) return;
  const perPixel = (second - first) / apart;
  const from = first - (one.x - axis.gutter) * perPixel;
  axis.show(from, from + (axis.width - axis.gutter) * perPixel, "user");
}

/** Zoom around the pointer; pan with a sideways wheel, or with Shift. */
function turnWheel(axis, event) {
  event.preventDefault();
  const sideways = Math.abs(event.deltaX) > Math.abs(event.deltaY) || event.shiftKey;
  if (sideways) axis.pan((event.deltaX || event.deltaY) / axis.width);
  else axis.zoom(Math.exp(Math.max(-100, Math.min(100, event.deltaY)) * 0.004), axis.timeAt(event.offsetX));
}

function showTip(axis, tip, event) {
  const { span } = axis.at(event.offsetX, event.offsetY);
  tip.hidden = !span;
  if (!span) return;
  const state = span.status === "done" ? "" : `, ${span.status}`;
  tip.textContent = `${excerpt(span.name, 200)}\n${clock(span.start)} · ${ms(span.ms)}${state}`;
  tip.style.left = `${Math.min(event.offsetX + 12, axis.width - 240)}px`;
  tip.style.top = `${event.offsetY + 18}px`;
}
