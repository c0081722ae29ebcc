"""The page of a training run, in the dark, on a phone, and alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from playwright.sync_api import Page

from trainyard.cli.report.page import render
from trainyard.cli.report.record import read

Open = Callable[..., Page]
Axe = Callable[[Page], list[str]]
NOW = 1_800_000_000.0


@pytest.fixture(scope="module")
def report_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a run that was interrupted, went on from its checkpoint and ended, on four ranks."""
    run = tmp_path_factory.mktemp("run")
    saved = {"uri": f"s3://trainyard-checkpoints/{'run/' * 20}step-00000050", "bytes": 10**9, "seconds": 3.0}
    lines: list[dict[str, Any]] = [{"event": "started", "step": 0}]
    for step in range(10, 101, 10):
        lines.append(
            {
                "step": step, "loss": 5 - step / 50, "grad_norm": 1.5, "learning_rate": 1e-3, "tokens": 1024 * step,
                "tokens_per_second": 512.0, "seconds_per_step": 2.0, "data_wait_seconds": 0.1,
                "checkpoint_stall_seconds": 0.2, "memory_bytes": 10**9,
            }
        )  # fmt: skip
        if step == 50:
            lines.append({"event": "checkpoint", "step": 50, **saved})
            lines.append({"event": "interrupted", "step": 50, "reason": "the instance is taken back <b>now</b>"})
            lines.append({"event": "resumed", "step": 50, "uri": saved["uri"], "random_numbers": "restored"})
    lines.append({"event": "finished", "step": 100})
    journal = "".join(json.dumps({**line, "time": NOW + 20 * at}) + "\n" for at, line in enumerate(lines))
    (run / "metrics.jsonl").write_text(journal)
    (run / "config.yaml").write_text(yaml.safe_dump({"run": {"directory": str(run)}, "training": {"steps": 100}}))
    target = run / "report.html"
    target.write_text(render(read(run), NOW + 1000))
    return target


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_can_be_read_in_both_schemes(open_page: Open, axe: Axe, report_file: Path, scheme: str) -> None:
    page = open_page(report_file, color_scheme=scheme)
    page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")
    wanted = {"light": "rgb(248, 250, 252)", "dark": "rgb(11, 17, 32)"}

    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == wanted[scheme]
    assert axe(page) == []


def test_a_phone_scrolls_down_only(open_page: Open, report_file: Path) -> None:
    page = open_page(report_file, viewport={"width": 360, "height": 740}, is_mobile=True, has_touch=True)
    page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")
    wide = page.evaluate(
        """() => [...document.querySelectorAll("body *")]
             .filter(one => one.getBoundingClientRect().right > 361 && !one.closest(".scroll"))
             .map(one => one.outerHTML.slice(0, 120))"""
    )

    assert page.evaluate("[document.documentElement.scrollWidth, visualViewport.width]") == [360, 360]
    assert wide == []


def test_no_request_leaves_it_and_the_journal_is_text(open_page: Open, report_file: Path) -> None:
    page = open_page(report_file)
    page.wait_for_load_state("networkidle")

    assert page.asked == [report_file.as_uri()]
    assert page.troubles == []
    assert page.get_by_role("cell", name="taken back <b>now</b>").is_visible()
