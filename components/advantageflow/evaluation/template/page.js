// The page's curves, drawn from the data in it, and the slider that turns its pictures over from round to round.
"use strict";
const SVG = "http://www.w3.org/2000/svg", WIDTH = 520, HEIGHT = 250, LEFT = 46, RIGHT = 12, TOP = 12, BOTTOM = 30;

function add(parent, name, attributes, text) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== undefined) node.textContent = text;
  return parent.appendChild(node);
}

function ticks(low, high, most, whole) {
  const rough = (high - low) / most, power = 10 ** Math.floor(Math.log10(rough));
  let step = [1, 2, 5, 10].map((factor) => factor * power).find((one) => one >= rough);
  if (whole) step = Math.max(1, Math.round(step));
  const found = [];
  for (let at = Math.ceil(low / step - 1e-9) * step; at <= high + step * 1e-9; at += step) found.push(Number(at.toPrecision(10)));
  return found;
}

function shown(value) {
  return value === null ? "-" : Math.abs(value) >= 100 ? value.toFixed(0) : Math.abs(value) < 0.01 && value ? value.toExponential(1) : value.toFixed(3);
}

function draw(host, panel) {
  host.insertAdjacentHTML("beforeend", "<h3></h3><small class=pale></small>");
  host.querySelector("h3").textContent = panel.title;
  host.querySelector("small").textContent = panel.unit;
  const svg = add(host, "svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": panel.title });
  const points = panel.lines.flatMap((line) => line.points).filter((one) => one[1] !== null);
  const rounds = [...new Set(points.map((one) => one[0]))].sort((a, b) => a - b);
  const values = [...points.flatMap((one) => one.slice(1)), ...panel.marks.map((mark) => mark[1])].filter((one) => one !== null);
  if (panel.low !== null) values.push(panel.low);
  if (panel.high !== null) values.push(panel.high);
  let low = Math.min(...values), high = Math.max(...values), [first, last] = [rounds[0], rounds.at(-1)];
  const space = (high - low) * 0.05 || Math.abs(high) * 0.1 || 1;
  low -= low === panel.low ? 0 : space;
  high += high === panel.high ? 0 : space;
  if (first === last) { first -= 1; last += 1; }
  const x = (one) => LEFT + ((one - first) / (last - first)) * (WIDTH - LEFT - RIGHT);
  const y = (one) => HEIGHT - BOTTOM - ((one - low) / (high - low)) * (HEIGHT - TOP - BOTTOM);
  for (const at of ticks(low, high, 5, false)) {
    add(svg, "line", { class: "grid", x1: LEFT, x2: WIDTH - RIGHT, y1: y(at), y2: y(at) });
    add(svg, "text", { x: LEFT - 6, y: y(at) + 4, "text-anchor": "end" }, String(at));
  }
  for (const at of ticks(first, last, 8, true)) add(svg, "text", { x: x(at), y: HEIGHT - 14, "text-anchor": "middle" }, at);
  add(svg, "text", { x: WIDTH - RIGHT, y: HEIGHT - 2, "text-anchor": "end" }, "round");
  for (const [name, value] of panel.marks) {
    add(svg, "line", { class: "mark", x1: LEFT, x2: WIDTH - RIGHT, y1: y(value), y2: y(value) });
    add(svg, "text", { x: WIDTH - RIGHT, y: y(value) - 3, "text-anchor": "end" }, name);
  }
  const cursor = add(svg, "line", { class: "mark", y1: TOP, y2: HEIGHT - BOTTOM, visibility: "hidden" });
  const legend = host.appendChild(Object.assign(document.createElement("div"), { className: "legend" }));
  const labels = panel.lines.map((line, number) => {
    const colour = `var(--c${number % 8})`, group = add(svg, "g", {}), whole = line.points.filter((one) => one[1] !== null);
    const banded = whole.filter((one) => one.length > 2);
    const edge = (which, of) => of.map((one) => `${x(one[0])},${y(one[which])}`);
    if (banded.length > 1) add(group, "polygon", { points: [...edge(2, banded), ...edge(3, banded).reverse()].join(" "), style: `fill:${colour};opacity:.15` });
    add(group, "polyline", { points: edge(1, whole).join(" "), style: `fill:none;stroke:${colour};stroke-width:2` });
    for (const one of whole) add(group, "circle", { cx: x(one[0]), cy: y(one[1]), r: 3, style: `fill:${colour}` });
    const button = legend.appendChild(document.createElement("button")), key = button.appendChild(document.createElement("i"));
    key.className = "key";
    key.style.background = colour;
    const label = button.appendChild(document.createElement("span"));
    button.onclick = () => { group.style.display = button.classList.toggle("off") ? "none" : ""; };
    return (round) => {
      const at = line.points.find((one) => one[0] === round) ?? [round, null];
      label.textContent = `${line.name} ${shown(at[1])}` + (at.length > 2 ? ` (${shown(at[2])} to ${shown(at[3])})` : "");
    };
  });
  const tell = (round) => labels.forEach((label) => label(round));
  tell(rounds.at(-1));
  svg.onpointermove = (event) => {
    const box = svg.getBoundingClientRect(), at = ((event.clientX - box.left) / box.width) * WIDTH;
    const near = rounds.reduce((best, one) => (Math.abs(x(one) - at) < Math.abs(x(best) - at) ? one : best));
    cursor.setAttribute("x1", x(near));
    cursor.setAttribute("x2", x(near));
    cursor.setAttribute("visibility", "visible");
    tell(near);
  };
  svg.onpointerleave = () => { cursor.setAttribute("visibility", "hidden"); tell(rounds.at(-1)); };
}

const data = document.getElementById("curves");
if (data) for (const panel of JSON.parse(data.textContent)) draw(document.querySelector(".charts").appendChild(Object.assign(document.createElement("div"), { className: "chart" })), panel);
const slider = document.querySelector(".slider input");
if (slider) {
  slider.oninput = () => {
    for (const shot of document.querySelectorAll("[data-step]")) shot.hidden = shot.dataset.step !== slider.value;
    document.querySelector(".slider output").textContent = slider.dataset.names.split("\n")[slider.value];
  };
  slider.oninput();
}
