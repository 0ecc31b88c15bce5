// The form that pictures are dropped on: how small they get, and what else may be asked of an encode.

import { find, make } from "./element.js";
import { controls, encodeSchema } from "./options.js";

const OWN = new Set(["rate", "keep_original", "batch_id", "reference_bpp", "description"]);
// First what people ask for most; the rest follows in the service's own order.
const FIRST = ["text", "describe", "maps", "profile", "mode"];

let more = null;

function options() {
  const chosen = { keep_original: find("keep").checked, ...(more?.values() ?? {}) };
  // Without a rate the service aims at 0.05 and lets a small picture have what it needs.
  const rate = document.querySelector("input[name=rate]:checked").value;
  if (rate !== "") chosen.rate = Number(rate);
  return chosen;
}

async function openMore() {
  if (more !== null) return;
  const box = find("more-options");
  try {
    const schema = await encodeSchema();
    const names = [...FIRST, ...Object.keys(schema).filter((name) => !FIRST.includes(name))].filter((name) => !OWN.has(name));
    more ??= controls(schema, names);
    box.replaceChildren(...more.elements);
  } catch (error) {
    box.replaceChildren(make("p", { role: "alert", textContent: error.message }));
  }
}

// Calls `onFiles` with what was dropped, chosen or pasted, and the options that hold then.
export function openIntake(onFiles) {
  // An option out of its bounds is shown, and not sent with every file.
  const taken = (files) => { if (files.length > 0 && find("intake").reportValidity()) onFiles([...files], options()); };
  find("intake").onsubmit = (event) => event.preventDefault();
  find("more-details").ontoggle = openMore;
  find("files").onchange = (event) => {
    const files = [...event.target.files];
    event.target.value = "";
    taken(files);
  };
  const drop = find("drop");
  for (const name of ["dragenter", "dragover"]) {
    document.addEventListener(name, (event) => {
      if (!event.dataTransfer?.types.includes("Files")) return;
      event.preventDefault();
      drop.classList.add("over");
    });
  }
  document.addEventListener("dragleave", (event) => { if (event.relatedTarget === null) drop.classList.remove("over"); });
  document.addEventListener("drop", async (event) => {
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    drop.classList.remove("over");
    taken(await filesOf(event.dataTransfer));
  });
  document.addEventListener("paste", (event) => taken(event.clipboardData?.files ?? []));
}

// Dropped files, and those in dropped folders.
async function filesOf(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.some((entry) => entry.isDirectory)) return [...transfer.files];
  const found = [];
  const walk = async (entry) => {
    if (entry.isFile) {
      found.push(await new Promise((resolve, reject) => entry.file(resolve, reject)));
      return;
    }
    const reader = entry.createReader();
    for (;;) {
      const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
      if (some.length === 0) return;
      for (const child of some) if (!child.name.startsWith(".")) await walk(child);
    }
  };
  for (const entry of entries) await walk(entry);
  return found;
}
