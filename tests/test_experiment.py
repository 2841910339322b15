"""Experiments: who wins when several set a value, what `replace` does, and that a record is enough to make it again."""

from dataclasses import dataclass, make_dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import marlx_envs
import numpy as np
import pytest
from marlx_envs.discovery import Entry
from marlx_envs.options import UsageError, number, options_of
from marlx_envs.sequential_games import TwoStateGame

import marlx
from marlx.algorithms.composition import Composition
from marlx.algorithms.profiles import PROFILES, training_numbers
from marlx.experiment import SECTIONS, from_dict
from marlx.intrinsic.count import Count
from marlx.mixers.base import Mixer
from marlx.mixers.vdn import VDN
from marlx.weightings.uniform import Uniform


def test_precedence() -> None:
    assert marlx.configure("qmix", "matrix_game").training["num_envs"] == 32  # the house's, for the environment
    assert marlx.configure("qmix", "predator_prey").training["num_envs"] == 8  # the section's default
    profile = marlx.configure("qmix", "matrix_game", "algorithm.profile=pymarl2")
    assert profile.training["batch_size"] == 128 and profile.training["loss_scale"] == 0.5
    assert marlx.configure("qmix", "predator_prey", "algorithm.profile=pymarl2").agent["agent_id"] is False
    assert marlx.configure("iql", "matrix_game", "algorithm.profile=pymarl2").training["batch_size"] == 32
    user = marlx.configure("qmix", "matrix_game", "algorithm.profile=pymarl2", "training.batch_size=64")
    assert user.training["batch_size"] == 64


@pytest.mark.parametrize("profile", PROFILES)
def test_every_profile_configures_every_method(profile: str) -> None:
    """And every field that it names is one that some composition has."""
    named = {
        field
        for algorithm in (*marlx.ALGORITHMS, "")
        for environment in ("predator_prey", "matrix_game", "smax")
        for field in training_numbers(profile, algorithm, environment)
    }
    for algorithm in marlx.ALGORITHMS:
        for environment in ("matrix_game", "risk_reward", "predator_prey"):
            if (algorithm, environment) == ("ideal_cw_qmix", "predator_prey"):
                continue  # nobody knows its best joint action
            experiment = marlx.configure(algorithm, environment, f"algorithm.profile={profile}")
            assert experiment.algorithm["profile"] == profile
            named -= {f"{section}.{field}" for section in SECTIONS for field in experiment.section(section)}
    assert not named


def test_a_profile_names_no_part() -> None:
    parts = {f"algorithm.{name}" for name in options_of(Composition)}
    assert not parts & {name for values in PROFILES.values() for name in values}


PUBLISHED: list[tuple[str, str, str, dict[str, Any]]] = [
    ("pymarl", "qmix", "predator_prey", {"optimiser": "rmsprop", "batch_size": 32, "td_lambda": 0.0, "num_envs": 1}),
    ("pymarl2", "qmix", "predator_prey", {"buffer_size": 1000, "td_lambda": 0.5, "agent_id": False}),
    ("pymarl2", "qmix", "risk_reward", {"buffer_size": 5000, "td_lambda": 0.6, "agent_id": True, "loss_scale": 0.5}),
    ("pymarl2", "iql", "predator_prey", {"learning_rate": 5e-4, "td_lambda": 0.0, "buffer_size": 1000}),
    ("pymarl2", "cw_qmix", "predator_prey", {"loss_scale": 1.0, "critic_loss_scale": 0.5}),
    ("wqmix", "ow_qmix", "predator_prey", {"learning_rate": 5e-4, "td_lambda": 0.0, "alpha": 0.1, "critic_width": 256}),
    ("wqmix", "ow_qmix", "matrix_game", {"optimiser": "rmsprop", "epsilon_steps": 50_000, "critic_loss_scale": 1.0}),
    ("resq", "resq", "predator_prey", {"learning_rate": 1e-3, "td_lambda": 0.6, "epsilon_steps": 100_000}),
    ("resq", "resq", "matrix_game", {"optimiser": "rmsprop", "num_envs": 1, "critic_width": 128}),
    ("na2q", "qmix", "predator_prey", {"optimiser": "rmsprop", "mixer_optimiser": "same", "epsilon_steps": 50_000}),
    ("remix", "remix", "predator_prey", {"epsilon_start": 0.995, "epsilon_end": 0.05, "epsilon_steps": 100_000}),
    ("remix", "remix", "matrix_game", {"buffer_size": 10_000, "batch_size": 128, "td_lambda": 0.6, "weight_low": 0.1}),
    ("pow", "cw_qmix", "predator_prey", {"epsilon_steps": 500_000, "loss_scale": 1.0, "critic_loss_scale": 0.5}),
    ("pow", "pow_qmix", "predator_prey", {"tolerance": 1.0, "recognition_parts": 1, "warm_up_steps": 100_000.0}),
    ("pow", "pow_qmix", "matrix_game", {"loss_scale": 0.5, "warm_up_steps": 0.0, "critic_width": 64}),
    ("pymarl2", "qplex", "matrix_game", {"heads": 4, "layers": 2, "loss_scale": 0.5}),
    ("house", "qplex", "matrix_game", {"heads": 10, "layers": 3}),
    ("pymarl2", "qtran_alt", "matrix_game", {"loss_scale": 1.0, "learning_rate": 5e-4}),
    ("pow", "cw_qmix", "matrix_game", {"epsilon_start": 1.0, "epsilon_end": 1.0, "alpha": 0.0, "critic_width": 256}),
    ("mrvf", "vdn", "predator_prey", {"td_lambda": 0.0, "epsilon_steps": 50_000, "batch_size": 32, "num_envs": 8}),
    *((p, "qplex", "predator_prey", {"heads": 10, "layers": 3}) for p in ("wqmix", "na2q", "mrvf")),
    ("mrvf", "mrvf", "risk_reward", {"share_rounds": True, "learning_rate": 5e-4, "buffer_size": 5000}),
    ("mrvf", "cw_qmix", "predator_prey", {"critic_width": 256, "alpha": 0.1}),
    ("pow", "resq", "predator_prey", {"critic_width": 128, "loss_scale": 1.0, "critic_loss_scale": 1.0}),
    ("nm", "qmix", "predator_prey", {"optimiser": "adam", "batch_size": 128, "learning_rate": 1e-3}),
]  # fmt: skip


@pytest.mark.parametrize("profile, algorithm, environment, expected", PUBLISHED)
def test_published_numbers(profile: str, algorithm: str, environment: str, expected: dict[str, Any]) -> None:
    experiment = marlx.configure(algorithm, environment, f"algorithm.profile={profile}")
    values = {**experiment.agent, **experiment.algorithm, **experiment.training}
    assert {name: values[name] for name in expected} == expected


def test_published_numbers_of_methods_and_environments_to_come() -> None:
    assert training_numbers("pymarl2", "qtran", "matrix_game")["training.td_lambda"] == 0
    assert training_numbers("na2q", "na2q", "matrix_game")["training.mixer_optimiser"] == "adam"
    alpha = {p: training_numbers(p, "cw_qmix", "smax").get("algorithm.alpha") for p in PROFILES}
    assert {p: value for p, value in alpha.items() if value} == {"wqmix": 0.5, "remix": 0.5}


def test_what_a_method_asks_for_are_fields_of_its_composition() -> None:
    for name, method in marlx.ALGORITHMS.items():
        for environment in ("matrix_game", *method.environments):
            experiment = marlx.configure(name, environment)
            for field, value in {**method.defaults, **method.environments.get(environment, {})}.items():
                section, _, field = field.partition(".")
                assert experiment.section(section)[field] == value, (name, field)


def test_what_a_method_asks_for_goes_with_its_parts() -> None:
    """A part exchanged by the user takes the method's options for it along."""
    without = "algorithm.critic=none"
    assert "critic_width" not in marlx.configure("resq", "matrix_game", without).algorithm
    with pytest.raises(UsageError, match="algorithm.critic_width is no option of resq with the parts"):
        marlx.configure("resq", "matrix_game", without, "algorithm.critic_width=64")


def test_later_overrides_win_and_replace_configures_anew() -> None:
    experiment = marlx.configure("qmix", "matrix_game", "training.gamma=0.5", {"training.gamma": 0.7})
    assert experiment.training["gamma"] == 0.7
    assert experiment.replace("training.num_envs=16").training["gamma"] == 0.7
    assert (
        experiment.replace("algorithm.mixer=vdn").algorithm.keys()
        == marlx.configure("vdn", "matrix_game").algorithm.keys()
    )
    assert experiment.replace("algorithm.profile=pymarl").training["optimiser"] == "rmsprop"


def test_an_experiment_survives_as_plain_data() -> None:
    for algorithm in marlx.ALGORITHMS:
        experiment = marlx.configure(algorithm, "risk_reward", "environment.n_agents=4", "training.gamma=0.5")
        assert from_dict(experiment.to_dict()) == experiment


def test_a_payoff_file_becomes_part_of_the_experiment(tmp_path: Path) -> None:
    file = tmp_path / "mine.csv"
    file.write_text("1,2\n3,4\n")
    experiment = marlx.configure("vdn", "matrix_game", f"environment.payoff={file}")
    file.unlink()
    assert experiment.replace("training.gamma=0.5").environment == experiment.environment
    again = from_dict(experiment.to_dict())
    np.testing.assert_array_equal(again.make_environment().params["rewards"][0], [[1, 2], [3, 4]])


@pytest.mark.parametrize(
    "overrides, words",
    [
        (("training.batch_size=9000",), "training.batch_size must be at most training.buffer_size"),
        (("training.total_steps=10", "training.batch_size=64"), "training.total_steps must be at least 64"),
        (("training.total_steps=100_000_000", "evaluation.interval=1"), "at most 100,000"),
        (("algorithm.mixer=qmx",), "did you mean 'qmix'"),
        (("training.lerning_rate=1",), "did you mean 'learning_rate'"),
        (("trainin.gamma=1",), "did you mean 'training'"),
        (("training.gamma=2",), "training.gamma must be at most 1, not 2"),
        (("training.total_steps=-5",), "training.total_steps must be at least 1, not -5"),
        (("training.num_envs=1.5",), "whole number"),
        (("training.gamma=nan",), "must be finite"),
        (("training.learning_rate=1e39",), "must be finite in single precision"),
        (("agent.head=group_state",), "algorithm.mixer=gomarl alone"),
        (("algorithm.mixer=gomarl",), "needs agent.head=group_state"),
    ],
)
def test_mistakes_are_one_line(overrides: tuple[str, ...], words: str) -> None:
    with pytest.raises(UsageError) as error:
        marlx.configure("qmix", "matrix_game", *overrides)
    assert words in str(error.value) and "\n" not in str(error.value)


@pytest.fixture(autouse=True)
def unchanged_registries(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers is gone after it."""
    parts = (marlx.mixers.MIXERS, marlx.weightings.WEIGHTINGS, marlx.intrinsic.INTRINSICS)
    for registry in (marlx.ALGORITHMS, marlx_envs.ENVIRONMENTS, *parts):
        monkeypatch.setattr(registry, "_entries", dict(registry))


def own_method(**keywords: Any) -> None:
    """Registers a method under the name "own"."""
    marlx.ALGORITHMS.register(marlx.Method(name="own", summary="", source="", **keywords))


@pytest.mark.parametrize(
    "asked, message",
    [
        (
            {"defaults": {"training.td_lambdaa": 0.8}},
            "defaults of algorithm own: unknown field of [training] 'td_lambdaa'; did you mean 'td_lambda'?",
        ),
        (
            {"defaults": {"trainig.td_lambda": 0.8}},
            "defaults of algorithm own: unknown section 'trainig'; did you mean 'training'?",
        ),
        (
            {"defaults": {"td_lambda": 0.8}},
            "defaults of algorithm own: expected section.name=value, not 'td_lambda'; did you mean "
            "'training.td_lambda'?",
        ),
        (
            {"defaults": {"algorithm.mixing_widht": 8}},
            "defaults of algorithm own: unknown field of [algorithm] 'mixing_widht'; did you mean 'mixing_width'?",
        ),
        (
            {"environments": {"predator_pray": {"training.batch_size": 64}}},
            "unknown environment 'predator_pray'; did you mean 'predator_prey'? (of algorithm own)",
        ),
        (
            {"environments": {"predator_prey": {"training.batch_sise": 64}}},
            "environments['predator_prey'] of algorithm own: unknown field of [training] 'batch_sise'; did you mean "
            "'batch_size'?",
        ),
        (
            {"environments": {"predator_prey": 64}},
            "environments['predator_prey'] of algorithm own must be a table of fields, not 64",
        ),
    ],
)
def test_a_field_that_a_method_misspells_is_named(asked: dict[str, Any], message: str) -> None:
    own_method(**asked)
    with pytest.raises(UsageError) as error:
        marlx.configure("own", "matrix_game")
    assert str(error.value) == message


def test_a_method_may_ask_for_fields_of_other_parts_and_environments() -> None:
    own_method(defaults={"algorithm.heads": 2, "algorithm.tolerance": 1.0, "environment.miss_penalty": -2.0})
    assert "heads" not in marlx.configure("own", "matrix_game").algorithm
    assert marlx.configure("own", "matrix_game", "algorithm.mixer=qplex").algorithm["heads"] == 2


@pytest.mark.parametrize(
    "name, owner",
    [("mixing_width", "marlx.mixers.qmix.QMIX"), ("target", "marlx.algorithms.composition.Composition")],
)
def test_options_of_two_parts_do_not_share_a_name(name: str, owner: str) -> None:
    own = make_dataclass("Own", [(name, float, number(1, ""))], bases=(Uniform,), frozen=True)
    marlx.weightings.WEIGHTINGS.register(Entry(name="own", summary="", source="", factory=own))
    with pytest.raises(UsageError, match=rf"^option {name} of \S+\.Own is one of {owner} too; rename it$"):
        marlx.configure("qmix", "matrix_game", "algorithm.weighting=own")


@pytest.mark.parametrize(
    "name, full",
    [("gamma", "training.gamma"), ("mixing_width", "algorithm.mixing_width"), ("payoff", "environment.payoff")],
)
def test_a_field_without_its_section_is_told_in_full(name: str, full: str) -> None:
    with pytest.raises(UsageError) as error:
        marlx.configure("qmix", "matrix_game", f"{name}=1")
    assert str(error.value) == f"expected section.name=value, not '{name}=1'; did you mean '{full}'?"


class Undecorated(VDN):
    scale: float = number(1, "")


@dataclass(frozen=True)
class Unmixed:
    scale: float = number(1, "")


@dataclass(frozen=True)
class Incomplete(Mixer):
    pass


@dataclass(frozen=True)
class Unsized(VDN):
    n_agent: int = 2


@pytest.mark.parametrize(
    "factory, message",
    [
        ("VDN", "factory of 'own' must be the class itself, not 'VDN'"),
        (Uniform, "factory of 'own' must be a subclass of Mixer, not <class 'marlx.weightings.uniform.Uniform'>"),
        (Unmixed, f"factory of 'own' must be a subclass of Mixer, not <class '{__name__}.Unmixed'>"),
        (Undecorated, f"class {__name__}.Undecorated needs @dataclass(frozen=True) above it"),
        (Incomplete, f"class {__name__}.Incomplete lacks apply, init of Mixer"),
        (
            Unsized,
            f"field n_agent of {__name__}.Unsized is no option (number, size, flag or choice) and no size of the team; "
            "did you mean 'n_agents'?",
        ),
    ],
)
def test_a_class_that_is_no_mixer_is_named(factory: Any, message: str) -> None:
    marlx.mixers.MIXERS.register(Entry(name="own", summary="", source="", factory=factory))
    with pytest.raises(UsageError) as error:
        marlx.configure("qmix", "matrix_game", "algorithm.mixer=own")
    assert str(error.value) == message


def test_a_class_that_is_no_weighting_is_named() -> None:
    marlx.weightings.WEIGHTINGS.register(Entry(name="own", summary="", source="", factory=VDN))
    with pytest.raises(UsageError, match="^factory of 'own' must be a subclass of Weighting, not <class .*VDN'>$"):
        marlx.configure("qmix", "matrix_game", "algorithm.weighting=own")


def test_a_class_that_is_no_environment_is_named() -> None:
    marlx_envs.ENVIRONMENTS.register(Entry(name="own", summary="", source="", factory=VDN))
    for make in (lambda: marlx.configure("qmix", "own"), lambda: marlx_envs.make("own")):
        with pytest.raises(
            UsageError, match="^factory of 'own' must be a subclass of Environment, not <class .*VDN'>$"
        ):
            make()


def test_a_field_of_an_environment_without_a_default_is_named() -> None:
    own = make_dataclass("Own", [("n", int)], bases=(TwoStateGame,), frozen=True, kw_only=True)
    marlx_envs.ENVIRONMENTS.register(Entry(name="own", summary="", source="", factory=own))
    with pytest.raises(UsageError, match=r"^field n of \S+\.Own needs a default, as by number, size, flag or choice$"):
        marlx_envs.make("own")


def test_options_that_a_class_does_not_have_are_named() -> None:
    entry = Entry(name="own", summary="", source="", factory="QMIX", options={"width": 8}, module="marlx.mixers.qmix")
    with pytest.raises(UsageError, match="^unknown option of marlx.mixers.qmix.QMIX 'width'; "):
        entry.load()


def test_a_class_that_is_not_there_is_named() -> None:
    entry = Entry(name="own", summary="", source="", factory="QMX", module="marlx.mixers.qmix")
    with pytest.raises(UsageError, match="^unknown class of marlx.mixers.qmix 'QMX'; did you mean 'QMIX'\\?$"):
        entry.load()


@pytest.mark.parametrize(
    "rule, message",
    [
        ("mrfv", "there is no module 'marlx.algorithms.mrfv'; did you mean 'mrvf'?"),
        ("nope", "there is no module 'marlx.algorithms.nope'; valid: mrvf, qtran, value_factorization"),
        ("no.where", "there is no module 'no.where'; valid: mrvf, qtran, value_factorization"),
        ("composition", "module marlx.algorithms.composition has no function build"),
        ("baselines", "module marlx.algorithms.baselines has no function parts"),
    ],
)
def test_a_rule_that_is_not_there_is_named(rule: str, message: str) -> None:
    own_method(rule=rule)
    with pytest.raises(UsageError) as error:
        marlx.configure("own", "matrix_game")
    assert str(error.value) == f"rule of algorithm own: {message}"


def test_an_intrinsic_reward_that_is_registered_can_be_chosen() -> None:
    marlx.intrinsic.INTRINSICS.register(Entry(name="own", summary="", source="", factory=Count))
    assert "count_cells" in marlx.configure("qmix", "matrix_game", "algorithm.intrinsic=own").algorithm


def test_what_is_registered_is_an_entry() -> None:
    with pytest.raises(UsageError, match=r"^register takes Entry\(...\) for a new mixer, not <class .*VDN'>$"):
        marlx.mixers.MIXERS.register(VDN)


@pytest.mark.parametrize(
    "name, value, expected",
    [
        ("training.learning_rate", np.float32(0.5), 0.5),
        ("training.learning_rate", jnp.float32(0.5), 0.5),
        ("training.gamma", np.asarray(0.5), 0.5),
        ("training.batch_size", np.int64(16), 16),
        ("training.batch_size", jnp.int32(16), 16),
        ("training.record_weights", np.bool_(True), True),
    ],
)
def test_scalars_of_numpy_and_jax_are_python_numbers(name: str, value: Any, expected: Any) -> None:
    section, _, field = name.partition(".")
    found = marlx.configure("qmix", "matrix_game", {name: value})
    for kept in (found.section(section)[field], found.overrides[name]):
        assert kept == expected and type(kept) is type(expected)


@pytest.mark.parametrize("value", [np.ones(1), jnp.ones(2), np.bool_(True), np.datetime64("2020-01-01")])
def test_other_values_of_numpy_are_no_number(value: Any) -> None:
    with pytest.raises(UsageError, match=r"training\.gamma must be a number, not "):
        marlx.configure("qmix", "matrix_game", {"training.gamma": value})


def test_a_traced_number_cannot_be_configured() -> None:
    with pytest.raises(UsageError, match=r"training\.gamma must be a number, not "):
        jax.eval_shape(lambda x: marlx.configure("qmix", "matrix_game", {"training.gamma": x}).numbers(), 0.5)
