"""What results are written with: a command that a shell takes as it is."""

import importlib.util
import json
import shlex
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from experiments.record import RESULTS, command

RECORDS = {path.stem: json.loads(path.read_text()) for path in sorted(RESULTS.glob("*.json"))}


def test_words_with_spaces_stay_words(monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["-m", "experiments.payoff", "--methods", "qplex, advantages learn", "it's"]
    monkeypatch.setattr(sys, "orig_argv", ["/somewhere/python3", *words])
    assert shlex.split(command()) == ["python", *words]


@pytest.mark.parametrize("out", [("--out", "/there"), ("--out=/there",)])
def test_folders_of_one_machine_are_left_out(out: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["-m", "experiments.smax", "--runs", "/here", "--seeds", "2", *out, "training.gamma=1"]
    monkeypatch.setattr(sys, "orig_argv", ["python3", *words])
    assert command() == "python -m experiments.smax --seeds 2 training.gamma=1"


def commands(record: Any) -> Iterator[str]:
    if isinstance(record, dict):
        for name, value in record.items():
            yield from [value] if name == "command" else commands(value)


@pytest.mark.parametrize("name", RECORDS)
def test_recorded_commands_name_a_module_of_this_repository(name: str) -> None:
    for said in commands(RECORDS[name]):
        words = shlex.split(said)
        assert words[0] in ("python", "marlx"), said
        if words[0] == "python":
            assert words[1] == "-m" and importlib.util.find_spec(words[2]) is not None, said


@pytest.mark.parametrize("name", [name for name in RECORDS if name.startswith("payoff_resq79")])
def test_a_table_of_payoffs_has_the_methods_that_its_command_names(name: str) -> None:
    words = shlex.split(RECORDS[name]["command"])
    named = words[words.index("--methods") + 1 :]
    named = named[: next((k for k, word in enumerate(named) if word.startswith("--")), None)]
    assert list(RECORDS[name]["methods"]) == named


@pytest.mark.parametrize("name", ["nm_qmix_gaps_3_steps"])
def test_variants_are_those_that_the_command_names(name: str) -> None:
    words = shlex.split(RECORDS[name]["command"])
    for found in RECORDS[name]["outcomes"].values():
        assert list(found) == words[words.index("--variants") + 1 :]
