"use strict";
const cards = Array.from(document.querySelectorAll(".card"));
const search = document.getElementById("search");
const kind = document.getElementById("kind");
const count = document.getElementById("count");
function show() {
  const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
  let shown = 0;
  for (const card of cards) {
    const fits = (!kind.value || card.dataset.kind === kind.value) && words.every((word) => card.dataset.text.includes(word));
    card.hidden = !fits;
    shown += fits;
  }
  count.textContent = shown === cards.length ? "" : `${shown} shown`;
}
for (const name of [...new Set(cards.map((card) => card.dataset.kind))].sort()) {
  kind.add(new Option(name, name));
}
search.addEventListener("input", show);
kind.addEventListener("change", show);
