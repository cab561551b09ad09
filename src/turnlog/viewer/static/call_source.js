// Where the page's data comes from: the server, or the file that the page is in.

import { withDeltas } from "./call_data.js";

/** The source of this page. `every(rules)`: the number of events from one state that it has to the next; null: it has none. */
export function openSource() {
  const element = document.getElementById("call-data");
  return element === null
    ? serverSource(new URL(document.getElementById("call").dataset.call, document.baseURI))
    : fileSource(unpacked(element.textContent));
}

function serverSource(page) {
  const address = (path, values) => {
    const url = new URL(page);
    url.pathname += `/${path}`;
    for (const [name, value] of Object.entries(values)) if (value !== null) url.searchParams.set(name, value);
    return url;
  };
  const get = async (path, values, signal) => {
    const response = await fetch(address(path, values), { signal });
    if (!response.ok) throw new Error((await response.text()).trim());
    return response.json();
  };
  let pending = null;
  return {
    document: (rules) => get("document", { rules }),
    explain: (path, rules) => get("explain", { path, rules }),
    state: (at, rules) => {
      pending?.abort();
      pending = new AbortController();
      return get("state", { at, rules }, pending.signal);
    },
    every: () => 1,
    follow(doc, rules, changed) {
      if (doc.ended) return null;
      const stream = new EventSource(address("follow", { rules, events: doc.events.length }));
      stream.addEventListener("document", (message) => changed(() => JSON.parse(message.data)));
      stream.addEventListener("delta", (message) => changed((now) => withDeltas(now, [JSON.parse(message.data)])));
      stream.addEventListener("ended", () => stream.close());
      return stream;
    },
  };
}

/** JSON that is compressed with gzip, as base64. */
function unpacked(text) {
  const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).json();
}

function fileSource(reading) {
  let data = null; // as file.py describes it
  return {
    async document(rules) {
      data ??= await reading;
      const found = data.readings[rules ?? data.rules];
      if (!found) throw new Error(`This file has no reading under ${rules}: see turnlog view.`);
      return { ...found, events: data.events, rule_sets: Object.keys(data.readings) };
    },
    async explain(path, rules) {
      const found = data.explanations[rules]?.[path];
      if (!found) throw new Error("This file has no explanation of that figure: see turnlog view, or turnlog explain.");
      return found;
    },
    async state(at, rules) {
      const empty = { ...data.readings[rules], turns: [], spans: [], outside: [], events: data.events };
      const { every, deltas } = data.states[rules];
      return withDeltas(empty, deltas.slice(0, Math.floor((at + 1) / every)));
    },
    every: (rules) => data.states[rules]?.every ?? null,
    follow: () => null,
  };
}
