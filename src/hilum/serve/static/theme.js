// Dark until the reader asks for light, which this browser remembers; the class js hides what pages without scripts need.
"use strict";
(() => {
  const root = document.documentElement;
  root.classList.add("js");
  const set = theme => { root.dataset.theme = theme; };
  set(localStorage.getItem("hilum-theme") || "dark");
  addEventListener("DOMContentLoaded", () => {
    const button = document.getElementById("theme");
    const say = () => { button.textContent = root.dataset.theme === "dark" ? "Light" : "Dark"; };
    button.hidden = false;
    say();
    button.addEventListener("click", () => {
      set(root.dataset.theme === "dark" ? "light" : "dark");
      localStorage.setItem("hilum-theme", root.dataset.theme);
      say();
    });
  });
})();
