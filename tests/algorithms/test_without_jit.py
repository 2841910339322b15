"""Updates without a compiler are the compiled ones: nothing in them needs to be traced to be right."""

import jax
import pytest

from tests.algorithms.golden import subject, summary


@pytest.mark.slow
@pytest.mark.parametrize("method", ["qmix", "qtran", "remix"])
def test_an_update_is_the_same_without_a_compiler(method: str) -> None:
    state, steps, update, _ = subject(method)
    compiled = summary(*update(state, steps))
    with jax.disable_jit():
        assert summary(*update(state, steps)) == pytest.approx(compiled, rel=1e-4, abs=1e-6)
