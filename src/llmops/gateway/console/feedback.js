// Thumbs, comment and correction under one answer. One Send, one record: a thumb alone is sent by the same button.

import { GatewayError, sendFeedback } from "./api.js";
import { element, icon } from "./dom.js";

/** The feedback row of the answer recorded as `inferenceId`. */
export function feedbackRow(inferenceId) {
  const row = new FeedbackRow(inferenceId);
  return row.root;
}

class FeedbackRow {
  #inferenceId;
  #liked = null;

  constructor(inferenceId) {
    this.#inferenceId = inferenceId;
    this.up = this.#thumb("up", "Good answer", true);
    this.down = this.#thumb("down", "Poor answer", false);
    this.outcome = element("div", { class: "feedback-outcome", role: "status" });
    this.#buildForm();
    const thumbs = element("div", { class: "thumbs", role: "group", "aria-label": "Was this answer good?" }, this.up, this.down, this.outcome);
    this.root = element("div", { class: "feedback" }, thumbs, this.form);
  }

  #thumb(direction, label, value) {
    const attributes = { "data-testid": `thumb-${direction}`, class: `bare thumb ${direction}`, title: label };
    const onclick = () => this.#choose(this.#liked === value ? null : value);
    return element("button", { type: "button", "aria-pressed": "false", "aria-label": label, onclick, ...attributes }, icon("thumb"));
  }

  #buildForm() {
    this.comment = element("textarea", { "data-testid": "comment", rows: "2" });
    this.correction = element("textarea", { "data-testid": "correction", rows: "3" });
    this.correctionField = element("label", { hidden: true }, "What would have been right? (optional)", this.correction);
    this.error = element("p", { class: "feedback-error", role: "alert" });
    this.send = element("button", { type: "submit", class: "primary", "data-testid": "feedback-send" }, "Send");
    this.form = element(
      "form",
      { class: "feedback-form", autocomplete: "off", hidden: true, onsubmit: (event) => this.#submit(event) },
      element("label", {}, "Comment (optional)", this.comment),
      this.correctionField,
      element("div", { class: "feedback-actions" }, this.send, this.error),
    );
  }

  #choose(liked) {
    this.#liked = liked;
    this.up.setAttribute("aria-pressed", String(liked === true));
    this.down.setAttribute("aria-pressed", String(liked === false));
    this.form.hidden = liked === null;
    this.correctionField.hidden = liked !== false;
    this.outcome.replaceChildren();
    if (liked !== null) this.form.scrollIntoView({ block: "nearest" });
  }

  async #submit(event) {
    event.preventDefault();
    this.#busy(true);
    let failure = null;
    try {
      await sendFeedback(this.#record());
    } catch (error) {
      failure = error;
    }
    this.#busy(false);
    if (failure) this.#refuse(failure);
    else this.#thank();
  }

  #record() {
    const record = { inference_id: this.#inferenceId, name: "thumb", value: this.#liked };
    const comment = this.comment.value.trim();
    const correction = this.correction.value.trim();
    if (comment) record.comment = comment;
    if (correction && this.#liked === false) record.correction = correction;
    return record;
  }

  #busy(busy) {
    for (const control of [this.send, this.up, this.down]) control.disabled = busy;
    if (!busy) return;
    this.error.replaceChildren();
    this.send.textContent = "Send";
  }

  #thank() {
    this.form.hidden = true;
    this.comment.value = this.correction.value = "";
    this.outcome.replaceChildren(element("span", { "data-testid": "feedback-done" }, "Thank you: recorded"));
    keepFocus(this.#liked ? this.up : this.down);
  }

  #refuse(failure) {
    if (!(failure instanceof GatewayError)) throw failure;
    this.error.replaceChildren(element("span", { "data-testid": "error" }, failure.message));
    this.send.textContent = "Send again";
    keepFocus(this.send);
  }
}

// Disabling or hiding the button in use drops the focus to the page's start; whoever went elsewhere stays there.
function keepFocus(control) {
  const { activeElement } = document;
  if (activeElement === document.body || !activeElement?.checkVisibility()) control.focus({ preventScroll: true });
}
