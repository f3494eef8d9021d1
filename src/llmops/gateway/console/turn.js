// One question with its answer, as drawn on the page.

import { element, errorNotice } from "./dom.js";
import { feedbackRow } from "./feedback.js";
import { openPassage } from "./passage.js";
import { AnswerText } from "./render.js";

/** A marker of which the closing bracket has not arrived. */
const HALF_MARKER = /\[[\d,\s]*$/;

export class TurnView {
  #text;
  /** Null while words arrive: passages come with the answer's end. */
  #citations = null;

  constructor(question, onRetry) {
    this.onRetry = onRetry;
    // Announced once whole: aria-busy holds the announcement back while words still arrive.
    this.body = element("div", { class: "answer", "data-testid": "answer", "aria-live": "polite", "aria-busy": "true" });
    this.status = element("p", { class: "status", role: "status" });
    this.figures = element("p", { class: "status figures" });
    this.after = element("div", { class: "after" });
    this.#text = new AnswerText(this.body);
    this.root = element(
      "article",
      { class: "turn", "aria-label": "Question and answer" },
      element("p", { class: "question" }, question),
      this.body,
      this.status,
      this.after,
      this.figures,
    );
  }

  /** Makes the turn ready for its first or another try. */
  begin() {
    this.#citations = null;
    this.#text.clear();
    this.after.replaceChildren();
    this.body.setAttribute("aria-busy", "true");
    this.status.className = "status working";
    this.status.textContent = "Answering…";
    this.figures.textContent = "";
  }

  drawText(text) {
    const whole = this.#citations ? text : text.replace(HALF_MARKER, "");
    this.#text.draw(whole, (number) => this.#marker(number));
  }

  /** Ends the turn: markers become buttons, and sources, notice, feedback and figures stand below the answer. */
  end({ text, citations, note, error, inferenceId, figures }) {
    this.#citations = citations;
    this.#text.clear();
    this.drawText(text);
    this.body.setAttribute("aria-busy", "false");
    const rows = [];
    if (citations.length) rows.push(this.#sources());
    if (note) rows.push(element("p", { class: "note" }, note));
    if (error) rows.push(errorNotice(error, this.onRetry));
    if (text && inferenceId) rows.push(feedbackRow(inferenceId));
    this.after.replaceChildren(...rows);
    if (inferenceId) this.root.dataset.inferenceId = inferenceId;
    this.status.className = "status";
    this.status.textContent = "";
    this.figures.textContent = figures;
  }

  #marker(number) {
    if (!this.#citations) return element("span", { class: "marker" }, `[${number}]`);
    const index = this.#citations.findIndex((citation) => citation.number === number);
    if (index < 0) return `[${number}]`;
    const title = this.#citations[index].title || this.#citations[index].uri;
    const attributes = { class: "marker", "data-testid": "citation", title, "aria-label": `Source ${number}: ${title}` };
    return this.#opener(index, attributes, String(number));
  }

  #sources() {
    const items = groupedByDocument(this.#citations).map((citations) => element("li", {}, this.#source(citations)));
    return element("div", { class: "sources" }, element("h2", {}, "Sources"), element("ul", {}, ...items));
  }

  #source(citations) {
    const [first] = citations;
    const numbers = citations.map((citation) => citation.number).join(", ");
    const name = first.title?.split(" > ")[0] || first.uri;
    const attributes = { class: "source", "data-testid": "source", title: first.uri };
    return this.#opener(this.#citations.indexOf(first), attributes, element("span", { class: "source-numbers" }, numbers), name);
  }

  #opener(index, attributes, ...label) {
    const citations = this.#citations;
    const onclick = (event) => openPassage({ citations, index, opener: event.currentTarget, turn: this.root });
    const panel = { "aria-haspopup": "dialog", "aria-controls": "passage", "aria-expanded": "false" };
    const number = { "data-number": String(citations[index].number) };
    return element("button", { type: "button", onclick, ...panel, ...number, ...attributes }, ...label);
  }
}

function groupedByDocument(citations) {
  const groups = new Map();
  for (const citation of citations) {
    groups.set(citation.document_id, [...(groups.get(citation.document_id) ?? []), citation]);
  }
  return [...groups.values()];
}
