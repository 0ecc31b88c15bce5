// Sends what was dropped, as one batch, and goes on with it after a reload. Draws nothing.

import { call, isPassing, read, sendForm } from "./client.js";
import { count, pause } from "./element.js";
import { withKey } from "./key.js";
import { isStream, keep, store } from "./upload_store.js";

const SENT_AT_ONCE = 3;
const LONGEST_PAUSE = 10_000;

// Files that were refused; where a page was closed too early, one entry stands for all that it had not read.
export const refusedFiles = (upload) => upload.refused.reduce((sum, entry) => sum + (entry.files ?? 1), 0);

// Sends an upload to its end. `onChange` is called whenever something of it was taken or refused, and once it has a batch.
export class Sender {
  constructor(upload, onChange) {
    this.upload = upload;
    this.onChange = onChange;
    this.trouble = null;
    this.isStopped = false;
    this.underway = new Set();
  }

  async run() {
    const kept = await store();
    // Another window of this page would send the same; its answers would be the same too, so this only saves work.
    const lock = navigator.locks?.request.bind(navigator.locks) ?? ((name, act) => act());
    await lock(`misc-upload-${this.upload.id}`, async () => {
      const known = (await kept.uploads()).find((upload) => upload.id === this.upload.id);
      if (known === undefined) {
        this.upload.isClosed = true;
        return;
      }
      if (known.batchId && !this.upload.batchId) {
        const { batchId, taken, refused, streams, isClosed } = known;
        Object.assign(this.upload, { batchId, taken, refused, streams, isClosed });
      }
      if (!this.upload.isClosed) await Promise.all(Array.from({ length: SENT_AT_ONCE }, () => this.sendEach(kept)));
    });
    const { total, taken, streams } = this.upload;
    if (this.isStopped) this.upload.cancelled = total - taken - refusedFiles(this.upload) - streams.length;
    if (this.upload.batchId && !this.upload.isClosed) await this.expectNoMore();
    this.upload.isClosed = true;
    await kept.save(this.upload);
    this.onChange(this.upload);
  }

  async sendEach(kept) {
    while (!this.isStopped) {
      const file = (await kept.files(this.upload.id, 2 * SENT_AT_ONCE)).find((waiting) => !this.underway.has(waiting.number));
      if (file === undefined) {
        if (this.upload.kept >= this.upload.total) return;
        await pause(50);
        continue;
      }
      if (this.underway.has(file.number)) continue;
      this.underway.add(file.number);
      await this.send(file);
      await kept.settle(this.upload, file);
      this.onChange(this.upload);
    }
  }

  async send(file) {
    try {
      if (isStream(file.name)) {
        const answer = await this.tried(() => sendForm("v1/bitstreams", { file: named(file) }, file.key));
        this.upload.streams.push(answer.image.id);
      } else {
        const batchId = await this.batch();
        const options = { ...this.upload.options, batch_id: batchId };
        // Somebody waits for one picture; of many, nobody shall be kept waiting by them.
        if (this.upload.total === 1) options.priority = "interactive";
        await this.tried(() => sendForm("v1/images", { options, file: named(file) }, file.key));
        this.upload.taken += 1;
      }
    } catch (error) {
      if (!this.isStopped) this.upload.refused.push({ name: file.name, message: error.message });
    }
  }

  // The batch is made once, however many files ask for it at once.
  batch() {
    this.made ??= this.upload.batchId ? Promise.resolve(this.upload.batchId) : this.tried(async () => {
      const { name, pictures: expected } = this.upload;
      const answer = await call("v1/batches", { method: "POST", json: { name, expected }, key: this.upload.key });
      this.upload.batchId = (await answer.json()).id;
      await (await store()).save(this.upload);
      this.onChange(this.upload);
      return this.upload.batchId;
    });
    return this.made;
  }

  // The batch is not to wait for pictures that were announced and are not sent any more.
  expectNoMore() {
    return this.tried(async () => {
      const batch = await read(`v1/batches/${this.upload.batchId}`);
      const there = batch.total + batch.rejections;
      if (batch.expected > there) await call(batch.links.self, { method: "PATCH", json: { expected: there } });
    }, { evenIfStopped: true });
  }

  async tried(act, { evenIfStopped = false } = {}) {
    for (let wait = 500; ; wait = Math.min(2 * wait, LONGEST_PAUSE)) {
      if (this.isStopped && !evenIfStopped) throw new Error("It was cancelled.");
      try {
        const answer = await withKey(act);
        this.trouble = null;
        return answer;
      } catch (error) {
        if (!isPassing(error)) throw error;
        this.trouble = error.message;
        this.onChange(this.upload);
        await pause(wait);
      }
    }
  }

  // What was not sent is not sent any more; what is being sent may still be taken.
  stop() { this.isStopped = true; }
}

// A name of a file is not part of what the browser's database gives back of a Blob.
function named(file) {
  return file.content instanceof File ? file.content : new File([file.content], file.name);
}

// Keeps the files; calls `onKept` with the upload as soon as it can be sent.
export async function take(files, options, onKept) {
  let isBegun = false;
  await keep(files, options, (upload) => {
    if (isBegun) return;
    isBegun = true;
    onKept(upload);
  });
}

// Uploads of before the page was loaded. Files that were not yet copied then are gone with it.
export async function leftUploads() {
  const kept = await store();
  const uploads = await kept.uploads();
  for (const upload of uploads.filter((entry) => entry.kept < entry.total)) {
    const files = upload.total - upload.kept;
    upload.refused.push({ name: count(files, "file"), message: "The page was closed before all was read. Add what is missing again.", files });
    upload.kept = upload.total;
    await kept.save(upload);
  }
  return uploads;
}

export async function forget(upload) { await (await store()).forget(upload); }
