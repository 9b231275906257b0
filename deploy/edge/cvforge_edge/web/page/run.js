// Facts about the run: model, latency of the stages, memory, outputs.

import { clock, decimal, duration, words } from "./format.js";

const STAGES = {
  decode: "decoding", queue: "frame waits", wait: "model waits", predict: "model", steps: "rules", write: "outputs", age: "capture to result",
};
const PARTS = { prepare: "picture to input", network: "network", finish: "outputs to result" };
const LEVELS = ["ok", "notice", "drift"];

export function showRun(status) {
  const model = status.model || "CVForge camera";
  const title = status.version ? `${model} · version ${status.version}` : model;
  document.title = `${status.problem ? "! " : ""}${model} · CVForge`;
  document.getElementById("model").textContent = title;
  document.getElementById("about").textContent = status.backend;
  const facts = [["running for", duration(status.running_s)]];
  if (status.started_unix_s) facts.push(["since", `${new Date(status.started_unix_s * 1000).toLocaleDateString()} ${clock(status.started_unix_s)}`]);
  facts.push(["memory", status.memory_mb === null ? "–" : `${decimal(status.memory_mb)} MB`]);
  facts.push(["streams open", String(status.streams)]);
  document.getElementById("run").replaceChildren(...facts.flatMap(([name, value]) => [made("dt", name), made("dd", value)]));
  document.getElementById("outputs").replaceChildren(...status.outputs.map((line) => made("li", line)));
  showDrift(status.gauges.filter((gauge) => gauge.name === "cvforge_drift_level"));
}

// One line a source: its worst level, and what is not as in the reference.
function showDrift(gauges) {
  const sources = [...new Set(gauges.map((gauge) => gauge.labels.source))];
  const lines = sources.map((source) => {
    const own = gauges.filter((gauge) => gauge.labels.source === source);
    const badge = made("span", LEVELS[Math.max(...own.map((gauge) => gauge.value))]);
    badge.className = "badge";
    badge.dataset.level = badge.textContent;
    const different = own.filter((gauge) => gauge.value > 0).map((gauge) => words(gauge.labels.quantity));
    const line = made("li", "");
    line.append(made("span", different.length ? `${source}: ${different.join(", ")}` : source), badge);
    return line;
  });
  document.getElementById("drift").hidden = lines.length === 0;
  document.querySelector("#drift ul").replaceChildren(...lines);
}

export function showStages(latency) {
  const rows = Object.entries(latency).map(([stage, figures]) => {
    const row = document.createElement("tr");
    const head = made("th", PARTS[stage] ?? STAGES[stage] ?? stage);
    row.className = stage in PARTS ? "part" : "";
    head.scope = "row";
    row.append(head, made("td", decimal(figures.p50)), made("td", decimal(figures.p95)), made("td", decimal(figures.p99)));
    return row;
  });
  document.querySelector("#stages tbody").replaceChildren(...rows);
}

function made(name, text) {
  const element = document.createElement(name);
  element.textContent = text;
  return element;
}
