// The list of events, the newest on top.

import { clock, words } from "./format.js";
import { askJson } from "./server.js";

const SHOWN = 200;

export class EventList {
  constructor() {
    this.list = document.getElementById("events");
    this.newest = 0;
  }

  reset() {
    this.newest = 0;
    this.list.replaceChildren();
  }

  async update(status) {
    document.getElementById("event-count").textContent = status.events;
    document.getElementById("no-events").hidden = status.events > 0;
    if (status.newest_event === this.newest) return;
    const answer = await askJson(`/events.json?since=${this.newest}`);
    this.list.prepend(...answer.events.reverse().map(entry));
    while (this.list.children.length > SHOWN) this.list.lastElementChild.remove();
    this.newest = answer.newest;
  }
}

function entry(event) {
  const item = document.createElement("li");
  const time = document.createElement("time");
  time.textContent = event.unix_time_s === null ? `${event.time_s.toFixed(1)} s` : clock(event.unix_time_s);
  if (event.unix_time_s !== null) {
    const moment = new Date(event.unix_time_s * 1000);
    time.dateTime = moment.toISOString();
    time.title = moment.toLocaleString();
  }
  const who = [event.label, event.track_id === null ? null : `#${event.track_id}`].filter(Boolean).join(" ");
  const value = event.value === null ? "" : ` (${Number(event.value.toFixed(2))})`;
  const what = document.createElement("span");
  what.textContent = `${who ? `${who}: ` : ""}${words(event.kind)}${value}`;
  const where = document.createElement("small");
  where.textContent = `${event.rule} · ${event.source}`;
  item.append(time, what, where);
  return item;
}
