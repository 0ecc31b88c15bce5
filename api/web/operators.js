// The page for operators: is the service ready, what waits, what runs where, what failed and can be tried again.

import { call, read } from "./client.js";
import { announce } from "./deletion.js";
import { age, button, count, find, make, span, standing } from "./element.js";
import { withKey } from "./key.js";

const LOOK_EVERY = 3000;
const SHOWN = 50;
const FAILED = 200;

const OPEN_JOBS = /^misc_jobs_open\{queue="(\w+)",state="(\w+)"\} ([\d.e+]+)$/gm;
const OLDEST_DUE = /^misc_jobs_oldest_due_seconds\{queue="(\w+)"\} ([\d.e+]+)$/gm;

export class OperatorsPage {
  constructor() { this.isOpen = false; }

  async open() {
    document.title = "Jobs · MISC archive";
    this.isOpen = true;
    clearTimeout(this.timer);
    await this.look();
  }

  close() {
    this.isOpen = false;
    clearTimeout(this.timer);
  }

  async look() {
    try {
      const [ready, metrics, workers, running, queued, failed] = await withKey(() => Promise.all([
        fetch("readyz").then((answer) => answer.json()), call("metrics").then((answer) => answer.text()),
        read("v1/workers"), read(`v1/jobs?state=running&limit=${SHOWN}`), read(`v1/jobs?state=queued&limit=${SHOWN}`), read(`v1/jobs?state=failed&limit=${FAILED}`)]));
      if (!this.isOpen) return;
      find("operators-fault").textContent = "";
      this.draw(ready, metrics, workers.items, running.items, queued.items, failed);
    } catch (error) {
      find("operators-fault").textContent = error.message;
    }
    if (this.isOpen) this.timer = setTimeout(() => this.look(), LOOK_EVERY);
  }

  draw(ready, metrics, workers, running, queued, failed) {
    const troubles = [...Object.entries(ready.failed ?? {}).map(([part, code]) => `${part}: ${code}`), ...(ready.degraded ?? []).map((part) => `${part} is away`)];
    find("readiness").textContent = troubles.length === 0 ? `The service is ${ready.status}.` : `The service is ${ready.status}; ${troubles.join("; ")}.`;
    replace(find("queues"), [...queues(metrics)].map(([queue, states]) => row(queue, states.queued ?? 0, states.running ?? 0, states.queued ? span(states.oldest ?? 0) : "")));
    replace(find("workers"), workers.map((worker) =>
      row(worker.name, worker.state, wide(worker.queues.join(", ")), figure(`${worker.running} of ${worker.threads}`), figure(age(worker.seen_at), "wide"), this.drain(worker))));
    replace(find("running"), running.map((job) => row(subject(job), job.kind, `${standing(job)}, ${Math.round(100 * job.progress)}\u00a0%`, wide(job.worker ?? ""), figure(age(job.started_at ?? job.created_at)), this.cancel(job))));
    replace(find("queued"), queued.map((job) => row(subject(job), job.kind, job.error ? `put off: ${job.error.code}` : "", wide(job.is_suspect ? "works alone" : ""), figure(age(job.created_at)), this.cancel(job))));
    replace(find("failed"), [...byCode(failed.items)].map(([code, jobs]) =>
      row(make("div", {}, make("span", {}, breakable(code)), make("small", { textContent: jobs[0].error?.message ?? "" })), jobs.length, subject(jobs[0]), this.retry(code, jobs.length))));
    find("failed-note").textContent = failed.next_cursor ? `Of the ${FAILED} that failed last.` : "";
  }

  drain(worker) {
    if (worker.state === "lost") return "";
    const [verb, path] = worker.state === "alive" ? ["Drain", "drain"] : ["Resume", "resume"];
    return button(verb, () => this.act(() => call(`v1/workers/${worker.id}/${path}`, { method: "POST" })), { "aria-label": `${verb} ${worker.name}` });
  }

  cancel(job) {
    return button("Cancel", () => this.act(() => call(job.links.cancel, { method: "POST" })), { "aria-label": `Cancel job ${job.id}`, disabled: job.cancel_requested });
  }

  retry(code, number) {
    return button("Try again", () => this.act(async () => {
      let retried = 0, refused = 0, cursor = null;
      do {
        const answer = await (await call(`v1/jobs/retry?code=${code}&limit=1000${cursor ? `&cursor=${cursor}` : ""}`, { method: "POST" })).json();
        retried += answer.retried.length;
        refused += answer.refused.length;
        cursor = answer.next_cursor;
      } while (cursor);
      announce(`${count(retried, "job")} queued again${refused ? `, ${refused} cannot be` : ""}.`);
    }), { "aria-label": `Try the ${count(number, "job")} again that failed with ${code}` });
  }

  async act(deed) {
    try {
      await deed();
      clearTimeout(this.timer);
      await this.look();
    } catch (error) {
      announce(error.message);
    }
  }
}

// Rows are replaced only where something changed, so that a button that has the focus keeps it.
function replace(body, rows) {
  rows.forEach((element, index) => {
    const old = body.children[index];
    if (old === undefined) body.append(element);
    else if (old.textContent !== element.textContent) old.replaceWith(element);
  });
  while (body.children.length > rows.length) body.lastElementChild.remove();
  body.closest("table").hidden = rows.length === 0;
  const note = body.closest("section").querySelector(".empty");
  if (note) note.hidden = rows.length > 0;
}

// A cell that a narrow screen has no room for.
const wide = (content) => ({ content, className: "wide" });

// A cell that stays on one line.
const figure = (content, more = "") => ({ content, className: `figure ${more}` });

function row(...cells) {
  return make("tr", {}, cells.map((cell, index) => {
    const { content, className } = typeof cell === "object" && !(cell instanceof Node) ? cell : { content: cell, className: "" };
    const properties = index === 0 ? { scope: "row", className } : { className };
    return make(index === 0 ? "th" : "td", properties, content instanceof Node ? content : String(content));
  }));
}

// The ends of ids tell them apart: a narrow screen shows no more of them.
const SHOWN_END = 6;

function subject(job) {
  const parts = [make("span", { className: "head", textContent: job.id.slice(0, -SHOWN_END) }), make("span", { className: "tail", textContent: job.id.slice(-SHOWN_END) })];
  return job.image_id ? make("a", { className: "id", href: `?image=${job.image_id}` }, parts) : make("span", { className: "id" }, parts);
}

// A code may go on in a second line after each of its words.
const breakable = (code) => code.split(/(?<=_)/).flatMap((word) => [word, make("wbr")]);

function queues(metrics) {
  const found = new Map();
  for (const [, queue, state, number] of metrics.matchAll(OPEN_JOBS)) {
    if (!found.has(queue)) found.set(queue, {});
    found.get(queue)[state] = Number(number);
  }
  for (const [, queue, seconds] of metrics.matchAll(OLDEST_DUE)) if (found.has(queue)) found.get(queue).oldest = Number(seconds);
  return found;
}

function byCode(jobs) {
  const found = new Map();
  for (const job of jobs) {
    const code = job.error?.code ?? "unknown";
    if (!found.has(code)) found.set(code, []);
    found.get(code).push(job);
  }
  return found;
}
