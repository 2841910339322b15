"""Pictures of SMAX battles: allies blue, enemies red, health as the filled part of a unit, shots as lines."""

import jax
import numpy as np
import numpy.typing as npt
from marlx_envs.smax_battle import NO_ACTION, Battle
from marlx_envs.smax_rules import MAP, SHOOT
from marlx_envs.smax_units import UNITS
from PIL import Image, ImageDraw

BACKGROUND, INK = (250, 250, 247), (60, 60, 60)
TEAMS = ((47, 111, 179), (196, 68, 58))  # allies, enemies


def frames(battles: Battle, kinds: npt.NDArray[np.uint8], n_allies: int, scale: int = 14) -> npt.NDArray[np.uint8]:
    """Pictures of successive states of one battle, uint8 [T height width 3]; north is up.

    Args:
        battles: states, or packed ones, leading axis [T].
        kinds: [N].
        n_allies: the first so many units.
        scale: pixels of a cell; the map has 32 x 32.
    """
    battles = jax.tree.map(np.asarray, battles)
    steps = len(battles.actions)
    each = (jax.tree.map(lambda x, t=t: x[t], battles) for t in range(steps))
    return np.stack([_frame(battle, kinds, n_allies, scale) for battle in each])


def _frame(battle: Battle, kinds: npt.NDArray[np.uint8], n_allies: int, scale: int) -> npt.NDArray[np.uint8]:
    size = int(MAP * scale)
    image = Image.new("RGB", (size, size), BACKGROUND)
    pen = ImageDraw.Draw(image)
    place = np.stack([battle.units.position[0], MAP - battle.units.position[1]], axis=-1) * scale
    alive = battle.units.health > 0
    for unit in np.flatnonzero(alive):
        target = _target(int(battle.actions[unit]), int(unit), n_allies)
        if target is not None:
            pen.line([*place[unit], *place[target]], fill=TEAMS[int(unit >= n_allies)], width=1)
    for unit in np.flatnonzero(alive):
        kind, colour = UNITS[kinds[unit]], TEAMS[int(unit >= n_allies)]
        radius = kind.radius * scale
        box = (*(place[unit] - radius), *(place[unit] + radius))
        filled = 360 * float(battle.units.health[unit]) / kind.health
        pen.ellipse(box, fill=BACKGROUND, outline=colour)
        pen.pieslice(box, start=90 - filled / 2, end=90 + filled / 2, fill=colour, outline=colour)
        pen.text(place[unit] + radius, kind.letter, fill=INK)
    return np.asarray(image)


def _target(action: int, unit: int, n_allies: int) -> int | None:
    """Whom a unit's latest action attacks; enemies count allies from the last."""
    if action < SHOOT or action == NO_ACTION:
        return None
    slot = action - SHOOT
    return n_allies + slot if unit < n_allies else n_allies - 1 - slot
