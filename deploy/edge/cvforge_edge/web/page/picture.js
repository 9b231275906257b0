// Shows the newest picture of a camera, as fast as this browser takes them: it asks for one when it has shown the one before.

import { ask, LoggedOut, pause } from "./server.js";

const RETRY_MS = 1000;

export class Picture {
  constructor(image, camera) {
    this.image = image;
    this.camera = camera;
    this.number = null;
    this.takenAt = null; // performance.now() when it was captured
    this.wanted = false;
    this.visible = true;
    this.closed = false;
    this.release = () => {};
    this.watcher = new IntersectionObserver((entries) => this.setVisible(entries[entries.length - 1].isIntersecting));
    this.watcher.observe(image.closest("figure"));
    this.onVisibility = () => this.wake();
    document.addEventListener("visibilitychange", this.onVisibility);
    this.run();
  }

  close() {
    this.closed = true;
    this.watcher.disconnect();
    document.removeEventListener("visibilitychange", this.onVisibility);
    this.release();
  }

  // A camera that is not live has nothing to wait for.
  want(wanted) {
    this.wanted = wanted;
    this.wake();
  }

  setVisible(visible) {
    this.visible = visible;
    this.wake();
  }

  ageSeconds() {
    return this.takenAt === null ? null : Math.max(0, (performance.now() - this.takenAt) / 1000);
  }

  get active() {
    return this.visible && !document.hidden && (this.wanted || this.number === null);
  }

  wake() {
    if (this.active) this.release();
  }

  async run() {
    while (!this.closed) {
      if (!this.active) await new Promise((resolve) => { this.release = resolve; });
      try {
        await this.load();
      } catch (error) {
        if (error instanceof LoggedOut) return;
        await pause(RETRY_MS);
      }
    }
  }

  async load() {
    const answer = await ask(`/snapshot/${this.camera}.jpg${this.number === null ? "" : `?after=${this.number}`}`);
    if (answer.status === 204) return;
    const takenAt = performance.now() - Number(answer.headers.get("X-Picture-Age-Ms"));
    const url = URL.createObjectURL(await answer.blob());
    const before = this.image.src;
    this.image.src = url;
    await this.image.decode();
    if (before) URL.revokeObjectURL(before);
    this.number = Number(answer.headers.get("X-Picture-Number"));
    this.takenAt = takenAt;
    this.image.hidden = false;
  }
}
