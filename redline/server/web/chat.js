// The conversation: what is asked, how it is streamed, what can be done with each message.

import { ApiError, events, getJson, request } from "./api.js";
import { byId, count, duration, make } from "./dom.js";
import * as settings from "./settings.js";
import { TokenWriter } from "./tokens.js";

const SAVED = "redline.conversation";
const NAMES = { user: "You", assistant: "Model" };

// A message: {role, content, tokens, facts, id}; the latter three are of answers from this page.
let messages = [];
let running = null; // the AbortController of the answer that is being written
let retryTimer = null;

export function start() {
  messages = restored();
  byId("system").value = sessionStorage.getItem("redline.system") ?? "";
  byId("system-box").open = byId("system").value !== "";
  byId("system").addEventListener("input", () => sessionStorage.setItem("redline.system", byId("system").value));
  byId("composer").addEventListener("submit", submit);
  byId("stop").addEventListener("click", () => running?.abort());
  byId("prompt").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) submit(event);
  });
  byId("prompt").addEventListener("input", grow);
  byId("clear").addEventListener("click", () => replace([]));
  byId("export").addEventListener("click", exportJson);
  byId("curl").addEventListener("click", showCurl);
  byId("curl-copy").addEventListener("click", () => copy(byId("curl-text").value, byId("curl-copy")));
  byId("curl-close").addEventListener("click", () => byId("curl-dialog").close());
  draw();
}

function restored() {
  try {
    const saved = JSON.parse(sessionStorage.getItem(SAVED) ?? "[]");
    return saved.filter((each) => each.role in NAMES && typeof each.content === "string");
  } catch {
    return [];
  }
}

function save() {
  const kept = messages.map(({ role, content }) => ({ role, content }));
  sessionStorage.setItem(SAVED, JSON.stringify(kept));
}

function replace(next) {
  running?.abort();
  messages = next;
  save();
  showProblem(null);
  draw();
}

function submit(event) {
  event.preventDefault();
  const text = byId("prompt").value;
  if (running || !text.trim()) return;
  byId("prompt").value = "";
  grow();
  messages.push({ role: "user", content: text });
  ask();
}

function grow() {
  const box = byId("prompt");
  box.style.height = "auto";
  box.style.height = `${Math.min(box.scrollHeight + 2, innerHeight * 0.4)}px`;
}

function body() {
  const system = byId("system").value.trim();
  const sent = messages.map(({ role, content }) => ({ role, content }));
  return {
    ...settings.fields(),
    messages: system ? [{ role: "system", content: system }, ...sent] : sent,
    stream: true,
    stream_options: { include_usage: true },
  };
}

// Asks for an answer to the messages so far, and writes it as it comes.
async function ask() {
  showProblem(null);
  save();
  const asked = body();
  const answer = { role: "assistant", content: "", reasoning: "", tokens: [], facts: null };
  messages.push(answer);
  draw();
  const place = byId("messages").lastElementChild;
  const writer = new AnswerWriter(place);
  const controller = new AbortController();
  running = controller;
  busy(true);
  const times = { asked: performance.now(), first: null, last: null };
  let finish = null;
  try {
    const response = await request("v1/chat/completions", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(asked),
      signal: controller.signal,
    });
    for await (const chunk of events(response)) {
      answer.id = chunk.id;
      answer.usage = chunk.usage ?? answer.usage;
      const choice = chunk.choices[0];
      if (!choice) continue;
      times.first ??= performance.now();
      times.last = performance.now();
      take(answer, choice, writer);
      finish = choice.finish_reason ?? finish;
    }
  } catch (error) {
    if (error.name === "AbortError") finish = "stopped";
    else showProblem(error);
  } finally {
    running = null;
    busy(false);
    writer.finish(finish);
  }
  answer.facts = factsOf(answer, times, finish);
  if (!answer.content && !answer.reasoning && finish === null) messages.splice(messages.indexOf(answer), 1);
  save();
  draw();
  if (answer.facts) byId("announce").textContent = `Answer complete. ${answer.facts.join(", ")}`;
}

function take(answer, choice, writer) {
  const follow = atBottom();
  const { content = "", reasoning_content: reasoning = "" } = choice.delta;
  const tokens = choice.logprobs?.content ?? [];
  answer.content += content ?? "";
  answer.reasoning += reasoning ?? "";
  answer.tokens.push(...tokens);
  answer.num_tokens = (answer.num_tokens ?? 0) + Math.max(tokens.length, content ? 1 : 0);
  writer.push(reasoning ?? "", content ?? "", tokens);
  if (follow) scrollTo(0, document.documentElement.scrollHeight);
}

const atBottom = () => innerHeight + scrollY >= document.documentElement.scrollHeight - 80;

// Reasoning, where a model shows any, comes before the answer in a box of its own.
class AnswerWriter {
  constructor(item) {
    this.text = item.querySelector(".text");
    this.text.classList.add("writing");
    this.writer = new TokenWriter(this.text);
    this.thinking = null;
  }

  push(reasoning, content, tokens) {
    if (reasoning && !this.thinking) {
      const thought = make("div", { className: "text" });
      this.text.before(make("details", { className: "reasoning" }, make("summary", {}, "Reasoning"), thought));
      this.thinking = new TokenWriter(thought);
    }
    const inside = this.thinking && !content && !this.answering;
    if (content && this.thinking && !this.answering) this.thinking.finish(false);
    if (content) this.answering = true;
    if (inside) this.thinking.push(reasoning, tokens);
    else this.writer.push(content, tokens);
  }

  finish(reason) {
    this.writer.finish(reason === "stop");
    this.text.classList.remove("writing");
  }
}

function factsOf(answer, times, finish) {
  if (times.first === null) return finish === "stopped" ? ["stopped before the first token"] : null;
  const usage = answer.usage;
  const tokens = usage?.completion_tokens ?? answer.num_tokens ?? 0;
  const seconds = (times.last - times.first) / 1000;
  const facts = [`${count(tokens)} ${tokens === 1 ? "token" : "tokens"}`];
  facts.push(`first after ${duration((times.first - times.asked) / 1000)}`);
  if (tokens > 1 && seconds > 0) facts.push(`${((tokens - 1) / seconds).toFixed(1)} tokens/s`);
  if (usage) {
    const cached = usage.prompt_tokens_details?.cached_tokens ?? 0;
    facts.push(`prompt of ${count(usage.prompt_tokens)}, ${count(cached)} cached`);
  }
  const ends = { length: "cut at the limit", stopped: "stopped", tool_calls: "calls a tool", null: "broke off" };
  if (finish in ends) facts.push(ends[finish]);
  return facts;
}

function busy(yes) {
  byId("send").hidden = yes;
  byId("stop").hidden = !yes;
  byId("messages").setAttribute("aria-busy", yes);
}

function draw() {
  const kept = new Map([...byId("messages").children].map((item) => [item.message, item]));
  byId("welcome").hidden = messages.length > 0;
  byId("messages").replaceChildren(...messages.map((message) => drawn(message, kept.get(message))));
  settings.colour();
}

// One message. What was written token by token is kept; the tools around it are made anew.
function drawn(message, before) {
  const text = before?.querySelector(":scope > .text") ?? make("div", { className: "text" });
  if (!before && message.content) text.append(message.content);
  const reasoning = before?.querySelector(":scope > .reasoning") ?? null;
  const name = make("p", { className: "role" }, NAMES[message.role]);
  const item = make("li", { className: `message ${message.role}` }, name, ...[reasoning, text].filter(Boolean));
  item.message = message;
  if (message.facts) item.append(make("p", { className: "facts" }, message.facts.join(" · ")));
  if (!running || message.role === "user") item.append(tools(message, item));
  return item;
}

function tools(message, item) {
  const place = messages.indexOf(message);
  const button = (label, onclick) => {
    const made = make("button", { type: "button", className: "tool", onclick }, label);
    made.setAttribute("aria-label", `${label}: message ${place + 1}`);
    return made;
  };
  const made = make("div", { className: "tools" });
  made.append(button("Edit", () => edit(message, item)));
  made.append(button("Copy", (event) => copy(message.content, event.currentTarget)));
  if (message.role === "assistant") {
    made.append(button("Regenerate", () => again(place)));
    if (message.id) made.append(button("Why?", (event) => explain(message, item, event.currentTarget)));
  } else {
    made.append(button("Delete", () => replace(messages.filter((each) => each !== message))));
  }
  return made;
}

function again(place) {
  if (running) return;
  messages = messages.slice(0, place);
  ask();
}

function edit(message, item) {
  if (running) return;
  const label = `Edit message ${messages.indexOf(message) + 1}`;
  const box = make("textarea", { className: "edit", value: message.content, "aria-label": label });
  box.rows = Math.min(12, message.content.split("\n").length + 1);
  const done = (send) => {
    const place = messages.indexOf(message);
    const changed = { role: message.role, content: box.value };
    messages = messages.map((each) => (each === message ? changed : each));
    if (send) messages = messages.slice(0, place + 1);
    save();
    if (send) ask();
    else draw();
  };
  const button = (name, className, onclick) => make("button", { type: "button", className, onclick }, name);
  const actions = make("div", { className: "edit-actions" }, button("Save", "quiet", () => done(false)));
  if (message.role === "user") actions.append(button("Save and send", "primary", () => done(true)));
  actions.append(button("Cancel", "quiet", draw));
  item.replaceChildren(make("p", { className: "role" }, NAMES[message.role]), box, actions);
  box.addEventListener("keydown", (event) => event.key === "Escape" && draw());
  box.focus();
}

// What the scheduler did with the request, and why, in its own words.
async function explain(message, item, button) {
  const shown = item.querySelector(".why");
  if (shown) return shown.remove();
  button.disabled = true;
  try {
    const { prompts } = await getJson(`v1/redline/requests/${encodeURIComponent(message.id)}`);
    const lines = prompts.flatMap((prompt) => prompt.choices.flat());
    item.append(make("ol", { className: "why" }, ...lines.map((line) => make("li", {}, line))));
  } catch (error) {
    item.append(make("ol", { className: "why" }, make("li", {}, error.message)));
  } finally {
    button.disabled = false;
  }
}

const TITLES = {
  0: "No answer",
  401: "A key is needed",
  404: "Not found",
  413: "Too long",
  429: "The server is full",
  503: "Not ready",
  504: "It took too long",
};

function showProblem(error) {
  clearInterval(retryTimer);
  const box = byId("problem");
  box.hidden = error === null;
  box.replaceChildren();
  if (error === null) return;
  const known = error instanceof ApiError;
  const title = error.code === "loading" ? "The model is still loading" : (TITLES[error.status] ?? "The request failed");
  const status = known && error.status ? ` (${error.status}${error.code ? `, ${error.code}` : ""})` : "";
  const retry = make("button", { type: "button", className: "quiet", onclick: () => retryNow() }, "Try again");
  box.append(make("p", { className: "problem-title" }, title + status), make("p", {}, error.message));
  if (error.param) box.append(make("p", {}, `Field: ${error.param}`));
  box.append(retry);
  if (error.retryAfter) countDown(error.retryAfter, retry);
}

// The server says when it makes sense to ask again; asking earlier is possible, and in vain.
function countDown(seconds, button) {
  let left = seconds;
  const tell = () => {
    button.textContent = left > 0 ? `Try again (in ${left} s)` : "Try again";
    if (left-- <= 0) clearInterval(retryTimer);
  };
  tell();
  retryTimer = setInterval(tell, 1000);
}

function retryNow() {
  if (running) return;
  if (messages.at(-1)?.role === "assistant") messages.pop();
  if (messages.length) ask();
}

function exportJson() {
  const { messages: sent, ...request } = body();
  const system = sent.filter((each) => each.role === "system");
  const kept = messages.map(({ role, content, reasoning, tokens, facts, usage, id }) => {
    return { role, content, reasoning: reasoning || undefined, id, usage, facts, logprobs: tokens };
  });
  const text = JSON.stringify({ request, messages: [...system, ...kept] }, null, 2);
  const url = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  make("a", { href: url, download: "conversation.json" }).click();
  URL.revokeObjectURL(url);
}

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

function showCurl() {
  const url = new URL("v1/chat/completions", document.baseURI);
  const asked = body();
  if (byId("prompt").value.trim()) asked.messages.push({ role: "user", content: byId("prompt").value });
  const key = byId("key-button").hidden ? [] : ["  -H \"Authorization: Bearer $REDLINE_API_KEY\""];
  const parts = [
    `curl -N ${quoted(url.href)}`,
    "  -H 'Content-Type: application/json'",
    ...key,
    `  -d ${quoted(JSON.stringify(asked, null, 2))}`,
  ];
  byId("curl-text").value = parts.join(" \\\n");
  byId("curl-dialog").showModal();
}

// Without TLS a browser gives the clipboard to pages of this machine only.
async function copy(text, button) {
  const label = button.textContent;
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } catch {
    button.textContent = "Not allowed";
  }
  setTimeout(() => { button.textContent = label; }, 1500);
}
