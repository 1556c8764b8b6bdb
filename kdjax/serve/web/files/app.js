"use strict";

const POLL = 500;
const byId = (id) => document.getElementById(id);

// texts only: what a file is called is shown, and never read as HTML
function add(parent, kind, text, name) {
  const element = document.createElement(kind);
  if (text) element.textContent = text;
  if (name) element.className = name;
  parent.append(element);
  return element;
}

async function ask(address, options) {
  const answer = await fetch(address, options);
  const told = answer.status === 204 ? {} : await answer.json();
  if (answer.ok) return told;
  const error = new Error(typeof told.detail === "string" ? told.detail : answer.statusText);
  error.wait = answer.status === 503 ? 1000 * Number(answer.headers.get("Retry-After") || 2) : 0;
  throw error;
}

const sleep = (time) => new Promise((done) => setTimeout(done, time));

function show(parts, job) {
  const words = {
    waiting: job.before ? `waiting, ${job.before} before it` : "waiting",
    working: job.frames ? `${job.frames} frames looked through` : "begun",
  };
  parts.state.textContent = words[job.state] || "";
}

function finish(parts, job) {
  parts.progress.remove();
  parts.stop.remove();
  if (job.state === "failed") {
    parts.state.textContent = `failed: ${job.problem}`;
    return;
  }
  const input = job.result[0];
  parts.state.textContent = "";
  add(parts.state, "span", input.verdict, `verdict ${input.verdict.replaceAll(" ", "_")}`);
  const score = input.score === null ? "" : ` (score ${input.score.toFixed(3)})`;
  add(parts.state, "span", `: ${input.reason}${score}`);
  byId("said").textContent = `${job.name}: ${input.verdict}`;
  const frame = add(parts.box, "iframe");
  frame.title = `What was found in ${job.name}`;
  frame.setAttribute("sandbox", "");
  // without a face there is little to show
  if (job.result.length < 2) frame.className = "short";
  frame.src = `/api/jobs/${job.id}/page`;
  const link = add(add(parts.box, "p"), "a", "open on its own");
  link.href = frame.src;
  link.target = "_blank";
  link.rel = "noopener";
}

async function send(file, parts) {
  const words = new URLSearchParams({
    name: file.name,
    any_quality: byId("any_quality").checked,
    cropped: byId("cropped").checked,
  });
  const kind = /^(image|video)\//.test(file.type) ? file.type : "application/octet-stream";
  for (;;) {
    try {
      const options = { method: "POST", body: file, headers: { "Content-Type": kind } };
      return await ask(`/api/jobs?${words}`, options);
    } catch (error) {
      if (!error.wait) throw error;
      parts.state.textContent = "waiting: other files are being judged";
      await sleep(error.wait);
    }
  }
}

async function judge(file) {
  const box = document.createElement("section");
  box.className = "job";
  byId("jobs").prepend(box);
  add(box, "h2", file.name);
  const parts = { box, state: add(box, "p", "on its way"), progress: add(box, "progress") };
  parts.progress.setAttribute("aria-label", `Progress of ${file.name}`);
  parts.stop = add(box, "button", "stop");
  let job = null;
  let stopped = false;
  parts.stop.addEventListener("click", () => {
    stopped = true;
    if (job) ask(`/api/jobs/${job.id}`, { method: "DELETE" }).catch(() => {});
    box.remove();
  });
  try {
    job = await send(file, parts);
    while (!stopped && (job.state === "waiting" || job.state === "working")) {
      show(parts, job);
      await sleep(POLL);
      if (!stopped) job = await ask(`/api/jobs/${job.id}`);
    }
    if (!stopped) finish(parts, job);
  } catch (error) {
    parts.progress.remove();
    parts.stop.remove();
    parts.state.textContent = stopped ? "" : `failed: ${error.message}`;
    if (!stopped) byId("said").textContent = `${file.name} failed`;
  }
}

function begin() {
  const drop = byId("drop");
  const all = (files) => [...files].forEach(judge);
  byId("file").addEventListener("change", (event) => {
    all(event.target.files);
    event.target.value = "";
  });
  // a file dropped beside the field would otherwise take the page's place
  for (const name of ["dragover", "drop"]) {
    document.addEventListener(name, (event) => event.preventDefault());
  }
  drop.addEventListener("dragover", () => drop.classList.add("over"));
  drop.addEventListener("dragleave", () => drop.classList.remove("over"));
  drop.addEventListener("drop", (event) => {
    drop.classList.remove("over");
    all(event.dataTransfer.files);
  });
  ask("/api/detector").then(
    (about) => {
      const { network, qualities, detector } = about.detector;
      byId("detector").textContent =
        `${network} of ${detector}, for ${qualities.join(", ")}; files up to ${about.limits.megabytes} MB`;
      for (const [name, chosen] of Object.entries(about.choices)) byId(name).checked = chosen;
      about.notes.forEach((note) => add(byId("notes"), "li", note));
    },
    (error) => {
      byId("detector").textContent = error.message;
    },
  );
}

begin();
