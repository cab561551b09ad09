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
const CLOSE = { ms: 0.001, seconds: 1e-6 }; // clocks are compared to the microsecond

/** The differences: for each pair of turns the values that differ. Turns correspond if they overlap most. */
export function differences(one, two) {
  const left = new Set(two.turns.map((turn) => turn.turn)),
    found = [];
  for (const turn of one.turns) {
    const other = best(
      turn,
      two.turns.filter((each) => left.has(each.turn)),
    );
    if (!other) found.push({ turn, other: null, values: [] });
    else {
      left.delete(other.turn);
      const values = Object.keys(VALUES).filter((name) => differ(turn[name], other[name]));
      if (values.length) found.push({ turn, other, values });
    }
  }
  for (const other of two.turns) if (left.has(other.turn)) found.push({ turn: null, other, values: [] });
  return found.sort((a, b) => (a.turn ?? a.other).start - (b.turn ?? b.other).start);
}

function best(turn, others) {
  let found = null,
    most = 0;
  for (const other of others) {
    const shared = Math.min(turn.end, other.end) - Math.max(turn.start, other.start);
    if (shared > most || (found === null && shared >= 0)) [found, most] = [other, Math.max(shared, 0)];
  }
  return found;
}

function differ(one, two) {
  if (typeof one === "number" && typeof two === "number") return Math.abs(one - two) > CLOSE.ms;
  return (one ?? null) !== (two ?? null);
}

/** Show the differences of two readings in `box`; returns the numbers of the turns that differ. */
export function showChanges(box, one, two, chosen) {
  const found = differences(one, two);
  const rows = found.flatMap(({ turn, other, values }) => {
    const number = turn?.turn ?? null;
    const head =
      number === null
        ? el("span", {}, `– / ${other.turn}`)
        : el(
            "button",
            { type: "button", className: "event-link", onclick: () => chosen(number) },
            other && other.turn !== number ? `${number} / ${other.turn}` : String(number),
          );
    if (!turn || !other)
      return [
        el(
          "tr",
          {},
          el("td", {}, head),
          el("td", { colspan: "3" }, turn ? `only under ${one.rules}` : `only under ${two.rules}`),
        ),
      ];
    return values.map((name, n) =>
      el(
        "tr",
        {},
        el("td", {}, n === 0 ? head : ""),
        el("th", { scope: "row" }, VALUES[name][0]),
        ...[turn, other].map((side) =>
          el(
            "td",
            { className: "text" },
            el(
              "bdi",
              {},
              side[name] === null || side[name] === undefined ? "–" : excerpt(VALUES[name][1](side[name]), 200),
            ),
          ),
        ),
      ),
    );
  });
  const head = el("tr", {}, ...["Turn", "Value", one.rules, two.rules].map((name) => el("th", { scope: "col" }, name)));
  box.replaceChildren(
    el(
      "p",
      {},
      found.length
        ? `${plural(found.length, "turn")} differ${found.length === 1 ? "s" : ""} between ${one.rules} and ${two.rules}.`
        : `No turn differs between ${one.rules} and ${two.rules}.`,
    ),
    ...(found.length
      ? [
          el(
            "div",
            { className: "scroll", tabIndex: 0, role: "region", "aria-label": "Differences" },
            el("table", {}, el("thead", {}, head), el("tbody", {}, ...rows)),
          ),
        ]
      : []),
  );
  return new Set(found.filter(({ turn }) => turn).map(({ turn }) => turn.turn));
}
