// The document of a call, indexed for drawing. Numbers come from the engine; this file formats and finds them.

import { inRows } from "./call_lanes.js";

/** An object for each event row of the document. */
export function eventOf(row, at) {
  return { at, seconds: row[0], origin: row[1], seq: row[2], hook: row[3], payload: row[4] };
}

const ITEMS = { turns: "turn", spans: "id" }; // lists of items, and their keys

/** The document after deltas: fields of items set by key, lists of rows continued, other values set. */
export function withDeltas(doc, deltas) {
  const found = { ...doc };
  const lists = Object.entries(ITEMS).map(([name, key]) => [name, key, new Map(doc[name].map((one) => [one[key], one]))]);
  for (const delta of deltas) {
    Object.assign(found, delta.set);
    for (const [name, key, items] of lists) change(items, delta[name], key);
    for (const name of ["events", "outside"]) {
      if (delta[name]) found[name] = (found[name] ?? []).slice(0, delta[name].from).concat(delta[name].rows);
    }
  }
  for (const [name, , items] of lists) found[name] = [...items.values()];
  return found;
}

function change(items, made, key) {
  for (const name of made?.remove ?? []) items.delete(name);
  for (const item of made?.set ?? []) items.set(item[key], { ...items.get(item[key]), ...item });
}

/** The spans by lane and row, sorted by start, each with the latest end up to it; and by id and parent. */
export function indexed(doc) {
  doc.turns.sort((a, b) => a.turn - b.turn);
  doc.spans.sort((a, b) => a.start - b.start || a.end - b.end);
  const byId = new Map(),
    children = new Map();
  for (const span of doc.spans) {
    byId.set(span.id, span);
    if (span.parent !== null) (children.get(span.parent) ?? setDefault(children, span.parent)).push(span);
  }
  const lanes = inRows(doc.lanes, doc.spans).map(({ name, lines }) => ({
    name,
    rows: lines.length,
    lines: lines.map(timesOf),
  }));
  return { lanes, byId, children, turns: new Map(doc.turns.map((turn) => [turn.turn, turn])) };
}

function setDefault(map, key) {
  const list = [];
  map.set(key, list);
  return list;
}

/** A row of spans with their times as plain numbers, which are read in each frame, and the latest end up to each. */
function timesOf(spans) {
  let latest = -Infinity;
  return {
    spans,
    starts: Float64Array.from(spans, (span) => span.start),
    untils: Float64Array.from(spans, (span) => span.until),
    ends: Float64Array.from(spans, (span) => (latest = Math.max(latest, span.until))),
  };
}

/** Index of the first item for which `reached` is true, in a list where it stays true once it is. */
export function firstIndex(length, reached) {
  let low = 0,
    high = length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (reached(middle)) high = middle;
    else low = middle + 1;
  }
  return low;
}

/** The turn that is in progress at a time, or the last one before it. */
export function turnAt(doc, seconds) {
  const next = firstIndex(doc.turns.length, (n) => doc.turns[n].start > seconds);
  return doc.turns[Math.max(0, next - 1)] ?? null;
}

/** What a turn's latency is the sum of. Parts of a framework's latency have no place in time, as they may overlap. */
export function partsOf(turn) {
  const path = (n) => `${turn.path}.response.parts[${n}].ms`;
  if (turn.response) return turn.response.parts.map((part, n) => ({ ...part, path: path(n) }));
  return (turn.e2e_parts ?? []).map((part) => ({ name: part.label, ms: part.value, path: part.path }));
}

const WHOLE = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const TENTH = new Intl.NumberFormat("en", { maximumFractionDigits: 1, minimumFractionDigits: 1 });
const SHORT = new Intl.NumberFormat("en", { maximumFractionDigits: 3 });

/** Milliseconds as text; tenths below ten. */
export function ms(value) {
  if (value === null || value === undefined) return "–";
  return `${Math.abs(value) < 10 && value !== 0 ? TENTH.format(value) : WHOLE.format(value)} ms`;
}

/** A figure with its unit. */
export function figureText(value, unit) {
  if (unit === "ms") return ms(value);
  return typeof value === "number" ? `${SHORT.format(value)}${unit ? ` ${unit}` : ""}` : String(value);
}

/** A time into the call: 1:02.345, with this many decimals. */
export function clock(seconds, decimals = 3) {
  if (seconds === null || seconds === undefined) return "–";
  const sign = seconds < 0 ? "−" : "",
    whole = Math.abs(seconds);
  const hours = Math.floor(whole / 3600),
    minutes = Math.floor((whole % 3600) / 60);
  const rest = (whole % 60).toFixed(decimals);
  const padded = rest.padStart(decimals ? decimals + 3 : 2, "0");
  return hours ? `${sign}${hours}:${String(minutes).padStart(2, "0")}:${padded}` : `${sign}${minutes}:${padded}`;
}

/** The beginning of a text, and how long it is, if it is long. */
export function excerpt(text, length) {
  const all = String(text);
  return visible(all.length <= length ? all : `${all.slice(0, length)}… (${WHOLE.format(all.length)} characters)`);
}

const CONTROL = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/g;

/** The text with control characters, and those that turn the direction of text, as escapes. */
export function visible(text) {
  return text.replaceAll(CONTROL, (found) => `\\u${found.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

/** A number with separators. */
export function count(value) {
  return WHOLE.format(value);
}

/** A word for a number of things. */
export function plural(number, one, many = `${one}s`) {
  return `${WHOLE.format(number)} ${number === 1 ? one : many}`;
}
