"""A scene as an animated GIF, and as one page of HTML with a slider that needs no network.

Colours are those of Okabe and Ito; kinds also differ in shape.
"""

import html
import json
from typing import Any, BinaryIO

from PIL import Image, ImageDraw, ImageFont

from marlx.analysis.scenes import SHAPES, Entity, Frame, Scene

COLOURS = {"agent": "#0072B2", "stag": "#D55E00", "hare": "#E69F00", "ally": "#0072B2", "enemy": "#D55E00"}
_INK, _LINE, _PAPER, _MARK = "#222222", "#dddddd", "#ffffff", "#000000"
_SIDE = 400  # pixels of the longer side of the board
_FINER = 2  # drawn larger, then reduced: smooth edges


def gif(scene: Scene, file: BinaryIO, milliseconds: int = 150) -> None:
    """Writes an animated GIF that begins anew after its end; the last frame stays for a second and a half."""
    pictures = [_picture(scene, frame) for frame in scene.frames]
    some = pictures[:: max(1, len(pictures) // 4)]
    strip = Image.new("RGB", (some[0].width, some[0].height * len(some)))
    for index, picture in enumerate(some):
        strip.paste(picture, (0, index * picture.height))
    colours = strip.quantize(64, dither=Image.Dither.NONE)  # one palette for all
    frames = [picture.quantize(palette=colours, dither=Image.Dither.NONE) for picture in pictures]
    times = [milliseconds] * (len(frames) - 1) + [1500]
    frames[0].save(file, format="GIF", save_all=True, append_images=frames[1:], duration=times, loop=0)


def page(scene: Scene) -> str:
    """HTML, complete in itself: a board, a slider, and keys (space, left, right)."""
    data = {
        "width": scene.width,
        "height": scene.height,
        "lines": scene.lines,
        "colours": COLOURS,
        "shapes": SHAPES,
        "frames": [
            {"caption": frame.caption, "entities": [_rounded(e) for e in frame.entities]} for frame in scene.frames
        ],
    }
    text = json.dumps(data, separators=(",", ":")).replace("</", "<\\/")
    return _PAGE.replace("TITLE", html.escape(scene.title)).replace("DATA", text)


def _picture(scene: Scene, frame: Frame) -> Image.Image:
    cell = _FINER * _SIDE / max(scene.width, scene.height)
    width, height = round(cell * scene.width), round(cell * scene.height)
    top, bottom = 24 * _FINER, 26 * _FINER
    image = Image.new("RGB", (width + 1, height + top + bottom), _PAPER)
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(13 * _FINER)
    draw.text((4 * _FINER, top / 2), scene.title, fill=_INK, font=font, anchor="lm")
    draw.text((4 * _FINER, top + height + bottom / 2), frame.caption, fill=_INK, font=font, anchor="lm")
    columns, rows = (scene.width, scene.height) if scene.lines else (1, 1)
    for k in range(columns + 1):
        draw.line((width * k / columns, top, width * k / columns, top + height), fill=_LINE, width=_FINER)
    for k in range(rows + 1):
        draw.line((0, top + height * k / rows, width, top + height * k / rows), fill=_LINE, width=_FINER)
    for entity in frame.entities:
        _draw(draw, entity, cell, top)
    return image.resize((image.width // _FINER, image.height // _FINER), Image.Resampling.LANCZOS)


def _draw(draw: ImageDraw.ImageDraw, entity: Entity, cell: float, top: int) -> None:
    x, y, r = entity.x * cell, top + entity.y * cell, entity.radius * cell
    colour = COLOURS[entity.kind]
    if entity.aim is not None:
        draw.line((x, y, entity.aim[0] * cell, top + entity.aim[1] * cell), fill=colour, width=2 * _FINER)
    if entity.marked:
        draw.ellipse((x - 1.25 * r, y - 1.25 * r, x + 1.25 * r, y + 1.25 * r), outline=_MARK, width=2 * _FINER)
    shape = SHAPES[entity.kind]
    if shape == "circle":
        draw.ellipse((x - r, y - r, x + r, y + r), fill=colour)
    elif shape == "square":
        draw.rectangle((x - 0.9 * r, y - 0.9 * r, x + 0.9 * r, y + 0.9 * r), fill=colour)
    else:
        draw.polygon([(x, y - r), (x - r, y + r), (x + r, y + r)], fill=colour)
    if entity.label:
        draw.text((x, y), entity.label, fill=_PAPER, font=ImageFont.load_default(max(1.1 * r, 8)), anchor="mm")
    if entity.health < 1:
        bar = y - 1.6 * r
        draw.rectangle((x - r, bar, x + r, bar + 3 * _FINER), fill=_LINE)
        draw.rectangle((x - r, bar, x - r + 2 * r * max(entity.health, 0), bar + 3 * _FINER), fill=_INK)


def _rounded(entity: Entity) -> dict[str, Any]:
    """The fields that say something, with two decimals."""
    aim = None if entity.aim is None else [round(value, 2) for value in entity.aim]
    found = {**entity._asdict(), "x": round(entity.x, 2), "y": round(entity.y, 2), "health": round(entity.health, 2)}
    found |= {"radius": round(entity.radius, 3), "aim": aim}
    return {name: value for name, value in found.items() if not (value is None or value is False or value == "")}


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>TITLE</title>
<style>
body { font: 15px/1.4 system-ui, sans-serif; color: #222; margin: 1.5rem auto; max-width: 40rem; padding: 0 1rem; }
h1 { font-size: 1.1rem; font-weight: 600; }
canvas { width: 100%; border: 1px solid #ddd; display: block; }
.controls { display: flex; gap: .7rem; align-items: center; margin: .7rem 0; }
input[type=range] { flex: 1; }
button { min-width: 4.5rem; font: inherit; }
#caption { font-variant-numeric: tabular-nums; white-space: pre; min-height: 1.4em; }
</style>
</head>
<body>
<h1>TITLE</h1>
<canvas id="board"></canvas>
<div class="controls">
<button id="play" type="button">Play</button>
<input id="time" type="range" min="0" value="0" aria-label="step">
</div>
<div id="caption"></div>
<script id="data" type="application/json">DATA</script>
<script>
"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const board = document.getElementById("board"), time = document.getElementById("time");
const play = document.getElementById("play"), caption = document.getElementById("caption");
const cell = 1200 / Math.max(data.width, data.height), pen = board.getContext("2d");
board.width = Math.round(cell * data.width);
board.height = Math.round(cell * data.height);
time.max = data.frames.length - 1;
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
</script>
</body>
</html>
"""
