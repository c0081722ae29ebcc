"""A review's page read with a mouse, with a keyboard, by a screen reader, on paper, and where scripts are off."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
from playwright.sync_api import Page, expect
from sample_review import DATASETS, LAKE, NODES, sample_review

Open = Callable[..., Page]
Axe = Callable[[Page], list[str]]
TOTAL = sum(len(one.findings) + len(one.changes) for one in sample_review().environments)
STOPPED_BY = {finding.rule for one in sample_review().environments for finding in one.findings if finding.stops}


def diff(page: Page, name: str) -> object:
    return page.locator("#prod-us details[data-item]", has_text=name).locator("> summary").last


def opened(page: Page) -> int:
    return page.locator("details[data-item][open]").count()


def test_the_verdict_comes_first_then_what_stops_it_then_the_rest(open_page: Open) -> None:
    page = open_page()
    told = [one.inner_text().splitlines()[-1] for one in page.locator("h1, #prod-us h2, #prod-us h3").all()]
    wanted = [
        "It brings",
        "prod-us",
        "What stops it",
        "What is lost",
        "Cost",
        "Where data",
        "Who reaches",
        "Architecture",
    ]
    wanted += ["All changes", "New advice", "Mended", "As before"]

    assert len(told) == len(wanted)
    assert [start for start, line in zip(wanted, told, strict=True) if not line.startswith(start)] == []
    expect(page.get_by_text("How to mend it")).to_have_count(0)  # said by the style, not copied with the lines
    # Why it is stopped, and how to mend it, is to be seen without a click, once for each rule.
    assert opened(page) == len(STOPPED_BY) < sum(one.stops for one in sample_review().environments[0].findings)


def test_a_diff_opens_by_mouse_and_by_keyboard(open_page: Open) -> None:
    page = open_page()
    summary = diff(page, LAKE)
    after = page.locator("#prod-us ins", has_text="INTELLIGENT_TIERING")
    expect(after).to_be_hidden()
    summary.click()
    expect(after).to_be_visible()
    summary.click()
    expect(after).to_be_hidden()
    for key in ("Enter", "Space"):
        summary.focus()
        page.keyboard.press(key)
        expect(after).to_be_visible()
        page.keyboard.press(key)
        expect(after).to_be_hidden()


def test_all_open_and_close_at_once_as_far_as_they_are_shown(open_page: Open) -> None:
    page = open_page()
    page.get_by_role("button", name="Open all").click()
    assert opened(page) == TOTAL
    page.get_by_role("button", name="Close all").click()
    assert opened(page) == 0

    page.get_by_role("searchbox").fill(LAKE)
    page.get_by_role("button", name="Open all").click()
    assert 0 < opened(page) < TOTAL


def test_structured_values_are_compared_line_by_line(open_page: Open) -> None:
    page = open_page()
    diff(page, NODES).click()
    lines = page.locator("#prod-us .diff").inner_text().splitlines()

    assert {'− "maxSize": 4,', '+ "maxSize": 8,'} <= {" ".join(line.split()) for line in lines}


def test_the_whole_page_is_reached_by_keyboard_in_its_order_with_a_focus_that_is_seen(open_page: Open) -> None:
    page = open_page()
    seen = []
    for _ in range(200):
        page.keyboard.press("Tab")
        one = page.evaluate(
            """() => {
              const at = document.activeElement, ring = at.closest(".chip") ?? at, style = getComputedStyle(ring);
              const box = ring.getBoundingClientRect();
              return {
                tag: at.tagName, text: ring.textContent.trim().slice(0, 40), label: at.getAttribute("aria-label") ?? "",
                y: box.top + scrollY, in_view: box.bottom > 0 && box.top < innerHeight,
                ring: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2,
              };
            }"""
        )
        if one["tag"] == "BODY":
            break
        seen.append(one)

    assert [one for one in seen if not one["ring"] or not one["in_view"]] == []
    assert seen[0]["text"].startswith("Skip to")
    places = [one["y"] for one in seen[1:]]
    assert all(later >= earlier - 60 for earlier, later in pairwise(places))  # line by line
    assert sum(one["tag"] == "SUMMARY" for one in seen) >= TOTAL
    assert any(one["label"] == "Architecture of prod-us" for one in seen)  # can be scrolled by keyboard


def test_skip_link_leads_past_the_filter(open_page: Open) -> None:
    page = open_page()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")

    assert page.evaluate("document.activeElement.closest('main') !== null")


def test_keys_lead_to_the_words_and_out_of_them(open_page: Open) -> None:
    page = open_page()
    words = page.get_by_role("searchbox")
    page.keyboard.press("/")
    expect(words).to_be_focused()
    page.keyboard.type("lustre/x")
    expect(words).to_have_value("lustre/x")
    page.keyboard.press("Escape")
    expect(words).to_have_value("")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_with_everything_open(open_page: Open, axe: Axe, scheme: str) -> None:
    page = open_page(color_scheme=scheme)
    page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")

    assert axe(page) == []


def test_the_picture_has_its_words(open_page: Open) -> None:
    page = open_page()
    picture = page.get_by_role("img", name="Architecture of trainyard")

    expect(picture).to_have_count(1)
    assert "Lustre" in picture.locator("desc").text_content()
    expect(page.get_by_role("region", name="Architecture of prod-us")).to_be_visible()


def test_the_picture_can_be_had_at_full_size(open_page: Open) -> None:
    page = open_page()
    picture = page.get_by_role("img", name="Architecture of trainyard")
    fitted = picture.bounding_box()["width"]
    button = page.get_by_role("button", name="Full size")
    button.click()

    natural = float(picture.get_attribute("width"))
    assert picture.bounding_box()["width"] == pytest.approx(natural, abs=1)
    assert natural > fitted
    expect(button).to_have_attribute("aria-pressed", "true")


def test_paper_shows_what_is_closed_on_the_screen(open_page: Open) -> None:
    page = open_page()
    page.emulate_media(media="print")
    hidden = page.evaluate(
        """() => [...document.querySelectorAll("details *:not(summary, .unseen)")].filter(
             one => !one.children.length && one.textContent.trim() && !one.checkVisibility()).length"""
    )

    assert hidden == 0
    expect(page.get_by_role("search")).to_be_hidden()
    page.emulate_media(media="screen")
    before = opened(page)
    assert page.pdf().startswith(b"%PDF")
    assert opened(page) == before


def test_all_can_be_read_where_scripts_are_off(open_page: Open) -> None:
    page = open_page(java_script_enabled=False)

    assert page.locator("form.filters").is_hidden()
    assert page.get_by_role("button").count() == 0
    assert page.get_by_text("the bucket has no public access block").is_visible()
    summary = page.locator("#prod-us-changes summary", has_text=DATASETS)
    summary.click()
    assert page.locator("#prod-us-changes details[open]").count() == 1
