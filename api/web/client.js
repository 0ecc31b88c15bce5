// Talks to the service: keys, errors, uploads with progress, and events of jobs and batches. Draws nothing.

import { pause } from "./element.js";

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

// Follows a job to its end, over broken connections too; returns the job as it ended.
export function follow(jobId, onEvent) {
  return readEvents(`v1/jobs/${jobId}`, {
    mostFailures: 30,
    isLast: (event) => {
      onEvent(event.data, event.name);
      return event.name === "state" && isFinal(event.data.state);
    },
  });
}

// A browser opens six connections to one service: most of them are for uploads, answers and pictures.
const MOST_STREAMS = 2;
const LOOK_MILLISECONDS = 3000;
let openStreams = 0;

// Follows a batch to its end by its one stream of events, for as long as the service may be away; returns the batch as
// it ended. Of more batches than may have a stream the others are looked at now and then until one is free.
export async function followBatch(batchId, onBatch, onTrouble) {
  while (openStreams >= MOST_STREAMS) {
    const batch = await read(`v1/batches/${batchId}`).catch((error) => { if (!isPassing(error)) throw error; });
    if (batch) onBatch(batch);
    if (batch?.is_done) return batch;
    await pause(LOOK_MILLISECONDS);
  }
  openStreams += 1;
  try {
    return await readEvents(`v1/batches/${batchId}`, {
      lastId: sessionStorage.getItem(PROGRESS + batchId),
      onTrouble,
      isLast: ({ data, id }) => {
        if (data.is_done) sessionStorage.removeItem(PROGRESS + batchId);
        else sessionStorage.setItem(PROGRESS + batchId, id);
        onBatch(data);
        return data.is_done;
      },
    });
  } finally {
    openStreams -= 1;
  }
}

// How far a batch was when this tab last heard of it, before it was loaded too: the ids of its events are millionths.
const PROGRESS = "misc-progress-";
export const lastProgress = (batchId) => Number(sessionStorage.getItem(PROGRESS + batchId) ?? 0) / 1e6;

// Reads events until one is the last, again from where they broke off; returns that event's data. EventSource cannot
// send a key, so the stream is read by hand.
async function readEvents(path, { isLast, lastId = null, mostFailures = Infinity, onTrouble = () => {} }) {
  for (let failures = 0; ;) {
    try {
      const headers = authorization();
      if (lastId !== null) headers["Last-Event-ID"] = lastId;
      const answer = await fetch(`${path}/events`, { headers });
      if (!answer.ok) throw new Refusal(await answer.json().catch(() => ({})), answer.status);
      for await (const event of events(answer.body)) {
        failures = 0;
        lastId = event.id ?? lastId;
        if (isLast(event)) return event.data;
      }
      // The stream ended before its time: what it tells of was deleted, or the service stops.
      await read(path);
    } catch (error) {
      failures += 1;
      if (!isPassing(error) || failures > mostFailures) throw error;
      onTrouble(error);
    }
    await pause(Math.min(500 * (failures + 1), 5000));
  }
}

async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
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
  } finally {
    // Who has heard enough gives the connection back.
    reader.cancel().catch(() => {});
  }
}
