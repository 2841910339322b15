"""Films of episodes: what a scene holds against states made by hand, the files, and `marlx render`."""

import io
import json
import re
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import marlx_envs
import numpy as np
import pytest
from marlx_envs.options import UsageError
from marlx_envs.predator_prey import PredatorPreyState
from marlx_envs.smax_battle import Battle
from marlx_envs.smax_rules import Units
from PIL import Image

import marlx
from marlx.analysis.film import gif, page
from marlx.analysis.scenes import Entity, Episode, Frame, Scene, scene
from marlx.host import rendering
from marlx.host.cli import main
from marlx.host.results import Run
from marlx.program import Program


def two_by_three(frozen: Any = None) -> Scene:
    """Two steps on 2 rows and 3 columns: agent 1 tries to catch below it, then the prey is gone."""
    environment = marlx_envs.make("predator_prey", height=2, width=3, n_agents=2, n_stags=1, episode_limit=5)
    grid = environment.grid  # type: ignore[attr-defined]
    agents = np.array([[grid.cell(0, 0), grid.cell(1, 2)], [grid.cell(0, 0), grid.cell(1, 1)], [grid.none] * 2])
    prey = np.array([[grid.cell(1, 0)], [grid.cell(1, 0)], [grid.none]])
    states = PredatorPreyState(agents, prey, np.arange(3), frozen)
    episode = Episode(states, np.array([[5, 2], [5, 5]]), np.array([-2.0, 10.0]))
    return scene("predator_prey", environment, episode, "two & three")


def test_a_scene_of_predator_prey() -> None:
    found = two_by_three()
    assert (found.width, found.height, len(found.frames)) == (3, 2, 3)
    prey, first, second = found.frames[0].entities
    assert (prey.kind, prey.x, prey.y) == ("stag", 0.5, 1.5)
    assert (first.label, first.x, first.y, first.marked, first.aim) == ("1", 0.5, 0.5, True, None)
    assert (second.x, second.y, second.aim) == (2.5, 1.5, (1.8, 1.5))
    assert [frame.caption.split("   ")[1] for frame in found.frames] == ["return 0", "return -2", "return 8"]
    assert found.frames[2].entities == [] and found.signs == "line: next move; ring: tries to catch"
    assert two_by_three(np.zeros((3, 2), bool)).signs.endswith("; bar: frozen")


def battle(health: list[list[float]], actions: list[list[int]]) -> list[Frame]:
    """Frames of a marine (10, 16) and another unit (12, 16) against two enemies at (20, 6) and (22, 6)."""
    environment = marlx_envs.make("smax", allies="1m1v", enemies="1m1Z")
    steps = len(health)
    places = np.broadcast_to(np.array([[10.0, 12, 20, 22], [16, 16, 6, 6]]), (steps, 2, 4))
    states = Battle(Units(places, np.array(health), np.zeros((steps, 4))), np.array(actions), None, None, None)
    return scene("smax", environment, Episode(states, np.zeros((steps - 1, 2), int), np.zeros(steps - 1)), "").frames


def test_a_scene_of_smax() -> None:
    """Left and top are two cells beyond (10, 32 - 16). Action 5 is an ally's first enemy, an enemy's last ally."""
    whole = [45.0, 150, 45, 75]
    first, last = battle([whole, [45, 0, 45, 0]], [[255] * 4, [5, 5, 6, 0]])
    marine, medivac, enemy, zealot = first.entities
    assert [e.label for e in first.entities] == list("mvmZ")
    assert [e.kind for e in first.entities] == ["ally", "ally", "enemy", "enemy"]
    assert (marine.x, marine.y, enemy.x, enemy.y) == (2, 2, 12, 12) and zealot.health == 0.5
    assert marine.aim == (12, 12) and enemy.aim == (2, 2)
    assert medivac.aim == (2, 2)  # heals the first of its own
    assert [e.label for e in last.entities] == ["m", "m"] and last.entities[0].aim is None


def test_the_files_hold_every_frame() -> None:
    found = two_by_three()
    file = io.BytesIO()
    gif(found, file)
    image = Image.open(file)
    assert image.n_frames == 3 and image.width == 400
    legend = np.asarray(image.convert("RGB"))[-44:-22].reshape(-1, 3)
    assert all((abs(legend - colour).sum(-1) < 30).sum() > 40 for colour in ([0, 0x72, 0xB2], [0xD5, 0x5E, 0]))
    text = page(found)
    assert "<title>two &amp; three</title>" in text and "://" not in text and "src=" not in text
    data = json.loads(re.search(r'type="application/json">(.*?)</script>', text, re.DOTALL)[1])  # type: ignore[index]
    assert len(data["frames"]) == 3
    assert data["kinds"] == ["agent", "stag"] and data["signs"] == found.signs
    assert data["frames"][0]["entities"][2] == {
        "kind": "agent", "label": "2", "x": 2.5, "y": 1.5, "radius": 0.36, "health": 1.0, "aim": [1.8, 1.5],
    }  # fmt: skip


def test_a_dead_unit_has_no_hidden_zero() -> None:
    """Fields that are zero stay in the page where zero says something."""
    found = two_by_three()
    found.frames[0].entities[0] = Entity("stag", "", 0.0, 0.0, 0.3, health=0.0)
    assert '{"kind":"stag","x":0.0,"y":0.0,"radius":0.3,"health":0.0}' in page(found)


def test_other_environments_cannot_be_drawn() -> None:
    with pytest.raises(UsageError, match="matrix_game cannot be drawn; predator_prey and smax can"):
        scene("matrix_game", None, two_by_three(), "")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "environment, options",
    [
        ("predator_prey", ("height=3", "width=3", "n_agents=2", "n_stags=1", "episode_limit=6")),
        ("smax", ("scenario=3m", "episode_limit=5")),
    ],
)
def test_render(environment: str, options: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With agents that have not learnt anything, in place of those of a run."""
    experiment = marlx.configure("vdn", environment, *(f"environment.{x}" for x in options), "agent.hidden_size=4")
    algorithm = Program(experiment).trainer(experiment.numbers()).algorithm
    params = jax.jit(lambda key: algorithm.init(key).params)(jax.random.key(0))
    run = Run(tmp_path, experiment, {"seeds": "0:2", "base_seed": 0})
    run.__dict__["params"] = jax.tree.map(lambda x: jnp.stack([x, x]), params)
    monkeypatch.setattr(rendering, "load_run", lambda _: run)
    for name in ("episode.gif", "film.html"):
        assert main(("render", "run", "--seed", "1", "--out", str(tmp_path / name))) == 0
    with Image.open(tmp_path / "episode.gif") as film:
        assert film.n_frames == experiment.environment["episode_limit"] + 1  # type: ignore[attr-defined]
    text = (tmp_path / "film.html").read_text()
    assert f"vdn on {environment}, seed 1, greedy episode 0" in text
    if environment == "smax":
        assert text.count('"kind":"enemy"') == 3 * 6


@pytest.mark.parametrize(
    "words, message",
    [
        (("--out", "film.mp4"), "a film must end in .gif or .html, not 'film.mp4'"),
        (("--seed", "x"), "--seed must be a whole number from 0 to 4294967295, not 'x'"),
        ((), "matrix_game cannot be drawn; predator_prey and smax can"),
    ],
)
def test_a_mistake_is_one_line(
    words: tuple[str, ...], message: str, finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(("render", str(finished), *words)) == 2
    errors = capsys.readouterr().err
    assert message in errors and errors.count("\n") == 1
