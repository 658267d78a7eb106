// Runs before anything is drawn, so that the page does not flash in the other colours.
"use strict";

const THEMES = ["auto", "light", "dark"];

function savedTheme() {
  try {
    const saved = localStorage.getItem("redline.theme");
    return THEMES.includes(saved) ? saved : "auto";
  } catch {
    return "auto"; // storage may be forbidden
  }
}

function applyTheme(theme) {
  document.documentElement.dataset.theme = theme;
  try {
    localStorage.setItem("redline.theme", theme);
  } catch {
    // then it lasts until the page is closed
  }
  document.dispatchEvent(new CustomEvent("theme"));
}

applyTheme(savedTheme());

document.addEventListener("DOMContentLoaded", () => {
  const button = document.getElementById("theme-button");
  const label = () => {
    button.textContent = `Theme: ${document.documentElement.dataset.theme}`;
  };
  button.addEventListener("click", () => {
    const next = THEMES.indexOf(document.documentElement.dataset.theme) + 1;
    applyTheme(THEMES[next % THEMES.length]);
    label();
  });
  label();
});
