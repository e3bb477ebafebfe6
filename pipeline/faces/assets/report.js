"use strict";

const source = new LocalSource(JSON.parse(document.getElementById("rows").textContent));
const gallery = new Gallery(source);
gallery.offer(source.facets());
gallery.restart();

/* Charts of all runs are in the page; where there are several, one of them is shown. */
const runCharts = [...document.querySelectorAll(".run")];
if (runCharts.length > 1) {
  const chooser = document.getElementById("run");
  const showRun = () => runCharts.forEach((run, at) => { run.hidden = at !== Number(chooser.value); });
  for (const run of runCharts) run.querySelector("h3").hidden = true;
  document.getElementById("run-choice").hidden = false;
  chooser.addEventListener("change", showRun);
  showRun();
}
