"use strict";
// A figure is drawn when it comes near the screen, so that a page of many opens at once; for paper all are.
{
  const draw = Plotly.newPlot;
  const waiting = new Map();
  const still = matchMedia("(pointer: coarse)").matches;
  const drawNow = (place) => {
    const [data, layout, config] = waiting.get(place);
    waiting.delete(place);
    near.unobserve(place);
    // a finger that moves over a figure scrolls the page
    draw(place, data, still ? { ...layout, dragmode: false } : layout, config);
  };
  const near = new IntersectionObserver(
    (entries) => entries.forEach((entry) => entry.isIntersecting && drawNow(entry.target)),
    { rootMargin: "600px" },
  );
  Plotly.newPlot = (name, ...rest) => {
    const place = document.getElementById(name);
    waiting.set(place, rest);
    near.observe(place);
  };
  addEventListener("beforeprint", () => {
    [...waiting.keys()].filter((place) => place.offsetParent !== null).forEach(drawNow);
  });
}
