// The page: takes pictures in, follows them, shows what came back, and lists what is there.

import { Refusal, address, call, follow, forgetKey, hasKey, read, setKey, upload } from "./client.js";
import { breakdown, comparison, description, figures, make, size } from "./drawing.js";

const UPLOADS_AT_ONCE = 3;
const PAGE = 24;
const find = (id) => document.getElementById(id);

const STAGES = {
  fetch: "reading", describe: "describing", locate: "locating", coarse: "drawing coarsely", pack: "packing",
  store: "storing", verify: "verifying", load: "loading networks", restore: "restoring", done: "finishing",
};

// Asks for a key when the service wants one, and tries again.
async function withKey(act) {
  for (;;) {
    try {
      return await act();
    } catch (error) {
      if (!(error instanceof Refusal) || error.status !== 401) throw error;
      await askForKey();
    }
  }
}

let keyDialog = null;
function askForKey() {
  keyDialog ??= new Promise((resolve) => {
    const dialog = find("key-dialog");
    find("key-fault").textContent = hasKey() ? "That key is not known here." : "";
    forgetKey();
    dialog.oncancel = (event) => event.preventDefault();
    dialog.onclose = () => {
      setKey(find("key").value.trim());
      find("key").value = "";
      keyDialog = null;
      resolve();
    };
    dialog.showModal();
  });
  return keyDialog;
}

function options() {
  const chosen = { describe: find("describe").value, keep_original: find("keep").checked };
  // Without a mode the service takes its default.
  if (find("mode").value) chosen.mode = find("mode").value;
  if (find("text").value.trim()) chosen.text = find("text").value.trim();
  return chosen;
}

function line(name) {
  const state = make("span", { className: "state", textContent: "waiting" });
  const bar = make("progress", { max: 1, value: 0, "aria-label": `Progress of ${name}` });
  const element = make("li", {}, make("span", { className: "name", textContent: name }), state, bar);
  find("running").append(element);
  return {
    show(url) {
      let picture = element.querySelector("img");
      if (picture === null) element.append(picture = make("img", { className: "preview", alt: `${name} as it stands` }));
      picture.src = url;
    },
    say(text, progress) { state.textContent = text; if (progress !== undefined) bar.value = progress; },
    fail(error) {
      element.classList.add("failed");
      state.textContent = error.message;
      bar.remove();
      const dismiss = make("button", { type: "button", textContent: "Dismiss" });
      dismiss.onclick = () => element.remove();
      element.append(dismiss);
    },
    end() { element.remove(); },
  };
}

// Shares of the whole way: upload, encode, restore.
function progressOf(entry, from, to, waiting) {
  return (event, kind) => {
    if (kind === "preview") entry.show?.(`data:${event.media_type};base64,${event.data}`);
    else if (event.state === "queued") entry.say(event.queue_position ? `${waiting}, ${event.queue_position} before it` : waiting, from);
    else if (event.state === "running") entry.say(STAGES[event.stage] ?? event.stage ?? "starting", from + (to - from) * (event.progress ?? 0));
  };
}

async function ended(job, onEvent) {
  const last = await follow(job.id, onEvent);
  if (last.state === "failed") throw new Error(last.error?.message ?? "The job failed.");
  if (last.state === "cancelled") throw new Error("The job was cancelled.");
  return last;
}

async function restored(imageId, onEvent) {
  const ordered = await (await call(`v1/images/${imageId}/reconstructions`, { method: "POST", json: {} })).json();
  if (ordered.reconstruction.state !== "ready") await ended(ordered.job, onEvent);
  return ordered.reconstruction.id;
}

async function submit(file) {
  const entry = line(file.name);
  try {
    const chosen = options();
    const sent = await withKey(() => upload(file, chosen, (part) => entry.say("sending", 0.3 * part)));
    await ended(sent.job, progressOf(entry, 0.3, 0.65, "waiting for an encoder"));
    await listAnew();
    const reconstructionId = await restored(sent.image.id, progressOf(entry, 0.65, 1, "waiting for a decoder"));
    entry.end();
    await show(sent.image.id, reconstructionId, URL.createObjectURL(file));
  } catch (error) {
    entry.fail(error);
  }
}

const waiting = [];
let sending = 0;
function enqueue(files) {
  waiting.push(...files);
  while (sending < UPLOADS_AT_ONCE && waiting.length > 0) {
    sending += 1;
    submit(waiting.shift()).finally(() => { sending -= 1; enqueue([]); });
  }
}

let kept = [];
function keepURL(url) {
  if (url?.startsWith("blob:")) kept.push(url);
  return url;
}

async function show(imageId, reconstructionId, ownURL = null) {
  const image = await read(`v1/images/${imageId}`);
  kept.filter((url) => url !== ownURL).forEach((url) => URL.revokeObjectURL(url));
  kept = [];
  const result = find("result");
  const close = make("button", { type: "button", textContent: "Close" });
  close.onclick = () => { result.hidden = true; };
  const parts = [make("header", {}, make("h2", { textContent: image.name }), close)];
  if (image.state !== "ready") {
    parts.push(make("p", { textContent: image.job?.error?.message ?? `This image is ${image.state}.` }));
  } else {
    const picture = make("div", {});
    const facts = make("div", {}, figures(image), breakdown(image.bits));
    let overlay = null;
    if (reconstructionId !== null) {
      const row = await read(`v1/reconstructions/${reconstructionId}`);
      const before = ownURL ?? (image.links.original ? await address(image.links.original) : null);
      const drawn = comparison(keepURL(before), keepURL(await address(row.links.content)), image.name);
      overlay = drawn.overlay;
      picture.append(drawn.element, make("p", { className: "hint", textContent: `Restored by “${row.restorer}” from ${size(image.bitstream_bytes)} in ${row.seconds.total.toFixed(1)} s.` }));
    } else {
      const order = make("button", { type: "button", textContent: "Paint it again" });
      const status = make("span", { className: "state", role: "status" });
      order.onclick = async () => {
        order.disabled = true;
        const onEvent = progressOf({ say: (text) => { status.textContent = text; } }, 0, 1, "waiting for a decoder");
        try { await show(imageId, await restored(imageId, onEvent)); } catch (error) { status.textContent = error.message; order.disabled = false; }
      };
      picture.append(make("p", {}, order, " ", status));
    }
    facts.append(description(image, overlay));
    parts.push(make("div", { className: "columns" }, picture, facts));
  }
  parts.push(await actions(image, reconstructionId));
  result.replaceChildren(...parts);
  result.hidden = false;
  result.focus({ preventScroll: true });
  result.scrollIntoView({ block: "nearest", behavior: "smooth" });
}

async function actions(image, reconstructionId) {
  const stem = image.name.replace(/\.[^.]{1,5}$/, "");
  const links = [];
  if (image.links.bitstream) links.push(await download(image.links.bitstream, `${stem}.misc`, "Stream"));
  if (reconstructionId) links.push(await download(`v1/reconstructions/${reconstructionId}/content`, `${stem}.png`, "Reconstruction"));
  if (image.links.original) links.push(await download(image.links.original, image.name, "Original"));
  const remove = make("button", { type: "button", textContent: "Delete" });
  remove.onclick = async () => {
    if (!confirm(`Delete ${image.name} with its stream?`)) return;
    await call(image.links.self, { method: "DELETE" });
    find("result").hidden = true;
    await listAnew();
  };
  return make("div", { className: "actions" }, links.length > 0 ? "Download:" : null, ...links, remove);
}

async function download(path, name, label) {
  return make("a", { href: keepURL(await address(path)), download: name, textContent: label });
}

let cursor = null;
async function list(from) {
  const page = await withKey(() => read(`v1/images?limit=${PAGE}${from ? `&cursor=${from}` : ""}`));
  const rows = page.items.map((image) => {
    const figure = image.bpp === null ? image.state : `${size(image.bitstream_bytes)} · ${image.bpp.toFixed(4)} bpp`;
    const open = make("button", { type: "button" },
      make("span", { className: "name", textContent: image.name }),
      make("span", { className: "figure", textContent: `${image.width} × ${image.height}` }),
      make("span", { className: "figure", textContent: figure }));
    open.onclick = async () => {
      const detail = await read(image.links.self);
      await show(image.id, detail.reconstructions.find((row) => row.state === "ready")?.id ?? null);
    };
    return make("li", {}, open);
  });
  cursor = page.next_cursor;
  find("more").hidden = cursor === null;
  if (from) find("latest").append(...rows);
  else find("latest").replaceChildren(...(rows.length > 0 ? rows : [make("li", { className: "state", textContent: "Nothing yet." })]));
}
const listAnew = () => list(null);

find("files").onchange = (event) => { enqueue([...event.target.files]); event.target.value = ""; };
find("intake").onsubmit = (event) => event.preventDefault();
find("more").onclick = () => list(cursor);
const drop = find("drop");
for (const name of ["dragenter", "dragover"]) {
  document.addEventListener(name, (event) => { event.preventDefault(); drop.classList.add("over"); });
}
document.addEventListener("dragleave", (event) => { if (event.relatedTarget === null) drop.classList.remove("over"); });
document.addEventListener("drop", (event) => {
  event.preventDefault();
  drop.classList.remove("over");
  enqueue([...event.dataTransfer.files]);
});
listAnew().catch((error) => { find("latest").replaceChildren(make("li", { role: "alert", textContent: error.message })); });
