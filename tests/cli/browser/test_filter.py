"""What a person finds on a review's page by asking for it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from browser import WAIT_MILLISECONDS
from playwright.sync_api import Browser, Page, expect
from sample_review import DATASETS, LAKE, sample_review
from waiting import wait_until

Open = Callable[..., Page]
REVIEW = sample_review()
FINDINGS = [finding for one in REVIEW.environments for finding in one.findings]
CHANGES = [changed.change for one in REVIEW.environments for changed in one.changes]
TOTAL = len(FINDINGS) + len(CHANGES)


@pytest.fixture(scope="module")
def tab(chromium: Browser) -> Iterator[Page]:
    context = chromium.new_context()
    context.set_default_timeout(WAIT_MILLISECONDS)
    yield context.new_page()
    context.close()


@pytest.fixture
def page(tab: Page, review_file: Path) -> Page:
    """The review's page, as it is when it is opened."""
    tab.goto(review_file.as_uri())
    return tab


def choose(page: Page, *choices: str) -> None:
    for choice in choices:
        page.get_by_role("checkbox", name=re.compile(rf"^{choice}\b")).check()


def search(page: Page, words: str) -> None:
    page.get_by_role("searchbox").fill(words)


def shown(page: Page) -> list[str]:
    """The summaries of findings and changes that are to be seen."""
    return page.locator("details[data-item] > summary").evaluate_all(
        "found => found.filter(one => one.checkVisibility()).map(one => one.textContent.trim())"
    )


def said(page: Page) -> str:
    return page.get_by_role("status").inner_text()


def headings(page: Page) -> list[str]:
    return page.locator("h1, h2, h3").evaluate_all(
        "found => found.filter(one => one.checkVisibility()).map(one => one.textContent.trim())"
    )


def test_everything_is_shown_before_anything_is_asked_for(page: Page) -> None:
    assert len(shown(page)) == TOTAL
    assert said(page) == f"{TOTAL} findings and changes"
    expect(page.get_by_text("Nothing matches")).to_be_hidden()


def test_by_environment(page: Page) -> None:
    choose(page, "dev")

    assert [DATASETS in one for one in shown(page)] == [True]
    assert said(page) == f"1 of {TOTAL} findings and changes"
    assert [one.inner_text() for one in page.get_by_role("heading", level=2).all()] == ["dev"]


def test_an_environment_that_did_not_come_up_can_be_asked_for(page: Page) -> None:
    choose(page, "prod-uae")

    expect(page.get_by_text("working tree does not come up")).to_be_visible()
    expect(page.get_by_text("Nothing matches")).to_be_hidden()


def test_by_kind_of_change_leaves_nothing_else_on_the_page(page: Page) -> None:
    choose(page, "replaced")

    (only,) = shown(page)
    assert LAKE in only
    expect(page.get_by_role("row", name=re.compile(LAKE))).to_be_visible()  # what is lost by it
    assert not any("Architecture" in one or "Cost" in one or "What stops it" in one for one in headings(page))


def test_by_severity(page: Page) -> None:
    choose(page, "critical")

    assert len(shown(page)) == sum(one.severity == "critical" for one in FINDINGS)
    assert "What stops it, and why 2 of 4" in [" ".join(one.split()) for one in headings(page)]
    assert all(one.startswith("critical") for one in shown(page))


def test_by_words_in_any_order_and_case(page: Page) -> None:
    search(page, "YET bucket REPLICA cannot")

    (only,) = shown(page)
    assert "transfer-replica" in only


def test_by_a_value_that_stands_inside_a_closed_diff(page: Page) -> None:
    search(page, "intelligent_tiering")

    (only,) = shown(page)
    assert LAKE in only


def test_rows_of_tables_are_found_too(page: Page) -> None:
    search(page, "no transfer basis not allowed")

    assert shown(page) == []
    expect(page.get_by_role("row", name=re.compile("not allowed"))).to_be_visible()
    expect(page.get_by_text("Nothing matches")).to_be_hidden()


def test_filters_combine_and_choices_of_one_kind_add_up(page: Page) -> None:
    choose(page, "violations", "cannot be verified")
    assert len(shown(page)) == sum(one.stops for one in FINDINGS)

    choose(page, "critical")
    assert len(shown(page)) == sum(one.stops and one.severity == "critical" for one in FINDINGS)

    search(page, "public access")
    (only,) = shown(page)
    assert "s3-public-access-block" in only


def test_counts_say_what_each_choice_would_leave(page: Page) -> None:
    def count(choice: str) -> int:
        return int(page.locator("label.chip", has_text=re.compile(rf"^{choice}")).locator(".left").inner_text())

    operations = Counter(one.operation.value for one in CHANGES)
    assert (count("created"), count("changed")) == (operations["create"], operations["update"])
    assert count("dev") == 1

    choose(page, "critical")
    assert count("violations") == sum(
        one.stops and one.verdict == "violation" and one.severity == "critical" for one in FINDINGS
    )
    assert count("created") == count("dev") == 0
    assert count("high") == sum(one.severity == "high" for one in FINDINGS)  # what asking for it as well would add


def test_nothing_matches_is_said_and_can_be_undone(page: Page) -> None:
    choose(page, "dev", "deleted")

    expect(page.get_by_text("Nothing matches")).to_be_visible()
    assert said(page).startswith("0 of ")
    page.locator("#nothing").get_by_role("button", name="Clear the filter").click()
    assert len(shown(page)) == TOTAL
    expect(page.get_by_role("searchbox")).to_be_focused()


def test_the_address_keeps_the_filter(page: Page, open_page: Open) -> None:
    choose(page, "prod-us", "replaced")
    search(page, "lustre")
    wanted = shown(page)
    assert len(wanted) == 1

    page.reload()
    wait_until(lambda: shown(page) == wanted)
    expect(page.get_by_role("searchbox")).to_have_value("lustre")

    other = open_page()
    other.goto(page.url)
    wait_until(lambda: shown(other) == wanted)


def test_back_and_forward_go_through_what_was_asked_for(page: Page) -> None:
    choose(page, "replaced")
    page.get_by_role("searchbox").press_sequentially("lust")
    before, after = shown(page), page.url

    page.go_back()  # the words go as one, not letter by letter
    expect(page.get_by_role("searchbox")).to_have_value("")
    expect(page.get_by_role("checkbox", name=re.compile("^replaced"))).to_be_checked()
    page.go_back()
    wait_until(lambda: len(shown(page)) == TOTAL)
    page.go_forward()
    expect(page.get_by_role("checkbox", name=re.compile("^replaced"))).to_be_checked()
    page.go_forward()
    wait_until(lambda: (shown(page), page.url) == (before, after))


def test_a_link_to_an_environment_keeps_the_filter(page: Page) -> None:
    choose(page, "changed")
    page.get_by_role("banner").get_by_role("link", name="dev").click()

    assert page.url.endswith("?kind=update#dev")
    expect(page.get_by_role("heading", name="dev", exact=True)).to_be_in_viewport()
    assert len(shown(page)) == sum(one.operation == "update" for one in CHANGES)
