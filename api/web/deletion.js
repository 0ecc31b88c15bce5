// Deletes images a while after that was asked for, so that it can be undone. A page that is left deletes at once.

import { call } from "./client.js";
import { button, count, find, make } from "./element.js";

const UNDO_MILLISECONDS = 8000;

let pending = null;

// `hide` and `restore` are called with the ids.
export function deleteLater(ids, hide, restore) {
  carryOut();
  hide(ids);
  const message = make("span", { textContent: `${count(ids.length, "image")} deleted.` });
  const toast = make("div", { className: "toast" }, message, button("Undo", () => {
    clearTimeout(pending.timer);
    pending = null;
    toast.remove();
    restore(ids);
    announce(`${count(ids.length, "image")} kept.`);
  }));
  find("toasts").replaceChildren(toast);
  pending = { ids, toast, restore, timer: 0 };
  const start = () => { pending.timer = setTimeout(carryOut, UNDO_MILLISECONDS); };
  // Nobody is to hurry who has reached the button.
  toast.onpointerenter = toast.onfocusin = () => clearTimeout(pending?.timer);
  toast.onpointerleave = toast.onfocusout = () => { if (pending?.toast === toast) start(); };
  start();
}

function carryOut() {
  if (pending === null) return;
  const { ids, toast, restore, timer } = pending;
  clearTimeout(timer);
  pending = null;
  toast.remove();
  for (const id of ids) {
    call(`v1/images/${id}`, { method: "DELETE", keepalive: true }).catch((error) => {
      if (error.status === 404) return;
      restore([id]);
      announce(error.message);
    });
  }
}

// A sentence for everybody, read out by screen readers too; it goes by itself.
export function announce(text) {
  const note = make("div", { className: "toast", textContent: text });
  find("toasts").replaceChildren(note);
  setTimeout(() => note.remove(), UNDO_MILLISECONDS);
}

addEventListener("pagehide", carryOut);
