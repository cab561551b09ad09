// What differs between two readings of the call: which turns, and which of their values.

import { clock, excerpt, ms, plural } from "./call_data.js";
import { el } from "./call_dom.js";

const VALUES = {
  e2e_latency: ["response", ms],
  no_response: ["no response because", String],
  user_speech: ["user said", String],
  agent_speech: ["agent said", String],
  user_started: ["user started", clock],
  user_stopped: ["user stopped", clock],
  agent_started: ["agent started", clock],
  agent_stopped: ["agent stopped", clock],
  interrupted: ["interrupted", String],
};
const CLOSE = 0.001; // difference of numbers that is not shown: they are made from different clocks

/** The differences: for each pair of turns the values that differ. Turns correspond if they overlap most. */
export function differences(one, two) {
  const left = new Map(two.turns.map((turn) => [turn.turn, turn]));
  const found = [];
  for (const turn of one.turns) {
    const other = mostOverlapping(turn, [...left.values()]);
    if (other) left.delete(other.turn);
    const values = other ? Object.keys(VALUES).filter((name) => differ(turn[name], other[name])) : [];
    if (!other || values.length) found.push({ turn, other, values });
  }
  found.push(...[...left.values()].map((other) => ({ turn: null, other, values: [] })));
  return found.sort((a, b) => (a.turn ?? a.other).start - (b.turn ?? b.other).start);
}

function mostOverlapping(turn, others) {
  let found = null;
  let most = -1;
  for (const other of others) {
    const shared = Math.min(turn.end, other.end) - Math.max(turn.start, other.start);
    if (shared >= 0 && shared > most) [found, most] = [other, shared];
  }
  return found;
}

function differ(one, two) {
  if (typeof one === "number" && typeof two === "number") return Math.abs(one - two) > CLOSE;
  return (one ?? null) !== (two ?? null);
}

/** Show the differences of two readings in `box`; returns the numbers of the turns that differ. */
export function showChanges(box, one, two, chosen) {
  const found = differences(one, two);
  const between = `between ${one.rules} and ${two.rules}.`;
  const verb = found.length === 1 ? "differs" : "differ";
  box.replaceChildren(
    el("p", {}, found.length ? `${plural(found.length, "turn")} ${verb} ${between}` : `No turn differs ${between}`),
  );
  if (found.length) box.append(table(one, two, found, chosen));
  return new Set(found.filter(({ turn }) => turn).map(({ turn }) => turn.turn));
}

function table(one, two, found, chosen) {
  const heads = ["Turn", "Value", one.rules, two.rules].map((name) => el("th", { scope: "col" }, name));
  const rows = found.flatMap((change) => changeRows(one, two, change, chosen));
  const made = el("table", {}, el("thead", {}, el("tr", {}, ...heads)), el("tbody", {}, ...rows));
  return el("div", { className: "scroll", tabIndex: 0, role: "region", "aria-label": "Differences" }, made);
}

function changeRows(one, two, { turn, other, values }, chosen) {
  const number = turnButton(turn, other, chosen);
  if (!turn || !other) {
    const only = `only under ${turn ? one.rules : two.rules}`;
    return [el("tr", {}, el("td", {}, number), el("td", { colspan: "3" }, only))];
  }
  return values.map((name, n) => {
    const [label, format] = VALUES[name];
    const sides = [turn[name], other[name]].map((value) =>
      el("td", { className: "text" }, el("bdi", {}, valueText(value, format))),
    );
    return el("tr", {}, el("td", {}, n === 0 ? number : ""), el("th", { scope: "row" }, label), ...sides);
  });
}

function valueText(value, format) {
  return value === null || value === undefined ? "–" : excerpt(format(value), 200);
}

/** The turn's number, or the numbers on both sides if they differ; a button if it is a turn of what is shown. */
function turnButton(turn, other, chosen) {
  if (!turn) return `– / ${other.turn}`;
  const text = other && other.turn !== turn.turn ? `${turn.turn} / ${other.turn}` : String(turn.turn);
  return el("button", { type: "button", className: "event-link", onclick: () => chosen(turn.turn) }, text);
}
