"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const board = document.getElementById("board"), time = document.getElementById("time");
const play = document.getElementById("play"), caption = document.getElementById("caption");
const cell = 1200 / Math.max(data.width, data.height), pen = board.getContext("2d");
board.width = Math.round(cell * data.width);
board.height = Math.round(cell * data.height);
time.max = data.frames.length - 1;
const glyphs = { circle: "\u25cf", square: "\u25a0", triangle: "\u25b2" };
const legend = document.getElementById("legend");
for (const kind of data.kinds) {
  const glyph = document.createElement("span"), entry = document.createElement("span");
  glyph.textContent = glyphs[data.shapes[kind]];
  glyph.style.color = data.colours[kind];
  entry.append(glyph, ` ${kind}`);
  legend.append(entry);
}
legend.append(data.signs);
let timer = null;

function shape(entity) {
  const x = entity.x * cell, y = entity.y * cell, r = entity.radius * cell;
  pen.beginPath();
  if (data.shapes[entity.kind] === "circle") pen.arc(x, y, r, 0, 2 * Math.PI);
  else if (data.shapes[entity.kind] === "square") pen.rect(x - .9 * r, y - .9 * r, 1.8 * r, 1.8 * r);
  else { pen.moveTo(x, y - r); pen.lineTo(x - r, y + r); pen.lineTo(x + r, y + r); }
  pen.fill();
}

function draw() {
  const frame = data.frames[+time.value];
  pen.clearRect(0, 0, board.width, board.height);
  pen.strokeStyle = "#ddd";
  pen.lineWidth = 2;
  if (data.lines) {
    pen.beginPath();
    for (let k = 1; k < data.width; k++) { pen.moveTo(k * cell, 0); pen.lineTo(k * cell, board.height); }
    for (let k = 1; k < data.height; k++) { pen.moveTo(0, k * cell); pen.lineTo(board.width, k * cell); }
    pen.stroke();
  }
  for (const entity of frame.entities) {
    const x = entity.x * cell, y = entity.y * cell, r = entity.radius * cell;
    pen.fillStyle = pen.strokeStyle = data.colours[entity.kind];
    if (entity.aim) {
      pen.lineWidth = 6;
      pen.beginPath(); pen.moveTo(x, y); pen.lineTo(entity.aim[0] * cell, entity.aim[1] * cell); pen.stroke();
    }
    shape(entity);
    if (entity.marked) {
      pen.strokeStyle = "#000"; pen.lineWidth = 6;
      pen.beginPath(); pen.arc(x, y, 1.2 * r, 0, 2 * Math.PI); pen.stroke();
    }
    if (entity.label) {
      pen.fillStyle = "#fff"; pen.font = `${1.1 * r}px system-ui, sans-serif`;
      pen.textAlign = "center"; pen.textBaseline = "middle"; pen.fillText(entity.label, x, y);
    }
    if (entity.health < 1) {
      pen.fillStyle = "#ddd"; pen.fillRect(x - r, y - 1.6 * r, 2 * r, 8);
      pen.fillStyle = "#222"; pen.fillRect(x - r, y - 1.6 * r, 2 * r * entity.health, 8);
    }
  }
  caption.textContent = frame.caption;
}

function stop() { clearInterval(timer); timer = null; play.textContent = "Play"; }
function go(step) { time.value = step; draw(); }
function toggle() {
  if (timer !== null) { stop(); return; }
  if (+time.value >= +time.max) go(0);
  play.textContent = "Pause";
  timer = setInterval(() => { if (+time.value >= +time.max) stop(); else go(+time.value + 1); }, 150);
}
play.addEventListener("click", toggle);
time.addEventListener("input", () => { stop(); draw(); });
document.addEventListener("keydown", event => {
  if (event.key === " " && event.target !== play) { event.preventDefault(); toggle(); }
  if (event.target === time) return;
  if (event.key === "ArrowRight") { stop(); go(+time.value + 1); }
  if (event.key === "ArrowLeft") { stop(); go(+time.value - 1); }
});
draw();
