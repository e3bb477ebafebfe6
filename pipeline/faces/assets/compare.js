"use strict";

const pairs = Array.from(document.querySelectorAll(".pair"), (pair) => ({ pair, text: pair.textContent.toLowerCase() }));

function show() {
  const words = document.getElementById("words").value.toLowerCase().split(/\s+/).filter(Boolean);
  const which = document.getElementById("which").value;
  let count = 0;
  for (const { pair, text } of pairs) {
    const fits = (!which || pair.dataset.differ === which) && words.every((word) => text.includes(word));
    pair.hidden = !fits;
    count += fits;
  }
  document.getElementById("found").textContent = `${count.toLocaleString("en")} shown`;
}

document.getElementById("words").addEventListener("input", show);
document.getElementById("which").addEventListener("change", show);
document.getElementById("tools").addEventListener("submit", (event) => event.preventDefault());
document.getElementById("pairs").addEventListener("keydown", (event) => {
  const step = { ArrowDown: 1, j: 1, ArrowUp: -1, k: -1 }[event.key];
  if (!step || event.ctrlKey || event.metaKey || event.altKey) return;
  const shown = pairs.filter(({ pair }) => !pair.hidden).map(({ pair }) => pair);
  shown[shown.indexOf(event.target.closest(".pair")) + step]?.focus();
  event.preventDefault();
});
show();
