"""What stands in resources is shown as text, whatever it is; and the page asks nobody for anything."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from playwright.sync_api import Page, expect
from pulumi.runtime.rpc import _special_secret_sig, _special_sig_key
from sample_review import DATASETS, LONG_WORD, NASTY, found, prod
from waiting import wait_until

from trainyard.cli.review import page as review_page
from trainyard.cli.review.model import ChangedResource, Environment, Review, environment_of
from trainyard.local.changes import Change, Operation, PropertyChange, changes_in
from trainyard.local.review import Comparison, Side

Open = Callable[..., Page]


def written(target: Path, *environments: Environment) -> Path:
    target.write_text(review_page.render(Review("main", "working tree", environments)), encoding="utf-8")
    return target


def test_no_request_leaves_the_page_and_nothing_goes_wrong_on_it(open_page: Open) -> None:
    page = open_page()
    page.get_by_role("button", name="Open all").click()
    page.get_by_role("searchbox").fill("lustre")
    page.wait_for_load_state("networkidle")

    assert page.asked == [page.url.partition("?")[0]]
    assert page.troubles == []


def test_the_page_may_ask_for_nothing_even_if_something_in_it_would(open_page: Open) -> None:
    page = open_page()
    page.evaluate(
        """() => { const image = new Image(); image.src = "http://127.0.0.1:9/x.png"; document.body.append(image);
             const script = document.createElement("script"); script.textContent = "document.title = 'run'";
             document.body.append(script); }"""
    )
    wait_until(lambda: page.title() and len([one for one in page.troubles if "Content Security Policy" in one]) == 2)
    assert page.title() != "run"
    assert page.evaluate("fetch('http://127.0.0.1:9/').then(() => 'asked', () => 'refused')") == "refused"


def test_markup_in_a_value_is_text(open_page: Open) -> None:
    page = open_page()
    page.locator("#prod-us-changes summary", has_text=DATASETS).click()

    expect(page.get_by_text(NASTY)).to_be_visible()
    assert page.title().startswith("It brings violations")
    assert page.locator("main img:not([role])").count() == page.locator("main script").count() == 0


def test_markup_in_names_messages_and_errors_is_text(open_page: Open, tmp_path: Path) -> None:
    (result,) = found("s3-tls-only")
    finding = replace(result.findings[0], message=NASTY, place=NASTY)
    result = replace(result, resource=replace(result.resource, name=NASTY), findings=(finding,))
    change = Change(NASTY, NASTY, NASTY, Operation.REPLACE, (PropertyChange(NASTY, {NASTY: NASTY}, [NASTY], True),))
    side = Side(NASTY, (), (result,), {})
    made = environment_of(Comparison("dev", NASTY, replace(side, results=()), side, (change,), NASTY))
    page = open_page(written(tmp_path / "nasty.html", made, Environment("prod", None, failure=NASTY)))
    page.get_by_role("button", name="Open all").click()

    assert page.title().startswith("It brings violations")
    assert page.locator("main img, main script").count() == 0
    assert page.locator("body").inner_text().count("<script>") >= 8
    assert page.troubles == []


def test_a_word_without_end_stays_in_its_column(open_page: Open) -> None:
    page = open_page()
    page.locator("#prod-us-changes summary", has_text=DATASETS).click()
    box = page.locator("#prod-us-changes ins", has_text=LONG_WORD).bounding_box()

    assert box["x"] + box["width"] <= 1280
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280


def test_right_to_left_text_turns_nothing_around_but_itself(open_page: Open) -> None:
    page = open_page()
    page.locator("#prod-us-changes summary", has_text=DATASETS).click()
    value = page.locator("bdi", has_text="بيانات")

    assert "\\u202e moc.live" in value.inner_text()  # what would turn the rest around is written out
    assert "\u202e" not in page.content()
    assert value.evaluate("one => getComputedStyle(one).unicodeBidi") == "isolate"
    row = page.locator("tr", has=value)
    before, after = (row.locator("td").nth(place).bounding_box()["x"] for place in (1, 2))
    assert before < after


def test_secrets_are_not_in_the_file(open_page: Open, tmp_path: Path) -> None:
    def secret(plain: str) -> dict[str, str]:
        return {_special_sig_key: _special_secret_sig, "plaintext": f'"{plain}"', "ciphertext": f"sealed-{plain}"}

    urn = "urn:pulumi:dev::trainyard::aws:fsx/lustreFileSystem:LustreFileSystem::files"
    inputs = {side: {"custom": True, "inputs": {"password": secret(side)}} for side in ("old", "new")}
    told = {
        "op": "update",
        "urn": urn,
        "type": urn.split("::")[2],
        **inputs,
        "detailedDiff": {"password": {"diffKind": "update"}},
    }
    (change,) = changes_in([{"resourcePreEvent": {"metadata": told}}])
    target = written(tmp_path / "secret.html", replace(prod(), changes=(ChangedResource(change),), findings=()))
    page = open_page(target)
    page.locator("#prod-us-changes summary").click()

    assert page.locator("#prod-us-changes").inner_text().count("[secret]") == 2
    text = target.read_text(encoding="utf-8")
    assert "sealed-" not in text
    assert '"old"' not in text
