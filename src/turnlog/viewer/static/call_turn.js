// One turn: its response in parts, its figures, and the events that made a figure.

import { clock, count, eventOf, excerpt, figureText, ms, partsOf, plural } from "./call_data.js";
import { el, markOf } from "./call_dom.js";

const SAID = 20000; // characters of a text that are shown
const SAME = 1; // milliseconds by which the framework's figure may differ without being shown
const EVENTS = 6; // events of a value that are shown

/** The turn in `panel`, an explanation in `why`. `explain(path)` explains a figure, `chooseEvent(at)` selects an event. */
export function makeTurnPanel(panel, why, explain, chooseEvent) {
  let shown = null;
  let path = null;
  let explained = null;

  function showTurn(doc, turn) {
    const focused = document.activeElement?.dataset?.path;
    const none = doc.turns.length ? "Select a turn." : "This call has no turns.";
    const figure = (...one) => figureElement(path, explain, ...one);
    panel.replaceChildren(...(turn ? turnElements(doc, turn, figure) : [el("p", { className: "muted" }, none)]));
    if (focused) panel.querySelector(`[data-path="${CSS.escape(focused)}"]`)?.focus();
  }

  return {
    set(doc, index, view) {
      const turn = index.turns.get(view.turn) ?? null;
      if (shown !== turn || path !== view.path) {
        shown = turn;
        path = view.path;
        showTurn(doc, turn);
      }
      if (explained !== view.explanation) {
        explained = view.explanation;
        why.replaceChildren(...(explained ? whyElements(doc, explained, chooseEvent) : []));
        why.hidden = !explained;
      }
    },
  };
}

/** A figure as a button that explains it; plain text if it has no path. */
function figureElement(pressed, explain, text, path, label) {
  if (!path) return el("span", { className: "figure" }, text);
  const properties = {
    type: "button",
    className: "figure",
    "data-path": path,
    "aria-label": `${label} ${text}: show the events`,
    "aria-pressed": String(path === pressed),
    onclick: () => explain(path),
  };
  return el("button", properties, text);
}

function turnElements(doc, turn, figure) {
  const times = el("span", { className: "muted" }, `${clock(turn.start, 1)} – ${clock(turn.end, 1)}`);
  const parts = partsOf(turn);
  return [
    el("h2", {}, `Turn ${turn.turn} `, times),
    responseLine(doc, turn, figure),
    ...(parts.length ? partsElements(parts, figure) : []),
    ...errors(turn),
    ...said(turn),
    ...turn.groups.map((group) => groupElement(group, figure)),
  ];
}

/** The response, or why there is none; the time to the answer and the framework's figure, where they differ. */
function responseLine(doc, turn, figure) {
  const label = doc.rules === "turnlog" ? "Response" : "E2E latency";
  const ours = turn.e2e_latency;
  const later = turn.response?.time_to_answer_ms ?? null;
  const theirs = turn.framework_e2e;
  const line = el("p", { className: "response" });
  if (ours !== null) line.append(`${label} `, figure(ms(ours), `${turn.path}.e2e_latency`, label));
  else line.append("No response: ", figure(turn.no_response ?? "unknown", `${turn.path}.e2e_latency`, "No response:"));
  if (later !== null) {
    line.append(" · answer after ", figure(ms(later), `${turn.path}.response.time_to_answer_ms`, "Answer after"));
  }
  if (theirs !== null && (ours === null || Math.abs(theirs - ours) > SAME)) {
    const reported = figure(ms(theirs), `${turn.path}.framework_e2e`, "Reported by the framework");
    line.append(` · ${doc.framework || "videosdk-agents"} reports `, reported);
  }
  return line;
}

function partsElements(parts, figure) {
  const bar = el("div", { className: "parts", "aria-hidden": "true" });
  const placed = parts.every((part) => part.start !== undefined);
  const rows = parts.map((part) => {
    const number = figure(ms(part.ms), part.path, part.name);
    const piece = el("span", {
      className: markOf(part.name),
      title: `${part.name}: ${ms(part.ms)}`,
      onclick: () => number.click(),
    });
    piece.textContent = part.name;
    piece.style.flexGrow = String(Math.max(part.ms, 0.001));
    bar.append(piece);
    const swatch = el("span", { className: `swatch ${markOf(part.name)}`, "aria-hidden": "true" });
    const from = placed && el("td", { className: "number muted" }, clock(part.start));
    return el("tr", {}, el("th", { scope: "row" }, swatch, part.name), el("td", { className: "number" }, number), from);
  });
  const heads = ["Part", "Time", ...(placed ? ["From"] : [])].map((name, n) =>
    el("th", { scope: "col", className: n ? "number" : "" }, name),
  );
  const caption = el("caption", { className: "visually-hidden" }, "Parts of the response");
  const head = el("thead", {}, el("tr", {}, ...heads));
  return [bar, el("table", { className: "part-table" }, caption, head, el("tbody", {}, ...rows))];
}

function errors(turn) {
  return turn.errors.map((error) => {
    const source = el("b", {}, `${String(error.source ?? "")} error `);
    const time = el("span", { className: "muted" }, `${clock(error.at)} `);
    return el("p", { className: "notice bad" }, source, time, el("bdi", {}, excerpt(error.message ?? "", 2000)));
  });
}

function said(turn) {
  const lines = [
    ["User", turn.user_speech, turn.user_started, turn.user_stopped],
    ["Agent", turn.agent_speech, turn.agent_started, turn.agent_stopped],
  ];
  return lines
    .filter(([, text, start]) => text || start !== null)
    .map(([who, text, start, end]) => {
      const times = el("span", { className: "muted" }, ` ${clock(start)} – ${end === null ? "?" : clock(end)} `);
      const words = el("bdi", {}, text ? excerpt(text, SAID) : "(no words)");
      return el("p", { className: `said ${who.toLowerCase()}` }, el("b", {}, who), times, words);
    });
}

function groupElement(group, figure) {
  const status = group.status && group.status !== "done" ? el("span", { className: "flag" }, ` ${group.status}`) : null;
  const detail = group.detail && el("span", { className: "muted" }, " ", el("bdi", {}, excerpt(group.detail, 300)));
  const figures = group.figures.map((one) => {
    const value = figure(figureText(one.value, one.unit), one.path, `${group.name}, ${one.label}`);
    return el("div", {}, el("dt", {}, one.label), el("dd", {}, value));
  });
  const heading = el("h3", {}, el("bdi", {}, excerpt(group.name, 120)), status, detail || null);
  return el("section", {}, heading, el("dl", { className: "turn-figures" }, ...figures));
}

// explanations --------------------------------------------------------------------------------------------------------

/** The values and events that a figure was made of, and the decisions that placed them. */
function whyElements(doc, found, chooseEvent) {
  const link = (at) => doc.events[at] && eventLink(doc, at, chooseEvent);
  const none = "No event is recorded as the source of this figure.";
  const decisions = found.decisions.map((one) => el("li", {}, one.why, " ", one.at === null ? null : link(one.at)));
  const elements = [
    el("h3", {}, "Why: ", el("code", {}, found.path)),
    found.note && el("p", {}, excerpt(found.note, 500)),
    found.made_of.length ? sources(found.made_of, link) : el("p", { className: "muted" }, none),
    decisions.length && el("div", {}, el("h4", {}, "Decided by"), el("ol", { className: "decisions" }, ...decisions)),
  ];
  return elements.filter(Boolean);
}

function sources(made, link) {
  const rows = made.map((source) => {
    const more = source.events.length - EVENTS;
    const name = excerpt(source.what, 80) + (source.turn ? ` (turn ${source.turn})` : "");
    const value = el("td", { className: "muted" }, sourceValue(source));
    const links = [...source.events.slice(0, EVENTS).map(link), more > 0 && ` and ${count(more)} more`];
    return el("tr", {}, el("th", { scope: "row" }, name), value, el("td", { className: "text" }, ...links));
  });
  const caption = el("caption", {}, `Made of ${plural(made.length, "value")}`);
  return el("table", { className: "why-table" }, caption, el("tbody", {}, ...rows));
}

function eventLink(doc, at, chooseEvent) {
  const { hook } = eventOf(doc.events[at], at);
  return el("button", { type: "button", className: "event-link", onclick: () => chooseEvent(at) }, `${hook} #${at}`);
}

function sourceValue({ value, time }) {
  if (value === null) return "";
  if (time && typeof value === "number") return clock(value);
  return excerpt(typeof value === "object" ? JSON.stringify(value) : value, 80);
}
