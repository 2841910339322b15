"""Units and scenarios of SMAX: jaxmarl 0.2.0's, others that its units allow, and three kinds of units of our own.

A unit's kind is its number in `UNITS`. Shields are part of health; nothing regenerates, there is no armour, no damage
that depends on who is hit, and no terrain, and range and sight differ from StarCraft II: a map of the same name is not
the same task. The kinds that jaxmarl lacks are simplified after StarCraft II: a colossus burns a disc and climbs
nothing, a baneling bursts around whom it attacks, a medivac heals without energy and carries nobody.
"""

import re
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from marlx_envs.options import UsageError, shown, unknown


class Unit(NamedTuple):
    """A kind of unit. Lengths are in cells of a map of 32 x 32, times in seconds."""

    letter: str
    name: str
    speed: float
    damage: float
    range: float
    sight: float
    radius: float
    health: float
    cooldown: float
    splash: float = 0  # cells around the target in which all others of its team are hit too
    bursts: bool = False  # dies as it attacks
    heals: float = 0  # health in a second, of its own team; such a unit attacks nobody
    flies: bool = False  # pushes only who flies
    hits_air: bool = True


UNITS = (
    Unit("m", "marine", 3.15, 9, 5, 9, 0.375, 45, 0.61),
    Unit("M", "marauder", 2.25, 10, 6, 10, 0.5625, 125, 1.07, hits_air=False),
    Unit("s", "stalker", 4.13, 13, 6, 10, 0.625, 160, 1.87),
    Unit("Z", "zealot", 3.15, 8, 2, 9, 0.5, 150, 0.86, hits_air=False),
    Unit("z", "zergling", 4.13, 5, 2, 8, 0.375, 35, 0.5, hits_air=False),
    Unit("h", "hydralisk", 3.15, 12, 5, 9, 0.625, 80, 0.59),
    Unit("c", "colossus", 3.15, 20, 7, 10, 1.0, 350, 1.07, splash=1.4, hits_air=False),
    Unit("b", "baneling", 3.5, 20, 2, 8, 0.375, 30, 0.83, splash=2.2, bursts=True, hits_air=False),
    Unit("v", "medivac", 3.5, 0, 4, 11, 0.75, 150, 1.0, heals=12.6, flies=True),
)
KNOWN_UNITS = ", ".join(f"{unit.letter} {unit.name}" for unit in UNITS)
LETTERS = "".join(unit.letter for unit in UNITS)
JAXMARL_KINDS = 6  # the first so many
Kinds = Any  # uint8, numbers of kinds; of numpy where they are fixed
MOST_UNITS = 64  # of a team, so that actions fit a byte


@dataclass(frozen=True)
class Scenario:
    """Who fights whom, and how it begins.

    `drawn` names the kinds of which each ally is one by chance at every reset, enemies copying allies; the letters of
    the teams then give their numbers only. Such battles begin mirrored or with one team surrounded, as in SMACv2.
    """

    allies: str  # one letter a unit
    enemies: str
    smac_limit: int  # environment steps of the StarCraft map
    drawn: str = ""
    inside: bool = False  # units of a surrounding team are placed within the map


def units(team: str) -> str:
    """`2s3Z` -> `ssZZZ`."""
    return "".join(letter * int(count) for count, letter in re.findall(r"(\d+)([a-zA-Z])", team))


def _fight(allies: str, enemies: str, smac_limit: int) -> Scenario:
    return Scenario(units(allies), units(enemies), smac_limit)


def _drawn(count: int, kinds: str, inside: bool = False) -> Scenario:
    return Scenario("m" * count, "m" * count, 200, kinds, inside)


SCENARIOS = {
    "3m": _fight("3m", "3m", 60),
    "8m": _fight("8m", "8m", 120),
    "25m": _fight("25m", "25m", 150),
    "5m_vs_6m": _fight("5m", "6m", 70),
    "10m_vs_11m": _fight("10m", "11m", 150),
    "27m_vs_30m": _fight("27m", "30m", 180),
    "2s3z": _fight("2s3Z", "2s3Z", 120),
    "3s5z": _fight("3s5Z", "3s5Z", 150),
    "3s5z_vs_3s6z": _fight("3s5Z", "3s6Z", 170),
    "3s_vs_5z": _fight("3s", "5Z", 250),
    "6h_vs_8z": _fight("6h", "8Z", 150),
    "smacv2_5_units": _drawn(5, LETTERS[:JAXMARL_KINDS]),
    "smacv2_10_units": _drawn(10, LETTERS[:JAXMARL_KINDS]),
    "smacv2_20_units": _drawn(20, LETTERS[:JAXMARL_KINDS]),
    # Not in jaxmarl; StarCraft maps whose units exist here.
    "8m_vs_9m": _fight("8m", "9m", 120),
    "3s_vs_3z": _fight("3s", "3Z", 150),
    "3s_vs_4z": _fight("3s", "4Z", 200),
    "2m_vs_1z": _fight("2m", "1Z", 150),
    # `corridor` without its choke point, MMM2 without medivacs, the races of SMACv2 without their third kind.
    "6z_vs_24zg_open": _fight("6Z", "24z", 400),
    "2M7m_vs_3M8m": _fight("2M7m", "3M8m", 180),
    "protoss_5v5_lite": _drawn(5, "sZ", inside=True),
    "terran_5v5_lite": _drawn(5, "mM", inside=True),
    "zerg_5v5_lite": _drawn(5, "zh", inside=True),
    # With kinds that jaxmarl lacks.
    "1c3s5z": _fight("1c3s5Z", "1c3s5Z", 180),
    "2c_vs_64zg": _fight("2c", "64z", 400),
    "bane_vs_bane": _fight("20z4b", "20z4b", 200),
    "MMM": _fight("1v2M7m", "1v2M7m", 150),
    "MMM2": _fight("1v2M7m", "1v3M8m", 180),
}
# Maps of StarCraft II that exist here as something else, under another name.
OTHERWISE = {
    "corridor": "6z_vs_24zg_open",
    **{f"{race}_5_vs_5": f"{race}_5v5_lite" for race in ("protoss", "terran", "zerg")},
    **{f"{race}_5v5": f"{race}_5v5_lite" for race in ("protoss", "terran", "zerg")},
}


def unknown_scenario(name: str) -> UsageError:
    """The error for a scenario that does not exist, with the nearest that does."""
    if name in OTHERWISE:
        return UsageError(f"environment.scenario {name!r} is not here as it is in StarCraft II; {OTHERWISE[name]!r} is")
    return unknown("value of environment.scenario", name, SCENARIOS)


def n_kinds(kinds: Kinds) -> int:
    """How many kinds are told apart in observations: jaxmarl's, or all where one of ours is there."""
    ours = isinstance(kinds, np.ndarray) and bool((kinds >= JAXMARL_KINDS).any())
    return len(UNITS) if ours else JAXMARL_KINDS


def kinds(letters: str) -> np.ndarray:
    """Kinds uint8 [N] of units given by their letters."""
    return np.array([LETTERS.index(letter) for letter in letters], np.uint8)


def team_of(text: str, option: str) -> str:
    """The letters of a team written as `2s3Z`. Raises `UsageError`."""
    if not re.fullmatch(rf"(\d+[{LETTERS}] *)+", text):
        raise UsageError(
            f"{option} must be counts and letters of units like '2s3Z', not {shown(text)}; units: {KNOWN_UNITS}"
        )
    if any(int(count) == 0 for count in re.findall(r"\d+", text)):
        raise UsageError(f"{option} must name at least one unit of each kind, not {shown(text)}")
    if sum(int(count[:9]) for count in re.findall(r"\d+", text)) > MOST_UNITS:
        raise UsageError(f"{option} must have at most {MOST_UNITS} units, not {shown(text)}")
    return units(text)
