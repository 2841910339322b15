"""What a run is: an algorithm, an environment, and five sections of checked options. Errors are one line.

    configure("qmix", "predator_prey", "environment.miss_penalty=-2", "training.total_steps=1_000_000")

The order of precedence, weakest first: defaults of the sections; the profile, or the house's numbers for the
environment; the method's own; the user's.
"""

import tomllib
from collections.abc import Hashable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import marlx_envs
import numpy as np
from marlx_envs.base import Environment, Spec
from marlx_envs.options import Option, UsageError, check, defaults_of, options_of, shown, unknown

from marlx import joint_actions
from marlx.agents import AgentOptions
from marlx.algorithms import ALGORITHMS
from marlx.algorithms.profiles import PROFILES, training_numbers
from marlx.engine.trainer import Plan, plan
from marlx.intrinsic import INTRINSICS
from marlx.mixers import MIXERS
from marlx.settings import Evaluation, Training
from marlx.weightings import WEIGHTINGS

SECTIONS = ("environment", "agent", "algorithm", "training", "evaluation")
_CLASSES: dict[str, type] = {"agent": AgentOptions, "training": Training, "evaluation": Evaluation}


@dataclass(frozen=True)
class Experiment:
    """A fully resolved run. Made by `configure`; every section holds a value for each of its fields."""

    algorithm_name: str
    environment_name: str
    environment: Mapping[str, Any]
    agent: Mapping[str, Any]
    algorithm: Mapping[str, Any]
    training: Mapping[str, Any]
    evaluation: Mapping[str, Any]
    overrides: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)  # the user's own

    def section(self, name: str) -> Mapping[str, Any]:
        """The values of one section."""
        return getattr(self, name)

    def options(self, name: str) -> dict[str, Option]:
        """The fields that a section has in this composition."""
        return _options(name, self.algorithm_name, self.environment_name, self.algorithm)

    def make_environment(self) -> Environment:
        """The environment with this experiment's options."""
        return marlx_envs.make(self.environment_name, **self.environment)

    def plan(self, spec: Spec) -> Plan:
        """How its iterations go, in an environment with this spec."""
        return plan(Training(**self.training), Evaluation(**self.evaluation), spec.episode_limit)

    def numbers(self) -> dict[str, dict[str, Any]]:
        """Every traced number by section, plus the arrays that an environment has beside its numbers."""
        found = {
            name: {
                field: np.float32(self.section(name)[field])
                for field, option in self.options(name).items()
                if option.kind == "number"
            }
            for name in SECTIONS[1:]
        }
        return {"environment": self.make_environment().params, **found}

    def traced(self, name: str) -> Option:
        """The option "section.name". Raises `UsageError` unless there is one and it is a traced number."""
        parse(({name: None},))
        section, _, field = name.partition(".")
        options = self.options(section)
        if field not in options:
            raise unknown(f"field of [{section}]", field, options)
        if options[field].kind != "number":
            raise UsageError(f"{name} is not a traced number: it changes the program, so it needs a run of its own")
        return options[field]

    def replace(self, *overrides: str | Mapping[str, Any]) -> "Experiment":
        """The experiment that `configure` makes of the same overrides and these."""
        return configure(self.algorithm_name, self.environment_name, self.overrides, *overrides)

    def to_dict(self) -> dict[str, Any]:
        """Names and sections as plain data."""
        names = {"algorithm_name": self.algorithm_name, "environment_name": self.environment_name}
        return {**names, **{s: dict(self.section(s)) for s in SECTIONS}}


def configure(algorithm: str, environment: str, *overrides: str | Mapping[str, Any]) -> Experiment:
    """An experiment from names and overrides ("section.name=value" or {"section.name": value}).

    Raises:
        UsageError: an unknown algorithm, environment, section or field (with the nearest valid name), also one that
            the method asks for; a wrong type, a value out of range, or values that do not go together.
    """
    method = ALGORITHMS[algorithm]
    marlx_envs.ENVIRONMENTS[environment]
    _check_asked(algorithm, environment)
    user = parse(overrides)
    profile = user.get("algorithm.profile", method.composition.get("profile", "house"))
    if not isinstance(profile, str) or profile not in PROFILES:
        raise unknown("value of algorithm.profile", profile, PROFILES)
    numbers = training_numbers(profile, algorithm, environment)
    own = method.environments.get(environment, {})
    parts = {f"algorithm.{name}": value for name, value in method.composition.items()}
    parts = {name: own.get(name, value) for name, value in parts.items()}
    methods = {**method.defaults, **own}
    defaults = {**numbers, **methods} if profile == "house" else {**methods, **numbers}
    return _resolve(algorithm, environment, defaults, {**parts, **user}, user)


def from_dict(values: Mapping[str, Any]) -> Experiment:
    """The inverse of `to_dict`, checked like any configuration."""
    for name in values:
        if name not in (*SECTIONS, "algorithm_name", "environment_name"):
            raise unknown("section", name, SECTIONS)
    for name in ("algorithm_name", "environment_name"):
        if not isinstance(values.get(name), str):
            raise UsageError(f"an experiment needs {name}, a name")
    for name in SECTIONS:
        if not isinstance(values.get(name, {}), Mapping):
            raise UsageError(f"section [{name}] must be a table of fields, not {shown(values[name])}")
    flat = {f"{s}.{k}": v for s in SECTIONS for k, v in values.get(s, {}).items()}
    return configure(values["algorithm_name"], values["environment_name"], flat)


def check_experiment(value: object, function: str) -> None:
    """Raises `UsageError` unless a value is an experiment; `function` of `marlx` is what takes it."""
    if not isinstance(value, Experiment):
        call = f'marlx.{function}(marlx.configure("qmix", "matrix_game"))'
        raise UsageError(f"marlx.{function} takes an experiment, as in {call}, not {shown(value)}")


def parse(overrides: tuple[str | Mapping[str, Any], ...]) -> dict[str, Any]:
    """Overrides as {"section.name": value}; a later one wins. Strings hold TOML values, or bare words."""
    found: dict[str, Any] = {}
    for override in overrides:
        if isinstance(override, Mapping):
            items = dict(override)
        elif isinstance(override, str) and "=" in override:
            name, _, value = override.partition("=")
            items = {name.strip(): _value(value.strip())}
        else:
            raise UsageError(f"expected section.name=value, not {shown(override)}")
        for name in items:
            section, dot, field = str(name).partition(".")
            if not dot or not field:
                given = override if isinstance(override, str) else name
                raise UsageError(f"expected section.name=value, not {shown(given)}{_full_name(section)}")
            if section not in SECTIONS:
                raise unknown("section", section, SECTIONS)
        found.update(items)
    return found


def _full_name(field: str) -> str:
    """What a field without its section may be, as the end of a message."""
    full = (f"{section}.{field}" for section in (*_CLASSES, "algorithm", "environment") if field in _fields(section))
    found = next(full, None)
    return f"; did you mean '{found}'?" if found else f"; sections: {', '.join(SECTIONS)}"


def _fields(section: str) -> set[str]:
    """Every field that a section has with some method, part or environment."""
    if section in _CLASSES:
        return {*options_of(_CLASSES[section])}
    registries = (marlx_envs.ENVIRONMENTS,) if section == "environment" else (MIXERS, WEIGHTINGS, INTRINSICS)
    found: set[str] = set()
    for entry in (entry for registry in registries for entry in registry.values()):
        with suppress(UsageError):  # one that cannot be loaded, which is told where it is asked for
            found |= {*options_of(entry.load())}
    for method in ALGORITHMS.values() if section == "algorithm" else ():
        with suppress(UsageError):
            found |= {*method.section_options(method.composition)}
    return found


def _value(text: str) -> Any:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except RecursionError:
        raise UsageError(f"a value is nested too deeply: {shown(text)}") from None
    except ValueError:  # TOMLDecodeError, and whole numbers of thousands of digits
        return text


def _options(section: str, algorithm: str, environment: str, values: Mapping[str, Any]) -> dict[str, Option]:
    if section == "environment":
        return options_of(marlx_envs.ENVIRONMENTS[environment].load(Environment))
    if section == "algorithm":
        return ALGORITHMS[algorithm].section_options(_names(values))
    return options_of(_CLASSES[section])


def _defaults(section: str, algorithm: str, environment: str, values: Mapping[str, Any]) -> dict[str, Any]:
    if section == "algorithm":
        return ALGORITHMS[algorithm].section_defaults(_names(values))
    if section == "environment":
        entry = marlx_envs.ENVIRONMENTS[environment]
        return {**defaults_of(entry.load()), **entry.options}
    return defaults_of(_CLASSES[section])


def _names(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values that can name a part; `check` speaks about the others."""
    return {name: value for name, value in values.items() if isinstance(value, Hashable)}


def _share(section: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Those of {"section.name": value} that belong to a section, as {"name": value}."""
    places = {name: name.partition(".") for name in values}
    return {field: values[name] for name, (place, _, field) in places.items() if place == section}


def _resolve(
    algorithm: str, environment: str, defaults: Mapping[str, Any], values: Mapping[str, Any], user: Mapping[str, Any]
) -> Experiment:
    """Values must be fields of their sections; defaults of profile and method are passed over where they are not."""
    resolved: dict[str, dict[str, Any]] = {}
    for section in SECTIONS:
        given = _share(section, values)
        options = _options(section, algorithm, environment, given)
        for name in given:
            if name not in options:
                raise _unknown_field(section, name, options, algorithm, environment)
        offered = {name: value for name, value in _share(section, defaults).items() if name in options}
        every = {**_defaults(section, algorithm, environment, given), **offered, **given}
        resolved[section] = {name: check(options[name], value, f"{section}.{name}") for name, value in every.items()}
    factory = marlx_envs.ENVIRONMENTS[environment].load()
    resolved["environment"] = factory.self_contained(resolved["environment"])
    places = {name: name.partition(".") for name in user}
    mine = {name: resolved[section][field] for name, (section, _, field) in places.items()}  # files read, types settled
    experiment = Experiment(algorithm, environment, **resolved, overrides=mine)
    _check_together(experiment)
    return experiment


def _check_asked(algorithm: str, environment: str) -> None:
    """Refuses what a method asks for and nothing has; a field that this composition alone lacks is passed over."""
    method = ALGORITHMS[algorithm]
    for name in method.environments:
        if name not in marlx_envs.ENVIRONMENTS:
            raise UsageError(f"{unknown('environment', name, marlx_envs.ENVIRONMENTS)} (of algorithm {algorithm})")
    asked = {"defaults": method.defaults, **{f"environments[{x!r}]": own for x, own in method.environments.items()}}
    for place, values in asked.items():
        if not isinstance(values, Mapping):
            raise UsageError(f"{place} of algorithm {algorithm} must be a table of fields, not {shown(values)}")
        try:
            for section, name in (full.split(".", 1) for full in parse((values,))):
                offered = _options(section, algorithm, environment, {**method.composition, **_share(section, values)})
                if name not in offered and name not in _fields(section):
                    raise unknown(f"field of [{section}]", name, _fields(section))
        except UsageError as error:
            raise UsageError(f"{place} of algorithm {algorithm}: {error}") from None


def _unknown_field(
    section: str, name: str, options: Mapping[str, Option], algorithm: str, environment: str
) -> UsageError:
    """The error for a field that a section does not have here; others may have it."""
    if section == "environment":
        mine, owners = environment, [key for key, x in marlx_envs.ENVIRONMENTS.items() if name in options_of(x.load())]
    elif section == "algorithm":
        methods = ALGORITHMS.items()
        mine, owners = algorithm, [key for key, x in methods if name in x.section_options(x.composition)]
    else:
        mine, owners = "", []
    if mine in owners:
        return UsageError(f"{section}.{name} is no option of {mine} with the parts that are asked for")
    if owners:
        names, more = ", ".join(owners[:4]), f" and {len(owners) - 4} more" if len(owners) > 4 else ""
        return UsageError(
            f"{section}.{name} is no option of {mine}; {names}{more} {'has' if len(owners) == 1 else 'have'} it"
        )
    return unknown(f"field of [{section}]", name, options)


def _check_together(experiment: Experiment) -> None:
    training, evaluation = Training(**experiment.training), Evaluation(**experiment.evaluation)
    spec = experiment.make_environment().spec
    lengths = experiment.plan(spec)
    rule = ALGORITHMS[experiment.algorithm_name].load_rule()
    rule.build(spec, AgentOptions(**experiment.agent), dict(experiment.algorithm), training)  # parts that do not fit
    if training.record_weights and "weighting" not in experiment.algorithm:
        raise UsageError(f"training.record_weights needs a method with weights; {experiment.algorithm_name} has none")
    if evaluation.record_tables and not joint_actions.few(spec.n_agents, spec.n_actions):
        raise UsageError(
            f"evaluation.record_tables needs at most {joint_actions.MOST} joint actions, and 26 actions of an agent; "
            f"{experiment.environment_name} has {spec.n_agents} agents with {spec.n_actions} actions"
        )
    if training.batch_size > lengths.capacity:
        raise UsageError(
            f"training.batch_size must be at most training.buffer_size ({lengths.capacity}), not {training.batch_size}"
        )
    least = (lengths.warm_up + 1) * lengths.steps_per_iteration
    if training.total_steps < least:
        raise UsageError(
            f"training.total_steps must be at least {least}, the steps that fill a first batch, "
            f"not {training.total_steps}"
        )
