"""A browser for the tests of a file, and pages in it that can reach nothing but themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from browser import WAIT_MILLISECONDS, browser
from playwright.sync_api import Browser, Page
from sample_review import sample_review

from trainyard.cli.review import page as review_page

Open = Callable[..., Page]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Gone with its file: while Playwright runs, nothing else in the process can run an event loop, as Pulumi does."""
    with browser() as started:
        yield started


@pytest.fixture(scope="session")
def review_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("review") / "review.html"
    target.write_text(review_page.render(sample_review()), encoding="utf-8")
    return target


@pytest.fixture
def open_page(chromium: Browser, review_file: Path) -> Iterator[Open]:
    """Opens a file, the sample review's page unless told another; `asked` on the page is what it asked for besides."""
    contexts = []

    def opened(target: Path = review_file, **settings: Any) -> Page:
        context = chromium.new_context(**{"viewport": {"width": 1280, "height": 900}, **settings})
        context.set_default_timeout(WAIT_MILLISECONDS)
        contexts.append(context)
        page = context.new_page()
        page.asked, page.troubles = [], []  # type: ignore[attr-defined]
        page.on("request", lambda request: page.asked.append(request.url))  # type: ignore[attr-defined]
        page.on("console", lambda told: page.troubles.append(told.text))  # type: ignore[attr-defined]
        page.on("pageerror", lambda error: page.troubles.append(str(error)))  # type: ignore[attr-defined]
        page.goto(target.as_uri())
        return page

    yield opened
    for context in contexts:
        context.close()


@pytest.fixture
def axe() -> Callable[[Page], list[str]]:
    """What axe-core has against a page as it stands there: a line for each rule and element."""
    source = (files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8")

    def judged(page: Page) -> list[str]:
        page.evaluate(source)
        told = page.evaluate(
            # What is inside a picture is one thing to it, with a name: it measures no contrast there.
            """() => axe.run({ exclude: ["svg > *"] },
                             { rules: { "target-size": { enabled: true } }, resultTypes: ["violations"] })"""
        )
        return [
            f"{rule['id']}: {node['html'][:160]}: {node['failureSummary'][:300]}"
            for rule in told["violations"]
            for node in rule["nodes"]
        ]

    return judged
