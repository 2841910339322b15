"""The pages of `marlx report` and `marlx render` as a person uses them, by mouse and by keys."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from marlx.analysis.film import page as film_page
from marlx.analysis.scenes import Entity, Frame, Scene
from marlx.analysis.statistics import interval, one_set
from marlx.host.cli import main
from marlx.host.results import load_run
from tests.host.written_runs import EVALUATIONS, unfinished, write_sweep

Visit = Callable[[Path], Any]
HOSTILE = "</script><script>window.bad = 1</script><img src=x onerror='window.bad = 1'>"


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep with its report. Not to be changed."""
    folder = tmp_path_factory.mktemp("report") / "s"
    write_sweep(folder, title=HOSTILE)
    assert main(["report", str(folder)]) == 0
    return folder


def values(sweep: Path, algorithm: str, rate: str, metric: str = "evaluation_return") -> Any:
    """A metric [S K] as the parquet file has it."""
    table = load_run(sweep / f"{algorithm}-matrix_game").metrics()
    mine = table[table["training.learning_rate"] == float(rate)].sort_values(["seed", "env_steps"])
    return mine[metric].to_numpy().reshape(-1, EVALUATIONS)


def numbers(text: str) -> list[float]:
    return [float(word) for word in re.findall(r"-?\d+\.?\d*(?:e-?\d+)?", text)]


def rows(page: Any) -> list[list[str]]:
    return [row.locator("td").all_inner_texts() for row in page.locator("#scores tbody tr").all()]


def told(page: Any) -> list[str]:
    """The lines of the label beside the curve that is pointed at."""
    return page.locator(".tip:visible").inner_text().split("\n")


def test_the_numbers_are_those_of_the_metrics(sweep: Path, visit: Visit) -> None:
    page = visit(sweep / "report.html")
    for metric, label in (("evaluation_return", "greedy return of an episode"), ("loss", "loss")):
        page.get_by_label("Metric").select_option(label=label)
        assert page.get_by_role("heading", name=f"Last evaluation: {label}").is_visible() and len(rows(page)) == 4
        for algorithm, rate, mean, span, seeds, left_out in rows(page):
            last = values(sweep, algorithm, rate, metric)[:, -1]
            expected = interval(last)
            assert float(mean) == pytest.approx(expected.iqm, rel=1e-3)
            assert numbers(span.replace(" to ", "  ")) == pytest.approx([expected.low, expected.high], rel=1e-3)
            assert (int(seeds), int(left_out)) == (expected.used, expected.left_out)
    means = [float(row[2]) for row in rows(page)]
    assert means == sorted(means, reverse=True)
    page.get_by_role("button", name="IQM").click()
    assert [float(row[2]) for row in rows(page)] == sorted(means)


def test_pointing_at_a_curve_tells_its_numbers(sweep: Path, visit: Visit) -> None:
    page = visit(sweep / "report.html")
    panel = page.locator("figure").nth(1)
    assert panel.locator("figcaption").inner_text() == "learning_rate 0.001"
    expected = interval(values(sweep, "qmix", "0.001"))
    line = panel.locator("polyline").nth(1)
    for k in (1, 3):
        x, y = map(float, line.get_attribute("points").split()[k].split(","))
        box, (width, height) = panel.locator("svg").bounding_box(), (420, 250)
        page.mouse.move(box["x"] + x * box["width"] / width + 1, box["y"] + y * box["height"] / height - 1)
        where, steps, found = told(page)
        assert where == "algorithm qmix, learning_rate 0.001" and steps == f"{k + 1},000 steps"
        assert numbers(found) == pytest.approx([expected.iqm[k], expected.low[k], expected.high[k]], rel=1e-3)
    page.mouse.move(1, 1)
    assert page.locator(".tip:visible").count() == 0


def test_keys_go_along_the_curves(sweep: Path, visit: Visit) -> None:
    page = visit(sweep / "report.html")
    first = page.locator("figure svg").first
    for _ in range(20):
        page.keyboard.press("Tab")
        if first.evaluate("panel => panel === document.activeElement"):
            break
    assert told(page)[:2] == ["algorithm vdn, learning_rate 0.0001", "5,000 steps"]
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowDown")
    expected = interval(one_set(values(sweep, "qmix", "0.0001")))
    assert told(page)[:2] == ["algorithm qmix, learning_rate 0.0001", "4,000 steps"]
    spoken = page.locator("#told").inner_text()
    assert spoken.endswith("; 1 of 7 seeds left out")
    assert numbers(spoken.split(";")[2]) == pytest.approx(
        [expected.iqm[3], expected.low[3], expected.high[3]], rel=1e-3
    )
    page.keyboard.press("Escape")
    assert page.locator(".tip:visible").count() == 0


def test_few_seeds_are_shown_as_they_are(tmp_path: Path, visit: Visit) -> None:
    """Of three seeds one has died: each of the others is drawn, and what is told is no interval."""
    write_sweep(tmp_path / "s", algorithm="vdn", seeds=3)
    assert main(["report", str(tmp_path / "s")]) == 0
    page = visit(tmp_path / "s" / "report.html")
    assert page.locator("polyline.seed").count() == 2 + 3 and page.locator("polygon").count() == 0
    assert page.locator("#scores th").all_inner_texts() == [
        "learning_rate",
        "mean",
        "lowest to highest",
        "seeds",
        "left out",
    ]
    last = values(tmp_path / "s", "vdn", "0.001")[:, -1]
    mean, span, seeds, left = next(row[1:] for row in rows(page) if row[0] == "0.001")
    assert float(mean) == pytest.approx(last.mean(), rel=1e-3) and (seeds, left) == ("3", "0")
    assert numbers(span.replace(" to ", "  ")) == pytest.approx([last.min(), last.max()], rel=1e-3)
    assert "fewer than 5 the mean and each of them" in " ".join(page.locator(".note").first.inner_text().split())


def test_filters_leave_out_curves_and_rows(sweep: Path, visit: Visit) -> None:
    page = visit(sweep / "report.html")
    assert (page.locator("figure").count(), page.locator("polyline").count()) == (2, 4)
    page.get_by_role("checkbox", name="vdn").uncheck()
    assert {row[0] for row in rows(page)} == {"qmix"} and page.locator("polyline").count() == 2
    page.get_by_role("checkbox", name="0.001", exact=True).uncheck()
    assert [row[:2] for row in rows(page)] == [["qmix", "0.0001"]] and page.locator("figure").count() == 1
    rates = page.get_by_role("group", name="learning_rate")
    rates.get_by_role("button", name="none").click()
    assert rows(page) == [] and "Nothing to show" in page.locator("#panels").inner_text()
    rates.get_by_role("button", name="all").click()
    page.get_by_label("Lines").select_option(label="learning_rate")
    assert page.locator("figcaption").all_inner_texts() == ["algorithm qmix"]


def test_names_of_others_stay_words(sweep: Path, visit: Visit) -> None:
    page = visit(sweep / "report.html")
    assert page.locator("h1").inner_text() == page.title() == HOSTILE
    assert page.evaluate("window.bad") is None and page.locator("img").count() == 0


def test_no_script_runs_but_the_page_s_own(sweep: Path, browser: Any) -> None:
    page = browser.new_page()
    page.goto((sweep / "report.html").resolve().as_uri())
    smuggled = "<button id=x onclick='window.bad = 1'>x</button><img src=https://example.org/x.png>"
    with page.expect_console_message(lambda words: "Content Security Policy" in words.text):
        page.evaluate(f"document.body.insertAdjacentHTML('beforeend', {smuggled!r})")
    page.evaluate("document.getElementById('x').click()")
    assert page.evaluate("window.bad") is None
    page.close()


def test_print_has_the_key_and_no_controls(sweep: Path, visit: Visit) -> None:
    page = visit(sweep / "report.html")
    page.get_by_role("checkbox", name="vdn").uncheck()
    page.emulate_media(media="print")
    assert not page.locator("#metric").is_visible() and page.locator("#controls .key:visible").count() == 1
    assert page.pdf().startswith(b"%PDF")


def test_the_slider_of_a_film(tmp_path: Path, visit: Visit) -> None:
    """On 3 x 2 cells an agent waits, and is gone at the end."""
    still = [Entity("agent", "", 0.5, 0.5, 0.3)]
    frames = [Frame(still, "first"), Frame(still, "second"), Frame([], "third")]
    file = tmp_path / "film.html"
    file.write_text(film_page(Scene("a film", 3, 2, True, frames, "ring: tries")))
    page = visit(file)
    assert page.locator("#legend").inner_text().split("\n") == ["● agent", "ring: tries"]
    slider, caption = page.get_by_label("step"), page.locator("#caption")
    assert caption.inner_text() == "first"
    pixel = "([x, y]) => [...document.getElementById('board').getContext('2d').getImageData(x, y, 1, 1).data]"
    agent, empty = page.evaluate(pixel, [200, 200]), page.evaluate(pixel, [600, 200])  # cells are 400 wide
    assert agent == [0, 0x72, 0xB2, 255] and empty[3] == 0
    slider.focus()
    page.keyboard.press("ArrowRight")
    assert caption.inner_text() == "second"
    slider.fill("2")
    assert caption.inner_text() == "third" and page.evaluate(pixel, [200, 200])[3] == 0
    begun = "() => { document.getElementById('play').click(); return document.getElementById('caption').textContent; }"
    assert page.evaluate(begun) == "first"  # at its end it begins anew
    page.get_by_role("button", name="Play").wait_for()  # it has stopped
    assert caption.inner_text() == "third"
    page.locator("h1").click()
    page.keyboard.press("ArrowLeft")
    assert caption.inner_text() == "second"


def test_an_unfinished_run_says_how_far_it_is(tmp_path: Path, visit: Visit) -> None:
    """At its first evaluation, which stands alone: a dot in its interval."""
    unfinished(tmp_path / "run", (1,))
    assert main(["report", str(tmp_path / "run")]) == 0
    page = visit(tmp_path / "run" / "report.html")
    standing = "2 of 5 seeds, 80 of 320 steps"
    assert rows(page) == [["iql", "5", "0 to 10", "2", standing]]
    page.locator("#panels svg").hover()
    assert told(page) == ["algorithm iql", "80 steps", "5  [0, 10]", f"not finished: {standing}"]
    assert page.locator("#panels .span").bounding_box()["height"] > 100
