// The API key: asked for only when the gateway wants one, kept for this tab only.

const SLOT = "llmops.api_key";
const form = document.getElementById("key-form");
const field = document.getElementById("api-key");
const reason = document.getElementById("key-reason");
const waiting = new Set();
let key = stored();

export function currentKey() {
  return key;
}

/** Waits until there is another key than `refused` (null: none was sent); rejects when `signal` aborts. */
export function anotherKey(refused, signal) {
  if (key !== refused) return Promise.resolve(); // someone typed it while this request was under way
  show(refused);
  return new Promise((resolve, reject) => {
    const waiter = { resolve };
    waiting.add(waiter);
    signal?.addEventListener("abort", () => {
      waiting.delete(waiter);
      form.hidden = waiting.size === 0;
      reject(signal.reason);
    });
  });
}

function show(refused) {
  reason.textContent = refused
    ? "The gateway did not accept that key: type another."
    : "This gateway asks for a key; it is kept until this tab closes.";
  if (!form.hidden) return;
  field.value = "";
  form.hidden = false;
  field.focus();
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  const typed = field.value.trim();
  if (!typed) return;
  key = typed;
  store(typed);
  form.hidden = true;
  field.value = "";
  const resumed = [...waiting];
  waiting.clear();
  for (const waiter of resumed) waiter.resolve();
});

// A browser that forbids storage throws on access; the key then lives as long as the page.
function stored() {
  try {
    return sessionStorage.getItem(SLOT);
  } catch {
    return null;
  }
}

function store(value) {
  try {
    sessionStorage.setItem(SLOT, value);
  } catch {
    return;
  }
}
