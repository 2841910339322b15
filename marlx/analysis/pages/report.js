"use strict";
// data.curves[i]: `at` (a value's index for each of data.coordinates), `steps` [K], and for each of data.metrics
// `values` [iqm[K], low[K], high[K]] and `score` [iqm, low, high, seeds, left out] of the last evaluation; null: none.
// Of fewer seeds than data.enough these are mean, lowest and highest, and `each` is every seed's curve [S][K], else null.
// `standing` says in words how far its seeds are where they are not through; else it is empty.
const data = JSON.parse(document.getElementById("data").textContent);
const get = id => document.getElementById(id);
const DASHES = ["", "8 3", "2 2.5", "9 3 2 3"];
const W = 420, H = 250, LEFT = 50, RIGHT = 12, TOP = 8, BOTTOM = 36;
const chosen = { metric: 0, lines: data.lines, hidden: data.coordinates.map(() => new Set()), sort: null, down: true };

// ---- words and elements; whatever comes from data becomes text or a plain attribute, never markup

function make(tag, attributes, ...children) {
  const made = document.createElement(tag);
  for (const name in attributes) made.setAttribute(name, attributes[name]);
  made.append(...children);
  return made;
}

function draw(parent, tag, attributes, text = "") {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const name in attributes) made.setAttribute(name, attributes[name]);
  made.textContent = text;
  return parent.appendChild(made);
}

const four = x => x === null ? "none" : String(Number(x.toPrecision(4)));
const whole = x => x.toLocaleString("en");
const value = (curve, c) => data.coordinates[c].values[curve.at[c]];
const short = name => name.slice(name.indexOf(".") + 1);
const others = () => data.coordinates.map((_, c) => c).filter(c => c !== chosen.lines);
const place = (curve, some) => some.map(c => `${short(data.coordinates[c].name)} ${value(curve, c)}`).join(", ");

function style(index) {
  return { stroke: data.palette[index % data.palette.length], "stroke-dasharray": DASHES[index % DASHES.length] };
}

function shown() {
  return data.curves.filter(curve => curve.at.every((v, c) => !chosen.hidden[c].has(v)));
}

// ---- curves

function steps125(low, high, count) {
  const rough = (high - low) / count || 1, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map(k => k * power).find(s => s >= rough);
  const found = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + 1e-9 * step; k++) found.push(Number((k * step).toPrecision(12)));
  return found;
}

function engineering(x) {
  for (const [size, unit] of [[1e9, "G"], [1e6, "M"], [1e3, "k"]]) if (x >= size) return `${x / size}${unit}`;
  return String(x);
}

// Both axes are shared by all panels.
function scales(curves) {
  const m = chosen.metric, every = curves.filter(curve => curve.values[m]);
  const known = every.flatMap(curve => curve.values[m].flat()).filter(v => v !== null);
  if (data.metrics[m].best !== null) known.push(data.metrics[m].best);
  let low = known.reduce((a, b) => Math.min(a, b), Infinity), high = known.reduce((a, b) => Math.max(a, b), -Infinity);
  if (!known.length) [low, high] = [0, 1];
  const room = (high - low) * .05 || Math.abs(high) * .05 || 1, far = Math.max(1, ...every.map(curve => curve.steps.at(-1)));
  [low, high] = [low - room, high + room];
  return {
    x: v => LEFT + (W - LEFT - RIGHT) * v / far, y: v => TOP + (H - TOP - BOTTOM) * (high - v) / (high - low),
    xs: steps125(0, far, 5), ys: steps125(low, high, 7),
  };
}

// Runs of evaluations that have a value, as lists of their numbers.
function stretches(values) {
  const found = [[]];
  values.forEach((v, k) => v === null ? found.push([]) : found.at(-1).push(k));
  return found.filter(run => run.length);
}

function panel(curves, title, scale) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const tip = make("div", { class: "tip", hidden: "" });
  const figure = make("figure", {}, make("figcaption", {}, title), svg, tip);
  const names = { viewBox: `0 0 ${W} ${H}`, role: "img", tabindex: "0", "aria-label": `Curves ${title}. Arrow keys tell values.` };
  for (const name in names) svg.setAttribute(name, names[name]);
  for (const v of scale.ys) {
    draw(svg, "line", { class: "grid", x1: LEFT, x2: W - RIGHT, y1: scale.y(v), y2: scale.y(v) });
    draw(svg, "text", { x: LEFT - 6, y: scale.y(v) + 4, "text-anchor": "end" }, four(v));
  }
  for (const v of scale.xs) draw(svg, "text", { x: scale.x(v), y: H - BOTTOM + 16, "text-anchor": "middle" }, engineering(v));
  draw(svg, "text", { x: (LEFT + W - RIGHT) / 2, y: H - 4, "text-anchor": "middle" }, "environment steps");
  const { best } = data.metrics[chosen.metric];
  if (best !== null) {
    draw(svg, "line", { class: "best", x1: LEFT, x2: W - RIGHT, y1: scale.y(best), y2: scale.y(best) });
    draw(svg, "text", { x: LEFT + 4, y: scale.y(best) + 12 }, "best");
  }
  for (const curve of curves) {
    const [mean, low, high] = curve.values[chosen.metric], look = style(curve.at[chosen.lines]);
    const at = (k, of) => `${scale.x(curve.steps[k]).toFixed(1)},${scale.y(of[k]).toFixed(1)}`;
    const each = curve.each[chosen.metric];
    for (const seed of each?.length > 1 ? each : []) for (const run of stretches(seed)) {
      draw(svg, "polyline", { class: "seed", stroke: look.stroke, points: run.map(k => at(k, seed)).join(" ") });
    }
    for (const run of stretches(mean)) {
      const edge = [...run.map(k => at(k, high)), ...run.toReversed().map(k => at(k, low))];
      if (!each) draw(svg, "polygon", { class: "band", fill: look.stroke, points: edge.join(" ") });
      draw(svg, "polyline", { class: "line", ...look, points: run.map(k => at(k, mean)).join(" ") });
      if (run.length === 1) {
        const k = run[0], x = scale.x(curve.steps[k]);
        draw(svg, "line", { class: "span", stroke: look.stroke, x1: x, x2: x, y1: scale.y(low[k]), y2: scale.y(high[k]) });
        draw(svg, "circle", { r: 3.5, fill: look.stroke, cx: x, cy: scale.y(mean[k]) });
      }
    }
  }
  const mark = draw(svg, "circle", { class: "mark", r: 4.5, visibility: "hidden" });
  let number = 0, k = curves[0].steps.length - 1;

  function tell(loudly) {
    const curve = curves[number], [mean, low, high] = curve.values[chosen.metric].map(of => of[k]);
    const [, , , seeds, left] = curve.score[chosen.metric], one = curve.each[chosen.metric]?.length === 1;
    const range = one ? "" : `  [${four(low)}, ${four(high)}]`;
    const words = [
      place(curve, [chosen.lines, ...others()]), `${whole(curve.steps[k])} steps`,
      mean === null ? "no finite value" : `${four(mean)}${range}`,
      ...(left ? [seeds ? `${left} of ${seeds + left} seeds left out` : "no seed lasted"] : []),
      ...(curve.standing ? [`not finished: ${curve.standing}`] : []),
    ];
    const x = scale.x(curve.steps[k]), y = mean === null ? TOP : scale.y(mean);
    mark.setAttribute("cx", x); mark.setAttribute("cy", y);
    mark.setAttribute("stroke", style(curve.at[chosen.lines]).stroke);
    mark.setAttribute("visibility", mean === null ? "hidden" : "visible");
    tip.textContent = words.join("\n");
    tip.hidden = false;
    tip.style.left = x > W / 2 ? "" : `${100 * x / W + 3}%`;
    tip.style.right = x > W / 2 ? `${100 - 100 * x / W + 3}%` : "";
    tip.style.top = `${figure.children[0].offsetHeight + svg.clientHeight * Math.min(y, .6 * H) / H}px`;
    if (loudly) get("told").textContent = words.join("; ");
  }
  function quiet() { tip.hidden = true; mark.setAttribute("visibility", "hidden"); }

  svg.addEventListener("pointermove", event => {
    const box = svg.getBoundingClientRect(), px = (event.clientX - box.left) * W / box.width, py = (event.clientY - box.top) * H / box.height;
    let nearest = Infinity;
    curves.forEach((curve, c) => curve.values[chosen.metric][0].forEach((v, j) => {
      const distance = v === null ? Infinity : Math.hypot(scale.x(curve.steps[j]) - px, scale.y(v) - py);
      if (distance < nearest) [nearest, number, k] = [distance, c, j];
    }));
    if (nearest < Infinity) tell(false);
  });
  svg.addEventListener("pointerleave", quiet);
  svg.addEventListener("blur", quiet);
  svg.addEventListener("focus", () => { if (svg.matches(":focus-visible")) tell(true); });
  svg.addEventListener("keydown", event => {
    const [across, along] = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key] ?? [0, 0];
    if (event.key === "Escape") quiet();
    if (!across && !along) return;
    event.preventDefault();
    number = (number + across + curves.length) % curves.length;
    k = Math.max(0, Math.min(curves[number].steps.length - 1, k + along));
    tell(true);
  });
  return figure;
}

function drawPanels() {
  const curves = shown().filter(curve => curve.values[chosen.metric]), scale = scales(curves), panels = new Map();
  for (const curve of curves) {
    const title = place(curve, others());
    panels.set(title, [...(panels.get(title) ?? []), curve]);
  }
  const found = [...panels].map(([title, of]) => panel(of, title, scale));
  get("panels").replaceChildren(...(found.length ? found : ["Nothing to show: no value is ticked, or no run has this metric."]));
  get("panels").className = found.length === 1 ? "single" : "";
}

// ---- tables

function table(id, head, rows) {
  const cell = (tag, x) => make(tag, typeof x === "number" ? { class: "number" } : {}, typeof x === "number" ? whole(x) : x);
  const body = make("tbody", {}, ...rows.map(row => make("tr", {}, ...row.map(x => cell("td", x)))));
  get(id).replaceChildren(...(head ? [make("thead", {}, make("tr", {}, ...head.map(x => cell("th", x))))] : []), body);
}

function drawScores() {
  const m = chosen.metric, last = data.coordinates.length, dead = shown().some(curve => curve.score[m]?.[4]);
  const open = shown().some(curve => curve.standing);
  const more = [...(dead ? ["left out"] : []), ...(open ? ["not finished"] : [])];
  const few = shown().filter(curve => curve.score[m]).map(curve => curve.score[m][3] < data.enough);
  const kinds = few.every(Boolean) ? ["mean", "lowest to highest"] : ["IQM", "95% interval"];
  const head = [...data.coordinates.map(of => short(of.name)), ...kinds, "seeds", ...more];
  const rows = shown().filter(curve => curve.score[m]).map(curve => {
    const [mean, low, high, seeds, left] = curve.score[m], mixed = few.includes(false) && seeds < data.enough;
    const span = mean === null || seeds === 1 ? "" : `${four(low)} to ${four(high)}${mixed ? " (mean, lowest to highest)" : ""}`;
    const further = dead ? [left] : [], state = open ? [curve.standing] : [];
    return {
      keys: [...curve.at, mean ?? -Infinity, mean ?? -Infinity, seeds, ...further, curve.standing.length],
      cells: [...data.coordinates.map((_, c) => value(curve, c)), four(mean), span, seeds, ...further, ...state],
    };
  });
  const by = chosen.sort ?? last, sign = chosen.down ? -1 : 1;
  rows.sort((a, b) => sign * (a.keys[by] - b.keys[by] || 0));
  table("scores", head, rows.map(row => row.cells));
  get("scores").querySelectorAll("th").forEach((th, column) => {
    const button = make("button", { type: "button" }, th.textContent);
    button.addEventListener("click", () => {
      chosen.down = by === column ? !chosen.down : column >= last;
      chosen.sort = column;
      drawScores();
      get("scores").querySelectorAll("th button")[column].focus();
    });
    th.replaceChildren(button);
    if (column === by) th.setAttribute("aria-sort", chosen.down ? "descending" : "ascending");
  });
}

// ---- controls

function drawFilters() {
  get("filters").replaceChildren(...data.coordinates.map((of, c) => {
    const hidden = chosen.hidden[c], boxes = of.values.map((name, v) => {
      const box = make("input", { type: "checkbox" });
      box.checked = !hidden.has(v);
      box.addEventListener("change", () => { box.checked ? hidden.delete(v) : hidden.add(v); drawResults(); });
      const label = make("label", {}, box, name);
      if (c === chosen.lines) {
        const key = document.createElementNS("http://www.w3.org/2000/svg", "svg");
        key.setAttribute("class", "key"); key.setAttribute("viewBox", "0 0 30 10");
        draw(key, "line", { x1: 0, x2: 30, y1: 5, y2: 5, "stroke-width": 3, ...style(v) });
        box.after(key);
      }
      return label;
    });
    const all = make("button", { type: "button" }, "all"), none = make("button", { type: "button" }, "none");
    all.addEventListener("click", () => { hidden.clear(); drawFilters(); drawResults(); });
    none.addEventListener("click", () => { of.values.forEach((_, v) => hidden.add(v)); drawFilters(); drawResults(); });
    return make("fieldset", {}, make("legend", {}, short(of.name)), ...boxes, all, none);
  }));
}

function drawResults() {
  document.querySelectorAll(".metric").forEach(place => { place.textContent = data.metrics[chosen.metric].words; });
  drawPanels();
  drawScores();
}

function choice(id, names, field) {
  names.forEach((name, index) => get(id).append(make("option", { value: index }, name)));
  get(id).value = chosen[field];
  get(id).addEventListener("change", () => { chosen[field] = +get(id).value; drawFilters(); drawResults(); });
  get(id).parentElement.hidden = names.length < 2;
}

choice("metric", data.metrics.map(metric => metric.words), "metric");
choice("lines", data.coordinates.map(of => short(of.name)), "lines");
get("filters").hidden = data.curves.length < 2;
get("summary").textContent = data.summary;
document.querySelectorAll(".enough").forEach(place => { place.textContent = data.enough; });
for (const [name, words] of data.facts) get("facts").append(make("dt", {}, name), make("dd", {}, words));
table("runs", data.runs[0], data.runs.slice(1));
table("options", null, data.options);
get("dead").append(...data.dead.map(words => make("li", {}, words)));
get("dead").hidden = get("dead-title").hidden = !data.dead.length;
drawFilters();
drawResults();
