"""A real Chromium without a window, and pages in it that may neither complain nor ask the network for anything.

`make test-browser` gets one and demands it; elsewhere these tests are skipped where there is none.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def missing(words: str) -> NoReturn:
    if os.environ.get("MARLX_BROWSER") == "required":
        pytest.fail(words)
    pytest.skip(words)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Closed with its module: while it is open an event loop runs in this process, which others want for theirs."""
    try:
        from playwright.sync_api import Error, sync_playwright
    except ImportError:
        missing("needs playwright: pip install '.[browser]'")
    with sync_playwright() as playwright:
        found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
        unboxed = ["--no-sandbox"] if os.geteuid() == 0 else []  # Chromium has no sandbox for the superuser
        try:
            chromium = playwright.chromium.launch(executable_path=found, args=unboxed)
        except Error:
            missing(f"needs a Chromium: {', '.join(NAMES)} on the path, its place in CHROMIUM, or playwright's own")
        yield chromium
        chromium.close()


@pytest.fixture
def visit(browser: Any) -> Iterator[Callable[[Path], Any]]:
    """Opens a file; at the end, nothing else was asked for, and there was no error on the console."""
    context = browser.new_context(viewport={"width": 1200, "height": 900})
    asked: list[str] = []
    complaints: list[str] = []
    visited: list[str] = []

    def opened(file: Path) -> Any:
        page = context.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda words: complaints.append(words.text) if words.type == "error" else None)
        visited.append(file.resolve().as_uri())
        page.goto(visited[-1])
        return page

    yield opened
    context.close()
    assert complaints == []
    assert [url for url in asked if url != "data:,"] == visited
