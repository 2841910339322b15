"""What results are written with: a command that a shell takes as it is."""

import importlib.util
import json
import shlex
import sys
from pathlib import Path

import pytest

from experiments.record import RESULTS, command

PAYOFFS = sorted(RESULTS.glob("payoff_resq79*.json"))


def test_words_with_spaces_stay_words(monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["-m", "experiments.payoff", "--methods", "qplex, advantages learn", "it's"]
    monkeypatch.setattr(sys, "orig_argv", ["/somewhere/python3", *words])
    assert shlex.split(command()) == ["python", *words]


@pytest.mark.parametrize("path", PAYOFFS, ids=lambda path: path.stem)
def test_a_table_of_payoffs_has_the_methods_that_its_command_names(path: Path) -> None:
    record = json.loads(path.read_text())
    words = shlex.split(record["command"])
    assert words[:2] == ["python", "-m"] and importlib.util.find_spec(words[2]) is not None
    named = words[words.index("--methods") + 1 :]
    named = named[: next((k for k, word in enumerate(named) if word.startswith("--")), None)]
    assert list(record["methods"]) == named
