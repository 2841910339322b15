"""`marlx report`: the data of the page against the metrics on disk. (The page itself: tests/browser.)"""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import marlx
from marlx.analysis.page import embedded, whole_page
from marlx.analysis.statistics import interval, one_set
from marlx.host.cli import main
from marlx.host.lanes import Lanes
from marlx.host.results import load_run

from .written_runs import EVALUATIONS, write_run, write_sweep


def data_of(page: Path) -> Any:
    found = re.search(r'type="application/json">(.*?)</script>', page.read_text(), re.DOTALL)
    assert found
    return json.loads(found[1])


def test_a_sweep_as_a_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_sweep(tmp_path / "s", title="two methods")
    assert main(["report", str(tmp_path / "s")]) == 0
    page = tmp_path / "s" / "report.html"
    assert capsys.readouterr().out == f"{page}\n"
    data = data_of(page)
    assert data["coordinates"] == [
        {"name": "algorithm", "values": ["vdn", "qmix"]},
        {"name": "training.learning_rate", "values": ["0.0001", "0.001"]},
    ]
    assert [metric["name"] for metric in data["metrics"]] == ["evaluation_return", "loss"]
    assert data["metrics"][0]["best"] == 8 and data["lines"] == 0
    assert [curve["at"] for curve in data["curves"]] == [[0, 0], [0, 1], [1, 0], [1, 1]]
    table = load_run(tmp_path / "s" / "qmix-matrix_game").metrics()
    mine = table[table["training.learning_rate"] == 1e-3].sort_values(["seed", "env_steps"])
    values = mine["evaluation_return"].to_numpy().reshape(7, EVALUATIONS)
    expected = interval(values)
    curve = data["curves"][3]
    assert curve["steps"] == [1000, 2000, 3000, 4000, 5000]
    np.testing.assert_allclose(curve["values"][0], [expected.iqm, expected.low, expected.high], rtol=1e-5)
    # lane 0 died at the end: the first seed at the first learning rate, which is in no part of the curve
    died = data["curves"][2]
    assert died["score"][0][3:] == [6, 1] and curve["score"][0][3:] == [7, 0]
    mine = table[table["training.learning_rate"] == 1e-4].sort_values(["seed", "env_steps"])
    lasting = interval(one_set(mine["evaluation_return"].to_numpy().reshape(7, EVALUATIONS)))
    np.testing.assert_allclose(died["values"][0], [lasting.iqm, lasting.low, lasting.high], rtol=1e-5)
    assert lasting.used.tolist() == [6] * EVALUATIONS and died["each"] == curve["each"] == [None, None]
    last = interval(values[:, -1])
    assert curve["score"][0][:3] == pytest.approx([last.iqm, last.low, last.high], rel=1e-5)
    facts = dict(data["facts"])
    assert facts["versions"] == "python 3.11.9, marlx 0.1" and facts["hardware"] == "cpu a processor, cores 2"
    assert data["runs"][1] == ["vdn-matrix_game", "finished", 7, 5000 * 14, "1:15", 1]
    assert data["dead"][0] == "vdn-matrix_game: seed 0, training.learning_rate 0.0001, env_steps 5000, cause loss"
    options = dict(data["options"])
    assert options["environment.payoff"] == "resq79" and "training.learning_rate" not in options
    assert "algorithm.mixer" not in options  # it differs


def test_a_run_as_a_page_and_a_sweep_that_is_not_done(tmp_path: Path) -> None:
    write_run(tmp_path / "run", Lanes(marlx.configure("vdn", "matrix_game"), range(3)))
    assert main(["report", str(tmp_path / "run"), "--out", str(tmp_path / "x.html")]) == 0
    data = data_of(tmp_path / "x.html")
    assert data["coordinates"] == [{"name": "algorithm", "values": ["vdn"]}] and len(data["curves"]) == 1
    curve = data["curves"][0]
    each = np.array(curve["each"][0])
    assert each.shape == (2, EVALUATIONS) and data["enough"] == 5  # of three one died
    np.testing.assert_allclose(curve["values"][0], [each.mean(axis=0), each.min(axis=0), each.max(axis=0)], rtol=1e-5)
    write_sweep(tmp_path / "s")
    for file in sorted((tmp_path / "s" / "qmix-matrix_game").iterdir(), reverse=True):
        file.unlink()
    assert main(["report", str(tmp_path / "s")]) == 0
    data = data_of(tmp_path / "s" / "report.html")
    assert [row[:2] for row in data["runs"][1:]] == [["vdn-matrix_game", "finished"], ["qmix-matrix_game", "missing"]]
    assert [of["name"] for of in data["coordinates"]] == ["training.learning_rate"]


def test_a_record_of_other_kinds_is_told_as_it_is(tmp_path: Path) -> None:
    """What nothing is computed with may be anything."""
    write_run(tmp_path / "run", Lanes(marlx.configure("vdn", "matrix_game"), [0]), hardware=["x"], date=4)
    assert main(["report", str(tmp_path / "run")]) == 0
    facts = dict(data_of(tmp_path / "run" / "report.html")["facts"])
    assert (facts["hardware"], facts["date"]) == ("['x']", "4")


def test_mistakes_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(tmp_path / "run", Lanes(marlx.configure("vdn", "matrix_game"), [0]))
    for words, message in [
        (["nothing"], "nothing is not there"),
        ([str(tmp_path)], "is no run, but holds some; did you mean"),
        ([str(tmp_path / "run"), "--out", "x.pdf"], "a report must end in .html, not 'x.pdf'"),
    ]:
        assert main(["report", *words]) == 2
        errors = capsys.readouterr().err
        assert message in errors and errors.count("\n") == 1


def test_no_markup_begins_or_ends_in_data() -> None:
    hostile = "</script><!--<script>alert(1)//&"
    text = embedded({hostile: [hostile]})
    assert not set("<>&") & set(text) and json.loads(text) == {hostile: [hostile]}
    page = whole_page("film", hostile + "{{data}}", {})
    assert page.count("<script") == 2 and "<title>&lt;/script&gt;" in page and page.count("{{data}}") == 2
    with pytest.raises(ValueError, match="not JSON compliant"):
        embedded(float("nan"))
