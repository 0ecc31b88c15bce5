// Two pictures of one size over each other, cut at a line that can be moved, with zoom and a map over them.

import { button, make } from "./element.js";

const MOST_ZOOM = 32;
const NEAR_EDGE_PX = 24;
const KEY_STEP_PX = 60;

export class Viewer {
  // `width` and `height` are the picture's, in its own pixels; `name` is what it is called.
  constructor(width, height, name) {
    this.size = { width, height };
    this.scale = 1;
    this.offset = { x: 0, y: 0 };
    this.pointers = new Map();
    this.left = this.side("left");
    this.right = this.side("right");
    this.edge = make("div", { className: "edge" });
    this.overlay = make("canvas", { hidden: true });
    this.frame = make("div", { className: "frame", tabIndex: 0, role: "group", "aria-label": `${name}: plus and minus zoom, 0 fits, 1 shows it pixel for pixel, arrows move it` },
      this.right.layer, this.left.layer, this.overlay, this.edge, this.left.tag, this.right.tag);
    this.frame.style.setProperty("--ratio", `${width} / ${height}`);
    this.frame.style.setProperty("--proportion", width / height);
    this.slider = make("input", { className: "slider", type: "range", min: 0, max: 100, step: 0.5, value: 50, "aria-label": "Where the left picture ends and the right one begins" });
    this.slider.oninput = () => this.cut(Number(this.slider.value));
    this.percent = make("output", { className: "percent" });
    this.element = make("div", { className: "viewer" }, this.frame, this.slider,
      make("div", { className: "zoom", role: "group", "aria-label": "Zoom" },
        button("Fit", () => this.fit()), button("1:1", () => this.pixelForPixel()),
        button("−", () => this.zoomBy(1 / 1.5), { "aria-label": "Zoom out" }), button("+", () => this.zoomBy(1.5), { "aria-label": "Zoom in" }), this.percent));
    this.listen();
    this.cut(50);
    new ResizeObserver(() => this.place()).observe(this.frame);
  }

  side(which) {
    const image = make("img", { draggable: false, alt: "" });
    return { image, layer: make("div", { className: `layer ${which}` }, image), tag: make("span", { className: `tag ${which}` }) };
  }

  // Shows one picture, or compares two. A picture is { url, label, alt }.
  show(left, right) {
    const isPair = left !== null && right !== null;
    for (const [side, picture] of [[this.left, left], [this.right, right ?? left]]) {
      side.image.onerror = () => { side.tag.textContent = `${picture?.label ?? ""} (cannot be shown here)`; };
      if (picture !== null) {
        side.image.src = picture.url;
        side.image.alt = picture.alt;
        side.tag.textContent = picture.label;
      }
    }
    this.left.layer.hidden = this.left.tag.hidden = this.edge.hidden = this.slider.hidden = !isPair;
  }

  showMap(rows) {
    this.overlay.hidden = rows === null;
    if (rows === null) return;
    this.overlay.width = rows[0].length;
    this.overlay.height = rows.length;
    const context = this.overlay.getContext("2d");
    rows.forEach((row, y) => [...row].forEach((bit, x) => {
      context.fillStyle = bit === "1" ? "rgba(255, 190, 60, .45)" : "rgba(0, 0, 0, .45)";
      context.fillRect(x, y, 1, 1);
    }));
  }

  cut(percent) {
    this.at = Math.min(100, Math.max(0, percent));
    this.slider.value = this.at;
    this.frame.style.setProperty("--at", `${this.at}%`);
  }

  fit() { this.zoomTo(1); }

  // One pixel of the picture for one of the screen.
  pixelForPixel() { this.zoomTo(this.wholeScale()); }

  wholeScale() { return this.size.width / (this.frame.clientWidth || 1) / devicePixelRatio; }

  zoomBy(factor) { this.zoomTo(this.scale * factor); }

  // The point of the frame (its middle, unless said) stays where it is.
  zoomTo(scale, x = this.frame.clientWidth / 2, y = this.frame.clientHeight / 2) {
    const least = Math.min(1, this.wholeScale());
    const next = Math.min(Math.max(scale, least), Math.max(MOST_ZOOM, this.wholeScale()));
    const factor = next / this.scale;
    this.offset = { x: x - (x - this.offset.x) * factor, y: y - (y - this.offset.y) * factor };
    this.scale = next;
    this.place();
  }

  moveBy(x, y) {
    this.offset = { x: this.offset.x + x, y: this.offset.y + y };
    this.place();
  }

  // Moves the pictures to where they are, never out of the frame.
  place() {
    const { clientWidth: width, clientHeight: height } = this.frame;
    const within = (offset, room) => (this.scale >= 1 ? Math.min(0, Math.max(room * (1 - this.scale), offset)) : (room * (1 - this.scale)) / 2);
    this.offset = { x: within(this.offset.x, width), y: within(this.offset.y, height) };
    const transform = `translate(${this.offset.x}px, ${this.offset.y}px) scale(${this.scale})`;
    const isCoarse = this.scale > 2 * this.wholeScale();
    for (const part of [this.left.image, this.right.image, this.overlay]) part.style.transform = transform;
    for (const side of [this.left, this.right]) side.image.classList.toggle("pixels", isCoarse);
    this.frame.classList.toggle("zoomed", this.isZoomed());
    this.percent.textContent = `${Math.round((100 * this.scale) / this.wholeScale())} %`;
  }

  isZoomed() { return this.scale > 1.001; }

  listen() {
    const point = (event) => {
      const box = this.frame.getBoundingClientRect();
      return { x: event.clientX - box.left, y: event.clientY - box.top };
    };
    this.frame.onpointerdown = (event) => {
      if (event.button !== 0) return;
      const at = point(event);
      this.pointers.set(event.pointerId, at);
      this.frame.setPointerCapture(event.pointerId);
      const isAtEdge = Math.abs(at.x - (this.at / 100) * this.frame.clientWidth) < NEAR_EDGE_PX;
      this.movesEdge = !this.left.layer.hidden && (!this.isZoomed() || isAtEdge);
      if (this.movesEdge && event.pointerType === "mouse") this.cut((100 * at.x) / this.frame.clientWidth);
    };
    this.frame.onpointermove = (event) => {
      const before = this.pointers.get(event.pointerId);
      if (before === undefined) return;
      const at = point(event);
      const other = [...this.pointers].find(([id]) => id !== event.pointerId)?.[1];
      this.pointers.set(event.pointerId, at);
      if (other !== undefined) {
        const spread = (from) => Math.hypot(from.x - other.x, from.y - other.y) || 1;
        this.zoomTo((this.scale * spread(at)) / spread(before), (at.x + other.x) / 2, (at.y + other.y) / 2);
      } else if (this.movesEdge) this.cut((100 * at.x) / this.frame.clientWidth);
      else this.moveBy(at.x - before.x, at.y - before.y);
    };
    this.frame.onpointerup = this.frame.onpointercancel = (event) => this.pointers.delete(event.pointerId);
    this.frame.ondblclick = (event) => {
      const at = point(event);
      this.zoomTo(this.isZoomed() ? 1 : Math.max(this.wholeScale(), 2), at.x, at.y);
    };
    // Two fingers on a touch pad come as a wheel with Ctrl; a plain wheel scrolls the page.
    this.frame.addEventListener("wheel", (event) => {
      if (!event.ctrlKey) return;
      event.preventDefault();
      const at = point(event);
      this.zoomTo(this.scale * Math.exp(-event.deltaY / 200), at.x, at.y);
    }, { passive: false });
    this.frame.onkeydown = (event) => {
      const acts = {
        "+": () => this.zoomBy(1.5), "=": () => this.zoomBy(1.5), "-": () => this.zoomBy(1 / 1.5), 0: () => this.fit(), 1: () => this.pixelForPixel(),
        ArrowLeft: () => this.push(1, 0), ArrowRight: () => this.push(-1, 0), ArrowUp: () => this.push(0, 1), ArrowDown: () => this.push(0, -1),
      };
      const act = event.ctrlKey || event.metaKey || event.altKey ? undefined : acts[event.key];
      if (act === undefined || act() === false) return;
      event.preventDefault();
    };
  }

  // Arrows move a picture that is zoomed, else the line; where there is nothing to move, they scroll the page.
  push(x, y) {
    if (this.isZoomed()) this.moveBy(x * KEY_STEP_PX, y * KEY_STEP_PX);
    else if (x !== 0 && !this.left.layer.hidden) this.cut(this.at - 2 * x);
    else return false;
    return true;
  }
}
