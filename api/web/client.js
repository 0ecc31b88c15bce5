// Talks to the service: keys, errors, uploads with progress, and a job's events. Draws nothing.

const KEY = "misc-key";

export class Refusal extends Error {
  constructor(problem, status) {
    super(problem.detail ?? `The service answered ${status}.`);
    this.code = problem.code ?? `http_${status}`;
    this.status = status;
  }
}

export const hasKey = () => sessionStorage.getItem(KEY) !== null;
export const setKey = (key) => sessionStorage.setItem(KEY, key);
export const forgetKey = () => sessionStorage.removeItem(KEY);

function authorization() {
  return hasKey() ? { Authorization: `Bearer ${sessionStorage.getItem(KEY)}` } : {};
}

// `keepalive` lets a request outlive the page.
export async function call(path, { method = "GET", json, key, keepalive = false } = {}) {
  const headers = authorization();
  if (key !== undefined) headers["Idempotency-Key"] = key;
  if (json !== undefined) headers["Content-Type"] = "application/json";
  const answer = await fetch(path, { method, headers, body: json === undefined ? undefined : JSON.stringify(json), keepalive });
  if (!answer.ok) throw new Refusal(await answer.json().catch(() => ({})), answer.status);
  return answer;
}

// What may be different in a moment: the service is away, overloaded, or still answers the same request.
export const isPassing = (error) => !(error instanceof Refusal) || error.status >= 500 || error.status === 429
  || error.code === "idempotency_in_flight";

export const read = async (path) => (await call(path)).json();

// Shows a picture once it is near the window. With a key it is fetched as a copy, since <img> cannot send one.
export function showWhenNear(image, path) {
  image.loading = "lazy";
  if (!hasKey()) {
    image.src = path;
    return;
  }
  const watcher = new IntersectionObserver(async ([entry]) => {
    if (!entry.isIntersecting) return;
    watcher.disconnect();
    try {
      image.src = await address(path);
      image.addEventListener("load", () => URL.revokeObjectURL(image.src), { once: true });
    } catch {
      image.dispatchEvent(new Event("error"));
    }
  }, { rootMargin: "300px" });
  watcher.observe(image);
}

// An address that an <img> or a link can use. With a key that is a copy in memory, since neither can send a header.
export async function address(path) {
  return hasKey() ? URL.createObjectURL(await (await call(path)).blob()) : path;
}

// Sends a form; `key` is its Idempotency-Key, so that it may be sent again after anything.
export function sendForm(path, parts, key, onProgress = () => {}) {
  return new Promise((resolve, reject) => {
    const form = new FormData();
    for (const [name, value] of Object.entries(parts)) {
      if (value instanceof Blob) form.append(name, value, value.name ?? name);
      else form.append(name, JSON.stringify(value));
    }
    const request = new XMLHttpRequest();
    request.open("POST", path);
    request.setRequestHeader("Idempotency-Key", key);
    for (const [name, value] of Object.entries(authorization())) request.setRequestHeader(name, value);
    request.upload.onprogress = (event) => onProgress(event.loaded / event.total);
    request.onerror = () => reject(new TypeError("The upload was cut off. Is the service still there?"));
    request.onload = () => {
      let answer = {};
      try { answer = JSON.parse(request.responseText); } catch { /* a proxy's page; the status says enough */ }
      if (request.status < 300) resolve(answer);
      else reject(new Refusal(answer, request.status));
    };
    request.send(form);
  });
}

export const isFinal = (state) => ["succeeded", "failed", "cancelled"].includes(state);

// Follows a job to its end, over broken connections too; returns the job as it ended. EventSource cannot send a key,
// so the stream is read by hand.
export async function follow(jobId, onEvent) {
  let lastId = null;
  for (let failures = 0; ;) {
    try {
      const headers = authorization();
      if (lastId !== null) headers["Last-Event-ID"] = lastId;
      const answer = await fetch(`v1/jobs/${jobId}/events`, { headers });
      if (!answer.ok) throw new Refusal(await answer.json().catch(() => ({})), answer.status);
      for await (const event of events(answer.body)) {
        failures = 0;
        lastId = event.id ?? lastId;
        onEvent(event.data, event.name);
        if (event.name === "state" && isFinal(event.data.state)) return event.data;
      }
      // The stream ended without an end of the job: it was deleted, or the service stops.
      await read(`v1/jobs/${jobId}`);
    } catch (error) {
      failures += 1;
      if ((error instanceof Refusal && error.status < 500) || failures > 30) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, Math.min(500 * (failures + 1), 5000)));
  }
}

async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    rest += value;
    for (let end; (end = rest.indexOf("\n\n")) >= 0; rest = rest.slice(end + 2)) {
      const event = {};
      for (const line of rest.slice(0, end).split("\n")) {
        const [name, ...words] = line.split(": ");
        if (name === "event") event.name = words.join(": ");
        if (name === "id") event.id = words.join(": ");
        if (name === "data") event.data = JSON.parse(words.join(": "));
      }
      if (event.data !== undefined) yield event;
    }
  }
}
