// The gateway's API as this page uses it. Every failure leaves as a GatewayError with one sentence, or as an AbortError.

import { anotherKey, currentKey } from "./key.js";
import { eventData } from "./stream.js";

const UNREACHABLE = "The gateway cannot be reached: check that it is running and that you are online.";
const CUT = "the connection closed before the answer was complete.";

export class GatewayError extends Error {}

/** The routes: `[{id, description?, examples?}]`. */
export async function listRoutes() {
  const { response } = await request("/v1/models");
  const { data } = await parsed(response);
  if (!Array.isArray(data)) throw new GatewayError("The gateway answered with something that is no list of routes.");
  return data;
}

/** Records feedback `{inference_id, name, value, comment?, correction?}`. */
export async function sendFeedback(feedback) {
  const { response } = await request("/v1/feedback", { body: feedback });
  return parsed(response);
}

/**
 * Asks `route` and yields what arrives: `{sentAt}` (ms of performance.now) first, then `{inferenceId}`, `{text}`,
 * `{citations}`, `{guardrails}`, `{finish}`, `{usage}`.
 */
export async function* ask(route, messages, signal) {
  const body = { model: route, messages, stream: true, stream_options: { include_usage: true } };
  const { response, sentAt } = await request("/v1/chat/completions", { body, signal });
  yield { sentAt };
  const inferenceId = response.headers.get("x-inference-id");
  if (inferenceId) yield { inferenceId };
  try {
    yield* parts(response.body);
  } catch (error) {
    if (error instanceof GatewayError || error.name === "AbortError") throw error;
    throw new GatewayError(CUT);
  }
}

async function* parts(body) {
  let finished = false;
  for await (const data of eventData(body)) {
    if (data === "[DONE]") return;
    const chunk = JSON.parse(data);
    if (chunk.error) throw new GatewayError(chunk.error.message ?? CUT);
    if (chunk.inference_id) yield { inferenceId: chunk.inference_id };
    const choice = chunk.choices?.[0];
    if (choice?.delta?.content) yield { text: choice.delta.content };
    if (Array.isArray(chunk.citations)) yield { citations: chunk.citations };
    if (Array.isArray(chunk.guardrails)) yield { guardrails: chunk.guardrails };
    if (choice?.finish_reason) {
      finished = true;
      yield { finish: choice.finish_reason };
    }
    if (chunk.usage) yield { usage: chunk.usage };
  }
  if (!finished) throw new GatewayError(CUT);
}

async function request(path, { body, signal } = {}) {
  for (;;) {
    const key = currentKey();
    const sentAt = performance.now();
    const response = await send(path, { body, signal, key });
    if (response.status !== 401) return { response: await checked(response), sentAt };
    await response.body?.cancel();
    await anotherKey(key, signal);
  }
}

async function send(path, { body, signal, key }) {
  const headers = {};
  if (body) headers["Content-Type"] = "application/json";
  if (key) headers.Authorization = `Bearer ${key}`;
  try {
    return await fetch(path, { method: body ? "POST" : "GET", headers, signal, body: body && JSON.stringify(body) });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new GatewayError(UNREACHABLE);
  }
}

async function checked(response) {
  if (response.ok) return response;
  let message;
  try {
    message = (await response.json()).error.message;
  } catch {
    message = null; // a proxy in between answers with its own page
  }
  throw new GatewayError(message || `The gateway answered with status ${response.status}: try again.`);
}

async function parsed(response) {
  try {
    return await response.json();
  } catch {
    throw new GatewayError("The gateway's answer could not be read: try again.");
  }
}
