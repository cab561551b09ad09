// Elements. Text of a log gets into the page here alone, and as text.

/** An element with properties, attributes (names with a dash, and role) and children; text children are text. */
export function el(name, properties = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (key.includes("-") || key === "role" || key === "for" || key === "colspan")
      element.setAttribute(key, value === true ? "" : value);
    else if (key === "onclick") element.addEventListener("click", value);
    else element[key] = value;
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** The element with this id. */
export function byId(id) {
  return document.getElementById(id);
}

/** Class of the mark for a part of the response or a lane: `mark-llm-to-first-token`. */
export function markOf(name) {
  return `mark-${name.toLowerCase().replaceAll(/[^a-z]+/g, "-")}`;
}

/** Scroll a list so that an item in it is visible, without scrolling the page. */
export function reveal(list, item) {
  if (!list || !item) return;
  const outer = list.getBoundingClientRect(),
    inner = item.getBoundingClientRect();
  if (inner.top < outer.top) list.scrollTop -= outer.top - inner.top + 8;
  else if (inner.bottom > outer.bottom)
    list.scrollTop += Math.min(inner.bottom - outer.bottom + 8, inner.top - outer.top - 8);
}
