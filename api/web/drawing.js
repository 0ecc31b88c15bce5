// Builds the parts of the page. Everything a caller sent goes in as text, never as markup.

export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("aria-") || name === "role") element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

export function size(bytes) {
  if (bytes < 10_000) return `${bytes.toLocaleString("en")} bytes`;
  return bytes < 1e6 ? `${(bytes / 1e3).toFixed(0)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
}

export function figures(image) {
  const entries = [
    ["File", size(image.bitstream_bytes)],
    ["Bits per pixel", image.bpp.toFixed(4)],
    ["Picture", `${image.width} × ${image.height}`],
  ];
  if (image.original !== null) {
    entries.push(["Before", size(image.original.bytes)]);
    entries.push(["Smaller by", `${Math.round(image.original.bytes / image.bitstream_bytes).toLocaleString("en")}×`]);
  }
  if (image.bpp_declared !== null) entries.push(["With its reference", `${image.bpp_declared.toFixed(4)} bpp`]);
  return make("dl", { className: "figures" },
    ...entries.map(([name, value]) => make("div", {}, make("dt", { textContent: name }), make("dd", { textContent: value }))));
}

export function breakdown(bits) {
  const parts = Object.entries(bits);
  const bar = make("div", { className: "bar", role: "img", "aria-label": parts.map(([name, count]) => `${name} ${count} bits`).join(", ") });
  for (const [name, count] of parts) {
    const part = make("span", { className: name, title: `${name}: ${count} bits` });
    part.style.flexGrow = count;
    bar.append(part);
  }
  const legend = make("ul", { className: "legend" }, ...parts.map(([name, count]) =>
    make("li", {}, make("i", { className: name }), `${name} ${(count / 8).toLocaleString("en", { maximumFractionDigits: 1 })} bytes`)));
  return make("div", {}, bar, legend);
}

export function comparison(beforeURL, afterURL, alt) {
  const box = make("div", { className: "compare" }, make("img", { src: afterURL, alt: `${alt}, painted again` }));
  const overlay = make("canvas", { hidden: true });
  const parts = [box];
  if (beforeURL !== null) {
    const before = make("img", { className: "before", src: beforeURL, alt: `${alt}, the original` });
    const edge = make("div", { className: "edge" });
    const tags = [make("span", { className: "tag left", textContent: "before" }), make("span", { className: "tag right", textContent: "after" })];
    // A format that the browser cannot show leaves the reconstruction alone.
    before.onerror = () => { [before, edge, ...tags, slider].forEach((part) => part.remove()); };
    const slider = make("input", { className: "slider", type: "range", min: 0, max: 100, value: 50, "aria-label": "Original on the left, reconstruction on the right" });
    slider.oninput = () => box.style.setProperty("--at", `${slider.value}%`);
    box.onpointermove = (event) => {
      if (event.pointerType === "mouse" && event.buttons === 0) return;
      const frame = box.getBoundingClientRect();
      slider.value = 100 * (event.clientX - frame.left) / frame.width;
      slider.oninput();
    };
    box.append(before, edge, ...tags);
    parts.push(slider);
  }
  box.append(overlay);
  return { element: make("div", {}, ...parts), overlay };
}

export function showMap(overlay, rows) {
  overlay.hidden = rows === null;
  if (rows === null) return;
  overlay.width = rows[0].length;
  overlay.height = rows.length;
  const context = overlay.getContext("2d");
  rows.forEach((row, y) => [...row].forEach((bit, x) => {
    context.fillStyle = bit === "1" ? "rgba(255, 190, 60, .45)" : "rgba(0, 0, 0, .45)";
    context.fillRect(x, y, 1, 1);
  }));
}

export function description(image, overlay) {
  const content = image.description;
  if (content === null || (content.items.length === 0 && content.overall === "")) {
    return make("p", { className: "state", textContent: "It has no description." });
  }
  const items = content.items.map((item, index) => {
    const button = make("button", { type: "button" },
      make("span", { textContent: item.name || item.detail }),
      item.name ? make("small", { textContent: ` ${item.detail}` }) : null);
    const rows = image.maps?.[index] ?? null;
    if (rows !== null && overlay !== null) {
      button.onpointerenter = button.onfocus = () => showMap(overlay, rows);
      button.onpointerleave = button.onblur = () => showMap(overlay, null);
    }
    return make("li", {}, button);
  });
  return make("div", {},
    make("h3", { textContent: "Description" }),
    make("p", { textContent: content.overall }),
    make("ul", { className: "items" }, ...items),
    image.maps !== null && overlay !== null ? make("p", { className: "hint", textContent: "Point at an item to see where it is." }) : null);
}
