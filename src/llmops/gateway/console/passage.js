// The panel that shows a cited passage: beside the answer on wide screens, a sheet at the bottom on narrow ones.

import { element } from "./dom.js";

const panel = document.getElementById("passage");
const parts = Object.fromEntries(
  ["place", "previous", "next", "close", "title", "source", "text"].map((name) => [
    name,
    document.getElementById(`passage-${name}`),
  ]),
);

/** What is open: the answer's citations, which of them, the button that opened it, the turn whose markers light up. */
let shown = null;

/** Opens `citations[index]`; `turn` is the element whose `[data-number]` buttons belong to these citations. */
export function openPassage({ citations, index, opener, turn }) {
  if (shown) light(null);
  shown = { citations, index, opener, turn };
  panel.hidden = false;
  document.body.classList.add("with-passage");
  draw();
  panel.focus({ preventScroll: true });
}

/** Closes the panel if the answer it was opened from is no longer on the page. */
export function closeOrphanedPassage() {
  if (shown && !shown.opener.isConnected) closePassage();
}

/** Closes the panel; focus goes back to where it came from. */
function closePassage() {
  if (!shown) return;
  const { opener } = shown;
  light(null);
  shown = null;
  panel.hidden = true;
  document.body.classList.remove("with-passage");
  opener.focus();
}

function draw() {
  const { citations, index } = shown;
  const citation = citations[index];
  parts.place.textContent = `Passage ${citation.number}`;
  parts.title.textContent = citation.title || citation.uri;
  parts.source.replaceChildren(place(citation.uri), ...(citation.locator ? [", ", citation.locator] : []));
  parts.text.textContent = citation.text;
  parts.previous.hidden = parts.next.hidden = citations.length < 2;
  parts.previous.disabled = index === 0;
  parts.next.disabled = index === citations.length - 1;
  panel.scrollTop = 0;
  light(citation.number);
}

// Only web addresses become links: a uri comes from the ingested documents, which others may have written.
function place(uri) {
  if (!/^https?:\/\//i.test(uri ?? "")) return element("span", { class: "uri" }, uri ?? "");
  return element("a", { class: "uri", href: uri, target: "_blank", rel: "noopener noreferrer" }, uri);
}

function light(number) {
  for (const button of shown.turn.querySelectorAll("[data-number]")) {
    button.setAttribute("aria-expanded", String(Number(button.dataset.number) === number));
  }
}

function step(by) {
  shown.index += by;
  draw();
  if (document.activeElement.disabled || document.activeElement === document.body) panel.focus();
}

parts.previous.addEventListener("click", () => step(-1));
parts.next.addEventListener("click", () => step(1));
parts.close.addEventListener("click", closePassage);
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && shown) {
    event.preventDefault();
    closePassage();
  }
});
