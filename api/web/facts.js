// What is known of an image, drawn: figures, the bar of its bits, texts with maps, timings, cost, snippets.

import { hasKey } from "./client.js";
import { make, seconds, size } from "./element.js";

const LONG = 24;

function terms(entries, className) {
  return make("dl", { className }, entries.map(([name, value]) =>
    make("div", { className: value.length > LONG ? "long" : "" }, make("dt", { textContent: name }), make("dd", {}, value))));
}

export function figures(image) {
  const entries = [["File", size(image.bitstream_bytes)], ["Bits per pixel", image.bpp.toFixed(4)], ["Picture", `${image.width} × ${image.height}`]];
  if (image.original !== null) {
    entries.push(["Before", size(image.original.bytes)]);
    const factor = image.original.bytes / image.bitstream_bytes;
    entries.push(["Smaller by", `${factor < 10 ? factor.toFixed(1) : Math.round(factor).toLocaleString("en")}×`]);
  }
  if (image.bpp_declared !== null) entries.push(["With its reference", `${image.bpp_declared.toFixed(4)} bpp`]);
  return terms(entries, "figures");
}

export function breakdown(bits) {
  const parts = Object.entries(bits);
  const bar = make("div", { className: "bar", role: "img", "aria-label": parts.map(([name, number]) => `${name} ${number} bits`).join(", ") });
  for (const [name, number] of parts) {
    const part = make("span", { className: name, title: `${name}: ${number} bits` });
    part.style.flexGrow = number;
    bar.append(part);
  }
  const legend = make("ul", { className: "legend" }, parts.map(([name, number]) =>
    make("li", {}, make("i", { className: name }), `${name} ${(number / 8).toLocaleString("en", { maximumFractionDigits: 1 })} bytes`)));
  return make("div", {}, bar, legend);
}

// `onMap` is called with the rows of the item that is pointed at, and with null afterwards.
export function description(image, onMap) {
  const content = image.description;
  if (content === null || (content.items.length === 0 && content.overall === "")) {
    return make("p", { className: "state", textContent: "It has no description." });
  }
  const items = content.items.map((item, index) => {
    const rows = image.maps?.[index] ?? null;
    const words = [make("span", { textContent: item.name || item.detail }), item.name ? make("small", { textContent: item.detail }) : null];
    if (rows === null) return make("li", { className: "item" }, words);
    const element = make("button", { type: "button", "aria-pressed": "false" }, words);
    const isHeld = () => element.getAttribute("aria-pressed") === "true";
    element.onpointerenter = (event) => { if (event.pointerType === "mouse") onMap(rows); };
    element.onpointerleave = (event) => { if (event.pointerType === "mouse" && !isHeld()) onMap(null); };
    element.onclick = () => {
      const isOn = !isHeld();
      for (const other of element.closest("ul").querySelectorAll("button")) other.setAttribute("aria-pressed", "false");
      element.setAttribute("aria-pressed", String(isOn));
      onMap(isOn ? rows : null);
    };
    return make("li", {}, element);
  });
  return make("div", {},
    make("h2", { textContent: "Description" }),
    make("p", { textContent: content.overall }),
    make("ul", { className: "items" }, items),
    image.maps !== null ? make("p", { className: "hint", textContent: "Point at an item, or press it, to see where it is." }) : null);
}

export function timings(image, row) {
  const part = (title, stages) => (stages ? [
    make("h3", { textContent: title }),
    terms(Object.entries(stages).map(([name, value]) => [name, seconds(value)]), "pairs"),
  ] : []);
  return make("details", {}, make("summary", { textContent: "Timings" }), part("Encode", image.seconds), part("Restore", row?.seconds));
}

export function making(image, row) {
  const entries = [["Describer", image.description?.describer ?? "none"], ["Coarse picture", image.mode], ["Profile", image.profile],
    ["SHA-256", image.bitstream_sha256], ["Id", image.id]];
  if (row) {
    entries.push(["Restorer", row.restorer], ["Schedule", row.schedule], ["Seed", row.seed], ["Reconstruction", row.id]);
    for (const [name, digest] of Object.entries(row.weights ?? {})) entries.push([`Network ${name}`, digest]);
  }
  return make("details", {}, make("summary", { textContent: "How it was made" }),
    terms(entries.filter(([, value]) => value !== null && value !== undefined).map(([name, value]) => [name, String(value)]), "pairs"),
    image.notes.length > 0 ? make("ul", { className: "notes" }, image.notes.map((note) => make("li", { textContent: note }))) : null);
}

export function cost(image) {
  const usage = image.usage;
  const content = usage === null
    ? make("p", { className: "state", textContent: "No language model was asked: it cost nothing but the machine's time." })
    : terms([["Model", usage.model], ["Tokens in", usage.input_tokens.toLocaleString("en")], ["Tokens out", usage.output_tokens.toLocaleString("en")],
      ["Cost", usage.cached ? "0, it was bought before" : String(usage.cost)], ["Took", seconds(usage.seconds)]], "pairs");
  return make("details", {}, make("summary", { textContent: "Cost" }), content);
}

export function snippets(image, row) {
  const server = new URL(".", location.href).href.replace(/\/$/, "");
  const name = image.name.replace(/\.[^.]{1,5}$/, "");
  // Between single quotes of a shell, and in a string of Python, a name may have anything.
  const shell = (text) => `'${text.replaceAll("'", "'\\''")}'`;
  const python = (text) => JSON.stringify(text);
  const curlCommand = hasKey() ? 'curl -H "Authorization: Bearer $MISC_API_KEY"' : "curl";
  const content = row ? `v1/reconstructions/${row.id}/content` : null;
  const curl = [
    `${curlCommand} -o ${shell(`${name}.misc`)} ${server}/v1/images/${image.id}/bitstream`,
    content ? `${curlCommand} -o ${shell(`${name}.reconstruction.${row.format}`)} ${server}/${content}` : `${curlCommand} --json '{}' ${server}/v1/images/${image.id}/reconstructions`,
  ].join("\n");
  const code = [
    "from misc_archive import Client", "",
    `with Client(${python(server)}) as client:`,
    `    stream = client.bitstream(${python(image.id)})`,
    `    client.reconstruct(${python(image.id)}).save(${python(`${name}.reconstruction.png`)})`,
  ].join("\n");
  const box = (title, text) => {
    const copy = make("button", { type: "button", textContent: "Copy", "aria-label": `Copy the ${title} lines` });
    copy.onclick = async () => {
      await navigator.clipboard?.writeText(text);
      copy.textContent = "Copied";
    };
    return make("div", { className: "snippet" }, make("h3", { textContent: title }), make("pre", { tabIndex: 0, "aria-label": `${title} lines` }, text), copy);
  };
  return make("details", {}, make("summary", { textContent: "From a program" }), box("curl", curl), box("Python", code));
}
