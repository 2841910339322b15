"""The progress bar: what a terminal shows of rate and time left, by hand."""

from types import SimpleNamespace

import pytest

from marlx.host.progress import Reporter


def test_a_terminal_shows_a_bar_with_rate_and_time_left(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two seeds of 1000 steps: 400 of the planned steps take 4 s, so the 1400 that are left take 14 s."""
    now = 10.0
    monkeypatch.setattr("marlx.host.progress.time", SimpleNamespace(monotonic=lambda: now))
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich takes any output for a terminal then
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    with Reporter(total_steps=1000, seeds=2, show=True) as report:
        report.update(0, 2, 100, 200)
        now = 14.0
        report.evaluated("evaluation_return", 7.5)
        report.update(0, 2, 300, 600)
        report.say("a line above the bar")
    shown = capsys.readouterr().out
    assert "\r" in shown and "a line above the bar\n" in shown
    assert " 30%" in shown  # 2 x 300 of 2 x 1000 steps
    assert "300 of 1,000 steps of each seed, 100 steps/s in all, 0:14 left, return 7.5" in shown  # (600 - 200) / 4 s


def test_a_file_gets_lines_that_count_seeds_and_steps(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five seeds of 1000 steps, two at a time, 50 steps/s: of 5000 steps 500 are done before the clock starts."""
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr("marlx.host.progress.time", SimpleNamespace(monotonic=lambda: clock.now))
    updates = ((10.0, 0, 2, 500), (31.0, 2, 2, 25), (80.0, 4, 1, 500), (83.0, 4, 1, 650))
    with Reporter(total_steps=1000, seeds=5, show=True) as report:
        report.update(0, 2, 250, 500)
        for clock.now, finished, at_work, steps in updates:
            report.update(finished, at_work, steps, finished * 1000 + at_work * steps)
    assert capsys.readouterr().out.splitlines() == [
        "500 of 1,000 steps of seeds 1 to 2 of 5, 50 steps/s in all, 1:20 left",
        "25 of 1,000 steps of seeds 3 to 4 of 5, 50 steps/s in all, 0:59 left",
        "500 of 1,000 steps of seed 5 of 5, 50 steps/s in all, 0:10 left",  # the one 3 s later is too soon
    ]


def test_a_chunk_that_begins_again_is_measured_anew(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory ran out at 900 of 1000 steps of two seeds; one by one, they make 10 steps/s."""
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr("marlx.host.progress.time", SimpleNamespace(monotonic=lambda: clock.now))
    with Reporter(total_steps=1000, seeds=2, show=True) as report:
        for clock.now, at_work, steps in ((0.0, 2, 0), (20.0, 2, 900), (30.0, 1, 100), (40.0, 1, 200)):
            report.update(0, at_work, steps, at_work * steps)
    assert capsys.readouterr().out.splitlines() == [
        "900 of 1,000 steps of each seed, 90 steps/s in all, 0:02 left",
        "100 of 1,000 steps of seed 1 of 2, measuring",
        "200 of 1,000 steps of seed 1 of 2, 10 steps/s in all, 3:00 left",
    ]


def test_nothing_is_shown_on_request(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    with Reporter(total_steps=10, seeds=1, show=False) as report:
        report.update(0, 1, 5, 5)
        report.say("unseen")
    assert capsys.readouterr().out == ""
