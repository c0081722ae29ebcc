"""`trainyard report`: what a run did stands on the page once, whatever befell the run."""

from __future__ import annotations

import json
import random
import re
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from trainer.errors import UserError
from trainer.metrics import Journal
from typer.testing import CliRunner, Result

from trainyard.cli.main import app
from trainyard.cli.report.charts import Curve, Mark, chart, thinned
from trainyard.cli.report.page import render
from trainyard.cli.report.record import read

NOW = 1_800_000_000.0
VOID = {"meta", "br"}


class Run:
    """Writes a run's directory by the trainer's own journal; a clock of its own puts times into it."""

    def __init__(self, directory: Path, steps: int = 100) -> None:
        self.directory, self.clock, self.step = directory, NOW, 0
        directory.mkdir(parents=True, exist_ok=True)
        config = {"run": {"directory": str(directory)}, "training": {"steps": steps}, "checkpoint": {"uri": None}}
        (directory / "config.yaml").write_text(yaml.safe_dump(config))
        self.start()

    def start(self, resumed_from: int | None = None, after: float = 0.0) -> None:
        self.clock += after
        Journal(self.directory / "metrics.jsonl", resumed_from or 0).close()
        if resumed_from is not None:
            self.step = resumed_from
            self.line(
                event="resumed", step=resumed_from, uri=f"/saved/step-{resumed_from:08}", random_numbers="restored"
            )

    def line(self, **fields: Any) -> None:
        with (self.directory / "metrics.jsonl").open("a") as file:
            file.write(json.dumps({**fields, "time": self.clock}) + "\n")

    def train(self, steps: int, seconds: float = 2.0, stall: float = 0.0, **more: Any) -> None:
        self.step += steps
        self.clock += steps * seconds + stall
        self.line(
            step=self.step, loss=5 - self.step / 50, grad_norm=1.5, learning_rate=1e-3, tokens=1024 * self.step,
            tokens_per_second=1024 / seconds, seconds_per_step=seconds, data_wait_seconds=0.1,
            checkpoint_stall_seconds=stall, memory_bytes=10**9, **more,
        )  # fmt: skip

    def saved(self, **more: Any) -> None:
        self.line(
            event="checkpoint", step=self.step, uri=f"/saved/step-{self.step:08}", bytes=5 * 10**8, seconds=3.0,
            stall_seconds=0.2, **more,
        )  # fmt: skip

    def end(self, outcome: str, reason: str | None = None) -> None:
        self.line(event=outcome, step=self.step, reason=reason)
        said = {"outcome": "preempted" if outcome == "interrupted" else outcome, "step": self.step, "reason": reason}
        (self.directory / "outcome.json").write_text(json.dumps(said))

    def page(self, after: float = 1.0) -> str:
        return checked(render(read(self.directory), self.clock + after))


class Checker(HTMLParser):
    """Every tag is closed where it should be, and nothing is fetched."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag not in ("script", "link", "img", "iframe")
        for name, value in attrs:
            assert name not in ("src", "href"), value
            assert "nan" not in re.split(r"[\s,]", value or "")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def checked(page: str) -> str:
    """The page. Raises AssertionError if it is not whole, or needs something from elsewhere."""
    checker = Checker()
    checker.feed(page)
    assert checker.open == []
    assert "@import" not in page
    assert "url(" not in page
    for svg in re.findall(r"<svg.*?</svg>", page, re.DOTALL):
        ElementTree.fromstring(svg)
    return page


def words_of(page: str) -> str:
    checker = Checker()
    checker.feed(page.split("</head>")[1].removesuffix("</html>\n").removesuffix("</html>"))
    return " ".join(" ".join(checker.text).split())


def report(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["report", *map(str, arguments)])


def test_a_finished_run(tmp_path: Path) -> None:
    run = Run(tmp_path / "first")
    for _ in range(10):
        run.train(10)
    run.line(event="evaluation", step=50, evaluation_loss=3.25)
    run.saved(retried=["503 Slow Down"], not_local=None)
    run.end("finished", "all steps done")
    said = words_of(run.page())
    assert "first finished" in said
    assert "step 100 of 100" in said
    assert "loss 3.0000 of the last reported step" in said
    assert "held-out loss 3.2500 the lowest, at step 50" in said
    assert "goodput 100.0%" in said
    assert "500 MB" in said
    assert "tried again: 503 Slow Down" in said
    for name in (
        "loss",
        "learning rate",
        "gradient norm",
        "tokens per second",
        "data wait",
        "checkpoint stall",
        "memory",
    ):
        assert f'aria-label="{name} over steps' in run.page()
    assert "MFU" not in run.page()


def test_restarts_are_counted_and_their_steps_are_not_doubled(tmp_path: Path) -> None:
    run = Run(tmp_path)
    for _ in range(3):
        run.train(10)  # to step 30, in 60 s
    run.start(resumed_from=20, after=40)  # killed: step 30 is taken out, and done again
    for _ in range(2):
        run.train(10, stall=1)
    run.end("interrupted", "SIGTERM (rank 0)")
    record = read(tmp_path)
    assert [one.step for one in record.reported] == [10, 20, 30, 40]
    assert sum(one.steps for one in record.reported) == 40
    assert [start.resumed_from for start in record.starts] == [None, 20]
    spent = record.spent
    assert spent.total == pytest.approx(60 + 40 + 42)
    assert spent.training == pytest.approx(80)
    assert spent.stalled == pytest.approx(2)
    assert spent.restarts == pytest.approx(20 + 40)
    assert spent.other == pytest.approx(0)
    assert spent.goodput == pytest.approx(80 / 142)
    said = words_of(run.page())
    assert [start.said_why for start in record.starts] == [False, True]
    assert "restarts 1 1 after an end without a word" in said
    assert "preempted" in said
    assert "SIGTERM (rank 0)" in said


def test_steps_that_stand_in_the_journal_twice_count_once(tmp_path: Path) -> None:
    """As in a journal that was put together from those of two starts."""
    run = Run(tmp_path)
    run.train(10)
    run.train(10)
    run.line(event="evaluation", step=20, evaluation_loss=9.0)
    run.step = 10
    run.line(event="resumed", step=10, uri="/saved/step-00000010", random_numbers="restored")
    run.train(10)
    run.line(event="evaluation", step=20, evaluation_loss=4.0)
    record = read(tmp_path)
    assert [one.step for one in record.reported] == [10, 20]
    assert [loss for _, _, loss in record.held_out] == [4.0]
    assert record.spent.training == pytest.approx(40)


def test_steps_between_the_last_line_and_the_checkpoint_count(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.train(10)
    run.clock += 10  # five steps, saved, and no line about them
    run.start(resumed_from=15, after=30)
    run.train(5)
    spent = read(tmp_path).spent
    assert spent.training == pytest.approx(40)
    assert spent.restarts == pytest.approx(30)
    assert spent.other == pytest.approx(0)


def test_what_goes_on_and_what_went_silent(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.train(10)
    assert "in progress" in words_of(run.page(after=60))
    assert "no sign of life for 2.0 h" in words_of(run.page(after=7200))


def test_a_run_that_has_done_nothing_yet(tmp_path: Path) -> None:
    run = Run(tmp_path)
    assert "nothing reported yet" in words_of(run.page())
    (tmp_path / "metrics.jsonl").unlink()
    said = words_of(run.page())
    assert "Nothing to plot yet" in said
    assert "step 0 of 100" in said
    run.end("failed", "data.uri: no such place")
    assert "data.uri: no such place" in words_of(run.page())


def test_every_event_is_told_even_one_that_is_not_known_here(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.train(10)
    for event, fields in {
        "checkpoint-refused": {"uri": "/saved/step-00000010", "reason": "__0_0.distcp is missing"},
        "checkpoint-failed": {"reason": "could not be saved: 500"},
        "checkpoint-skipped": {"reason": "under way for 9 s"},
        "checkpoint-local": {"uri": "/local/step-00000010"},
        "interval": {"steps": 40, "reason": "every 40 steps (80 s)"},
        "warned": {"reason": "rebalance recommendation"},
        "rewound": {"uri": "/saved/step-00000005", "from_step": 10},
        "step-skipped": {"samples": [1, 2, 3]},
        "straggler": {"rank": 3, "phase": "data", "seconds": 0.5, "usual_seconds": 0.1, "lost_share": 0.25},
        "straggler ": {"rank": None, "new": "field"},
        "newly-invented": {"answer": 42},
    }.items():
        run.line(event=event, step=10, **fields)
    run.train(10)
    said = words_of(run.page())
    for expected in (
        "/saved/step-00000010 is not used: __0_0.distcp is missing",
        "could not be saved: 500",
        "under way for 9 s",
        "/local/step-00000010, on the nodes' own disks only",
        "every 40 steps (80 s)",
        "rebalance recommendation",
        "from step 10 to /saved/step-00000005",
        "3 samples in the journal",
        "rank 3: data takes 500.0 ms a step, the median is 100.0 ms; costs 25% of each step",
        "newly invented answer 42",
    ):
        assert expected in said


def test_mfu_and_loss_scale_are_drawn_where_they_are_measured(tmp_path: Path) -> None:
    run = Run(tmp_path)
    for scale in (65536.0, 32.0):
        run.train(10, mfu=0.42, loss_scale=scale)
    page = run.page()
    assert 'aria-label="MFU over steps: from 42% to 42%"' in page
    assert 'aria-label="loss scale over steps' in page
    assert "MFU 42.0% median" in words_of(page)


def test_where_each_ranks_time_goes(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.train(10)
    usual = {"data": 0.01, "forward": 0.1, "backward": 0.2, "agreement": 0.0, "reduction": 0.1, "optimizer": 0.05}
    ranks = [usual] * 70 + [usual | {"forward": 0.2}]
    (tmp_path / "ranks.json").write_text(json.dumps({"step": 10, "seconds_per_step": ranks, "slow": [70]}))
    said = words_of(run.page())
    assert "rank 70, slow 560.0 ms rank 0 460.0 ms" in said
    assert "7 more are in ranks.json" in said
    for other in ("{", '{"step": 1}', '{"step": 1, "seconds_per_step": [{"data": 1}], "slow": []}', "[]"):
        (tmp_path / "ranks.json").write_text(other)
        assert "rank's time" not in words_of(run.page())


def test_what_the_trainers_own_reporter_writes(tmp_path: Path) -> None:
    import torch
    from trainer.config import load_config
    from trainer.reporting import Outcome, Reporter, RunDirectory

    config = load_config(
        "cpu-tiny",
        [
            f"run.directory={tmp_path}",
            "data.uri=none",
            "checkpoint.uri=none",
            "training.steps=4",
            "optimizer.warmup_steps=0",
        ],
    )
    reporter = Reporter(config, RunDirectory(config), torch.device("cpu"))
    reporter.open("an-id", 0)
    for step in range(1, 5):
        reporter.count_step(128)
        reporter.stalled(0.01)
        reporter.step(step, 128 * step, 0.001, loss=3.0, grad_norm=1.0, learning_rate=1e-3)
    reporter.event("evaluation", "", step=4, evaluation_loss=2.5)
    reporter.end(Outcome("finished", 4, reason="all steps done"))
    page = checked(render(read(tmp_path), NOW))
    said = words_of(page)
    assert "step 4 of 4" in said
    assert "held-out loss 2.5000" in said
    assert "finished all steps done" in said
    for name in (
        "loss",
        "learning rate",
        "gradient norm",
        "tokens per second",
        "data wait",
        "checkpoint stall",
        "memory",
    ):
        assert f'aria-label="{name} over steps' in page


def test_a_loss_that_is_no_number_leaves_a_gap(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.train(10)
    run.clock += 20
    run.line(step=20, loss=None, grad_norm=None, seconds_per_step=2.0)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 30, "loss": NaN, "time": 1800000100}\n{"step": true}\n[1]\n{"event": 3, "time": 5}\n')
        for step, seconds in ((-1, NOW), (10**400, NOW), (40, 1e300), (40, -1e300), (40, 10**400)):
            file.write(json.dumps({"step": step, "loss": 1.0, "time": seconds}) + "\n")
        file.write(json.dumps({"event": "resumed", "step": 10**400, "time": NOW}) + '\n{"st')
    run.page()
    assert [sorted(one.values) for one in read(tmp_path).reported][1:] == [["seconds_per_step"], []]


def test_what_the_journal_says_cannot_become_part_of_the_page(tmp_path: Path) -> None:
    evil = "</title><script>alert(1)</script>'\"&"
    run = Run(tmp_path)
    run.train(10)
    run.line(event="warned", step=10, reason=evil)
    run.line(event=evil, step=10, reason=evil)
    run.saved(retried=[evil])
    run.end("failed", evil)
    page = run.page()  # which finds no script
    assert words_of(page).count(evil) >= 4


def test_what_no_file_may_hold_is_left_out_of_it(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.train(10)
    run.line(event="warned", step=10, reason="a bell \x08 and half a character \ud800")
    assert report(tmp_path).exit_code == 0
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert words_of(checked(page)).count("and half a character") >= 2


@pytest.mark.parametrize("value", [-3.4e16, 3.4e16, 1e299, 5e-324, 0.0, -1.0])
def test_a_chart_of_one_value_has_room_around_it_however_large_it_is(value: float) -> None:
    svg = chart([Curve("a", [(0, value)], "a")], "label", x_range=(0, 1), say_x=str, say_y=str)
    (circle,) = ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}circle")
    assert 10 <= float(circle.get("cy", "nan")) <= 204


def test_a_long_run_makes_a_page_of_moderate_size(tmp_path: Path) -> None:
    run = Run(tmp_path, steps=10**6)
    draw = random.Random(0)
    for _ in range(20_000):
        run.train(50, noise=draw.random())
    for _ in range(2000):
        run.line(event="straggler", step=run.step, reason="slow")
    run.line(event="warned", step=run.step, reason="rebalance")
    page = run.page()
    assert len(page) < 500_000
    assert "straggler at step 1000000: slow, and 2000 more" in page
    assert "1501 older ones are in metrics.jsonl" in words_of(page)


def test_the_command_writes_beside_the_journal_or_where_it_is_told(tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    run.train(10)
    assert report(run.directory).exit_code == 0
    assert (run.directory / "report.html").read_text().startswith("<!doctype html>")
    assert report(run.directory, "--out", tmp_path / "page.html").exit_code == 0
    checked((tmp_path / "page.html").read_text())
    assert not list(tmp_path.rglob("*.new"))


def test_a_mistake_is_told(tmp_path: Path) -> None:
    for place, said in (
        (tmp_path / "nowhere", "there is no such folder"),
        (tmp_path, "holds no run; name its run.directory, where config.yaml and metrics.jsonl are"),
    ):
        done = report(place)
        assert isinstance(done.exception, UserError)
        assert said in str(done.exception)
    run = Run(tmp_path / "run")
    done = report(run.directory, "--out", tmp_path / "no/such/page.html")
    assert isinstance(done.exception, UserError)
    assert "can't be written: No such file or directory; name another place with --out" in str(done.exception)
    (run.directory / "config.yaml").write_bytes(b"\xff: [")
    assert "is no YAML" in str(report(run.directory).exception)
    (run.directory / "config.yaml").write_text("a: " + 10_000 * "[")
    assert "is no YAML" in str(report(run.directory).exception)
    (run.directory / "config.yaml").unlink()
    (run.directory / "metrics.jsonl").write_bytes(b"\xff\xfe")
    assert "is no text" in str(report(run.directory).exception)


finite = st.floats(-1e12, 1e12, allow_subnormal=False)


@given(st.lists(st.tuples(st.floats(0, 1e6), finite), max_size=50), st.booleans(), st.booleans())
def test_a_chart_keeps_to_its_frame(points: list[tuple[float, float]], from_zero: bool, by_decades: bool) -> None:
    svg = chart(
        [Curve("a", points, "a"), Curve("b", points, "b dots")], "label", x_range=(0, 1e6), say_x=str, say_y=str,
        marks=[Mark(0, "bad", "<")], from_zero=from_zero, by_decades=by_decades,
    )  # fmt: skip
    for circle in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}circle"):
        assert 0 <= float(circle.get("cx", "nan")) <= 440
        assert 0 <= float(circle.get("cy", "nan")) <= 230


@given(st.lists(finite, max_size=300), st.integers(1, 40))
def test_thinning_loses_no_extreme(values: list[float], most: int) -> None:
    buckets = thinned(list(enumerate(values)), most)
    assert len(buckets) == min(most, len(values))
    if values:
        assert min(least for _, least, _, _ in buckets) == min(values)
        assert max(highest for *_, highest in buckets) == max(values)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=4,
)
KINDS = ("resumed", "rewound", "checkpoint", "evaluation", "straggler", "step-skipped", "interval", "failed")
FIELDS = (
    "step", "time", "loss", "seconds_per_step", "checkpoint_stall_seconds", "data_wait_seconds", "tokens", "mfu",
    "uri", "bytes", "seconds", "stall_seconds", "retried", "reason", "samples", "evaluation_loss", "tokens_per_second",
)  # fmt: skip
lines = st.builds(
    lambda event, usual, fields: {**event, **usual, **fields},
    st.just({}) | st.sampled_from((*KINDS, "checkpoint", "checkpoint")).map(lambda kind: {"event": kind}),
    st.fixed_dictionaries({"step": st.integers(0, 50), "time": st.floats(NOW, NOW + 1e5)}),
    st.dictionaries(st.sampled_from(FIELDS), anything, min_size=1, max_size=6),
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.lists(lines | anything, max_size=12), anything)
def test_no_journal_is_too_strange_for_a_page(tmp_path: Path, journal: list[Any], ranks: Any) -> None:
    (tmp_path / "config.yaml").write_text("training: {steps: 50}\n")
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in journal))
    (tmp_path / "ranks.json").write_text(json.dumps(ranks))
    checked(render(read(tmp_path), NOW + 2e5))
