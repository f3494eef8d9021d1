// The chat page: routes, conversation and composer. Nothing of a conversation outlives the page.

import { GatewayError, ask, listRoutes } from "./api.js";
import { element, errorNotice } from "./dom.js";
import { closeOrphanedPassage } from "./passage.js";
import { TurnView } from "./turn.js";

const HISTORY_TURNS = 10;
const FOLLOW_PX = 120;
const UNUSUAL_ENDS = {
  length: "The answer ends here because it reached its length limit.",
  content_filter: "The answer was held back by a filter.",
};

/** On glass, focus in the question would raise the keyboard over the answer. */
const TYPES_WITH_KEYS = matchMedia("(pointer: fine)");

const page = Object.fromEntries(
  ["route", "route-field", "new-conversation", "welcome", "conversation", "composer", "question", "send", "stop"].map(
    (id) => [id, document.getElementById(id)],
  ),
);

let routes = [];
let turns = [];
/** The AbortController of the answer under way, or null. */
let underWay = null;

// Routes and the empty page

async function loadRoutes() {
  page.welcome.setAttribute("aria-busy", "true");
  try {
    routes = await listRoutes();
    page.route.replaceChildren(...routes.map(({ id }) => element("option", { value: id }, id)));
    page["route-field"].hidden = routes.length < 2;
    drawWelcome();
  } catch (error) {
    if (!(error instanceof GatewayError)) throw error;
    page.welcome.replaceChildren(errorNotice(error.message, loadRoutes));
  } finally {
    page.welcome.removeAttribute("aria-busy");
    drawComposer();
  }
}

function currentRoute() {
  return routes.find(({ id }) => id === page.route.value) ?? null;
}

function drawWelcome() {
  const route = currentRoute();
  page.welcome.hidden = turns.length > 0;
  if (!route) {
    const message = "This gateway serves no route yet: add one to its workspace, then try again.";
    page.welcome.replaceChildren(errorNotice(message, loadRoutes));
    return;
  }
  const examples = (route.examples ?? []).map((question) =>
    element("li", {}, element("button", { type: "button", class: "example", "data-testid": "example", onclick: () => submit(question) }, question)),
  );
  page.welcome.replaceChildren(element("p", { class: "description" }, route.description || `Ask ${route.id} a question.`));
  if (examples.length) page.welcome.append(element("ul", { class: "examples", "aria-label": "Example questions" }, ...examples));
}

// Asking

function submit(question) {
  const asked = question.trim();
  if (!asked || underWay || !currentRoute()) return;
  const turn = { question: asked, route: currentRoute().id, text: "" };
  turn.view = new TurnView(asked, () => answer(turn));
  turns.push(turn);
  page.welcome.hidden = true;
  page.conversation.append(turn.view.root);
  answer(turn);
}

async function answer(turn) {
  if (underWay) return;
  const controller = (underWay = new AbortController());
  turn.view.begin();
  closeOrphanedPassage();
  Object.assign(turn, { text: "", citations: [], usage: null, finish: null, inferenceId: null, firstAt: null });
  drawComposer();
  scrollToEnd();
  let failure = null;
  try {
    await receive(turn, controller.signal);
  } catch (error) {
    failure = error;
  }
  endTurn(turn, failure);
  if (underWay === controller) {
    underWay = null;
    drawComposer();
    returnFocus();
  }
  if (failure && failure.name !== "AbortError" && !(failure instanceof GatewayError)) throw failure;
}

async function receive(turn, signal) {
  const draw = oncePerFrame(() => following(() => turn.view.drawText(turn.text)));
  try {
    for await (const part of ask(turn.route, messagesFor(turn), signal)) {
      const { text, ...others } = part;
      Object.assign(turn, others);
      if (!text) continue;
      turn.firstAt ??= performance.now();
      turn.text += text;
      draw();
    }
    if (!turn.text.trim()) throw new GatewayError("The route answered with no text: try again or ask in other words.");
  } finally {
    draw.cancel();
  }
}

/** The question with the answered turns before it; a turn without an answer would only confuse the model. */
function messagesFor(turn) {
  const earlier = turns.slice(0, turns.indexOf(turn)).filter(({ text }) => text);
  const history = earlier.slice(-HISTORY_TURNS).flatMap(({ question, text }) => [
    { role: "user", content: question },
    { role: "assistant", content: text },
  ]);
  return [...history, { role: "user", content: turn.question }];
}

function endTurn(turn, failure) {
  const stopped = failure?.name === "AbortError";
  following(() =>
    turn.view.end({
      text: turn.text,
      citations: turn.citations,
      note: stopped ? "You stopped this answer." : (UNUSUAL_ENDS[turn.finish] ?? hidden(turn.guardrails)),
      error: failure && !stopped ? sentence(failure, turn.text) : null,
      inferenceId: turn.inferenceId,
      figures: figures(turn),
    }),
  );
}

/** What was taken out of the question before a model saw it, as a sentence; nothing when nothing was. */
function hidden(findings = []) {
  const kinds = findings.filter(({ where, action }) => where === "question" && action === "redact").map(({ kind }) => kind);
  const names = [...new Set(kinds)].map((kind) => kind.toLowerCase().replaceAll("_", " "));
  return names.length ? `Left out of your question before it was read: ${names.join(", ")}.` : undefined;
}

function sentence(failure, text) {
  if (!(failure instanceof GatewayError)) return "The page could not show this answer: try again.";
  const message = failure.message;
  return text ? `The answer was cut off: ${message}` : message[0].toUpperCase() + message.slice(1);
}

function figures({ sentAt, firstAt, usage, route }) {
  const seconds = (ms) => `${(ms / 1000).toFixed(ms < 10_000 ? 2 : 1)} s`;
  const tokens = (count) => count.toLocaleString("en");
  const parts = [];
  if (firstAt) parts.push(`First text after ${seconds(firstAt - sentAt)}`, `${seconds(performance.now() - sentAt)} in all`);
  if (usage) parts.push(`${tokens(usage.prompt_tokens)} tokens read, ${tokens(usage.completion_tokens)} written`);
  if (parts.length && routes.length > 1) parts.push(route);
  return parts.join(" · ");
}

function newConversation() {
  underWay?.abort();
  underWay = null;
  turns = [];
  page.conversation.replaceChildren();
  closeOrphanedPassage();
  if (routes.length) drawWelcome();
  drawComposer();
  if (TYPES_WITH_KEYS.matches) page.question.focus();
}

// The composer

function drawComposer() {
  const busy = underWay !== null;
  page.question.disabled = busy;
  page.send.hidden = busy;
  page.stop.hidden = !busy;
  page.send.disabled = !currentRoute() || page.question.value.trim() === "";
  page.question.style.height = "auto";
  page.question.style.height = `${page.question.scrollHeight}px`;
}

function submitComposer() {
  const question = page.question.value;
  if (page.send.disabled || underWay) return;
  page.question.value = "";
  submit(question);
}

// Whoever is elsewhere on the page by now stays there.
function returnFocus() {
  const idle = [document.body, page.stop, null].includes(document.activeElement);
  if (idle && TYPES_WITH_KEYS.matches) page.question.focus({ preventScroll: true });
}

// Drawing

/** Runs `draw` at most once a frame; `cancel` drops one that waits. */
function oncePerFrame(draw) {
  let frame = null;
  const later = () => {
    frame ??= requestAnimationFrame(() => {
      frame = null;
      draw();
    });
  };
  later.cancel = () => cancelAnimationFrame(frame);
  return later;
}

/** Draws and keeps the end in sight, but only for a reader who was there. */
function following(draw) {
  const { scrollHeight } = document.documentElement;
  const atEnd = scrollY + innerHeight >= scrollHeight - FOLLOW_PX;
  draw();
  if (atEnd) scrollToEnd();
}

function scrollToEnd() {
  scrollTo({ top: document.documentElement.scrollHeight, behavior: "instant" });
}

page.composer.addEventListener("submit", (event) => {
  event.preventDefault();
  submitComposer();
});
page.question.addEventListener("input", drawComposer);
page.question.addEventListener("keydown", (event) => {
  // While an input method composes a word, Enter belongs to it.
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  submitComposer();
});
page.stop.addEventListener("click", () => underWay?.abort());
page.route.addEventListener("change", () => {
  if (!turns.length) drawWelcome();
});
page["new-conversation"].addEventListener("click", newConversation);

loadRoutes();
