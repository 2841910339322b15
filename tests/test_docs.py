"""The documentation builds without a warning, leads nowhere that is not there, and leaves nothing out."""

import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import marlx_envs
import pytest

import marlx
from marlx.host.cli import COMMANDS
from marlx.host.lanes import Lanes
from marlx.host.sweep import FIELDS, read_sweep

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
SOURCES = [path for path in sorted(DOCS.rglob("*.md")) if "generated" not in path.parts]
LOADED = {"script": "src", "img": "src", "source": "src", "iframe": "src", "link": "href"}


class Page(HTMLParser):
    """Links, anchors, what is loaded and the words of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.loaded: list[str] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.anchors |= {found[name] for name in ("id", "name") if name in found}
        if tag == "a" and "href" in found:
            self.links.append(found["href"])
        if tag in LOADED and LOADED[tag] in found:
            self.loaded.append(found[LOADED[tag]])

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_the_built_pages(tmp_path: Path) -> None:
    """One test, so that pages are built once however many processes share the tests."""
    pages = build(tmp_path)
    all_links_lead_somewhere(pages)
    nothing_comes_from_the_network(pages)
    every_name_has_its_place(pages)
    equations_are_mathml(pages)
    every_finished_run_of_predator_prey_is_told(pages)


def build(folder: Path) -> dict[Path, Page]:
    """The pages of a fresh build, by path. Sources are copied, since a build writes beside them."""
    shutil.copytree(DOCS, folder / "docs", ignore=shutil.ignore_patterns("generated", "__pycache__"))
    command = [sys.executable, "-m", "sphinx", "-W", "-n", "--keep-going", "-q", "docs", "html"]
    paths = os.pathsep.join([str(ROOT), str(ROOT / "envs")])
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = {path: Page(path.read_text(encoding="utf-8")) for path in sorted((folder / "html").rglob("*.html"))}
    assert len(found) > 20
    return found


def all_links_lead_somewhere(pages: dict[Path, Page]) -> None:
    broken = []
    for path, page in pages.items():
        for link in page.links + page.loaded:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            anchor = unquote(parts.fragment)
            if not target.is_file() or (anchor and target in pages and anchor not in pages[target].anchors):
                broken.append((path.name, link))
    assert not broken


def nothing_comes_from_the_network(pages: dict[Path, Page]) -> None:
    for path, page in pages.items():
        assert not [link for link in page.loaded if urlsplit(link).netloc or urlsplit(link).scheme == "http"], path
        text = path.read_text(encoding="utf-8")
        assert not re.findall(r"url\(\s*['\"]?https?:|@import", text), path
    for style in {path.parent for path in pages}:
        for path in style.rglob("*.css"):
            assert not re.findall(r"url\(\s*['\"]?(https?:)?//", path.read_text(encoding="utf-8")), path


def every_name_has_its_place(pages: dict[Path, Page]) -> None:
    named = {path.name: page for path, page in pages.items()}
    assert {f"marlx.{name}" for name in marlx.__all__} <= set(named["names.html"].words)
    assert set(marlx.ALGORITHMS) <= set(named["methods.html"].words)
    assert {name.replace("_", "-") for name in marlx.ALGORITHMS} <= named["methods.html"].anchors
    assert {name.replace("_", "-") for name in marlx_envs.ENVIRONMENTS} <= named["environments.html"].anchors
    assert {f"marlx-{name}" for name in COMMANDS} <= named["commands.html"].anchors
    assert {"marlx.mixers.qmix.QMIX", "marlx.targets.td_lambda"} <= set().union(*(p.anchors for p in pages.values()))


def equations_are_mathml(pages: dict[Path, Page]) -> None:
    text = next(path for path in pages if path.name == "methods.html").read_text(encoding="utf-8")
    assert text.count("<math ") > 20
    assert "$" not in "".join(Page(text).words)


def every_finished_run_of_predator_prey_is_told(pages: dict[Path, Page]) -> None:
    """Of records as they are now, {"command", .., "runs"}, and as older ones are, with a command in each run."""
    finished = 0
    for path in (ROOT / "experiments" / "results").glob("predator_prey_*.json"):
        content = json.loads(path.read_text())
        runs = content.get("runs", content)
        finished += sum(run["status"] == "finished" for label, run in runs.items() if ", p = " in label)
    text = next(path for path in pages if path.name == "methods.html").read_text(encoding="utf-8")
    assert text.count("predator_prey</span></code> with punishment ") == finished > 10
    assert "algorithm.recognition_parts=8" in text and "greedy return 38.8 (38.6 to 38.9)" in text


@pytest.mark.parametrize("folder", ["methods", "environments"])
def test_every_entry_has_a_text(folder: str) -> None:
    """A new method or environment needs its name in a hand-written part, once; the build says so too."""
    texts = [path.read_text(encoding="utf-8") for path in (DOCS / folder).glob("*.md")]
    words = [
        name
        for text in texts
        for names in re.findall(rf"^<!-- {folder}: (.+) -->$", text, re.M)
        for name in names.split()
    ]
    registry = {"methods": marlx.ALGORITHMS, "environments": marlx_envs.ENVIRONMENTS}[folder]
    assert sorted(words) == sorted(registry)


def test_methods_are_told_by_equation_outcome_and_reference() -> None:
    for path in (DOCS / "methods").glob("*.md"):
        text = path.read_text(encoding="utf-8")
        for part in ("$$", "**Works**", "**Does not", "Reference"):
            assert part in text, (path.name, part)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_external_links_are_https(path: Path) -> None:
    assert "http://" not in path.read_text(encoding="utf-8")


def test_tables_of_defaults_beside_a_profile_are_those_of_the_code() -> None:
    """Rows `section.name`, ... | default | with the profile of the heading; words after them say why."""
    pages = [path for path in SOURCES if re.search(r"^\|.*`algorithm.profile=", path.read_text(), re.MULTILINE)]
    assert [path.name for path in pages] == ["09_pow.md"]
    for path in pages:
        text = path.read_text()
        table = r"^\| \| default \| `algorithm.profile=(\w+)` \|\n\|---\|---\|---\|\n((?:\|.*\n)+)"
        heading = re.search(table, text, re.MULTILINE)
        methods = re.search(r"<!-- methods: (.*) -->", text)
        assert heading and methods
        for row, method in itertools.product(heading[2].splitlines(), methods[1].split()):
            names, *cells = row.strip("| ").split(" | ")
            fields = re.findall(r"`(\w+)\.(\w+)`", names)
            assert fields and len(cells) == 2, row
            for cell, words in zip(cells, ((), (f"algorithm.profile={heading[1]}",)), strict=True):
                experiment = marlx.configure(method, "predator_prey", *words).to_dict()
                said = re.split(r", (?=[\d.])", re.split(r":| \(", cell)[0])
                known = [str(experiment[section][name]).removesuffix(".0").lower() for section, name in fields]
                assert known == [value.replace(",", "") for value in said], (method, row)


def test_the_sweep_file_that_is_shown(tmp_path: Path) -> None:
    """It is read as it stands, has as many programs and seeds as the text says, and every field of a sweep."""
    text = (DOCS / "sweeps.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    (tmp_path / "shown.toml").write_text(shown)
    sweep, small = (read_sweep(tmp_path / "shown.toml", variant) for variant in (None, "small"))
    assert len(sweep.cells) == 4 and "the file above has four" in text
    assert {len(Lanes(cell.experiment, sweep.seeds, cell.grid)) for cell in sweep.cells} == {40}
    assert "40 seeds in all" in text
    assert (len(small.seeds), len(small.cells)) == (2, 4)
    assert set(tomllib.loads(shown)) == set(FIELDS)
