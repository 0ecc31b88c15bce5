// Asks for a key where the service wants one, and tries again.

import { Refusal, forgetKey, hasKey, setKey } from "./client.js";
import { find } from "./element.js";

export async function withKey(act) {
  for (;;) {
    try {
      return await act();
    } catch (error) {
      if (!(error instanceof Refusal) || error.status !== 401) throw error;
      await askForKey();
    }
  }
}

// One question, however many requests were refused.
let question = null;

function askForKey() {
  question ??= new Promise((resolve) => {
    const dialog = find("key-dialog");
    find("key-fault").textContent = hasKey() ? "That key is not known here." : "";
    forgetKey();
    dialog.oncancel = (event) => event.preventDefault();
    dialog.onclose = () => {
      setKey(find("key").value.trim());
      find("key").value = "";
      question = null;
      resolve();
    };
    dialog.showModal();
  });
  return question;
}
