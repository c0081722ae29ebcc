"""`trainyard simulate`: what a person gets, from shipped traces and their own, and what is refused."""

from __future__ import annotations

import json
import re
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from trainer.errors import UserError
from trainer.interval import prior_mean_seconds
from typer.testing import CliRunner, Result

from trainyard.cli.main import app
from trainyard.cli.simulate.comparison import compare
from trainyard.cli.simulate.policies import sweep
from trainyard.cli.simulate.replay import Job
from trainyard.cli.simulate.traces import Trace, find, read, shipped
from trainyard.cli.simulate.traces.generate import RECIPES, generate, write

JOBS = {
    "usual": Job.of_seconds(5, 2, 60, 180),
    "small": Job.of_seconds(1, 0.3, 10, 60),
    "large": Job.of_seconds(15, 10, 300, 600),
    "stalling": Job.of_seconds(5, 30, 120, 300),
    "warned": Job.of_seconds(5, 2, 60, 180, notice=120),
}


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["simulate", *map(str, arguments)])


def trace_file(folder: Path, data: list, gap_seconds: object = 60) -> Path:
    path = folder / "mine.json"
    path.write_text(json.dumps({"metadata": {"gap_seconds": gap_seconds}, "data": data}))
    return path


@pytest.mark.parametrize("job", JOBS.values(), ids=JOBS)
@pytest.mark.parametrize("trace", shipped(), ids=lambda trace: trace.name)
def test_the_adaptive_interval_is_within_a_point_of_the_best_fixed_one(trace: Trace, job: Job) -> None:
    compared = compare(trace, job, prior_mean_seconds(8), sweep(job, 3 * 86_400, 60))
    assert compared.short_by <= 0.01


def test_a_year_is_replayed_in_no_more_than_its_share_of_what_four_weeks_take() -> None:
    """In processor time, and 13 times the trace: whoever looked back at what was would take 169 times as long."""
    job, four_weeks = Job.of_seconds(5, 2, 60, 180), find("day-and-night").data

    def seconds(times: int) -> float:
        started = time.process_time()
        compare(Trace("long", 60, four_weeks * times), job, prior_mean_seconds(8), sweep(job, 3 * 86_400))
        return time.process_time() - started

    assert seconds(13) < 40 * min(seconds(1) for _ in range(3))


def test_the_shipped_traces_are_those_that_the_generator_makes(tmp_path: Path) -> None:
    write(tmp_path)
    assert {trace.name for trace in shipped()} == set(RECIPES)
    for trace in shipped():
        assert read(tmp_path / f"{trace.name}.json") == trace
        assert trace.description == RECIPES[trace.name].description
        assert len(trace.data) * trace.gap_seconds == RECIPES[trace.name].days * 86_400


def test_the_generator_keeps_to_its_means() -> None:
    recipe = RECIPES["calm-then-storm"]
    data = generate(recipe)
    losses = [index for index in range(1, len(data)) if data[index - 1] > data[index]]
    storm = [index for index in losses if 10 <= index * 60 / 86_400 < 14]
    assert len(storm) == pytest.approx(4 * 24 / (0.75 + 10 / 60), rel=0.25)
    assert len(losses) - len(storm) <= 15


def test_a_table_for_each_and_an_overview_for_all() -> None:
    overview = run()
    assert overview.exit_code == 0, overview.output
    assert all(name in overview.output for name in RECIPES)
    one = run("weekly", "--spot-price", "20", "--notice-seconds", "120")
    assert one.exit_code == 0
    assert re.search(r"clairvoyant +98\.\d\d%", one.output)
    assert "$160.00 on spot" in one.output
    assert max(map(len, one.output.splitlines())) <= 80
    assert "…" not in one.output


def test_json_has_every_figure(tmp_path: Path) -> None:
    path = trace_file(tmp_path, [1] * 100 + [0] * 20 + [1] * 100)
    options = ("--nodes", 2, "--on-demand-price", 10, "--spot-price", 4, "--interval", 30, "--interval", 10)
    done = run(path, "--json", *options)
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["gang_usd_per_hour"] == {"on_demand": 20.0, "spot": 8.0}
    [trace] = told["traces"]
    assert trace["trace"] == "mine"
    assert trace["available_share"] == round(200 / 220, 5)
    assert [fixed["steps"] for fixed in trace["fixed"]] == [10, 30]
    assert trace["losses"] == 1
    for account in (trace["adaptive"], trace["clairvoyant"], *trace["fixed"]):
        assert account["spot_usd"] == pytest.approx(8 * 200 / 60, abs=0.01)
        assert account["usd_per_useful_hour"] == pytest.approx(8 / account["goodput"], abs=0.01)
        assert account["on_demand_usd"] == pytest.approx(20 * account["useful_hours"], abs=0.01)
        assert account["break_even_spot_usd_per_hour"] == pytest.approx(20 * account["goodput"], abs=0.01)


@pytest.mark.parametrize("data", [[0] * 10, [1], [1, 0] * 50, [0, 1]], ids=["never", "once", "flicker", "late"])
def test_a_trace_that_leaves_nothing_to_do_is_told_like_any(tmp_path: Path, data: list[int]) -> None:
    path = trace_file(tmp_path, data)
    assert run(path).exit_code == 0
    done = run(path, "--json", "--svg", tmp_path / "picture.svg")
    assert done.exit_code == 0
    assert json.loads(done.stdout)["traces"][0]["clairvoyant"]["useful_hours"] == 0
    assert (tmp_path / "picture.svg").exists()


def test_the_picture_has_a_row_for_each_trace(tmp_path: Path) -> None:
    first, second = tmp_path / "first.svg", tmp_path / "second.svg"
    for target in (first, second):
        assert run("weekly", "rare", "--svg", target).exit_code == 0
    assert first.read_bytes() == second.read_bytes()
    texts = {element.text for element in ElementTree.parse(first).iter("{http://www.w3.org/2000/svg}text")}
    assert {"weekly · 99 losses", "rare · 11 losses", "clairvoyant", "adaptive interval"} <= texts


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "is no JSON"),
        ("[1, 0]", "metadata.gap_seconds is None"),
        ('{"metadata": {"gap_seconds": 0}, "data": [1]}', "metadata.gap_seconds is 0"),
        ('{"metadata": {"gap_seconds": true}, "data": [1]}', "metadata.gap_seconds is True"),
        ('{"metadata": {"gap_seconds": 60}, "data": []}', "data holds nothing"),
        ('{"metadata": {"gap_seconds": 60}, "data": [1, 2]}', r"data\[1\] is 2"),
        ('{"metadata": {"gap_seconds": 60}, "data": [1, 1.0]}', r"data\[1\] is 1.0"),
        ('{"metadata": {"gap_seconds": 60}, "data": [true]}', r"data\[0\] is True"),
        ("\udcff", "is no JSON"),
        (100_000 * "[", "is no JSON: maximum recursion depth"),
    ],
)
def test_what_is_no_trace_is_refused_with_what_one_is(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "mine.json"
    path.write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(UserError, match=said) as refused:
        read(path)
    assert '{"metadata": {"gap_seconds": 60}, "data": [1, 1, 0, …]}' in str(refused.value)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nosuch"], "shipped are aftershocks, calm-then-storm"),
        (["rare", "--step-seconds", "0"], "--step-seconds 0"),
        (["rare", "--upload-seconds", "1"], "--upload-seconds 1"),
        (["rare", "--mean-seconds-between-failures", "inf"], "--mean-seconds-between-failures inf: expected a number"),
        (["rare", "--spot-price", "inf"], "--spot-price inf: expected a number"),
        (["rare", "--instance-type", "m9.tiny"], "no price is known; give one with --on-demand-price"),
        (["rare", "--svg", "/no/such/folder/picture.svg"], "--svg /no/such/folder/picture.svg: can't be written"),
    ],
)
def test_a_mistake_is_told(arguments: list[str], said: str) -> None:
    done = run(*arguments)
    assert isinstance(done.exception, UserError)
    assert said in str(done.exception)
