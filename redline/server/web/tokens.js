// An answer as tokens that can be pointed at, and the inspector that says what else could have come.

import { byId, make, percent } from "./dom.js";

const AHEAD = 64; // characters in which a token is looked for that is not where it was expected

// Puts text into an element as it arrives, in one span per token. Text is what counts: a token that is not in
// it (the end of a text, a tag that was taken out) gets no span, and text without a token is just text.
export class TokenWriter {
  constructor(element) {
    this.element = element;
    this.text = "";
    this.tokens = [];
    this.group = []; // tokens that are parts of one character
    this.decoder = new TextDecoder();
  }

  push(text, tokens) {
    this.text += text;
    this.tokens.push(...tokens);
    while (this.tokens.length && this.text) this.place();
  }

  // What is left when nothing follows; `ended` by the model itself: its last token ended the text.
  finish(ended) {
    while (this.tokens.length && this.text) this.place();
    if (this.text) this.element.append(this.text);
    const last = this.tokens.at(-1);
    if (ended && last) this.append([last], last.token, "token end");
    this.text = "";
    this.tokens = [];
  }

  place() {
    const token = this.tokens.shift();
    this.group.push(token);
    const piece = this.decoder.decode(Uint8Array.from(token.bytes ?? []), { stream: true });
    if (!piece) return;
    const found = this.text.slice(0, piece.length + AHEAD).indexOf(piece);
    const group = this.group.splice(0);
    if (found < 0) return;
    if (found > 0) this.element.append(this.text.slice(0, found));
    this.append(group, piece, "token");
    this.text = this.text.slice(found + piece.length);
  }

  append(group, piece, className) {
    const probability = group.reduce((product, each) => product * Math.exp(each.logprob), 1);
    const span = make("span", { className, textContent: piece, tabIndex: this.first ? -1 : 0 });
    span.style.setProperty("--doubt", ((1 - probability) ** 2).toFixed(3)); // a coin flip is no surprise
    span.entries = group;
    this.first ??= span;
    this.element.append(span);
  }
}

const visible = (text) => text.replaceAll(" ", "␣").replaceAll("\n", "⏎").replaceAll("\t", "⇥") || "(nothing)";

function row(name, probability, chosen) {
  const bar = make("i", { className: "bar-fill" });
  bar.style.width = `${Math.max(0.5, probability * 100)}%`;
  return make(
    "span",
    { className: chosen ? "choice chosen" : "choice" },
    make("span", { className: "choice-name" }, name, chosen ? make("span", { className: "unseen" }, " (chosen)") : null),
    make("span", { className: "choice-bar", "aria-hidden": "true" }, bar),
    make("span", { className: "choice-value" }, percent(probability, 1)),
  );
}

// The alternatives of one token; of bytes that are no character, their numbers.
function alternatives(entry) {
  const name = (each) => (each.token.includes("\ufffd") ? `bytes ${(each.bytes ?? []).join(" ")}` : visible(each.token));
  const top = entry.top_logprobs ?? [];
  const isChosen = (each) => each.token === entry.token && each.logprob === entry.logprob;
  const rows = top.map((each) => row(name(each), Math.exp(each.logprob), isChosen(each)));
  if (!top.some(isChosen)) rows.push(row(name(entry), Math.exp(entry.logprob), true));
  const told = top.reduce((sum, each) => sum + Math.exp(each.logprob), top.some(isChosen) ? 0 : Math.exp(entry.logprob));
  if (told < 0.9995) rows.push(row("all others", Math.max(0, 1 - told), false));
  return rows;
}

export class Inspector {
  constructor() {
    this.box = byId("inspector");
    this.at = null;
    document.addEventListener("pointerover", (event) => this.pointed(event.target));
    document.addEventListener("focusin", (event) => this.pointed(event.target));
    document.addEventListener("keydown", (event) => this.key(event));
    document.addEventListener("scroll", () => this.place(), { passive: true });
  }

  pointed(target) {
    if (target instanceof Element && target.classList.contains("token")) this.show(target);
    else if (!document.activeElement?.classList.contains("token")) this.hide();
    else if (this.at !== document.activeElement) this.show(document.activeElement);
  }

  show(token) {
    if (this.at === token) return;
    this.hide();
    this.at = token;
    token.setAttribute("aria-describedby", "inspector");
    this.box.replaceChildren(...token.entries.flatMap(alternatives));
    this.box.hidden = false;
    this.place();
  }

  hide() {
    this.at?.removeAttribute("aria-describedby");
    this.at = null;
    this.box.hidden = true;
  }

  // Above the token where there is room, else below, and always within the window.
  place() {
    if (!this.at) return;
    const token = this.at.getBoundingClientRect();
    const box = this.box.getBoundingClientRect();
    const above = token.top - box.height - 8;
    this.box.style.top = `${above > 60 ? above : token.bottom + 8}px`;
    this.box.style.left = `${Math.max(8, Math.min(token.left, innerWidth - box.width - 8))}px`;
  }

  // Within an answer the arrow keys go from token to token; Tab leaves it.
  key(event) {
    const token = document.activeElement;
    if (event.key === "Escape") this.hide();
    if (!token?.classList.contains("token")) return;
    const all = [...token.parentElement.querySelectorAll(".token")];
    const place = all.indexOf(token);
    const next = { ArrowRight: place + 1, ArrowLeft: place - 1, Home: 0, End: all.length - 1 }[event.key];
    if (next === undefined || !all[next]) return;
    event.preventDefault();
    token.tabIndex = -1;
    all[next].tabIndex = 0;
    all[next].focus();
  }
}
