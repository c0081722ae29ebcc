"""How a review's page looks: in the dark, on a phone, and when it is long."""

from __future__ import annotations

import io
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect
from sample_review import many

from trainyard.cli.review import page as review_page

Open = Callable[..., Page]
LEAST_CONTRAST = 4.5
"""WCAG 2.2, success criterion 1.4.3."""
_PLACES = np.array([65536, 256, 1], np.uint32)
PHONE: dict[str, Any] = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True}


def luminance(colours: np.ndarray) -> np.ndarray:
    """Relative, of sRGB colours in an array (…, 3) of bytes."""
    parts = colours.astype(float) / 255
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return linear @ np.array([0.2126, 0.7152, 0.0722])


def contrast(pixels: np.ndarray) -> float:
    """Of the text in a picture of it, (height, width, 3): its inner pixels against the ground, the commonest colour."""
    colours, counts = np.unique(pixels.reshape(-1, 3).astype(np.uint32) @ _PLACES, return_counts=True)
    levels = luminance(colours[:, None] // _PLACES % 256)
    ground = levels[counts.argmax()]
    ratios = (np.maximum(levels, ground) + 0.05) / (np.minimum(levels, ground) + 0.05)
    strokes = np.repeat(ratios, counts)[np.repeat(ratios, counts) > 1.2]
    return float(np.percentile(strokes, 90)) if strokes.size else 1.0


def lay_out(page: Page) -> None:
    """Also what is out of sight, which has no size until it comes into it."""
    page.evaluate(
        "document.querySelectorAll('[data-item]').forEach(one => { one.style.contentVisibility = 'visible'; })"
    )


def test_contrast_is_measured_as_the_standard_has_it() -> None:
    half = np.zeros((10, 10, 3), np.uint8)
    half[:4] = 255
    grey = np.full((10, 10, 3), 255, np.uint8)
    grey[:4] = 0x94

    assert contrast(half) == pytest.approx(21)
    assert contrast(grey) == pytest.approx(3.03, abs=0.01)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_word_of_the_picture_stands_out(open_page: Open, scheme: str) -> None:
    page = open_page(color_scheme=scheme, device_scale_factor=2)
    page.get_by_role("button", name="Full size").click()
    drawing = page.locator(".picture svg")
    # The part of it that scrolls out of sight is not drawn: the frame is opened instead.
    page.evaluate("document.body.style.maxWidth = 'none'")
    page.set_viewport_size({"width": 2000, "height": 900})
    words = drawing.evaluate(
        """svg => { const origin = svg.getBoundingClientRect(); return [...svg.querySelectorAll("text")].map(one => {
             const box = one.getBoundingClientRect();
             return [one.textContent, box.left - origin.left, box.top - origin.top, box.width, box.height]; }); }"""
    )
    drawn = np.asarray(Image.open(io.BytesIO(drawing.screenshot())).convert("RGB"))
    faint = {}
    for text, left, top, width, height in words:
        box = drawn[int(2 * top) : int(2 * (top + height)) + 1, int(2 * left) : int(2 * (left + width)) + 1]
        if (measured := contrast(box)) < LEAST_CONTRAST:
            faint[text] = round(measured, 2)

    assert len(words) > 100
    assert faint == {}


def test_the_page_follows_the_scheme_that_a_person_prefers(open_page: Open) -> None:
    page = open_page(color_scheme="light")
    ground = "getComputedStyle(document.body).backgroundColor.match(/[0-9]+/g).map(Number)"
    light = page.evaluate(ground)
    page.emulate_media(color_scheme="dark")
    dark = page.evaluate(ground)

    assert luminance(np.array(light)) > 0.8
    assert luminance(np.array(dark)) < 0.05


def test_a_phone_scrolls_down_only_and_has_every_word_in_sight(open_page: Open) -> None:
    page = open_page(**PHONE)
    lay_out(page)
    page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")
    wide = page.evaluate(
        """() => [...document.querySelectorAll("body *")]
             .filter(one => one.getBoundingClientRect().right > 361 && !one.closest(".picture, .unseen, .skip"))
             .map(one => one.outerHTML.slice(0, 120))"""
    )

    assert page.evaluate("[document.documentElement.scrollWidth, visualViewport.width]") == [360, 360]
    assert wide == []
    # A row of a table is a block of lines, each with the name of its column.
    time = page.locator("#prod-us-lost td[data-name=time]").first
    assert time.evaluate("one => getComputedStyle(one, '::before').content") == '"time: "'


def test_no_width_makes_the_page_scroll_sideways(open_page: Open) -> None:
    page = open_page()
    lay_out(page)
    page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")
    wider = {}
    for width in (320, 480, 681, 768, 1000, 1024, 1600):
        page.set_viewport_size({"width": width, "height": 900})
        if (needed := page.evaluate("document.documentElement.scrollWidth")) > width:
            wider[width] = needed

    assert wider == {}


def test_fingers_find_what_they_tap(open_page: Open) -> None:
    page = open_page(**PHONE)
    lay_out(page)
    small = page.evaluate(
        """() => [...document.querySelectorAll("summary, button, input, .chip, .tiles a")]
             .filter(one => one.checkVisibility())
             .map(one => [one.outerHTML.slice(0, 80), one.getBoundingClientRect()])
             .filter(([, box]) => box.width < 24 || box.height < 24).map(([what]) => what)"""
    )
    assert small == []

    page.get_by_role("checkbox", name="advice").tap()
    expect(page.get_by_role("status")).to_contain_text("1 of")
    page.locator("details[data-item]:not([hidden]) > summary").tap()
    expect(page.locator("details[data-item]:not([hidden]) pre")).to_be_visible()


def test_1500_changes_load_and_filter_quickly(open_page: Open, tmp_path: Path) -> None:
    target = tmp_path / "many.html"
    target.write_text(review_page.render(many(1500)), encoding="utf-8")
    page = open_page()
    tools = page.context.new_cdp_session(page)
    # Its own running time: that of other programs on the machine says nothing of the page.
    tools.send("Performance.enable", {"timeDomain": "threadTicks"})

    def spent() -> float:
        told = tools.send("Performance.getMetrics")["metrics"]
        return 1000 * next(one["value"] for one in told if one["name"] == "TaskDuration")

    marks = [spent()]
    page.goto(target.as_uri())
    marks.append(spent())
    for words in ("bucket-14", "bucket", "deleted bucket-77"):
        page.evaluate(
            """words => { const box = document.querySelector("[type=search]");
                 box.value = words; box.dispatchEvent(new Event("input")); document.body.offsetHeight; }""",
            words,
        )
        marks.append(spent())
    loaded, *took = (after - before for before, after in pairwise(marks))
    print(f"\n1,500 changes: loaded in {loaded:.0f} ms, filtered in {', '.join(f'{one:.0f}' for one in took)} ms")

    expect(page.get_by_role("status")).to_have_text("3 of 1500 findings and changes")
    assert 0 < loaded < 5000
    assert 0 < min(took) < 500
