"""`marlx theory`: what it prints, its map, and mistakes in one line."""

from pathlib import Path

import numpy as np
import pytest

from marlx.analysis.maps import Family, family_verdicts, stability_map
from marlx.analysis.theory.survey import Setting, Verdict
from marlx.host.cli import main


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_payoff(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(("theory", "mrvf5")) == 0
    output = capsys.readouterr().out
    assert "loss 36.2222, greedy (C,C)" in output
    for words in (
        "│ qmix     │ (C,C) ",
        "│ cw_qmix  │ (A,A)                  │ yes ",
        "│ resq     │ (A,A)~ ",
        "(C,C) 5 -> (A,A) 8 -> (A,A) 8",
    ):
        assert words in output


def test_options_and_files(capsys: pytest.CaptureFixture[str]) -> None:
    Path("mine.csv").write_text("3,1\n0,2\n1,1\n")
    assert main(("theory", "mine.csv", "--epsilon", "0.2", "--exploration", "centralised")) == 0
    output = capsys.readouterr().out
    assert "3 x 2 actions, best 3 at (A,A)" in output and "centralised exploration, epsilon 0.2" in output
    assert main(("theory", "k_of_n", "environment.n_actions=6", "environment.lose=-5")) == 0
    assert "loss 4.96032, greedy (A,A)" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words, message",
    [
        (("mrvf",), "unknown payoff 'mrvf'; did you mean 'mrvf8'?"),
        (("mrvf5", "--epsilon", "2"), "--epsilon must be at most 1, not 2.0"),
        (("mrvf5", "--alpha", "x"), "--alpha must be a number, not 'x'"),
        (("mrvf5", "--exploration", "central"), "did you mean 'centralised'?"),
        (("climb_n", "environment.diagonal=[1,2,3,4,5,6,7]"), "climb_n: a game of 7 x 7 actions has 25,401,600 orders"),
        (("map", "--out", "map.bmp"), "a picture must end in .png, .pdf or .svg, not 'map.bmp'"),
        (("mrvf5", "--out", "map.png"), "--out is of the map"),
        (("map", "environment.miss=3"), "environment.miss=3 is of a named payoff"),
        (("mrvf5", "--rounds", "0"), "--rounds must be at least 1, not 0"),
    ],
)
def test_a_mistake_is_one_line(words: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(("theory", *words)) == 2
    errors = capsys.readouterr().err
    assert message in errors and errors.count("\n") == 1


def test_the_map_holds_the_named_payoffs() -> None:
    """At a punishment of 12 and a safe payoff of 7.9 lies resq79, at 12 and 0 son3."""
    family = Family(np.array([0.0, 12.0]), np.array([0.0, 7.9]))
    found = family_verdicts(family, Setting())
    assert found["qmix"][1, 1] == Verdict.NEVER and found["qmix"][0, 1] == found["qmix"][0, 0] == Verdict.ALWAYS
    assert (found["mrvf"] == Verdict.ALWAYS).all() and (found["resq"] == Verdict.WEAK).all()
    figure = stability_map(family, found, "uniform data")
    assert [axes.get_title(loc="left") for axes in figure.axes][:3] == ["VDN", "QMIX", "OW-QMIX"]
    assert figure.axes[0].images[0].get_extent() == pytest.approx(
        [-6, 18, -3.95, 11.85]
    )  # a cell has its payoff in the middle
    figure.savefig("map.png")
    assert Path("map.png").stat().st_size > 10_000
