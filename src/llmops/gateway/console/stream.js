// Server-sent events from a fetch body: EventSource can neither POST nor send a key.

/** Yields the data of each event of `body`, a ReadableStream of UTF-8 bytes; the stream may be split anywhere. */
export async function* eventData(body) {
  let data = [];
  for await (const line of lines(body)) {
    if (line === "") {
      if (data.length) yield data.join("\n");
      data = [];
    } else if (line.startsWith("data:")) {
      data.push(line.slice(line[5] === " " ? 6 : 5));
    }
  }
  if (data.length) yield data.join("\n");
}

async function* lines(body) {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return; // a line without its end was cut off: half an event is no event
      const parts = (rest + decoder.decode(value, { stream: true })).split("\n");
      rest = parts.pop();
      for (const part of parts) yield part.endsWith("\r") ? part.slice(0, -1) : part;
    }
  } finally {
    // Tells the gateway that nobody reads on; a broken or aborted stream refuses, which changes nothing.
    reader.cancel().catch(() => {});
  }
}
