"""Which parts of a composition go together."""

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from marlx_envs.base import Spec
from marlx_envs.options import UsageError

from marlx.algorithms.composition import sized, sizes_of
from marlx.mixers import MIXERS

if TYPE_CHECKING:
    from marlx.algorithms.value_factorization import ValueFactorization


def check_together(made: "ValueFactorization", spec: Spec) -> None:
    """Raises `UsageError`, which names what is valid, if a composition has parts that do not go together."""
    names, weighting = made.composition, made.weighting
    plain = names.weighting == "uniform" and names.critic == names.residual == "none" and not made.softmax
    if made.mixer.keeps_apart and not plain:
        raise UsageError(
            f"algorithm.mixer={names.mixer} has no joint value, which a weighting, critic, residual or softmax needs; "
            f"valid: {', '.join(name for name, entry in MIXERS.items() if not entry.load().keeps_apart)}"
        )
    if made.softmax and made.critic:
        raise UsageError("algorithm.target=softmax averages joint values of a mixer, and needs algorithm.critic=none")
    head, given = made.mixer.agent_head, made.agent.options.head
    if head not in (None, given):
        raise UsageError(f"algorithm.mixer={names.mixer} needs agent.head={head}, not {given}")
    if given == "group_state" != head:
        raise UsageError(
            f"agent.head=group_state learns its groups through algorithm.mixer=gomarl alone, not {names.mixer}"
        )
    if weighting.needs_critic and made.critic is None:
        raise UsageError(f"algorithm.weighting={names.weighting} needs algorithm.critic=central")
    if weighting.needs_slopes and not made.mixer.is_monotone:
        monotone = _monotone_mixers(sizes_of(spec, made.agent.options), given)
        needs = f"algorithm.weighting={names.weighting} needs a mixer that is monotone in every utility"
        if names.mixer in monotone and not getattr(made.mixer, "monotone", True):
            raise UsageError(f"{needs}: algorithm.monotone must be true")
        raise UsageError(f"{needs}, not {names.mixer}; valid: {', '.join(monotone)}")
    if weighting.needs_optimum and not spec.optimum_known:
        raise UsageError(
            f"algorithm.weighting={names.weighting} needs an environment that knows its best joint action; "
            "valid: matrix_game, risk_reward"
        )
    sampling = weighting.sampling(made.training.batch_size)
    if sampling.recent > sampling.window:
        raise UsageError(
            f"algorithm.recent_rows must be at least the {sampling.recent} rows of a batch drawn from them, "
            f"not {sampling.window}"
        )


def _monotone_mixers(sizes: dict[str, Any], head: str) -> list[str]:
    """Mixers that this team and agents with this head can have, and that are monotone with their defaults."""
    found = []
    for name, entry in MIXERS.items():
        with suppress(UsageError):  # too large for the team, or not to be divided among it
            mixer = sized(entry.load(), sizes, entry.options)
            if mixer.is_monotone and not mixer.keeps_apart and mixer.agent_head in (None, head):
                found.append(name)
    return sorted(found)
