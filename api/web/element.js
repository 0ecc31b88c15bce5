// Makes elements and words of figures. Everything a caller sent goes in as text, never as markup.

export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("aria-") || name.startsWith("data-") || name === "role") element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

export const find = (id) => document.getElementById(id);

export function button(text, onclick, properties = {}) {
  return make("button", { type: "button", textContent: text, onclick, ...properties });
}

export function size(bytes) {
  if (bytes < 10_000) return `${bytes.toLocaleString("en")} bytes`;
  return bytes < 1e6 ? `${(bytes / 1e3).toFixed(0)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
}

export const count = (number, noun) => `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;

export function seconds(value) {
  return value < 10 ? `${value.toFixed(2)} s` : `${value.toFixed(0)} s`;
}

export const age = (time) => span((Date.now() - new Date(time)) / 1000);

export function span(lasting) {
  const passed = Math.max(0, lasting);
  if (passed < 90) return `${Math.round(passed)} s`;
  if (passed < 5400) return `${Math.round(passed / 60)} min`;
  return passed < 129_600 ? `${Math.round(passed / 3600)} h` : `${Math.round(passed / 86_400)} days`;
}

const STAGES = {
  fetch: "reading", describe: "describing", locate: "locating", coarse: "drawing coarsely", pack: "packing",
  store: "storing", verify: "verifying", load: "loading networks", restore: "restoring", done: "finishing",
};

export function standing(job) {
  if (job.state === "queued") return job.queue_position ? `waiting, ${job.queue_position} before it` : "waiting";
  if (job.state === "running") return STAGES[job.stage] ?? job.stage ?? "starting";
  return job.state;
}

export const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
