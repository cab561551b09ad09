// One turn: its response in parts, its figures, and the events that made a figure.

import { clock, count, eventOf, excerpt, figureText, ms, plural } from "./call_data.js";
import { el, markOf } from "./call_dom.js";

const SAID = 20000; // characters of a text that are shown
const SAME = 1; // milliseconds by which the framework's figure may differ without being shown

/** The panel of a turn. `explain(path)` explains a figure, `chooseEvent(at)` selects an event. */
export function makeTurnPanel(panel, why, explain, chooseEvent) {
  let shown = null,
    path = null,
    explained = null;

  const figure = (value, unit, to, label) =>
    to
      ? el(
          "button",
          {
            type: "button",
            className: "figure",
            "data-path": to,
            "aria-label": `${label} ${figureText(value, unit)}: show the events`,
            "aria-pressed": String(to === path),
            onclick: () => explain(to),
          },
          figureText(value, unit),
        )
      : el("span", { className: "figure" }, figureText(value, unit));

  function turnElements(doc, turn) {
    const base = `turns[${turn.turn - 1}]`;
    const heading = el(
      "h2",
      {},
      `Turn ${turn.turn} `,
      el("span", { className: "muted" }, `${clock(turn.start, 1)} – ${clock(turn.end, 1)}`),
    );
    return [heading, ...response(doc, turn, base), ...errors(turn), ...said(turn), ...groups(turn)];
  }

  function response(doc, turn, base) {
    const lines = [];
    const label = doc.rules === "turnlog" ? "Response" : "E2E latency";
    if (turn.e2e_latency !== null)
      lines.push(
        el("p", { className: "response" }, `${label} `, figure(turn.e2e_latency, "ms", `${base}.e2e_latency`, label)),
      );
    else
      lines.push(
        el(
          "p",
          { className: "response" },
          "No response: ",
          el(
            "button",
            {
              type: "button",
              className: "figure",
              "data-path": `${base}.e2e_latency`,
              "aria-pressed": String(`${base}.e2e_latency` === path),
              onclick: () => explain(`${base}.e2e_latency`),
            },
            turn.no_response ?? "unknown",
          ),
        ),
      );
    const later = turn.response?.time_to_answer_ms;
    if (later !== null && later !== undefined)
      lines[0].append(" · answer after ", figure(later, "ms", `${base}.response.time_to_answer_ms`, "Answer after"));
    const theirs = turn.framework_e2e;
    if (theirs !== null && (turn.e2e_latency === null || Math.abs(theirs - turn.e2e_latency) > SAME))
      lines[0].append(
        ` · ${doc.framework || "videosdk-agents"} reports `,
        figure(theirs, "ms", `${base}.framework_e2e`, "Reported by the framework"),
      );
    if (turn.response) lines.push(...parts(turn.response, base));
    return lines;
  }

  function parts(response, base) {
    const bar = el("div", { className: "parts", "aria-hidden": "true" });
    const rows = response.parts.map((part, n) => {
      const to = `${base}.response.parts[${n}].ms`;
      const piece = el(
        "span",
        { className: markOf(part.name), title: `${part.name}: ${ms(part.ms)}`, onclick: () => explain(to) },
        part.name,
      );
      piece.style.flexGrow = String(Math.max(part.ms, 0.001));
      bar.append(piece);
      return el(
        "tr",
        {},
        el(
          "th",
          { scope: "row" },
          el("span", { className: `swatch ${markOf(part.name)}`, "aria-hidden": "true" }),
          part.name,
        ),
        el("td", { className: "number" }, figure(part.ms, "ms", to, part.name)),
        el("td", { className: "number muted" }, clock(part.start)),
      );
    });
    const head = el(
      "thead",
      {},
      el(
        "tr",
        {},
        el("th", { scope: "col" }, "Part"),
        el("th", { scope: "col", className: "number" }, "Time"),
        el("th", { scope: "col", className: "number" }, "From"),
      ),
    );
    return [
      bar,
      el(
        "table",
        { className: "part-table" },
        el("caption", { className: "visually-hidden" }, "Parts of the response"),
        head,
        el("tbody", {}, ...rows),
      ),
    ];
  }

  const errors = (turn) =>
    turn.errors.map((error) =>
      el(
        "p",
        { className: "notice bad" },
        el("b", {}, `${String(error.source ?? "")} error `),
        el("span", { className: "muted" }, `${clock(error.at)} `),
        el("bdi", {}, excerpt(error.message ?? "", 2000)),
      ),
    );

  const said = (turn) =>
    [
      ["User", turn.user_speech, turn.user_started, turn.user_stopped],
      ["Agent", turn.agent_speech, turn.agent_started, turn.agent_stopped],
    ]
      .filter(([, text, start]) => text || start !== null)
      .map(([who, text, start, end]) =>
        el(
          "p",
          { className: `said ${who.toLowerCase()}` },
          el("b", {}, who),
          el("span", { className: "muted" }, ` ${clock(start)} – ${clock(end)} `),
          el("bdi", {}, text ? excerpt(text, SAID) : "(no words)"),
        ),
      );

  const groups = (turn) =>
    turn.groups.map((group) =>
      el(
        "section",
        { className: "group" },
        el(
          "h3",
          {},
          el("bdi", {}, excerpt(group.name, 120)),
          group.status && group.status !== "done" ? el("span", { className: "flag" }, ` ${group.status}`) : null,
          group.detail ? el("span", { className: "muted" }, " ", el("bdi", {}, excerpt(group.detail, 300))) : null,
        ),
        el(
          "dl",
          { className: "turn-figures" },
          ...group.figures.flatMap((one) => [
            el(
              "div",
              {},
              el("dt", {}, one.label),
              el("dd", {}, figure(one.value, one.unit, one.path, `${group.name}, ${one.label}`)),
            ),
          ]),
        ),
      ),
    );

  function whyElements(doc, found) {
    const event = (at) => {
      const one = doc.events[at] && eventOf(doc.events[at], at);
      return one
        ? el(
            "button",
            { type: "button", className: "event-link", onclick: () => chooseEvent(at) },
            `${one.hook} #${at}`,
          )
        : null;
    };
    const rows = found.made_of.map((source) =>
      el(
        "tr",
        {},
        el("th", { scope: "row" }, excerpt(source.what, 80), source.turn ? ` (turn ${source.turn})` : ""),
        el("td", { className: "muted" }, sourceValue(source)),
        el(
          "td",
          { className: "text" },
          ...source.events.slice(0, 6).map(event),
          source.events.length > 6 ? ` and ${count(source.events.length - 6)} more` : null,
        ),
      ),
    );
    const decisions = found.decisions.map((one) => el("li", {}, one.why, " ", one.at === null ? null : event(one.at)));
    return [
      el("h3", {}, "Why: ", el("code", {}, found.path)),
      found.note ? el("p", {}, excerpt(found.note, 500)) : null,
      rows.length
        ? el(
            "table",
            { className: "why-table" },
            el("caption", {}, `Made of ${plural(found.made_of.length, "value")}`),
            el("tbody", {}, ...rows),
          )
        : el("p", { className: "muted" }, "No event is recorded as the source of this figure."),
      decisions.length
        ? el("div", {}, el("h4", {}, "Decided by"), el("ol", { className: "decisions" }, ...decisions))
        : null,
    ].filter(Boolean);
  }

  const sourceValue = (source) =>
    source.time && typeof source.value === "number"
      ? clock(source.value)
      : source.value === null
        ? ""
        : excerpt(typeof source.value === "object" ? JSON.stringify(source.value) : source.value, 80);

  return {
    set(doc, index, view) {
      const turn = index.turns.get(view.turn) ?? null;
      if (shown !== turn || path !== view.path) {
        const focused = document.activeElement?.dataset?.path;
        shown = turn;
        path = view.path;
        panel.replaceChildren(
          ...(turn
            ? turnElements(doc, turn)
            : [el("p", { className: "muted" }, doc.turns.length ? "Select a turn." : "This call has no turns.")]),
        );
        if (focused) panel.querySelector(`[data-path="${CSS.escape(focused)}"]`)?.focus();
      }
      if (explained !== view.explanation) {
        explained = view.explanation;
        why.replaceChildren(...(explained ? whyElements(doc, explained) : []));
        why.hidden = !explained;
      }
    },
  };
}
