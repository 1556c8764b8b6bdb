"use strict";
// Each figure was drawn when its neighbours were not there yet, or while it was hidden.
const fit = (part) => {
  part.querySelectorAll(".js-plotly-plot").forEach((plot) => {
    if (plot.offsetParent !== null && plot._fullLayout?.width !== plot.clientWidth) Plotly.Plots.resize(plot);
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
if (window.Plotly) fit(document);

// What is missing comes last, whichever way a table is sorted.
const sort = (table, column, descending) => {
  const body = table.tBodies[0];
  const key = (row) => {
    const cell = row.cells[column];
    const text = cell.textContent.trim();
    if (cell.dataset.value !== undefined) return Number(cell.dataset.value);
    return text === "–" ? null : text;
  };
  const order = (a, b) => {
    if (a === null || b === null) return (a === null) - (b === null);
    const less = typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b));
    return descending ? -less : less;
  };
  const keyed = [...body.rows].map((row) => [key(row), row]);
  keyed.sort((a, b) => order(a[0], b[0]));
  body.append(...keyed.map((pair) => pair[1]));
  [...table.tHead.rows[0].cells].forEach((head, place) => {
    if (place === column) head.setAttribute("aria-sort", descending ? "descending" : "ascending");
    else head.removeAttribute("aria-sort");
  });
};
for (const table of document.querySelectorAll("table.data")) {
  if (table.tBodies[0].rows.length < 2) continue;
  const heads = [...table.tHead.rows[0].cells];
  const label = document.createElement("label");
  const chosen = document.createElement("select");
  label.className = "sorter";
  label.append("Sort by ", chosen);
  chosen.add(new Option("as it came", ""));
  heads.forEach((head, column) => {
    const name = head.textContent;
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    const first = head.classList.contains("number");
    button.addEventListener("click", () => {
      const now = head.getAttribute("aria-sort");
      sort(table, column, now === null ? first : now === "ascending");
    });
    chosen.add(new Option(`${name}, ${first ? "highest" : "A"} first`, `${column} ${first ? "down" : ""}`));
  });
  const before = [...table.tBodies[0].rows];
  chosen.addEventListener("change", () => {
    const [column, way] = chosen.value.split(" ");
    if (column === "") table.tBodies[0].append(...before);
    else sort(table, Number(column), way === "down");
  });
  table.before(label);
}
// What scrolls sideways after all can be reached by keyboard.
const reach = () => {
  for (const region of document.querySelectorAll(".region")) {
    if (region.scrollWidth > region.clientWidth) region.tabIndex = 0;
    else region.removeAttribute("tabindex");
  }
};
addEventListener("resize", reach);
reach();

const zoom = document.getElementById("zoom");
if (zoom) {
  const large = zoom.querySelector("img");
  for (const picture of document.querySelectorAll("img.zoom")) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "zoomer";
    button.setAttribute("aria-label", `Enlarge: ${picture.alt}`);
    picture.before(button);
    button.append(picture);
    button.addEventListener("click", () => {
      large.src = picture.src;
      large.alt = picture.alt;
      large.className = picture.classList.contains("pixels") ? "pixels" : "";
      large.classList.toggle("wide-picture", picture.naturalWidth > 1.2 * picture.naturalHeight);
      zoom.querySelector("p").textContent = picture.alt;
      zoom.showModal();
    });
  }
  zoom.addEventListener("click", (event) => {
    if (event.target === zoom) zoom.close();
  });
}

// On paper a figure is as wide as its place there, whatever the screen was.
addEventListener("beforeprint", () => {
  for (const drawing of document.querySelectorAll(".js-plotly-plot .main-svg")) {
    const box = drawing.getBoundingClientRect();
    if (!box.width) continue;
    drawing.setAttribute("viewBox", `0 0 ${drawing.getAttribute("width")} ${drawing.getAttribute("height")}`);
    drawing.classList.add("printed");
  }
});
addEventListener("afterprint", () => {
  for (const drawing of document.querySelectorAll(".printed")) {
    drawing.removeAttribute("viewBox");
    drawing.classList.remove("printed");
  }
});
