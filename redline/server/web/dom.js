// Small helpers around the DOM. Text becomes text nodes, never HTML.

export const byId = (id) => document.getElementById(id);

// An element with properties and children; a child is an element or text, null is left out.
export function make(name, properties = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key.includes("-") || key === "role") element.setAttribute(key, value);
    else element[key] = value;
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

const SVG = "http://www.w3.org/2000/svg";

export function svg(name, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

export function table(header, rows) {
  const cells = (values, name) => values.map((value) => make(name, name === "th" ? { scope: "col" } : {}, value));
  return make(
    "table",
    {},
    make("thead", {}, make("tr", {}, ...cells(header, "th"))),
    make("tbody", {}, ...rows.map((row) => make("tr", {}, ...cells(row, "td")))),
  );
}

export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 0.001) return `${Math.round(seconds * 1e6)} µs`;
  if (seconds < 0.01) return `${(seconds * 1e3).toFixed(1)} ms`;
  if (seconds < 1) return `${Math.round(seconds * 1e3)} ms`;
  return seconds < 100 ? `${seconds.toFixed(seconds < 10 ? 2 : 1)} s` : `${Math.round(seconds)} s`;
}

export const count = (number) => Math.round(number).toLocaleString("en");

export const percent = (share, digits = 0) => `${(share * 100).toFixed(digits)} %`;
