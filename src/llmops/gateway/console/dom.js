// Nodes are only ever built here and in render.js, from text: nothing on this page parses HTML.

const SVG = "http://www.w3.org/2000/svg";

/** An element with attributes (`true` sets an empty one, `null` and `false` none) and children (strings become text). */
export function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children);
  return node;
}

/** A drawing from the symbols at the top of index.html. */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `#icon-${name}`);
  svg.append(use);
  return svg;
}

/** One sentence that says what went wrong, with a Retry button. */
export function errorNotice(message, onRetry) {
  return element(
    "div",
    { class: "error", role: "alert" },
    element("p", { "data-testid": "error" }, message),
    element("button", { type: "button", "data-testid": "retry", onclick: onRetry }, "Retry"),
  );
}
