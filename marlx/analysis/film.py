"""A scene as an animated GIF, and as one page of HTML with a slider that needs no network.

Colours are those of Okabe and Ito; kinds also differ in shape.
"""

from typing import Any, BinaryIO

from PIL import Image, ImageDraw, ImageFont

from marlx.analysis.page import whole_page
from marlx.analysis.scenes import SHAPES, Entity, Frame, Scene

COLOURS = {"agent": "#0072B2", "stag": "#D55E00", "hare": "#E69F00", "ally": "#0072B2", "enemy": "#D55E00"}
_INK, _LINE, _PAPER, _MARK = "#222222", "#dddddd", "#ffffff", "#000000"
_SIDE = 400  # pixels of the longer side of the board
_FINER = 2  # drawn larger, then reduced: smooth edges


def gif(scene: Scene, file: BinaryIO, milliseconds: int = 150) -> None:
    """Writes an animated GIF with a legend. It begins anew after its end; the last frame stays for 1.5 s."""
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
    """HTML, complete in itself: a board, a slider, keys (space, left, right), and a legend."""
    data = {
        "width": scene.width,
        "height": scene.height,
        "lines": scene.lines,
        "colours": COLOURS,
        "shapes": SHAPES,
        "kinds": scene.kinds,
        "signs": scene.signs,
        "frames": [
            {"caption": frame.caption, "entities": [_rounded(e) for e in frame.entities]} for frame in scene.frames
        ],
    }
    return whole_page("film", scene.title, data)


def _picture(scene: Scene, frame: Frame) -> Image.Image:
    cell = _FINER * _SIDE / max(scene.width, scene.height)
    width, height = round(cell * scene.width), round(cell * scene.height)
    top, line = 24 * _FINER, 22 * _FINER
    size = (max(width, _FINER * _SIDE) + 1, top + height + 3 * line)  # words need their place beside a narrow board
    image = Image.new("RGB", size, _PAPER)
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(13 * _FINER)
    draw.text((4 * _FINER, top / 2), scene.title, fill=_INK, font=font, anchor="lm")
    draw.text((4 * _FINER, top + height + line / 2), frame.caption, fill=_INK, font=font, anchor="lm")
    _legend(draw, scene, top + height + 1.5 * line, line)
    columns, rows = (scene.width, scene.height) if scene.lines else (1, 1)
    for k in range(columns + 1):
        draw.line((width * k / columns, top, width * k / columns, top + height), fill=_LINE, width=_FINER)
    for k in range(rows + 1):
        draw.line((0, top + height * k / rows, width, top + height * k / rows), fill=_LINE, width=_FINER)
    for entity in frame.entities:
        _draw(draw, entity, cell, top)
    return image.resize((image.width // _FINER, image.height // _FINER), Image.Resampling.LANCZOS)


def _legend(draw: ImageDraw.ImageDraw, scene: Scene, y: float, line: float) -> None:
    """A line of the kinds that are seen, and one of what else is drawn."""
    r, x, font = 5.0 * _FINER, 4.0 * _FINER, ImageFont.load_default(11 * _FINER)
    for kind in scene.kinds:
        _shape(draw, kind, x + r, y, r)
        draw.text((x + 3 * r, y), kind, fill=_INK, font=font, anchor="lm")
        x += 5 * r + draw.textlength(kind, font)
    draw.text((4 * _FINER, y + line), scene.signs, fill=_INK, font=font, anchor="lm")


def _shape(draw: ImageDraw.ImageDraw, kind: str, x: float, y: float, r: float) -> None:
    colour, shape = COLOURS[kind], SHAPES[kind]
    if shape == "circle":
        draw.ellipse((x - r, y - r, x + r, y + r), fill=colour)
    elif shape == "square":
        draw.rectangle((x - 0.9 * r, y - 0.9 * r, x + 0.9 * r, y + 0.9 * r), fill=colour)
    else:
        draw.polygon([(x, y - r), (x - r, y + r), (x + r, y + r)], fill=colour)


def _draw(draw: ImageDraw.ImageDraw, entity: Entity, cell: float, top: int) -> None:
    x, y, r = entity.x * cell, top + entity.y * cell, entity.radius * cell
    if entity.aim is not None:
        aim = entity.aim[0] * cell, top + entity.aim[1] * cell
        draw.line((x, y, *aim), fill=COLOURS[entity.kind], width=2 * _FINER)
    if entity.marked:
        draw.ellipse((x - 1.25 * r, y - 1.25 * r, x + 1.25 * r, y + 1.25 * r), outline=_MARK, width=2 * _FINER)
    _shape(draw, entity.kind, x, y, r)
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
