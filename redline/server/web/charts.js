// Three kinds of pictures as plain SVG: lines over time, stacked bars, a histogram. Colours are in live.css.

import { count, duration, make, svg } from "./dom.js";

const HEIGHT = 180;
const LABEL_WIDTH = 64;
const MARGIN = { top: 10, right: 10, bottom: 24, left: 46 };

// A drawing area of the width that there is, with a label that says in words what it shows.
function area(plot, label) {
  const width = Math.max(240, plot.clientWidth);
  const picture = svg("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, height: HEIGHT, role: "img", "aria-label": label });
  plot.replaceChildren(picture);
  return { picture, left: MARGIN.left, right: width - MARGIN.right, top: MARGIN.top, bottom: HEIGHT - MARGIN.bottom };
}

// Round steps up to a round end that is not below `most`.
function ticks(most, wanted = 3) {
  const rough = Math.max(most, 1e-9) / wanted;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((each) => each * power).find((each) => each >= rough * 0.999);
  const end = Math.ceil(most / step - 1e-9) || 1;
  return Array.from({ length: end + 1 }, (_, place) => place * step);
}

function yAxis(to, most, name = count) {
  const marks = ticks(most);
  const y = (value) => to.bottom - (value / marks.at(-1)) * (to.bottom - to.top);
  for (const mark of marks) {
    to.picture.append(
      svg("line", { x1: to.left, x2: to.right, y1: y(mark), y2: y(mark), class: mark ? "grid" : "axis" }),
      svg("text", { x: to.left - 8, y: y(mark) + 4, class: "tick right" }, name(mark)),
    );
  }
  return y;
}

function xLabel(to, x, text, side = "middle") {
  to.picture.append(svg("text", { x, y: to.bottom + 17, class: `tick ${side}` }, text));
}

const path = (points) => points.map(([x, y], place) => `${place ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`).join("");

// Rates per second over the last `seconds`; `roof` has null where nothing ran, or nothing is known.
export function lines(plot, { label, rates, roof }) {
  const to = area(plot, label);
  const most = Math.max(10, ...rates, ...roof.map((each) => each ?? 0));
  const y = yAxis(to, most);
  const x = (place) => to.left + ((place + 0.5) / rates.length) * (to.right - to.left);
  const points = rates.map((rate, place) => [x(place), y(rate)]);
  const ground = [[x(rates.length - 1), to.bottom], [x(0), to.bottom]];
  to.picture.append(svg("path", { d: `${path([...points, ...ground])}Z`, class: "fill decode" }));
  to.picture.append(svg("path", { d: path(points), class: "line decode" }));
  for (const run of runs(roof)) {
    const flat = run.flatMap(([place, rate]) => [[x(place - 0.5), y(rate)], [x(place + 0.5), y(rate)]]);
    to.picture.append(svg("path", { d: path(flat), class: "line roof" }));
  }
  xLabel(to, to.left, `${rates.length} s ago`, "left");
  xLabel(to, to.right, "now", "right");
}

// Neighbours that are not null, as [place, value].
function runs(values) {
  const found = [[]];
  values.forEach((value, place) => (value === null ? found.push([]) : found.at(-1).push([place, value])));
  return found.filter((run) => run.length);
}

// One bar per step, from `kinds` of tokens on top of each other: newest on the right.
export function stacks(plot, { label, bars, kinds, places }) {
  const to = area(plot, label);
  const y = yAxis(to, Math.max(4, ...bars.map((bar) => kinds.reduce((sum, kind) => sum + bar[kind], 0))));
  const width = (to.right - to.left) / places;
  bars.forEach((bar, place) => {
    const x = to.right - (bars.length - place) * width;
    let below = 0;
    for (const kind of kinds.filter((each) => bar[each])) {
      const [low, high] = [y(below), y(below + bar[kind])];
      below += bar[kind];
      const size = { x: x.toFixed(1), y: high, width: Math.max(1, width - 1).toFixed(1), height: low - high };
      to.picture.append(svg("rect", { ...size, class: `bar ${kind}` }));
    }
  });
  xLabel(to, to.left, `${places} steps`, "left");
  xLabel(to, to.right, "latest", "right");
}

// Bars of [from, to, count], wide as their neighbours: the bounds grow, so the axis is logarithmic.
export function histogram(plot, { label, bars, marks }) {
  const to = area(plot, label);
  const y = yAxis(to, Math.max(3, ...bars.map((bar) => bar[2])));
  const places = Math.max(bars.length, 8);
  const width = (to.right - to.left) / places;
  const start = to.left + ((places - bars.length) / 2) * width;
  bars.forEach(([low, , number], place) => {
    const x = start + place * width;
    const size = { x: x + 1, y: y(number), width: width - 2, height: to.bottom - y(number) };
    to.picture.append(svg("rect", { ...size, class: "bar decode" }));
    if (place % Math.ceil(LABEL_WIDTH / width) === 0) xLabel(to, x, duration(low));
  });
  marks.forEach(([name, value], row) => {
    const place = bars.findIndex(([low, high]) => value > low && (high === null || value <= high));
    if (place < 0) return;
    const [low, high] = bars[place];
    const x = start + (place + (high === null ? 0.5 : (value - low) / (high - low))) * width;
    to.picture.append(svg("line", { x1: x, x2: x, y1: to.top, y2: to.bottom, class: "mark" }));
    const beside = x + 36 > to.right ? { x: x - 4, class: "halo right" } : { x: x + 4, class: "halo" };
    to.picture.append(svg("text", { ...beside, y: to.top + 8 + row * 14 }, name));
  });
}

// The blocks of a cache as squares, row by row.
export function cells(canvas, runs, names) {
  const style = getComputedStyle(canvas);
  const total = runs.reduce((sum, [, length]) => sum + length, 0);
  const width = Math.max(200, canvas.parentElement.clientWidth);
  const size = total > 1500 ? 7 : total > 600 ? 9 : 12;
  const columns = Math.floor(width / size);
  const height = Math.ceil(total / columns) * size;
  const scale = devicePixelRatio || 1;
  canvas.width = width * scale;
  canvas.height = height * scale;
  canvas.style.height = `${height}px`;
  const context = canvas.getContext("2d");
  context.scale(scale, scale);
  let place = 0;
  for (const [state, length] of runs) {
    context.fillStyle = style.getPropertyValue(`--${names[state]}`);
    for (const end = place + length; place < end; place++) {
      context.fillRect((place % columns) * size, Math.floor(place / columns) * size, size - 1.5, size - 1.5);
    }
  }
}

export function legend(list, entries) {
  const items = entries.map(([kind, text]) => make("li", {}, make("i", { className: `swatch ${kind}` }), text));
  list.replaceChildren(...items);
}
