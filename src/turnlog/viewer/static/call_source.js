// Where the page's data comes from: the server, or the file that the page is in.

import { withDelta } from "./call_data.js";

/** The source of this page. */
export function openSource() {
  const element = document.getElementById("call-data");
  return element === null
    ? serverSource(new URL(document.getElementById("call").dataset.call, document.baseURI))
    : fileSource(JSON.parse(element.textContent));
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
    states: () => true,
    follow(doc, rules, changed) {
      if (doc.ended) return null;
      const stream = new EventSource(address("follow", { rules, events: doc.events.length }));
      stream.addEventListener("document", (message) => changed(() => JSON.parse(message.data)));
      stream.addEventListener("delta", (message) => changed((now) => withDelta(now, JSON.parse(message.data))));
      stream.addEventListener("ended", () => stream.close());
      return stream;
    },
  };
}

function fileSource(data) {
  const refuse = (what) => Promise.reject(new Error(what));
  return {
    document: (rules) => {
      const found = data.readings[rules ?? data.rules];
      return found
        ? Promise.resolve({ ...found, events: data.events, rule_sets: Object.keys(data.readings) })
        : refuse(`This file has no reading under ${rules}: see turnlog view.`);
    },
    explain: (path, rules) => {
      const found = data.explanations[rules]?.[path];
      return found
        ? Promise.resolve(found)
        : refuse("This file has no explanation of that figure: see turnlog view, or turnlog explain.");
    },
    state: (at, rules) => {
      const empty = { ...data.readings[rules], turns: [], spans: [], events: data.events };
      return Promise.resolve(data.states[rules].slice(0, at + 1).reduce(withDelta, empty));
    },
    states: (rules) => rules in data.states,
    follow: () => null,
  };
}
