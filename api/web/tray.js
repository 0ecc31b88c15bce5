// The tray: each upload, batch or set of orders that is under way, with its figures, its failures and its end.

import { call, isFinal, read } from "./client.js";
import { button, find, make, pause } from "./element.js";
import { withKey } from "./key.js";
import { Sender, forget, leftUploads, take } from "./uploads.js";

const LOOK_EVERY = 1000;
const SHOWN_FAILURES = 50;

// A line of the tray. `title`, `actions` and the figures are the caller's; it is never focused by itself.
class Line {
  constructor(title) {
    this.title = make("strong", { className: "name", textContent: title });
    this.state = make("span", { className: "state" });
    this.bar = make("progress", { max: 1, value: 0, "aria-label": `Progress of ${title}` });
    this.failures = make("ul", { className: "failures" });
    this.actions = make("div", { className: "actions" });
    this.element = make("li", {}, make("div", { className: "line" }, this.title, this.state), this.bar, this.failures, this.actions);
    find("tray").prepend(this.element);
  }

  show(text, progress) {
    if (this.state.textContent !== text) this.state.textContent = text;
    this.bar.value = progress;
  }

  fail(entries) {
    this.failures.replaceChildren(...entries.map((entry) => make("li", {},
      entry.link ? make("a", { href: entry.link, textContent: entry.name }) : make("strong", { textContent: entry.name }), ` ${entry.message}`)));
  }

  offer(...actions) { this.actions.replaceChildren(...actions); }

  end(text) {
    this.show(text, 1);
    this.bar.hidden = true;
    find("spoken").textContent = `${this.title.textContent}: ${text}`;
  }

  remove() { this.element.remove(); }
}

const followed = new Set();

export class Tray {
  constructor(onNews) { this.onNews = onNews; }

  // Sends files and follows them.
  add(files, options) {
    return take(files, options, (upload) => this.followUpload(upload));
  }

  // Takes up what was under way: this browser's uploads, and batches of others that have not ended.
  async takeUp() {
    for (const upload of await leftUploads()) this.followUpload(upload);
    const recent = await withKey(() => read("v1/batches?limit=20"));
    for (const batch of recent.items) {
      if (!batch.is_done && !followed.has(batch.id)) this.followBatch(batch);
    }
  }

  async followUpload(upload) {
    const line = new Line(upload.name);
    let shown = "";
    const sender = new Sender(upload, () => {
      if (upload.batchId) followed.add(upload.batchId);
      const sent = upload.taken + upload.refused.length + upload.streams.length;
      if (sender.trouble) line.show(`${sender.trouble} Trying again.`, 0);
      else if (!upload.isClosed && shown === "") line.show(`sending ${sent} of ${upload.total}`, 0.3 * (sent / upload.total));
    });
    if (upload.batchId) followed.add(upload.batchId);
    line.offer(button("Cancel", async () => {
      line.show("cancelling", line.bar.value);
      sender.stop();
      await sending;
      if (upload.batchId) await call(`v1/batches/${upload.batchId}/cancel`, { method: "POST" }).catch(() => {});
    }, { "aria-label": `Cancel ${upload.name}` }));
    const sending = (upload.isClosed ? Promise.resolve() : sender.run()).catch((error) => { upload.refused.push({ name: upload.name, message: error.message }); upload.isClosed = true; });
    let before = "";
    for (;;) {
      const batch = upload.batchId ? await read(`v1/batches/${upload.batchId}`).catch(() => null) : null;
      const standing = uploadStanding(upload, batch);
      const isOver = upload.isClosed && standing.ended >= upload.total;
      if (!sender.trouble && (upload.taken > 0 || upload.isClosed)) {
        shown = standing.text;
        line.show(standing.text, standing.progress);
      }
      if (standing.text !== before) {
        before = standing.text;
        this.onNews();
        line.fail([...upload.refused, ...(batch?.counts.failed ? await failures(upload.batchId) : [])]);
      }
      if (isOver) break;
      await pause(LOOK_EVERY);
    }
    line.end(shown);
    this.offerEnd(line, upload.batchId, upload.streams, () => forget(upload));
  }

  async followBatch(batch) {
    followed.add(batch.id);
    const line = new Line(batch.name ?? "Batch");
    line.offer(button("Cancel", () => call(batch.links.cancel, { method: "POST" }).catch(() => {}), { "aria-label": `Cancel ${batch.name ?? "batch"}` }));
    for (let before = ""; ;) {
      const now = await read(`v1/batches/${batch.id}`).catch(() => null);
      if (now !== null) {
        const text = standingText(ended(now.counts), now.total, now.counts);
        line.show(text, now.progress);
        if (text !== before) {
          before = text;
          this.onNews();
          if (now.counts.failed) line.fail(await failures(batch.id));
        }
        if (now.is_done) break;
      }
      await pause(LOOK_EVERY);
    }
    line.end(line.state.textContent);
    this.offerEnd(line, batch.id, [], () => {});
  }

  // Follows jobs that were ordered together.
  async followJobs(title, jobs) {
    const line = new Line(title);
    let open = jobs;
    const failed = [];
    line.offer(button("Cancel", () => open.forEach((job) => call(`v1/jobs/${job.id}/cancel`, { method: "POST" }).catch(() => {})), { "aria-label": `Cancel ${title}` }));
    while (open.length > 0) {
      const looked = await Promise.all(open.slice(0, 4).map((job) => read(`v1/jobs/${job.id}`).catch(() => job)));
      const over = looked.filter((job) => isFinal(job.state));
      failed.push(...over.filter((job) => job.state === "failed").map((job) => ({ name: job.id, message: job.error?.message ?? "" })));
      open = open.filter((job) => !over.some((other) => other.id === job.id));
      line.show(`${jobs.length - open.length} of ${jobs.length}`, 1 - open.length / jobs.length);
      if (over.length === 0) await pause(LOOK_EVERY);
    }
    line.fail(failed);
    line.end(`${jobs.length} of ${jobs.length}`);
    line.offer(button("Dismiss", () => line.remove()));
    this.onNews();
  }

  offerEnd(line, batchId, streams, onDismiss) {
    const links = [];
    if (batchId) links.push(make("a", { className: "button", href: `?batch=${batchId}`, textContent: "Show them" }));
    if (streams.length > 0) links.push(make("a", { className: "button", href: `?image=${streams[0]}`, textContent: "Open the stream" }));
    line.offer(...links, button("Dismiss", async () => {
      // A page that is left at once has to know of it when it comes back.
      await onDismiss();
      line.remove();
    }));
  }
}

const ended = (counts) => counts.succeeded + counts.failed + counts.cancelled;

function standingText(over, total, counts, refused = 0, unsent = 0) {
  const faults = [];
  if (counts?.failed || refused) faults.push(`${(counts?.failed ?? 0) + refused} failed`);
  if (counts?.cancelled || unsent) faults.push(`${(counts?.cancelled ?? 0) + unsent} cancelled`);
  return [`${over} of ${total}`, ...faults].join(", ");
}

function uploadStanding(upload, batch) {
  const settled = upload.refused.length + upload.streams.length + upload.cancelled;
  const over = settled + (batch ? ended(batch.counts) : 0);
  // Files that were dropped count as begun when they are sent: a third of the way.
  const total = upload.total || 1;
  const sent = (upload.taken + settled) / total;
  const worked = ((batch ? batch.progress * batch.total : 0) + settled) / total;
  return {
    ended: over,
    text: standingText(over, upload.total, batch?.counts, upload.refused.length, upload.cancelled),
    progress: Math.min(1, 0.3 * sent + 0.7 * worked),
  };
}

async function failures(batchId) {
  const page = await read(`v1/images?batch_id=${batchId}&state=failed&limit=${SHOWN_FAILURES}`).catch(() => ({ items: [] }));
  return page.items.map((image) => ({ name: image.name, link: `?image=${image.id}`, message: image.job?.error?.message ?? "It failed." }));
}

