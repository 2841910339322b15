"""Pictures of SMAX battles."""

import jax
import jax.numpy as jnp
import numpy as np
from marlx_envs.smax import Smax
from marlx_envs.smax_battle import NO_ACTION, Battle
from marlx_envs.smax_rules import Units
from marlx_envs.smax_units import kinds

from marlx.analysis.battles import BACKGROUND, TEAMS, frames

SCALE = 10


def drawn(health, actions):
    """One frame of a marine at (10, 16) and an enemy zealot at (20, 6)."""
    units = Units(jnp.array([[10.0, 20.0], [16.0, 6.0]]), jnp.array(health, jnp.float32), jnp.zeros(2))
    battle = Battle(units, jnp.array(actions, jnp.uint8), None, None, None)
    return frames(jax.tree.map(lambda x: x[None], battle), kinds("mZ"), 1, SCALE)[0]


def at(image, x, y):
    """The colour at a place of the map; its north is the picture's first row."""
    return tuple(image[round((32 - y) * SCALE), round(x * SCALE)].tolist())


def test_units_stand_where_they_are_in_the_colours_of_their_teams():
    image = drawn([45, 150], [NO_ACTION, NO_ACTION])
    assert image.shape == (320, 320, 3)
    assert at(image, 10, 16) == TEAMS[0]
    assert at(image, 20, 6) == TEAMS[1]
    assert at(image, 20, 16) == at(image, 15, 11) == BACKGROUND


def test_health_fills_a_unit_from_below():
    image = drawn([45, 75], [NO_ACTION, NO_ACTION])
    assert at(image, 20, 5.7) == TEAMS[1]
    assert at(image, 20, 6.3) == BACKGROUND


def test_the_dead_are_gone_and_shots_are_lines():
    assert at(drawn([45, 0], [NO_ACTION, NO_ACTION]), 20, 6) == BACKGROUND
    assert at(drawn([45, 150], [5, NO_ACTION]), 15, 11) == TEAMS[0]
    assert at(drawn([45, 150], [NO_ACTION, 5]), 15, 11) == TEAMS[1]


def test_packed_battles_look_the_same():
    environment = Smax()
    battle = environment.reset(jax.random.key(0))
    pictures = [
        frames(jax.tree.map(lambda x: x[None], b), environment.core.fixed, 3)
        for b in (battle, environment.pack(battle))
    ]
    np.testing.assert_array_equal(*pictures)
