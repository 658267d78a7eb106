// The live view: what the engine says twice a second while somebody looks, and nothing else.

import { ApiError, events, request } from "./api.js";
import { cells, histogram, legend, lines, stacks } from "./charts.js";
import { byId, count, duration, make, percent, table } from "./dom.js";

const SECONDS = 60;
const STEPS = 90;
const KEPT_STEPS = 4000;
const KEPT_DECISIONS = 80;
const AGAIN_MS = 2000;
const STATES = ["free", "cached", "used", "shared", "pinned"];

let shown = false;
let paused = false;
let stream = null; // the AbortController of the open one
let seen = null; // the latest event
let steps = []; // {number, time_s, decode, prefill, drafts, accepted, least_s}
let decisions = [];
let offset = 0; // of the engine's clock to ours, in seconds

export function show(yes) {
  shown = yes;
  connect();
}

document.addEventListener("visibilitychange", connect);
document.addEventListener("theme", () => shown && draw());
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => shown && draw());
addEventListener("resize", () => shown && draw());
byId("pause").addEventListener("click", () => {
  paused = !paused;
  byId("pause").setAttribute("aria-pressed", paused);
  byId("pause").textContent = paused ? "Resume" : "Pause";
  connect();
});
byId("live-model").addEventListener("change", () => {
  stream?.abort();
  stream = null;
  forget();
  connect();
});
for (const details of document.querySelectorAll("#live details.table")) details.addEventListener("toggle", draw);
setInterval(() => stream && busyLately() && draw(), 1000); // time goes on where nothing happens

const now = () => performance.now() / 1000 + offset;
const busyLately = () => steps.length > 0 && now() - steps.at(-1).time_s < SECONDS + 2;

async function connect() {
  const wanted = shown && !paused && !document.hidden;
  if (!wanted) {
    stream?.abort();
    stream = null;
    return;
  }
  if (stream) return;
  const own = new AbortController();
  stream = own;
  try {
    const model = byId("live-model").value;
    const query = new URLSearchParams({ stream: "true", ...(model ? { model } : {}) });
    const response = await request(`v1/redline/live?${query}`, { signal: own.signal });
    for await (const event of events(response)) take(event);
  } catch (error) {
    if (error.name === "AbortError") return;
    note(error instanceof ApiError ? error.message : "The connection was lost.");
  }
  if (stream !== own) return;
  stream = null;
  if (shown) setTimeout(connect, AGAIN_MS);
}

function note(text) {
  byId("live-note").textContent = text;
}

function forget() {
  seen = null;
  steps = [];
  decisions = [];
}

function take(event) {
  const another = seen && (event.next_event < seen.next_event || event.model !== seen.model);
  if (another) forget(); // another engine, or another process
  seen = event;
  offset = event.time_s - performance.now() / 1000;
  const last = steps.at(-1)?.number ?? -1;
  for (const [number, time_s, decode, prefill, , , least_s] of event.steps) {
    if (number > last) steps.push({ number, time_s, decode, prefill, drafts: 0, accepted: 0, least_s });
  }
  for (const [number, drafts, accepted] of event.drafts) {
    const step = steps.findLast((each) => each.number === number);
    if (step) Object.assign(step, { drafts, accepted });
  }
  steps = steps.slice(-KEPT_STEPS);
  const newest = decisions.at(-1)?.time_s ?? -Infinity;
  decisions = [...decisions, ...event.decisions.filter((each) => each.time_s > newest)].slice(-KEPT_DECISIONS);
  draw();
}

function draw() {
  if (!seen || byId("live").hidden) return;
  note(`${seen.model}${seen.status === "ok" ? "" : ` · ${seen.status}`}`);
  const bins = perSecond();
  drawTiles(bins);
  drawThroughput(bins);
  drawBatches();
  drawLatency("ttft", "Time to first token");
  drawLatency("tpot", "Time per output token");
  drawCaches();
  drawRequests();
  drawDecisions();
}

// Tokens of each of the last whole seconds, and the seconds that the same work takes at the roofline.
function perSecond() {
  const end = Math.floor(now()) - 1;
  const bins = Array.from({ length: SECONDS }, () => ({ decode: 0, prefill: 0, least_s: 0, known: false }));
  for (const step of steps) {
    const bin = bins[SECONDS - 1 - (end - Math.floor(step.time_s))];
    if (!bin) continue;
    bin.decode += step.decode + step.accepted;
    bin.prefill += step.prefill;
    bin.least_s += step.least_s ?? 0;
    bin.known ||= step.least_s !== null;
  }
  return bins;
}

// The rates of the last few seconds.
function lately(bins, seconds = 5) {
  const whole = bins.slice(-seconds);
  const sum = (value) => whole.reduce((total, bin) => total + value(bin), 0);
  return { decode: sum((bin) => bin.decode) / seconds, prefill: sum((bin) => bin.prefill) / seconds };
}

// The least time of the latest steps over the time that they took; steps behind a pause took no longer than usual.
function roofShare() {
  const latest = steps.slice(-200).filter((step) => step.least_s !== null);
  if (latest.length < 3 || now() - latest.at(-1).time_s > SECONDS) return null;
  const gaps = latest.slice(1).map((step, place) => step.time_s - latest[place].time_s);
  const usual = [...gaps].sort((a, b) => a - b)[gaps.length >> 1];
  const took = gaps.reduce((sum, gap) => sum + Math.min(gap, 4 * usual), 0);
  const least = latest.slice(0, -1).reduce((sum, step) => sum + step.least_s, 0);
  return took > 0 ? Math.min(1, least / took) : null;
}

function drawTiles(bins) {
  const { counts, latency } = seen;
  const rates = lately(bins);
  const share = roofShare();
  const times = (name) => latency[name].percentiles;
  const tiles = [
    ["Running", count(counts.running), `of ${count(counts.max_batch)}`],
    ["Waiting", count(counts.waiting), waitingNote(counts)],
    ["Generated", count(rates.decode), "tokens/s"],
    ["Prompts", count(rates.prefill), "tokens/s"],
    ["Roofline", share === null ? "–" : percent(share), "of the ceiling"],
    ["First token", duration(times("ttft").p50), `p99 ${duration(times("ttft").p99)}`],
    ["Per token", duration(times("tpot").p50), `p99 ${duration(times("tpot").p99)}`],
    ["K/V in use", percent(counts.kv_usage, counts.kv_usage < 0.1 ? 1 : 0), "of all blocks"],
    ["Prefix hits", hits(counts.prefix_hits, counts.prefix_queries), "of prompts"],
    ["Drafts", hits(counts.accepted_tokens, counts.draft_tokens), counts.draft_tokens ? "accepted" : "nothing is guessed"],
  ];
  const parts = ([name, value, beside]) => [
    make("dt", {}, name),
    make("dd", { className: "value" }, value),
    make("dd", { className: "beside" }, beside),
  ];
  byId("tiles").replaceChildren(...tiles.map((tile) => make("div", { className: "tile" }, ...parts(tile))));
}

function waitingNote({ preempted, preemptions }) {
  if (preempted) return `${count(preempted)} preempted`;
  return preemptions ? `${count(preemptions)} preempted so far` : "in the queue";
}

const hits = (part, whole) => (whole ? percent(part / whole) : "–");

const plotOf = (id) => byId(id).querySelector(".plot");

function fillTable(id, header, rows) {
  const details = byId(id).querySelector("details.table");
  if (details.open) details.querySelector(".scroll").replaceChildren(table(header, rows()));
}

function drawThroughput(bins) {
  const rates = bins.map((bin) => bin.decode);
  const roof = bins.map((bin) => (bin.known && bin.decode ? bin.decode / bin.least_s : null));
  const known = steps.some((step) => step.least_s !== null);
  const most = Math.max(...rates);
  const label = `Generated tokens per second over the last minute: now ${count(lately(bins).decode)}, at most ${count(most)}`;
  lines(plotOf("throughput"), { label, rates, roof });
  const tip = steps.length && !known ? "Run redline hardware once to see the roofline of this machine." : "";
  byId("throughput-note").textContent = tip || "Generated tokens per second, last minute";
  const roofline = known ? [["roof", "the same work at the roofline"]] : [];
  legend(byId("throughput-legend"), [["decode", "generated"], ...roofline]);
  fillTable("throughput", ["Seconds ago", "Generated", "Prompt tokens", "At the roofline"], () =>
    bins
      .map((bin, place) => [SECONDS - place, bin.decode, bin.prefill, roof[place] === null ? "–" : count(roof[place])])
      .filter((row) => row[1] || row[2])
      .reverse()
      .map((row) => row.map(String)),
  );
}

function drawBatches() {
  const bars = steps.slice(-STEPS).map((step) => ({ decode: step.decode, prefill: step.prefill, draft: step.drafts }));
  const last = bars.at(-1) ?? { decode: 0, prefill: 0, draft: 0 };
  const label = `Tokens of the latest steps; the last one had ${last.decode} of decodes, ${last.prefill} of prompts, ${last.draft} drafts`;
  stacks(plotOf("batches"), { label, bars, kinds: ["decode", "prefill", "draft"], places: STEPS });
  const mean = typicalStep();
  byId("batches-note").textContent = `Tokens of each step${mean === null ? "" : ` · a step takes ${duration(mean)}`}`;
  legend(byId("batches-legend"), [["decode", "decode"], ["prefill", "prefill"], ["draft", "draft"]]);
  fillTable("batches", ["Step", "Decode", "Prefill", "Draft", "Accepted"], () =>
    steps.slice(-STEPS).reverse().map((step) =>
      [step.number, step.decode, step.prefill, step.drafts, step.accepted].map(String)),
  );
}

function typicalStep() {
  const latest = steps.slice(-STEPS);
  const gaps = latest.slice(1).map((step, place) => step.time_s - latest[place].time_s).sort((a, b) => a - b);
  return gaps.length ? gaps[gaps.length >> 1] : null;
}

function drawLatency(id, name) {
  const { count: number, percentiles, bars } = seen.latency[id];
  const marks = Object.entries(percentiles).filter(([, value]) => value !== null);
  const told = marks.map(([each, value]) => `${each} ${duration(value)}`).join(" · ");
  const label = `${name} of the latest ${number} requests. ${told}`;
  histogram(plotOf(id), { label, bars, marks: marks.filter(([each]) => each !== "p90") });
  byId(`${id}-note`).textContent = number ? told : "No request has ended yet";
  fillTable(id, ["From", "To", "Requests"], () =>
    bars.map(([low, high, each]) => [duration(low), high === null ? "more" : duration(high), String(each)]));
}

function drawCaches() {
  const box = byId("caches");
  while (box.children.length > seen.cache.length) box.lastElementChild.remove();
  while (box.children.length < seen.cache.length) box.append(cacheFigure());
  seen.cache.forEach((pool, place) => drawCache(box.children[place], pool, seen.cache.length > 1));
}

function cacheFigure() {
  const caption = make("figcaption", {}, make("h2", {}), make("p", { className: "note" }));
  const canvas = make("canvas", { role: "img" });
  return make("figure", { className: "cache" }, caption, make("div", { className: "cells" }, canvas),
    make("ul", { className: "legend" }));
}

function drawCache(figure, pool, several) {
  const window = several ? (pool.window ? `, window of ${pool.window}` : ", all tokens") : "";
  figure.querySelector("h2").textContent = `K/V cache${window}`;
  const drawn = pool.runs.reduce((sum, [, length]) => sum + length, 0) * pool.blocks_per_cell;
  const rest = Math.max(0, pool.num_blocks - drawn);
  const each = pool.blocks_per_cell > 1 ? `, ${pool.blocks_per_cell} to a square` : "";
  const evicted = seen.counts.evictions ? ` · ${count(seen.counts.evictions)} evicted so far` : "";
  const more = rest ? ` · ${count(rest)} more are free and not drawn` : "";
  figure.querySelector(".note").textContent =
    `${count(pool.num_blocks)} blocks of ${pool.block_size} tokens${each}${more}${evicted}`;
  const told = STATES.map((state) => `${count(pool.counts[state])} ${state}`);
  const canvas = figure.querySelector("canvas");
  canvas.setAttribute("aria-label", `Blocks of the cache: ${told.join(", ")}`);
  cells(canvas, pool.runs, STATES);
  legend(figure.querySelector(".legend"), STATES.map((state, place) => [state, told[place]]));
}

function drawRequests() {
  const rows = seen.requests.map((each) => [
    make("code", {}, each.request_id),
    make("span", { className: `state ${each.state}` }, each.state),
    count(each.prompt_tokens),
    count(each.cached_tokens),
    count(each.computed_tokens),
    count(each.output_tokens),
    count(each.num_choices),
    count(each.preemptions),
    duration(each.age_s),
  ]);
  const header = ["Request", "State", "Prompt", "Cached", "Computed", "Generated", "Choices", "Preempted", "Age"];
  const made = rows.length ? [Object.assign(table(header, rows), { className: "requests" })] : [make("p", { className: "note" }, "Nothing runs or waits.")];
  if (seen.num_others) made.push(make("p", { className: "note" }, `${count(seen.num_others)} of other keys.`));
  byId("requests").replaceChildren(...made);
}

function drawDecisions() {
  const items = [...decisions].reverse().map((each) =>
    make(
      "li",
      { className: `decision ${each.kind}` },
      make("span", { className: "ago" }, `${duration(Math.max(0, now() - each.time_s))} ago`),
      make("code", {}, each.request_id),
      make("span", {}, each.text),
    ));
  byId("decisions").replaceChildren(...items);
}
