"""The fields of section `algorithm`: a composition names parts, and the fields of the parts it names join it."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from marlx_envs.base import Spec
from marlx_envs.discovery import OrNone
from marlx_envs.options import UsageError, choice, chosen, full_name, nearest, number, size

from marlx import exploration
from marlx.agents import AgentOptions
from marlx.algorithms.method import Parts
from marlx.algorithms.profiles import PROFILES
from marlx.algorithms.softmax import SoftmaxOptions
from marlx.intrinsic import INTRINSICS
from marlx.intrinsic.base import Intrinsic
from marlx.mixers import MIXERS
from marlx.mixers.base import Mixer
from marlx.weightings import WEIGHTINGS
from marlx.weightings.base import Weighting

TARGETS = ("td_lambda", "sarsa_lambda", "q_lambda", "softmax")


@dataclass(frozen=True)
class Common:
    """Fields of section `algorithm` that every method has."""

    profile: str = choice("house", "published set of training numbers to start from", tuple(PROFILES))
    exploration: str = choice(
        "decentralised",
        "who draws epsilon: each agent or the team; softmax: each agent, epsilon being the temperature",
        tuple(exploration.EXPLORERS),
    )
    intrinsic: str = choice(
        "none", "reward for what is new, added to the environment's when batches are drawn", OrNone(INTRINSICS)
    )


@dataclass(frozen=True)
class Composition(Common):
    """What section `algorithm` names; the fields of the parts it names join the section."""

    mixer: str = choice("qmix", "how utilities become a joint value", MIXERS)
    weighting: str = choice("uniform", "weights of the squared errors", WEIGHTINGS)
    target: str = choice(
        "td_lambda",
        "bootstrap and return; td_lambda=0 is one-step double-Q; softmax: td_lambda from RES's average",
        TARGETS,
    )
    critic: str = choice("none", "unrestricted joint critic that targets bootstrap from", ("none", "central"))
    residual: str = choice(
        "none",
        "ResQ's residual beside Q_tot: -|.|; or any, penalised where it is positive; or raw, as in the code released",
        ("none", "constrained", "penalised", "raw"),
    )


@dataclass(frozen=True)
class CriticOptions:
    """Fields that a joint critic adds."""

    critic_width: int = size(128, "width of the joint critic's mixer; WQMIX 256, ResQ 128, POW 64", high=4096)
    critic_loss_scale: float = number(1, "factor of the joint critic's squared error", low=0)


@dataclass(frozen=True)
class ResidualOptions:
    """Fields that a residual adds."""

    residual_width: int = size(128, "width of the residual's mixer", high=4096)


def parts_of_common(values: Mapping[str, Any]) -> Parts:
    """What the fields of `Common` name; a word that is no name is refused where it is checked."""
    name = values.get("intrinsic", "none")
    return [(INTRINSICS[name].load(Intrinsic), INTRINSICS[name].options)] if name in INTRINSICS else []


def parts(values: Mapping[str, Any]) -> Parts:
    """What section `algorithm` is made of for a composition: its own fields and those of the parts it names."""
    composition = Composition(**chosen(Composition, values))
    mixer, weighting = MIXERS[composition.mixer], WEIGHTINGS[composition.weighting]
    found: Parts = [(Composition, {}), (mixer.load(Mixer), mixer.options)]
    found += [(weighting.load(Weighting), weighting.options), *parts_of_common(values)]
    if composition.critic != "none":
        found.append((CriticOptions, {}))
    if composition.residual != "none":
        found.append((ResidualOptions, {}))
    if composition.target == "softmax":
        found.append((SoftmaxOptions, {}))
    return found


def sizes_of(spec: Spec, agent: AgentOptions, axis: str | None = None) -> dict[str, Any]:
    """The sizes of a team by the names under which parts declare them; and the mesh axis of a shared batch."""
    return {
        "n_agents": spec.n_agents,
        "n_actions": spec.n_actions,
        "state_size": spec.state_size,
        "observation_size": spec.observation_size,
        "memory_size": agent.hidden_size,
        "group_width": agent.group_width,
        "axis": axis,
    }


def sized(part: Any, sizes: Mapping[str, Any], section: Mapping[str, Any]) -> Any:
    """A part with its options, and with those sizes of the team that it declares.

    Raises:
        UsageError: a field that is neither.
    """
    needed = [f.name for f in fields(part) if "option" not in f.metadata]
    for name in needed:
        if name not in sizes:
            words = "is no option (number, size, flag or choice) and no size of the team"
            raise UsageError(f"field {name} of {full_name(part)} {words}{nearest(name, sizes)}")
    return part(**{name: sizes[name] for name in needed}, **chosen(part, section))


def intrinsic_of(composition: Common, sizes: Mapping[str, Any], section: Mapping[str, Any]) -> Intrinsic | None:
    """The intrinsic reward that a section names."""
    if composition.intrinsic == "none":
        return None
    made: Intrinsic = sized(INTRINSICS[composition.intrinsic].load(), sizes, section)
    return made
