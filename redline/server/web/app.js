// What the views share: which one is shown, whether the server is ready, the key.

import { apiKey, getJson, setApiKey } from "./api.js";
import * as chat from "./chat.js";
import { byId } from "./dom.js";
import * as live from "./live.js";
import * as settings from "./settings.js";
import { Inspector } from "./tokens.js";

const AGAIN_MS = { ok: 15_000, other: 2_000 };
const STATES = {
  ok: "Ready",
  loading: "Loading",
  unreachable: "Unreachable",
  shutting_down: "Shutting down",
  engine_stuck: "Stuck",
  engine_dead: "Stopped",
};

let modelsKnown = false;

const isLiveWanted = () => location.hash === "#live";

function route() {
  const isLive = isLiveWanted();
  byId("chat").hidden = isLive;
  byId("live").hidden = !isLive;
  for (const [id, current] of [["to-chat", !isLive], ["to-live", isLive]]) {
    if (current) byId(id).setAttribute("aria-current", "page");
    else byId(id).removeAttribute("aria-current");
  }
  document.title = isLive ? "Live – Redline" : "Redline";
  live.show(isLive);
}

function tell(state) {
  const status = byId("status");
  if (status.dataset.state === state) return;
  status.dataset.state = state;
  status.querySelector(".status-text").textContent = STATES[state] ?? state;
}

// Asks nothing while nobody looks at this tab.
async function watch() {
  let state = "ok";
  if (!document.hidden) {
    try {
      await getJson("health");
      if (!modelsKnown) await models();
    } catch (error) {
      state = error.status === 401 ? "ok" : (error.code ?? "unreachable");
    }
    tell(state);
  }
  setTimeout(watch, state === "ok" ? AGAIN_MS.ok : AGAIN_MS.other);
}

async function models() {
  await settings.loadModels();
  modelsKnown = true;
}

function keys() {
  const dialog = byId("key-dialog");
  const button = byId("key-button");
  const open = () => {
    byId("key").value = "";
    byId("key-forget").hidden = !apiKey();
    dialog.showModal();
  };
  const use = async (key) => {
    setApiKey(key);
    modelsKnown = false;
    await models().catch(() => {}); // a key that is not accepted opens the dialog again
    live.show(isLiveWanted());
  };
  button.hidden = !apiKey();
  button.addEventListener("click", open);
  document.addEventListener("key-wanted", () => {
    button.hidden = false;
    if (apiKey()) byId("key-note").textContent = "This server does not accept the key that was given.";
    if (!dialog.open) open();
  });
  byId("key-form").addEventListener("submit", () => use(byId("key").value.trim()));
  byId("key-forget").addEventListener("click", () => {
    dialog.close();
    use("");
  });
}

keys();
settings.start();
chat.start();
new Inspector();
addEventListener("hashchange", route);
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault(); // the address says which view it is
  byId("main").focus();
});
route();
watch();
