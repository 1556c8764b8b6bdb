"use strict";
// Each figure was drawn when its neighbours were not there yet, or while it was hidden.
const fit = (part) => {
  part.querySelectorAll(".js-plotly-plot").forEach((plot) => {
    if (plot.offsetParent !== null) Plotly.Plots.resize(plot);
  });
};
const select = document.getElementById("run-select");
const show = () => {
  for (const part of document.querySelectorAll(".per-run")) {
    part.hidden = part.dataset.run !== select.value;
    if (!part.hidden) fit(part);
  }
};
if (select) {
  select.addEventListener("change", show);
  show();
}
fit(document);
