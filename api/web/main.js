// Puts the page together: which view the address asks for, and what was under way before it was loaded.

import { find } from "./element.js";
import { Gallery } from "./gallery.js";
import { openIntake } from "./intake.js";
import { OperatorsPage } from "./operators.js";
import { PicturePage } from "./picture.js";
import { Tray } from "./tray.js";

const tray = new Tray(() => gallery.refresh());
const gallery = new Gallery(tray);
const picture = new PicturePage(gallery);
const operators = new OperatorsPage();

let galleryScroll = 0;
let shown = null;

// Views share one document, so that looking at a picture does not end an upload.
async function show({ isMove = false } = {}) {
  const parameters = new URLSearchParams(location.search);
  const view = parameters.has("image") ? "picture" : parameters.has("jobs") ? "operators" : "gallery";
  if (shown === "gallery") galleryScroll = scrollY;
  for (const name of ["gallery", "picture", "operators"]) find(`${name}-view`).hidden = name !== view;
  for (const link of document.querySelectorAll("nav a[data-view]")) {
    if (link.dataset.view === view) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  shown = view;
  if (view !== "picture") picture.close();
  if (view !== "operators") operators.close();
  if (view === "picture") {
    scrollTo(0, 0);
    await picture.open(parameters.get("image"), parameters);
    // Only who has gone there is taken there: nothing else moves the focus.
    if (isMove) find("picture-view").querySelector("h1")?.focus({ preventScroll: true });
  } else if (view === "operators") {
    scrollTo(0, 0);
    await operators.open();
  } else {
    document.title = "MISC archive";
    scrollTo(0, galleryScroll);
    await gallery.open(parameters);
  }
}

document.addEventListener("click", (event) => {
  const link = event.target.closest("a[href]");
  if (link === null || event.defaultPrevented || event.button !== 0 || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
  if (link.hasAttribute("download") || link.origin !== location.origin || link.pathname !== location.pathname || link.hash) return;
  event.preventDefault();
  history.pushState(null, "", link.href);
  show({ isMove: true });
});
addEventListener("popstate", () => show({ isMove: true }));

openIntake((files, options) => {
  if (shown !== "gallery") {
    history.pushState(null, "", "./");
    show();
  }
  tray.add(files, options);
});

await show();
await tray.takeUp().catch(() => { /* the gallery says what is wrong */ });
