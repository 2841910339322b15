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
    assert "300 of 1,000 steps of each seed, 100 steps/s, 0:14 left, return 7.5" in shown  # (600 - 200) / 4 s


def test_nothing_is_shown_on_request(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    with Reporter(total_steps=10, seeds=1, show=False) as report:
        report.update(0, 1, 5, 5)
        report.say("unseen")
    assert capsys.readouterr().out == ""
