// A line graph of the last minutes, as SVG that takes its colours from the page.

const SVG = "http://www.w3.org/2000/svg";
const MARGIN = { left: 34, right: 6, top: 8, bottom: 18 };
const STEPS = [1, 2, 2.5, 5, 10];

export class Graph {
  // lines: [{name, unit}]; the first is drawn full, the second dashed.
  constructor(place, { lines, height, label }) {
    this.place = place;
    this.lines = lines;
    this.label = label;
    this.width = 0;
    this.height = height;
    this.svg = element("svg", { role: "img" });
    this.legend = document.createElement("div");
    this.legend.className = "legend";
    this.names = lines.map((line, index) => {
      const entry = document.createElement("span");
      entry.className = index ? "second" : "";
      entry.append(document.createElement("i"), document.createTextNode(""));
      this.legend.append(entry);
      return entry.lastChild;
    });
    place.append(...(lines.length > 1 ? [this.legend] : []), this.svg);
    this.rows = null;
    new ResizeObserver(() => this.rows && this.draw(...this.rows)).observe(place);
  }

  // columns: for each line its values, oldest first, null where there is none; span: how many values fill the width.
  draw(columns, span, everySeconds) {
    this.rows = [columns, span, everySeconds];
    this.width = Math.max(160, Math.floor(this.place.clientWidth));
    const known = columns.flat().filter((value) => value !== null);
    const step = niceStep((Math.max(...known, 0) || 1) / 2);
    const top = step * Math.max(1, Math.ceil(Math.max(...known, 0) / step));
    const inner = { width: this.width - MARGIN.left - MARGIN.right, height: this.height - MARGIN.top - MARGIN.bottom };
    const x = (index, length) => MARGIN.left + inner.width * (1 - (length - 1 - index) / Math.max(1, span - 1));
    const y = (value) => MARGIN.top + inner.height * (1 - value / top);
    this.svg.setAttribute("viewBox", `0 0 ${this.width} ${this.height}`);
    this.svg.replaceChildren(...this.grid(step, top, y), ...this.times(span * everySeconds, inner.width));
    columns.forEach((values, index) => {
      const path = element("path", { d: outline(values, x, y) });
      if (index) path.classList.add("second");
      this.svg.append(path);
    });
    this.tell(columns);
  }

  grid(step, top, y) {
    const parts = [];
    for (let value = 0; value <= top + step / 2; value += step) {
      parts.push(element("line", { class: "grid", x1: MARGIN.left, x2: this.width - MARGIN.right, y1: y(value), y2: y(value) }));
      parts.push(text(Number(value.toPrecision(3)), MARGIN.left - 5, y(value) + 4, "end"));
    }
    return parts;
  }

  times(seconds, width) {
    const baseline = this.height - 4;
    return [
      text(`${Math.round(seconds / 60)} min ago`, MARGIN.left, baseline, "start"),
      ...(this.lines.length > 1 ? [] : [text(this.lines[0].name, MARGIN.left + width / 2, baseline, "middle")]),
      text("now", MARGIN.left + width, baseline, "end"),
    ];
  }

  tell(columns) {
    const said = columns.map((values, index) => {
      const now = values.length ? values[values.length - 1] : null;
      const line = this.lines[index];
      const shown = `${line.name}: ${now === null ? "no figure" : `${now.toFixed(now < 100 ? 1 : 0)} ${line.unit}`}`;
      this.names[index].data = shown;
      return shown;
    });
    this.svg.setAttribute("aria-label", `${this.label}. Now ${said.join(", ")}`);
  }
}

function outline(values, x, y) {
  let path = "";
  let down = false;
  values.forEach((value, index) => {
    if (value !== null) path += `${down ? "L" : "M"}${x(index, values.length).toFixed(1)} ${y(value).toFixed(1)}`;
    down = value !== null;
  });
  return path;
}

function niceStep(rough) {
  const power = 10 ** Math.floor(Math.log10(rough));
  return power * STEPS.find((step) => step * power >= rough * 0.999);
}

function element(name, attributes) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

function text(content, x, y, anchor) {
  const made = element("text", { x, y, "text-anchor": anchor });
  made.textContent = content;
  return made;
}
