// The tray: each upload, batch or set of orders that is under way, with its figures, its failures and its end.

import { call, followBatch, isFinal, lastProgress, read } from "./client.js";
import { button, find, make, pause, span } from "./element.js";
import { withKey } from "./key.js";
import { Sender, forget, leftUploads, refusedFiles, take } from "./uploads.js";

const LOOK_EVERY = 1000;
const SEND_MILLISECONDS = 200;
const SHOWN_FAILURES = 50;
const TOLD_FROM = 10;

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

  // What is done stays done: a bar never goes back.
  show(text, progress = 0) {
    if (this.state.textContent !== text) this.state.textContent = text;
    this.bar.value = Math.max(this.bar.value, progress);
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

  // Sends an upload and follows its batch meanwhile. Streams are in no batch: what is only they has none.
  async followUpload(upload) {
    const line = new Line(upload.name);
    let batch = null;
    const show = () => {
      if (upload.batchId) followed.add(upload.batchId);
      if (sender.trouble) line.show(`${sender.trouble} Trying again.`);
      else this.showStanding(line, uploadStanding(upload, batch), batch, upload.refused);
    };
    const sender = new Sender(upload, show);
    line.offer(button("Cancel", async () => {
      line.show("cancelling");
      sender.stop();
      await sending;
      if (upload.batchId) await call(`v1/batches/${upload.batchId}/cancel`, { method: "POST" }).catch(() => {});
    }, { "aria-label": `Cancel ${upload.name}` }));
    show();
    const sending = (upload.isClosed ? Promise.resolve() : sender.run()).catch((error) => {
      upload.refused.push({ name: upload.name, message: error.message });
      upload.isClosed = true;
    });
    try {
      while (!upload.isClosed || (upload.batchId && !batch?.is_done)) {
        if (upload.batchId) await this.followed(line, upload.batchId, (now) => { batch = now; show(); });
        // There is no batch yet, or all of it has ended that was sent so far.
        if (!upload.isClosed) await pause(SEND_MILLISECONDS);
      }
      const standing = uploadStanding(upload, batch);
      this.showStanding(line, standing, batch, upload.refused);
      line.end(standingText({ ...standing, total: standing.over }));
    } catch (error) {
      line.end(error.message);
    }
    this.offerEnd(line, upload.batchId, upload.streams, () => forget(upload));
  }

  async followBatch(batch) {
    followed.add(batch.id);
    const line = new Line(batch.name ?? "Batch");
    line.offer(button("Cancel", () => call(batch.links.cancel, { method: "POST" }).catch(() => {}), { "aria-label": `Cancel ${batch.name ?? "batch"}` }));
    const show = (now) => this.showStanding(line, batchStanding(now), now, []);
    try {
      show(batch);
      const last = await this.followed(line, batch.id, show);
      line.end(standingText(batchStanding(last)));
    } catch (error) {
      line.end(error.message);
    }
    this.offerEnd(line, batch.id, [], () => {});
  }

  followed(line, batchId, onBatch) {
    return withKey(() => followBatch(batchId, onBatch, (error) => line.show(`${error.message} Trying again.`)));
  }

  // How it stands, with its failures; the gallery hears of what is new.
  showStanding(line, standing, batch, refused) {
    const text = standingText(standing);
    const left = batch !== null && !batch.is_done && batch.seconds_left > TOLD_FROM ? `, about ${span(batch.seconds_left)} left` : "";
    line.show(`${text}${left}`, standing.progress);
    if (line.told === text) return;
    line.told = text;
    this.onNews();
    const failed = batch?.counts.failed ?? 0;
    if (failed === 0) line.fail(refused);
    else failures(batch.id).then((entries) => line.fail([...refused, ...entries]));
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

function standingText({ over, total, failed, cancelled }) {
  return [`${over.toLocaleString("en")} of ${total.toLocaleString("en")}`, failed > 0 && `${failed} failed`, cancelled > 0 && `${cancelled} cancelled`]
    .filter(Boolean).join(", ");
}

function batchStanding(batch) {
  return {
    over: ended(batch.counts) + batch.rejections,
    total: Math.max(batch.total + batch.rejections, batch.expected ?? 0),
    failed: batch.counts.failed + batch.rejections,
    cancelled: batch.counts.cancelled,
    progress: batch.progress,
  };
}

// An upload with what is known of its batch, which is nothing at first.
function uploadStanding(upload, batch) {
  const counts = batch?.counts ?? { succeeded: 0, failed: 0, cancelled: 0 };
  const refused = refusedFiles(upload), streams = upload.streams.length, pictures = upload.pictures ?? upload.total;
  const worked = batch?.progress ?? (upload.batchId ? lastProgress(upload.batchId) : 0);
  return {
    over: ended(counts) + refused + streams + upload.cancelled,
    total: upload.total,
    failed: counts.failed + refused,
    cancelled: counts.cancelled + upload.cancelled,
    progress: (worked * pictures + streams) / (upload.total || 1),
  };
}

async function failures(batchId) {
  const page = await read(`v1/images?batch_id=${batchId}&state=failed&limit=${SHOWN_FAILURES}`).catch(() => ({ items: [] }));
  return page.items.map((image) => ({ name: image.name, link: `?image=${image.id}`, message: image.job?.error?.message ?? "It failed." }));
}

