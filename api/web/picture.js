// The page of one image: two pictures to compare, what the stream holds, how it was made, and decoding it again.

import { address, call, follow, isFinal, read } from "./client.js";
import { announce } from "./deletion.js";
import { button, find, make, pause, size, standing } from "./element.js";
import { breakdown, cost, description, figures, making, snippets, timings } from "./facts.js";
import { openDecodeForm } from "./gallery.js";
import { withKey } from "./key.js";
import { Viewer } from "./viewer.js";

const ORIGINAL = "original", AVIF = "avif";
const FAILED_LOOKS = 5;

export class PicturePage {
  constructor(gallery) {
    this.gallery = gallery;
    this.urls = new Map();
    this.id = null;
  }

  // Shows the image; waits for it where it is on its way.
  async open(id, parameters) {
    this.close();
    this.id = id;
    this.isShown = false;
    this.wanted = [parameters.get("left"), parameters.get("right")];
    const view = find("picture-view");
    view.replaceChildren(make("p", { className: "state", textContent: "Reading…" }));
    try {
      const image = await withKey(() => read(`v1/images/${id}`));
      if (this.id === id) await this.draw(image);
    } catch (error) {
      if (this.id === id) view.replaceChildren(make("h1", { textContent: "Not here" }), make("p", { role: "alert", textContent: error.message }));
    }
  }

  close() {
    for (const url of this.urls.values()) if (url.startsWith("blob:")) URL.revokeObjectURL(url);
    this.urls.clear();
    this.id = null;
  }

  async draw(image) {
    document.title = `${image.name} · MISC archive`;
    this.image = image;
    const head = make("div", { className: "title" }, make("h1", { textContent: image.name, tabIndex: -1 }), button("Delete", () => this.remove()));
    if (image.state !== "ready") {
      find("picture-view").replaceChildren(head, this.waiting());
      return;
    }
    this.rows = (await Promise.all(image.reconstructions.filter((row) => row.state === "ready").map((row) => read(`v1/reconstructions/${row.id}`)))).reverse();
    if (this.id !== image.id) return;
    this.viewer = new Viewer(image.width, image.height, image.name);
    this.status = make("p", { className: "state", role: "status" });
    this.choices = { left: make("select", { "aria-label": "Left picture" }), right: make("select", { "aria-label": "Right picture" }) };
    for (const choice of Object.values(this.choices)) choice.onchange = () => this.compare();
    this.beside = make("section", { className: "beside", "aria-label": "Side by side" });
    this.made = make("div", { className: "made" });
    this.downloads = make("div", { className: "actions" });
    find("picture-view").replaceChildren(head,
      make("div", { className: "columns" },
        make("div", {},
          make("div", { className: "sides" }, make("label", {}, "Left ", this.choices.left), make("label", {}, "Right ", this.choices.right)),
          this.viewer.element, this.status),
        make("div", { className: "facts" }, figures(image), breakdown(image.bits), this.downloads, description(image, (rows) => this.viewer.showMap(rows)))),
      this.beside,
      make("div", { className: "lower" }, this.again(), this.made));
    await this.showRows();
    if (this.rows.length === 0) this.orderFirst();
    else await this.takeUp();
  }

  // A picture that is not ready: how it stands, and what can be done.
  waiting() {
    const { image } = this;
    const job = image.job;
    const text = make("p", { role: "status", textContent: job?.error?.message ?? (job ? standing(job) : image.state) });
    const bar = make("progress", { max: 1, value: job?.progress ?? 0, "aria-label": `Progress of ${image.name}` });
    if (image.state === "pending" && job) {
      this.follow(job, (event) => {
        text.textContent = standing(event);
        bar.value = event.progress ?? 0;
      }).finally(() => this.reload());
      return make("div", { className: "panel" }, text, bar);
    }
    const again = job ? button("Try again", async () => {
      try {
        await call(job.links.retry, { method: "POST" });
        await this.reload();
      } catch (error) { announce(error.message); }
    }) : null;
    return make("div", { className: "panel failed" }, text, again);
  }

  async reload() {
    const { id } = this;
    if (id === null) return;
    const image = await read(`v1/images/${id}`).catch(() => null);
    if (image !== null && this.id === id) await this.draw(image);
  }

  // The job to its end, shown by `show`; previews lie in the viewer meanwhile. Throws when it fails.
  async follow(job, show) {
    const { id, viewer } = this;
    const last = await follow(job.id, (event, kind) => {
      if (this.id !== id) return;
      if (kind === "preview") viewer?.show(null, { url: `data:${event.media_type};base64,${event.data}`, label: `step ${event.step} of ${event.steps}`, alt: "The picture as it stands" });
      else show(event);
    });
    if (last.state !== "succeeded") throw new Error(last.error?.message ?? `The job was ${last.state}.`);
  }

  // Fills the choices with all that there is to compare, and shows two of it.
  async showRows() {
    const { image } = this;
    const options = [];
    if (image.links.original) options.push([ORIGINAL, "Original"], [AVIF, "AVIF of the same bytes"]);
    this.rows.forEach((row, index) => options.push([row.id, this.nameOf(row, index)]));
    for (const choice of Object.values(this.choices)) {
      choice.replaceChildren(...options.map(([value, textContent]) => make("option", { value, textContent })));
      choice.disabled = options.length < 2;
    }
    const known = new Set(options.map(([value]) => value));
    const newest = this.rows.at(-1)?.id;
    const [left, right] = this.wanted.map((value) => (known.has(value) ? value : null));
    this.choices.right.value = right ?? newest ?? options[0]?.[0] ?? "";
    this.choices.left.value = left ?? (image.links.original ? ORIGINAL : this.rows.at(-2)?.id ?? newest ?? "");
    await this.compare();
    this.showBeside();
  }

  // By what was asked for; a seed that nobody chose has nineteen digits and tells nothing.
  nameOf(row, index) {
    const { seed, strength } = row.options;
    const parts = [row.restorer, seed === null ? null : `seed ${seed}`, strength === 1 ? null : `strength ${strength}`];
    return `Reconstruction ${index + 1}: ${parts.filter((part) => part !== null).join(", ")}`;
  }

  async compare() {
    const { left, right } = this.choices;
    const parameters = new URLSearchParams(location.search);
    // The first pair is what everybody sees without being told.
    if (this.isShown && parameters.get("image") === this.id && right.value) {
      this.wanted = [left.value, right.value];
      parameters.set("left", left.value);
      parameters.set("right", right.value);
      history.replaceState(null, "", `?${parameters}`);
    }
    this.isShown = this.rows.length > 0;
    const { id } = this;
    const pictures = await Promise.all([left.value, right.value].map((value) => (value ? this.picture(value) : null)));
    if (this.id !== id) return;
    this.viewer.show(...(left.value === right.value ? [null, pictures[1]] : pictures));
    const row = this.rows.find((entry) => entry.id === right.value) ?? this.rows.at(-1) ?? null;
    this.status.textContent = row ? `Restored by “${row.restorer}” from ${size(this.image.bitstream_bytes)} in ${row.seconds.total.toFixed(1)} s.` : "";
    this.made.replaceChildren(timings(this.image, row), making(this.image, row), cost(this.image), snippets(this.image, row));
    await this.offerDownloads(row);
  }

  async picture(value) {
    const { image } = this;
    if (value === ORIGINAL) return { url: await this.url(image.links.original), label: "original", alt: `${image.name}, the original` };
    if (value === AVIF) return { url: await this.url(`v1/images/${image.id}/avif`), label: "AVIF", alt: `${image.name} as AVIF of the same bytes` };
    const index = this.rows.findIndex((row) => row.id === value);
    const label = this.rows.length > 1 ? `reconstruction ${index + 1}` : "reconstruction";
    return { url: await this.url(`v1/reconstructions/${value}/content`), label, alt: `${image.name}, ${label}` };
  }

  async url(path) {
    if (!this.urls.has(path)) this.urls.set(path, await address(path).catch(() => path));
    return this.urls.get(path);
  }

  // The original, what comes back, and what AVIF makes of as many bytes.
  async showBeside() {
    const { image } = this;
    const row = this.rows.at(-1);
    if (!image.links.original || !row) return;
    const figure = async (value, words) => {
      const { url, alt } = await this.picture(value);
      const caption = make("figcaption", {}, words);
      const picture = make("img", { alt, loading: "lazy", width: image.width, height: image.height });
      picture.onerror = () => { caption.textContent = "AVIF cannot hold this picture in so few bytes."; picture.remove(); };
      picture.src = url;
      picture.style.aspectRatio = image.width / image.height;
      return make("figure", {}, picture, caption);
    };
    this.beside.replaceChildren(make("h2", { textContent: "Beside AVIF of the same bytes" }), make("div", { className: "three" },
      await figure(ORIGINAL, `Original, ${size(image.original.bytes)}`),
      await figure(row.id, `This archive, ${size(image.bitstream_bytes)}`),
      await figure(AVIF, `AVIF, at most ${size(image.bitstream_bytes)}`)));
  }

  async offerDownloads(row) {
    const { image } = this;
    const stem = image.name.replace(/\.[^.]{1,5}$/, "");
    const link = async (path, download, textContent) => make("a", { className: "button", href: await this.url(path), download, textContent });
    this.downloads.replaceChildren(
      await link(image.links.bitstream, `${stem}.misc`, "Download stream"),
      ...(row ? [await link(`v1/reconstructions/${row.id}/content`, `${stem}.reconstruction.${row.format}`, "Reconstruction")] : []),
      ...(image.links.original ? [await link(image.links.original, image.name, "Original")] : []));
  }

  again() {
    const box = make("div", {});
    const order = make("button", { type: "submit", textContent: "Decode again" });
    const form = make("form", { className: "panel again" }, make("h2", { textContent: "Decode again" }), box, make("div", { className: "actions" }, order));
    openDecodeForm(box).then((controls) => {
      form.onsubmit = async (event) => {
        event.preventDefault();
        order.disabled = true;
        await this.order(controls.values());
        order.disabled = false;
      };
    }, (error) => box.replaceChildren(make("p", { role: "alert", textContent: error.message })));
    return form;
  }

  orderFirst() {
    // With large networks a look may take minutes of a GPU: then somebody has to ask for it.
    if (this.image.profile === "lite") this.order({});
    else this.status.replaceChildren(button("Restore it", () => this.order({})));
  }

  // Orders a reconstruction and shows it beside the one before.
  async order(options) {
    const { id } = this;
    const before = this.rows.at(-1)?.id;
    this.status.textContent = "ordering";
    try {
      const ordered = await withKey(async () => (await call(`v1/images/${id}/reconstructions`, { method: "POST", json: options })).json());
      if (ordered.reconstruction.state !== "ready") {
        await this.follow(ordered.job, (event) => { this.status.textContent = `${standing(event)}, ${Math.round(100 * (event.progress ?? 0))} %`; });
      }
      const row = await this.readyRow(ordered.reconstruction.id);
      if (this.id !== id) return;
      const isNew = !this.rows.some((entry) => entry.id === row.id);
      if (isNew) this.rows.push(row);
      this.wanted = [before && before !== row.id ? before : null, row.id];
      await this.showRows();
      if (!isNew) this.status.textContent = `The same options were decoded before: it is “${this.nameOf(row, this.rows.findIndex((entry) => entry.id === row.id))}”.`;
    } catch (error) {
      if (this.id === id) this.status.textContent = error.message;
    }
  }

  // A reconstruction that was ordered before the page was loaded.
  async takeUp() {
    const { id } = this;
    if (this.image.reconstructions.every((row) => row.state !== "pending")) return;
    const jobs = await read(`v1/jobs?image_id=${id}&kind=decode&limit=20`).catch(() => ({ items: [] }));
    const open = jobs.items.find((job) => !isFinal(job.state));
    if (!open || this.id !== id) return;
    await this.follow(open, (event) => { this.status.textContent = standing(event); }).catch((error) => announce(error.message));
    await this.reload();
  }

  async readyRow(rowId) {
    for (let looks = 0; ; looks += 1) {
      const row = await read(`v1/reconstructions/${rowId}`);
      if (row.state === "ready" || looks === FAILED_LOOKS) return row;
      await pause(200);
    }
  }

  remove() {
    const { id } = this;
    history.pushState(null, "", "./");
    dispatchEvent(new PopStateEvent("popstate"));
    this.gallery.remove([id]);
  }
}
