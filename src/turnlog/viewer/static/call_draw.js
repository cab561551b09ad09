// Draws the time axis: ruler, turns, lanes, marks. Draws what is visible only, and merges what is narrower than a pixel.

import { clock, firstIndex, ms } from "./call_data.js";
import { colours, hatch, isHatched, laneColour, partColour } from "./call_colours.js";

export const ROW = 18;
const RULER = 20,
  TURNS = 18,
  GAP = 4,
  TICK = 1.5; // width of the narrowest span that is drawn as one
const STEPS = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600];

/** Height of the axis, and where each lane's rows are. */
export function layOut(lanes) {
  let y = RULER + TURNS + GAP;
  const places = lanes.map((lane) => {
    const place = { lane, y };
    y += lane.rows * ROW + GAP;
    return place;
  });
  return { places, height: Math.max(y + 2, 90) };
}

/** Draw one frame. `scene`: context, width, height, gutter, from (seconds at the left), scale (pixels a second), doc, view, places, turns, chosen. */
export function drawAxis(scene) {
  const { context, width, height, gutter } = scene;
  context.font = `11px ${colours().font}`;
  context.textBaseline = "middle";
  context.save();
  context.beginPath();
  context.rect(gutter, 0, width - gutter, height);
  context.clip();
  drawBands(scene);
  drawRuler(scene);
  for (const place of scene.places) drawLane(scene, place);
  drawMarks(scene);
  context.restore();
  drawNames(scene);
}

const xOf = (scene, seconds) => scene.gutter + (seconds - scene.from) * scene.scale;
const until = (scene) => scene.from + (scene.width - scene.gutter) / scene.scale;

function drawBands(scene) {
  const { context, doc, view, height } = scene,
    c = colours(),
    end = until(scene);
  let labelled = -Infinity;
  for (let n = firstTurn(doc, scene.from); n < doc.turns.length; n += 1) {
    const turn = doc.turns[n];
    if (turn.start > end) break;
    const x = xOf(scene, turn.start),
      wide = Math.max(1, (turn.end - turn.start) * scene.scale),
      selected = view.turn === turn.turn;
    if (selected || (turn.turn % 2 === 0 && wide >= 2)) {
      context.fillStyle = selected ? c.selected : c.surface;
      context.fillRect(x, RULER, wide, height - RULER);
    }
    if (wide >= 2) line(context, x, RULER, x, height, c.line);
    if (wide < 14 && x < labelled + 24) continue;
    context.fillStyle = selected ? c.text : c.muted;
    const named =
      wide > 120 && turn.e2e_latency !== null
        ? `turn ${turn.turn} · ${ms(turn.e2e_latency)}`
        : wide > 60
          ? `turn ${turn.turn}`
          : String(turn.turn);
    const left = Math.max(x + 3, scene.gutter + 3);
    if (left > labelled) {
      context.fillText(named, left, RULER + TURNS / 2);
      labelled = left + context.measureText(named).width + 4;
    }
  }
}

function firstTurn(doc, from) {
  // Turns overlap by little: one that began long before may still reach into the view.
  return Math.max(0, firstIndex(doc.turns.length, (n) => doc.turns[n].start >= from) - 3);
}

function drawRuler(scene) {
  const { context, width, height } = scene,
    c = colours();
  const step = STEPS.find((one) => one * scene.scale >= 70) ?? 3600,
    decimals = step >= 1 ? 0 : step >= 0.1 ? 1 : step >= 0.01 ? 2 : 3;
  for (let at = Math.ceil(scene.from / step) * step; xOf(scene, at) < width; at += step) {
    const x = Math.round(xOf(scene, at)) + 0.5;
    line(context, x, 0, x, height, c.line);
    context.fillStyle = c.muted;
    context.fillText(clock(at, decimals), x + 3, RULER / 2);
  }
  line(context, 0, RULER + 0.5, width, RULER + 0.5, c.line);
}

function drawLane(scene, { lane, y }) {
  const { context, width } = scene;
  line(context, 0, y - GAP / 2, width, y - GAP / 2, colours().line);
  lane.lines.forEach((row, number) => drawRow(scene, lane.name, row, y + number * ROW));
  const { chosen } = scene;
  if (chosen?.lane === lane.name) outline(scene, chosen, y + chosen.row * ROW);
}

/** Draw the spans in view. Those narrower than a tick are ticks, and ticks without a gap are one rectangle. */
function drawRow(scene, lane, { spans, starts, untils, ends }, top) {
  const { gutter, from, scale } = scene,
    end = until(scene),
    least = TICK / scale; // seconds
  let left = null, // of the ticks to be drawn, in pixels
    right = 0;
  for (let n = firstIndex(spans.length, (i) => ends[i] >= from); n < spans.length && starts[n] <= end; n += 1) {
    const x = gutter + (starts[n] - from) * scale;
    if (untils[n] - starts[n] < least) {
      if (left !== null && x > right + 1) {
        drawTicks(scene, lane, left, right, top);
        left = null;
      }
      left ??= Math.round(x - 0.5);
      right = Math.max(right, Math.round(x - 0.5) + 2);
    } else if (untils[n] >= from) drawSpan(scene, spans[n], x, top, (untils[n] - starts[n]) * scale);
  }
  if (left !== null) drawTicks(scene, lane, left, right, top);
}

function drawTicks({ context }, lane, left, right, top) {
  context.fillStyle = laneColour(lane);
  context.fillRect(left, top, right - left, ROW - 2);
  if (lane === "errors") context.fillText("×", right + 2, top + ROW / 2 - 1);
}

function drawSpan(scene, span, x, top, wide) {
  const { context } = scene,
    c = colours();
  const left = Math.max(x, scene.gutter - 2),
    right = Math.min(x + wide, scene.width + 2);
  if (span.lane === "response") return drawResponse(scene, span, top);
  const colour = laneColour(span.lane),
    first = span.first === null ? null : Math.min(Math.max(xOf(scene, span.first), left), right);
  context.fillStyle = colour;
  const open = span.status === "unfinished"; // its end is not known
  context.globalAlpha = first === null && !open ? 1 : 0.3;
  context.fillRect(left, top, right - left, ROW - 2);
  context.globalAlpha = 1;
  if (first !== null) context.fillRect(left, top, Math.max(1, first - left), ROW - 2);
  if (span.status !== "done" && right - left > 8) hatch(context, left, top + ROW - 7, right - left, 5, c.background);
  const textLeft = first === null || first - left > 0.6 * (right - left) ? left : first;
  const onSolid = textLeft === left && (first === null ? !open : first > left + 20);
  context.fillStyle = onSolid ? c["on-mark"] : c.text;
  label(
    context,
    spanLabel(span),
    textLeft + 3,
    top + ROW / 2 - 1,
    (textLeft === left && first !== null && first > left + 20 ? first : right) - textLeft - 5,
  );
}

function spanLabel(span) {
  const text = span.attributes.Transcript ?? span.attributes.tool_name ?? span.attributes.model_name ?? span.name;
  return span.status === "done" ? String(text).slice(0, 120) : `${span.status}: ${String(text).slice(0, 120)}`;
}

function drawResponse(scene, span, top) {
  const { context } = scene,
    c = colours();
  const turn = scene.turns.get(span.turn);
  for (const part of turn?.response?.parts ?? []) {
    const left = xOf(scene, part.start),
      right = xOf(scene, part.end);
    context.fillStyle = partColour(part.name);
    context.fillRect(left, top, Math.max(0.5, right - left), ROW - 2);
    if (right - left < 6) continue;
    if (isHatched(part.name)) hatch(context, left, top + ROW - 7, right - left, 5, c.background);
    context.fillStyle = c["on-mark"];
    label(context, part.name, left + 3, top + ROW / 2 - 1, right - left - 5);
  }
}

/** Barge-ins, the events of an explanation, and the point to which time travel has gone. */
function drawMarks(scene) {
  const { context, doc, view, height } = scene,
    c = colours(),
    end = until(scene);
  let marked = -Infinity;
  for (let n = firstTurn(doc, scene.from); n < doc.turns.length && doc.turns[n].start <= end; n += 1) {
    for (const record of doc.turns[n].barge_ins) {
      const at = record.user_start ?? record.stopped;
      if (at === null || at === undefined) continue;
      const x = xOf(scene, at);
      if (x < marked + 3) continue;
      marked = x;
      if (scene.scale > 2) line(context, x, RULER + TURNS, x, height, c["barge-in"], [2, 4]);
      context.fillStyle = c["barge-in"];
      triangle(context, x, RULER - 7);
      if (scene.scale > 40) context.fillText(`${record.kind} barge-in`, x + 6, height - 8);
    }
  }
  for (const at of view.events) {
    const row = doc.events[at];
    if (!row) continue;
    const x = xOf(scene, row[0]);
    line(context, x, 0, x, height, c.accent);
    context.fillStyle = c.accent;
    context.beginPath();
    context.arc(x, RULER, 3.5, 0, 7);
    context.fill();
  }
  if (view.at !== null && doc.events[view.at]) {
    const x = xOf(scene, doc.events[view.at][0]);
    line(context, x, 0, x, height, c.text, [6, 2]);
  }
}

function drawNames(scene) {
  const { context, gutter, height } = scene,
    c = colours();
  context.fillStyle = c.background;
  context.fillRect(0, 0, gutter, height);
  line(context, gutter - 0.5, 0, gutter - 0.5, height, c.line);
  context.textAlign = "right";
  context.fillStyle = c.muted;
  context.fillText("turns", gutter - 6, RULER + TURNS / 2);
  for (const { lane, y } of scene.places) {
    context.fillStyle = c.text;
    context.fillText(
      lane.name === "knowledge base" ? "retrieval" : lane.name === "audio" ? "sounds" : lane.name,
      gutter - 6,
      y + ROW / 2 - 1,
      gutter - 8,
    );
  }
  context.textAlign = "left";
}

function line(context, x1, y1, x2, y2, colour, dash = []) {
  context.strokeStyle = colour;
  context.lineWidth = 1;
  context.setLineDash(dash);
  context.beginPath();
  context.moveTo(x1, y1);
  context.lineTo(x2, y2);
  context.stroke();
  context.setLineDash([]);
}

function outline(scene, span, y) {
  const { context } = scene,
    left = Math.max(xOf(scene, span.start), scene.gutter - 2),
    right = Math.min(xOf(scene, span.until), scene.width + 2);
  context.strokeStyle = colours().text;
  context.lineWidth = 2;
  if (right >= left) context.strokeRect(left + 1, y + 1, Math.max(2, right - left - 2), ROW - 4);
}

function triangle(context, x, y) {
  context.beginPath();
  context.moveTo(x - 5, y);
  context.lineTo(x + 5, y);
  context.lineTo(x, y + 7);
  context.fill();
}

const widths = new Map();

/** Draw as much of a text as fits; its width is estimated from that of its characters, as measuring is slow. */
function label(context, text, x, y, room) {
  if (room < 12) return;
  const each =
    widths.get(context.font) ??
    widths.set(context.font, context.measureText("abcdefghijklmnopqrstuvwxyz ").width / 27).get(context.font);
  const fits = Math.floor(room / each);
  if (fits < 2) return;
  const shown = text.length <= fits ? text : `${text.slice(0, fits - 1)}…`;
  context.fillText(shown, x, y, room);
}
