// The card of one camera: state, picture, figures, graph.

import { age, count, decimal, duration } from "./format.js";
import { Graph } from "./graph.js";
import { Picture } from "./picture.js";

const STALE_AFTER_S = 3;

export class CameraCard {
  constructor(number) {
    const card = document.getElementById("camera").content.cloneNode(true).firstElementChild;
    this.card = card;
    this.find = (selector) => card.querySelector(selector);
    this.state = null;
    this.image = this.find(".picture");
    this.picture = new Picture(this.image, number);
    this.graph = new Graph(this.find(".graph"), {
      lines: [{ name: "frames/s", unit: "" }], height: 84, label: "Frames a second over the last minutes",
    });
    this.find(".large").addEventListener("click", (event) => this.enlarge(event.currentTarget));
  }

  enlarge(button) {
    const large = this.card.classList.toggle("wide");
    button.setAttribute("aria-pressed", String(large));
    button.textContent = large ? "Reduce" : "Enlarge";
    if (large) this.card.scrollIntoView({ block: "nearest" });
  }

  // Returns what to say aloud when the state has changed, or null.
  show(camera, { reachable }) {
    const before = this.state;
    this.state = camera.state;
    this.find("h2").textContent = camera.name;
    this.find(".save").href = `/snapshot/${camera.camera}.jpg`;
    this.image.alt = `Newest picture of ${camera.name} with what the model found`;
    const badge = this.find(".badge");
    badge.dataset.state = camera.state;
    this.find(".word").textContent = camera.state;
    this.find(".since").textContent = camera.state_for_s === null ? "" : `for ${duration(camera.state_for_s)}`;
    this.figure("fps", decimal(camera.fps));
    this.figure("latency", decimal(camera.age_ms));
    this.figure("frames", count(camera.frames));
    this.figure("dropped", count(camera.dropped));
    this.figure("reconnects", count(camera.reconnects));
    this.figure("hanging", count(camera.hanging));
    this.find('[data-figure="hanging"]').parentElement.hidden = camera.hanging === 0;
    this.picture.want(reachable && camera.state !== "closed" && camera.state !== "lost");
    return before !== null && before !== camera.state ? `${camera.name}: ${camera.state}` : null;
  }

  // While the device does not answer nobody knows how the camera is.
  showUnknown() {
    this.find(".badge").dataset.state = "unknown";
    this.find(".word").textContent = `was ${this.state}`;
    this.find(".since").textContent = "";
    this.picture.want(false);
  }

  figure(name, text) {
    this.find(`[data-figure="${name}"]`).textContent = text;
  }

  // Called several times a second: an age must grow also while nothing comes.
  tick({ reachable }) {
    const seconds = this.picture.ageSeconds();
    this.find(".waiting").hidden = seconds !== null;
    if (seconds === null) return;
    const stale = !reachable || seconds > STALE_AFTER_S || this.state === "lost" || this.state === "stalled";
    this.card.classList.toggle("stale", stale);
    this.find(".age").textContent = `${age(seconds)} ago`;
    const note = this.find(".stale-note");
    note.hidden = !stale;
    note.textContent = stale ? `Not live: ${age(seconds)} old` : "";
  }
}
