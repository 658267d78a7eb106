// What every request says besides its messages: the model and how tokens are chosen. Kept for this tab.

import { getJson } from "./api.js";
import { byId, make } from "./dom.js";

const SAVED = "redline.settings";
const NUMBERS = [
  "temperature",
  "max_tokens",
  "top_p",
  "top_k",
  "min_p",
  "seed",
  "repetition_penalty",
  "frequency_penalty",
  "presence_penalty",
];
const TOP_LOGPROBS = 6;

export function start() {
  const saved = JSON.parse(sessionStorage.getItem(SAVED) ?? "{}");
  for (const [id, value] of Object.entries(saved)) {
    const input = byId(id);
    if (input?.type === "checkbox") input.checked = value === true;
    else if (input) input.value = value;
  }
  byId("settings-form").addEventListener("input", save);
  byId("settings-form").addEventListener("submit", (event) => event.preventDefault());
  byId("colour").addEventListener("change", colour);
  if (matchMedia("(max-width: 60rem)").matches) byId("settings").open = false;
  colour();
}

function save() {
  const inputs = [...byId("settings-form").elements].filter((each) => each.id);
  const values = inputs.map((each) => [each.id, each.type === "checkbox" ? each.checked : each.value]);
  sessionStorage.setItem(SAVED, JSON.stringify(Object.fromEntries(values)));
}

// Empty fields are not sent: the server's defaults hold.
export function fields() {
  const given = NUMBERS.filter((id) => byId(id).value !== "").map((id) => [id, Number(byId(id).value)]);
  const stop = byId("stop_text").value;
  return {
    model: byId("model").value,
    ...Object.fromEntries(given),
    ...(stop ? { stop } : {}),
    ...(byId("logprobs").checked ? { logprobs: true, top_logprobs: TOP_LOGPROBS } : {}),
  };
}

export function colour() {
  byId("messages").classList.toggle("coloured", byId("colour").checked);
  byId("scale").classList.toggle("off", !byId("colour").checked);
}

export async function loadModels() {
  const { data } = await getJson("v1/models");
  const select = byId("model");
  const wanted = select.value || JSON.parse(sessionStorage.getItem(SAVED) ?? "{}").model;
  select.replaceChildren(...data.map(({ id }) => make("option", { value: id }, id)));
  if (data.some(({ id }) => id === wanted)) select.value = wanted;
  const engines = [...new Set(data.map(({ id, root }) => root ?? id))]; // the others are names of these
  byId("live-model").replaceChildren(...engines.map((name) => make("option", { value: name }, name)));
  byId("live-model").hidden = engines.length < 2;
  byId("welcome-model").textContent = select.value;
}
