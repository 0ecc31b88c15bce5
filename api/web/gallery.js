// The gallery: thumbnails, search, filter, and what can be done with several images at once.

import { address, call, read, showWhenNear } from "./client.js";
import { announce, deleteLater } from "./deletion.js";
import { count, find, make, size, standing } from "./element.js";
import { withKey } from "./key.js";
import { controls, decodeSchema } from "./options.js";

const PAGE = 48;
const MOST_IN_ARCHIVE = 200;
const SEARCH_AFTER = 150;

export class Gallery {
  constructor(tray) {
    this.tray = tray;
    this.tiles = new Map();
    this.hidden = new Set();
    this.selected = new Set();
    this.last = null;
    this.cursor = null;
    this.batchId = null;
    this.asked = 0;
    find("search").oninput = () => { clearTimeout(this.timer); this.timer = setTimeout(() => this.filter(), SEARCH_AFTER); };
    find("state").onchange = () => this.filter();
    find("more").onclick = () => this.list(this.cursor);
    find("select-all").onclick = () => { for (const [id, tile] of this.tiles) if (!this.hidden.has(id)) this.select(tile, true); };
    find("clear-selection").onclick = () => this.clearSelection();
    find("delete-selected").onclick = () => this.deleteSelected();
    find("download-selected").onclick = () => this.downloadSelected();
    find("decode-selected").onclick = () => this.decodeSelected();
    find("all-batches").onclick = () => { find("search").value = ""; find("state").value = ""; };
  }

  // What the address asks for.
  open(parameters) {
    this.batchId = parameters.get("batch");
    find("search").value = parameters.get("q") ?? "";
    find("state").value = parameters.get("state") ?? "";
    return this.list(null);
  }

  // What was typed becomes part of the address, so that a reload and a link show the same.
  filter() {
    const parameters = new URLSearchParams();
    for (const [name, value] of [["q", find("search").value.trim()], ["state", find("state").value], ["batch", this.batchId ?? ""]]) {
      if (value !== "") parameters.set(name, value);
    }
    history.replaceState(null, "", parameters.size > 0 ? `?${parameters}` : "./");
    return this.list(null);
  }

  // The newest images as they are now; what was listed further down stays.
  async refresh() {
    if (this.isRefreshing) return;
    this.isRefreshing = true;
    await this.list(null, true);
    this.isRefreshing = false;
  }

  async list(cursor, isRefresh = false) {
    // A refresh gives way to what somebody asks for.
    const number = isRefresh ? this.asked : ++this.asked;
    const query = new URLSearchParams({ limit: PAGE });
    const words = find("search").value.trim();
    if (words !== "") query.set("q", words);
    if (find("state").value) query.set("state", find("state").value);
    if (this.batchId) query.set("batch_id", this.batchId);
    if (cursor) query.set("cursor", cursor);
    let page;
    try {
      page = await withKey(() => read(`v1/images?${query}`));
      find("gallery-fault").textContent = "";
    } catch (error) {
      if (number === this.asked) find("gallery-fault").textContent = error.message;
      return;
    }
    // An answer to what was typed before comes late.
    if (number !== this.asked) return;
    if (!isRefresh || this.tiles.size <= PAGE) this.cursor = page.next_cursor;
    this.draw(page.items, cursor !== null, isRefresh);
    find("more").hidden = this.cursor === null;
    find("batch-note").hidden = this.batchId === null;
    const isNarrowed = words !== "" || find("state").value !== "" || this.batchId !== null;
    find("nothing").hidden = this.tiles.size > 0;
    find("nothing").textContent = isNarrowed ? "Nothing fits." : "Nothing yet. Drop pictures above.";
    find("found").textContent = words === "" ? "" : `${count(this.tiles.size, "image")}${this.cursor ? " or more" : ""}`;
  }

  // Tiles that are there already stay, with the focus and the selection that they have.
  draw(images, isMore, isRefresh) {
    if (!isMore && !isRefresh) {
      const listed = new Set(images.map((image) => image.id));
      for (const [id, tile] of this.tiles) if (!listed.has(id)) this.drop(id, tile);
    }
    const list = find("tiles");
    let next = isMore ? null : list.firstElementChild;
    for (const image of images) {
      let tile = this.tiles.get(image.id);
      if (tile === undefined) this.tiles.set(image.id, tile = this.tile(image.id));
      tile.show(image);
      tile.element.hidden = this.hidden.has(image.id);
      if (tile.element === next) next = next.nextElementSibling;
      else list.insertBefore(tile.element, next);
    }
  }

  drop(id, tile) {
    if (this.selected.delete(id)) this.showSelection();
    this.tiles.delete(id);
    tile.element.remove();
  }

  tile(id) {
    const picture = make("img", { alt: "", width: 4, height: 3 });
    const name = make("span", { className: "name" });
    const figure = make("span", { className: "figure" });
    const link = make("a", { href: `?image=${id}` }, make("span", { className: "frame" }, picture), name, figure);
    const box = make("input", { type: "checkbox" });
    const tile = { id, box, element: make("li", { className: "tile", "data-image": id }, link, make("label", { className: "pick" }, box)) };
    picture.onerror = () => picture.classList.add("missing");
    picture.onload = () => picture.classList.remove("missing");
    let shown = null;
    tile.show = (image) => {
      name.textContent = image.name;
      box.setAttribute("aria-label", `Select ${image.name}`);
      tile.name = image.name;
      tile.element.classList.toggle("failed", image.state === "failed");
      figure.textContent = image.bpp === null ? this.standingOf(image) : `${size(image.bitstream_bytes)} · ${image.bpp.toFixed(3)} bpp`;
      if (shown !== image.state) showWhenNear(picture, `v1/images/${id}/thumbnail${shown === null ? "" : `?${image.state}`}`);
      shown = image.state;
    };
    box.onclick = (event) => {
      if (event.shiftKey && this.last !== null) this.selectBetween(this.last, tile, box.checked);
      else this.select(tile, box.checked);
      this.last = tile;
    };
    return tile;
  }

  standingOf(image) {
    return image.state === "pending" && image.job ? standing(image.job) : image.state;
  }

  select(tile, isChosen) {
    tile.box.checked = isChosen;
    tile.element.classList.toggle("chosen", isChosen);
    if (isChosen) this.selected.add(tile.id);
    else this.selected.delete(tile.id);
    this.showSelection();
  }

  selectBetween(first, last, isChosen) {
    const order = [...find("tiles").children].map((element) => element.dataset.image);
    const [from, to] = [order.indexOf(first.id), order.indexOf(last.id)].sort((left, right) => left - right);
    for (const id of order.slice(Math.max(from, 0), to + 1)) this.select(this.tiles.get(id), isChosen);
  }

  clearSelection() {
    for (const id of [...this.selected]) this.select(this.tiles.get(id), false);
  }

  showSelection() {
    find("selection").hidden = this.selected.size === 0;
    find("selection-count").textContent = `${count(this.selected.size, "image")} selected`;
  }

  deleteSelected() {
    const ids = [...this.selected];
    this.clearSelection();
    this.remove(ids);
  }

  remove(ids) {
    const show = (isHidden) => (changed) => {
      for (const id of changed) {
        if (isHidden) this.hidden.add(id);
        else this.hidden.delete(id);
        const tile = this.tiles.get(id);
        if (tile) tile.element.hidden = isHidden;
      }
    };
    deleteLater(ids, show(true), show(false));
  }

  async downloadSelected() {
    const parts = [...document.querySelectorAll("input[name=part]:checked")].map((box) => box.value);
    const ids = [...this.selected];
    if (parts.length === 0) return announce("Choose what to download: streams, reconstructions or originals.");
    if (ids.length > MOST_IN_ARCHIVE) return announce(`One archive holds ${MOST_IN_ARCHIVE} images; select fewer.`);
    const query = new URLSearchParams([...ids.map((id) => ["id", id]), ...parts.map((part) => ["part", part])]);
    try {
      const path = `v1/images.zip?${query}`;
      // Asked first, so that a refusal is a sentence here and no page.
      const link = make("a", { href: await checked(path), download: "misc-images.zip" });
      document.body.append(link);
      link.click();
      link.remove();
    } catch (error) {
      announce(error.message);
    }
  }

  async decodeSelected() {
    const dialog = find("decode-dialog");
    const ids = [...this.selected];
    const form = await openDecodeForm(find("decode-options"));
    dialog.onclose = () => { if (dialog.returnValue === "order") this.order(ids, form.values()); };
    dialog.returnValue = "";
    dialog.showModal();
  }

  async order(ids, options) {
    const jobs = [];
    for (const id of ids) {
      try {
        const ordered = await (await call(`v1/images/${id}/reconstructions`, { method: "POST", json: options })).json();
        jobs.push(ordered.job);
      } catch (error) {
        announce(`${this.tiles.get(id)?.name ?? id}: ${error.message}`);
      }
    }
    this.clearSelection();
    if (jobs.length > 0) await this.tray.followJobs(`${count(jobs.length, "reconstruction")}`, jobs);
  }
}

async function checked(path) {
  const copy = await address(path);
  if (copy === path) {
    const controller = new AbortController();
    const answer = await fetch(path, { signal: controller.signal });
    const problem = answer.ok ? null : await answer.json();
    controller.abort();
    if (problem) throw new Error(problem.detail);
  }
  return copy;
}

const DECODE_FIRST = ["restorer", "seed", "strength", "profile"];

// Fills a box with the options of a decode: four of them, the rest under "More".
export async function openDecodeForm(box) {
  const schema = await decodeSchema();
  const first = controls(schema, DECODE_FIRST);
  const rest = controls(schema, Object.keys(schema).filter((name) => !DECODE_FIRST.includes(name)));
  box.replaceChildren(
    make("div", { className: "options" }, first.elements),
    make("details", {}, make("summary", { textContent: "More" }), make("div", { className: "options" }, rest.elements)),
  );
  return { values: () => ({ ...first.values(), ...rest.values() }) };
}
