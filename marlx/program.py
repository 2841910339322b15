"""An experiment as a pure program: `make_train(experiment)(key) -> Result`, to be jitted and vmapped; and its phases.

The host runs the same phases one by one, with its own work between them.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import marlx_envs
import numpy as np
from marlx_envs.options import UsageError, check, described

from marlx.agents import AgentOptions
from marlx.algorithms import ALGORITHMS
from marlx.engine.trainer import Plan, SeedState, Trainer
from marlx.experiment import Experiment, check_experiment
from marlx.settings import Evaluation, Training
from marlx.types import Algorithm, Metrics, Params

Numbers = Any  # the pytree of Experiment.numbers()


class Result(NamedTuple):
    """What training returns: metrics by name, one value for each evaluation [K]; and the final parameters."""

    metrics: Metrics
    params: Params


class Program:
    """The phases of a run as pure functions of (arguments, numbers), for one seed; batch them with `jax.vmap`.

    Args:
        axis: mesh axis of devices that share the rows of a batch (`marlx.engine.seeds.ROWS`); None: no sharing.
    """

    def __init__(self, experiment: Experiment, axis: str | None = None) -> None:
        self.experiment, self.axis = experiment, axis
        self.environment = experiment.make_environment()
        marlx_envs.check(self.environment)
        self.rule = ALGORITHMS[experiment.algorithm_name].load_rule()
        self.plan: Plan = self.trainer(experiment.numbers()).plan

        def update(numbers: Numbers, *arguments: Any) -> tuple[Any, Metrics]:
            return self._algorithm(numbers).update(*arguments)

        self._update: Any = jax.jit(update)  # one function, so that its trace is shared by the phases

    @property
    def rows(self) -> int:
        """Rows of one update: slots x batch x agents; with a slot to bootstrap from, whether there is one or not."""
        batch_size: int = self.experiment.training["batch_size"]
        return (self.plan.rollout_steps + 1) * batch_size * self.environment.spec.n_agents

    def trainer(self, numbers: Numbers) -> Trainer:
        """The trainer with these numbers in place of the experiment's."""
        evaluation = Evaluation(**self.experiment.evaluation)
        training = self._training(numbers)
        algorithm = self._algorithm(numbers)
        algorithm = algorithm._replace(update=lambda *arguments: self._update(numbers, *arguments))
        return Trainer(self.environment, numbers["environment"], algorithm, training, evaluation, self.axis)

    def _training(self, numbers: Numbers) -> Training:
        return replace(Training(**self.experiment.training), **numbers["training"])

    def _algorithm(self, numbers: Numbers) -> Algorithm:
        section = {**self.experiment.algorithm, **numbers["algorithm"]}
        agent = AgentOptions(**self.experiment.agent)
        return self.rule.build(self.environment.spec, agent, section, self._training(numbers), self.axis)

    def init(self, key: chex.PRNGKey, numbers: Numbers) -> SeedState:
        """A seed before its first environment step."""
        return self.trainer(numbers).init(key)

    def train(self, first: jax.Array, count: jax.Array, state: SeedState, numbers: Numbers) -> SeedState:
        """`count` iterations from number `first` on (int32, shared by all seeds)."""
        return self.trainer(numbers).train(first, count, state)

    def record(self, index: jax.Array, state: SeedState, numbers: Numbers) -> tuple[SeedState, Metrics]:
        """Training means since the last record and a greedy evaluation; `index` (int32, shared) names its stream."""
        return self.trainer(numbers).record(index, state)

    def refill(self, iteration: jax.Array, state: SeedState, numbers: Numbers) -> SeedState:
        """The replay as full as it was before an iteration (int32, shared by all seeds), of fresh play."""
        return self.trainer(numbers).refill(iteration, state)


def make_train(experiment: Experiment) -> Any:
    """A pure function (key, numbers=None) -> Result that trains one seed from start to end.

    Args:
        experiment: what is trained; its sizes and names are compiled in, its numbers are not.

    Returns:
        `train(key)`, to be jitted: key [] -> metrics [K evaluations] and parameters. `jax.vmap(train)(keys [S])` has
        a leading axis [S] on every leaf. `numbers` replaces `experiment.numbers()`, or some of them as
        {"section.name": value}; vmap over its leaves to make hyperparameters an axis. Nothing is read or written while
        it runs.

    Raises:
        UsageError: what is given is no experiment; and `train`, of a name that is no traced number of it.
    """
    check_experiment(experiment, "make_train")
    program = Program(experiment)
    ends = np.asarray(program.plan.evaluations, np.int32)
    firsts = np.concatenate([[0], ends[:-1]]).astype(np.int32)
    defaults = experiment.numbers()

    def train(key: chex.PRNGKey, numbers: Numbers | None = None) -> Result:
        numbers = defaults if numbers is None else _merged(experiment, defaults, numbers)
        state = program.init(key, numbers)

        def segment(state: SeedState, bounds: tuple[jax.Array, jax.Array]) -> tuple[SeedState, Metrics]:
            first, end = bounds
            return program.record(end, program.train(first, end - first, state, numbers), numbers)

        state, metrics = jax.lax.scan(segment, state, (jnp.asarray(firsts), jnp.asarray(ends)))
        return Result(metrics, state.learner.params)

    return train


def _merged(experiment: Experiment, defaults: Numbers, given: Any) -> Numbers:
    """All numbers: those given by "section.name" in the place of the defaults, or a whole tree as it is.

    Raises:
        UsageError: a name that is no traced number, or a value of another shape or out of range.
    """
    if not isinstance(given, Mapping):
        raise UsageError(f'numbers must be a dictionary, such as {{"training.gamma": 0.9}}, not {described(given)}')
    if given.keys() == defaults.keys():
        return given
    found = {section: dict(values) for section, values in defaults.items()}
    for name, value in given.items():
        section, _, field = str(name).partition(".")
        if field not in found.get(section, {}):
            experiment.traced(name)
            raise UsageError(f"{name} is read when the environment is made: give it to marlx.configure")
        option = experiment.options(section).get(field)  # none of an array that an environment has beside its numbers
        if option and not isinstance(value, jax.Array | np.ndarray):
            value = check(option, value, name)
        if np.shape(value) != np.shape(found[section][field]):
            sizes = (" ".join(map(str, np.shape(x))) for x in (found[section][field], value))
            raise UsageError("{} must have the shape [{}], not [{}]".format(name, *sizes))
        found[section][field] = jnp.asarray(value, jnp.result_type(found[section][field]))
    return found
