// Asks the device once a second how the run goes, and says clearly when it does not answer.

import { CameraCard } from "./camera.js";
import { EventList } from "./events.js";
import { clock, duration } from "./format.js";
import { Graph } from "./graph.js";
import { showRun, showStages } from "./run.js";
import { askJson, LoggedOut, pause } from "./server.js";

const POLL_MS = 1000;
const TICK_MS = 250;
const UNREACHABLE_AFTER = 2; // failed questions in a row

const notice = document.getElementById("notice");
const spoken = document.getElementById("spoken");
const overall = document.getElementById("overall");
const events = new EventList();
const latencyGraph = new Graph(document.getElementById("latency-graph"), {
  lines: [{ name: "p50", unit: "ms" }, { name: "p95", unit: "ms" }], height: 150, label: "Milliseconds from capture to result",
});
let cards = [];
let run = null;
let samples = [];
let newestSample = 0;
let failures = 0;
let answeredAt = null; // Date.now() of the last answer

const reachable = () => failures < UNREACHABLE_AFTER;

async function poll() {
  const status = await askJson("/status.json");
  if (!reachable()) spoken.textContent = "The device answers again";
  failures = 0;
  answeredAt = Date.now();
  if (status.run !== run || status.cameras.length !== cards.length) begin(status);
  showRun(status);
  showStages(status.latency_ms);
  const changes = status.cameras.map((camera, index) => cards[index].show(camera, { reachable: true })).filter(Boolean);
  if (changes.length) spoken.textContent = changes.join(". ");
  showNotice(status);
  await events.update(status);
  await updateGraphs();
}

function begin(status) {
  run = status.run;
  samples = [];
  newestSample = 0;
  events.reset();
  cards.forEach((card) => card.picture.close());
  cards = status.cameras.map((camera) => new CameraCard(camera.camera));
  const place = document.getElementById("cameras");
  place.classList.toggle("many", cards.length > 1);
  place.classList.toggle("crowd", cards.length > 4);
  place.replaceChildren(...cards.map((card) => card.card));
}

async function updateGraphs() {
  const history = await askJson(`/history.json?since=${newestSample}`);
  samples = [...samples, ...history.samples].slice(-history.kept);
  newestSample = history.newest;
  const perMinute = Math.round(60 / history.every_s);
  const span = Math.min(history.kept, perMinute * Math.max(1, Math.ceil(samples.length / perMinute)));
  cards.forEach((card, index) => {
    card.graph.draw([samples.map((sample) => sample[1]?.[index] ?? null)], span, history.every_s);
  });
  latencyGraph.draw([samples.map((sample) => sample[2]), samples.map((sample) => sample[3])], span, history.every_s);
}

function showNotice(status) {
  document.body.classList.remove("old");
  setOverall(status.problem ? "lost" : "live", status.problem ? "trouble" : "running");
  setNotice(status.problem ? `Trouble on the device: ${status.problem}.` : "", false);
}

function showUnreachable() {
  if (failures === UNREACHABLE_AFTER) spoken.textContent = "The device does not answer";
  document.body.classList.add("old");
  cards.forEach((card) => card.showUnknown());
  setOverall("lost", "no answer");
  const since = answeredAt === null ? "" : ` for ${duration((Date.now() - answeredAt) / 1000)}; what is shown is from ${clock(answeredAt / 1000)}`;
  setNotice(`The device does not answer${since}. Trying again.`, true);
}

function setOverall(state, word) {
  overall.dataset.state = state;
  overall.querySelector(".word").textContent = word;
}

function setNotice(text, bad) {
  notice.hidden = !text;
  notice.classList.toggle("bad", bad);
  if (notice.textContent !== text) notice.textContent = text;
}

async function keepPolling() {
  for (;;) {
    try {
      await poll();
    } catch (error) {
      if (error instanceof LoggedOut) {
        location.assign("/login");
        return;
      }
      failures += 1;
      if (!reachable()) showUnreachable();
    }
    await pause(POLL_MS);
  }
}

setInterval(() => cards.forEach((card) => card.tick({ reachable: reachable() })), TICK_MS);
keepPolling();
