// The page of a call: what is selected, and the parts that show it.

import { clock, count, indexed, plural, turnAt } from "./call_data.js";
import { byId, el } from "./call_dom.js";
import { forgetColours } from "./call_colours.js";
import { openSource } from "./call_source.js";
import { Axis } from "./call_axis.js";
import { connectAxis } from "./call_controls.js";
import { Minimap } from "./call_minimap.js";
import { Turns } from "./call_turns.js";
import { makeTurnPanel } from "./call_turn.js";
import { Events } from "./call_events.js";
import { makeSpans } from "./call_spans.js";
import { showChanges } from "./call_changes.js";

const REST = 100; // milliseconds without a movement after which the transcript follows the axis

const source = openSource();
const view = { turn: null, span: null, event: null, events: new Set(), path: null, explanation: null, at: null };
let latest = null; // the document of the whole call
let doc = null,
  index = null; // what is shown: the same, or an earlier state
let changed = new Set(),
  stream = null,
  requests = 0,
  resting = 0;

const axis = new Axis(byId("axis"), (from, to, by) => {
  minimap.frame(from, to);
  if (by === "user") followAxis((from + to) / 2);
});
const minimap = new Minimap(byId("minimap"), (from, to) => axis.show(from, to, "user"));
const turns = new Turns(byId("turns"), (number) => chooseTurn(number));
const turnPanel = makeTurnPanel(byId("turn"), byId("why"), explain, chooseEvent);
const events = new Events(byId("events"), byId("event-details"), chooseEvent);
const spans = makeSpans(byId("spans"), (span) => chooseSpan(span, span.turn));

/** Scroll the transcript to the turn in the middle of the axis, once that rests. */
function followAxis(seconds) {
  clearTimeout(resting);
  resting = setTimeout(() => doc?.turns.length && turns.reveal(turnAt(doc, seconds).turn), REST);
}

function show() {
  axis.set(doc, index, view);
  minimap.set(doc);
  turns.set(doc, view, changed);
  turnPanel.set(doc, index, view);
  events.set(doc, view);
  spans.set(doc, index, view);
  const words = [`turn=${view.turn ?? ""}`, `rules=${latest.rules}`, view.at === null ? "" : `at=${view.at}`];
  history.replaceState(null, "", `#${words.filter(Boolean).join("&")}`);
}

function setDocument(shown) {
  doc = shown;
  index = indexed(doc);
  if (view.turn !== null && !index.turns.has(view.turn)) view.turn = null;
  const facts = [
    clock(doc.seconds, 1),
    plural(doc.events.length, "event"),
    plural(doc.turns.length, "turn"),
    [doc.framework, doc.framework_version].filter(Boolean).join(" "),
  ];
  byId("facts").textContent = facts.filter(Boolean).join(" · ");
  byId("sealed").hidden = !doc.sealed;
  byId("sealed").textContent = doc.sealed ? `The text of ${plural(doc.sealed, "event")} is sealed or forgotten.` : "";
  byId("outside").replaceChildren(...outsideElements());
  turns.forget();
}

function outsideElements() {
  const rows = doc.outside.map((left) =>
    el(
      "li",
      {},
      el("b", {}, left.kind),
      ` ${clock(left.start)} `,
      el("span", { className: "muted" }, left.reason),
      " ",
      el("button", { type: "button", className: "event-link", onclick: () => chooseEvent(left.at) }, `#${left.at}`),
    ),
  );
  return rows.length
    ? [el("ul", { className: "outside" }, ...rows)]
    : [el("p", { className: "muted" }, "Everything belongs to a turn.")];
}

function chooseTurn(number, fit = false) {
  if (number === null) return;
  if (number !== view.turn) Object.assign(view, { path: null, explanation: null, events: new Set() });
  view.turn = number;
  const turn = index.turns.get(number);
  if (turn) axis.showTurn(turn, fit);
  show();
}

function chooseSpan(span, turn) {
  view.span = span?.id ?? null;
  if (turn !== null && turn !== view.turn) Object.assign(view, { turn, path: null, explanation: null });
  view.events = new Set(span?.events ?? []);
  view.event = span && span.at >= 0 ? span.at : view.event;
  show();
}

function chooseEvent(at) {
  view.event = at;
  if (!view.events.has(at)) view.events = new Set([at]);
  axis.showTimes([doc.events[at][0]]);
  openTab("events");
  show();
}

async function explain(path) {
  await attempt(async () => {
    const found = await source.explain(path, latest.rules);
    Object.assign(view, { path, explanation: found });
    view.events = new Set(
      [...found.made_of.flatMap((made) => made.events), ...found.decisions.map((made) => made.at)].filter(
        (at) => at !== null && at < doc.events.length,
      ),
    );
    axis.showTimes([...view.events].map((at) => doc.events[at][0]));
    openTab("events");
    show();
  });
}

// time travel ---------------------------------------------------------------------------------------------------------

const slider = byId("at");

function describeSlider() {
  const last = latest.events.length - 1,
    at = view.at ?? last,
    every = source.every(latest.rules);
  slider.max = String(Math.max(0, last));
  slider.value = String(Math.max(0, at));
  slider.disabled = last < 1 || every === null;
  const row = latest.events[at];
  const text = row
    ? `event #${count(at)} of ${count(latest.events.length)} · ${clock(row[0])} · ${row[3]}`
    : "no events";
  const kept = every === null ? "none under these rules" : `one every ${every} events`;
  byId("at-text").textContent = every === 1 ? text : `${text} · states in this file: ${kept}`;
  slider.setAttribute("aria-valuetext", text);
  byId("latest").disabled = view.at === null;
}

/** Show the state after an event, or after the last one before it that has a state; null: the latest. */
async function travel(at) {
  const every = source.every(latest.rules) ?? 1,
    kept = Math.max(every, Math.floor((at + 1) / every) * every) - 1;
  view.at = at === null || at >= latest.events.length - 1 || kept >= latest.events.length - 1 ? null : kept;
  describeSlider();
  const mine = (requests += 1);
  await attempt(async () => {
    const state =
      view.at === null
        ? latest
        : { ...(await source.state(view.at, latest.rules)), events: latest.events, rule_sets: latest.rule_sets };
    if (mine !== requests) return;
    Object.assign(view, {
      path: null,
      explanation: null,
      event: view.at,
      events: new Set(view.at === null ? [] : [view.at]),
    });
    setDocument(state);
    show();
  });
}

// rule sets -----------------------------------------------------------------------------------------------------------

async function changeRules(rules) {
  await attempt(async () => {
    latest = await source.document(rules);
    Object.assign(view, { path: null, explanation: null, span: null, at: null, events: new Set() });
    setDocument(latest);
    fillRules();
    describeSlider();
    await compare();
    follow();
  });
}

function fillRules() {
  const choices = (names, chosen) =>
    names.map((name) => el("option", { value: name, selected: name === chosen }, name || "nothing"));
  byId("rules").replaceChildren(...choices(latest.rule_sets, latest.rules));
  byId("compare").replaceChildren(
    ...choices(["", ...latest.rule_sets.filter((name) => name !== latest.rules)], byId("compare").value),
  );
  byId("compare").disabled = byId("rules").disabled = latest.rule_sets.length < 2;
}

async function compare() {
  const other = byId("compare").value,
    tab = byId("tab-changes");
  tab.hidden = !other;
  changed = new Set();
  if (other) {
    await attempt(
      async () =>
        (changed = showChanges(byId("changes"), latest, await source.document(other), (number) => chooseTurn(number))),
    );
    openTab("changes");
  } else if (tab.getAttribute("aria-selected") === "true") openTab("events");
  turns.forget();
  show();
}

// live ----------------------------------------------------------------------------------------------------------------

function follow() {
  stream?.close();
  stream = source.follow(latest, latest.rules, (change) => {
    const before = latest;
    latest = change(latest);
    if (before !== latest && view.at === null) {
      setDocument(latest);
      show();
    }
    describeSlider();
    byId("live").textContent = latest.ended ? "ended" : "● live";
  });
  byId("live").textContent = stream ? "● live" : "";
}

// tabs, buttons, errors -----------------------------------------------------------------------------------------------

const tabs = [...document.querySelectorAll("[role=tab]")];

function openTab(name) {
  for (const tab of tabs) {
    const selected = tab.id === `tab-${name}`;
    tab.setAttribute("aria-selected", String(selected));
    tab.tabIndex = selected ? 0 : -1;
    byId(tab.getAttribute("aria-controls")).hidden = !selected;
  }
}

function connect() {
  connectAxis(axis, byId("tip"), chooseSpan);
  for (const tab of tabs) {
    tab.addEventListener("click", () => openTab(tab.id.slice(4)));
    tab.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key],
        there = tabs.filter((one) => !one.hidden);
      if (!step) return;
      const next = there[(there.indexOf(tab) + step + there.length) % there.length];
      openTab(next.id.slice(4));
      next.focus();
    });
  }
  byId("zoom-in").addEventListener("click", () => axis.zoom(0.6));
  byId("zoom-out").addEventListener("click", () => axis.zoom(1 / 0.6));
  byId("whole").addEventListener("click", () => axis.whole());
  byId("previous").addEventListener("click", () => step(-1));
  byId("next").addEventListener("click", () => step(1));
  byId("latest").addEventListener("click", () => travel(null));
  slider.addEventListener("input", () => travel(Number(slider.value)));
  byId("rules").addEventListener("change", (event) => changeRules(event.target.value));
  byId("compare").addEventListener("change", compare);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    forgetColours();
    axis.redraw();
    minimap.refresh();
  });
}

function step(by) {
  const at = doc.turns.findIndex((turn) => turn.turn === view.turn);
  const turn = doc.turns[Math.min(doc.turns.length - 1, Math.max(0, at + by))];
  if (turn) chooseTurn(turn.turn);
}

/** Do something that may fail, and say so if it does. */
async function attempt(action) {
  const message = byId("message");
  try {
    await action();
    message.hidden = true;
  } catch (error) {
    if (error.name === "AbortError") return;
    message.textContent = String(error.message);
    message.hidden = false;
  }
}

async function start() {
  const wanted = new URLSearchParams(location.hash.slice(1)),
    query = new URLSearchParams(location.search);
  connect();
  await attempt(async () => {
    latest = await source.document(wanted.get("rules") ?? query.get("rules"));
    setDocument(latest);
    fillRules();
    describeSlider();
    const slowest = [...doc.turns].sort((a, b) => (b.e2e_latency ?? -1) - (a.e2e_latency ?? -1))[0];
    const number = Number(wanted.get("turn") ?? query.get("turn")) || slowest?.turn;
    view.turn = index.turns.has(number) ? number : null;
    show();
    follow();
    if (wanted.get("at")) await travel(Number(wanted.get("at")));
    document.body.dataset.ready = "true";
  });
}

start();
