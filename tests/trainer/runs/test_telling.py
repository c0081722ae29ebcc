"""What a run says of its steps where they are no multiple of the lines, and which end its launcher makes of a hang."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from trainer.exit_codes import HUNG

FAULTY = str(Path(__file__).parent / "faulty.py")


def test_steps_between_two_lines_are_accounted_for_when_a_checkpoint_is_saved(new_run: Callable) -> None:
    run = new_run(training__steps=7, metrics__interval_steps=5, metrics__device_peak_tflops=0.001)
    run.program, run.environment = FAULTY, {"FAULT": "nan", "FAULTY_STEPS": "2,7"}
    run.go()

    def skipped_by(step: int) -> int:
        return json.loads((run.checkpoints / f"step-{step:08d}/manifest.json").read_text())["progress"]["skipped_steps"]

    lines = [line for line in run.lines if "event" not in line]
    assert [line["step"] for line in lines] == [5, 7], "the last step is told as well"
    assert [event["step"] for event in run.events("step-skipped")] == [2, 7]
    assert (skipped_by(4), skipped_by(7)) == (1, 2)
    told = {"loss", "grad_norm", "tokens_per_second", "mfu", "data_wait_seconds", "checkpoint_stall_seconds",
            "memory_bytes"}  # fmt: skip
    assert all(told <= line.keys() for line in lines)
    assert all(part in run.log.read_text() for part in ("gradient norm", "MFU", "data wait", "save stall", "GB"))


@pytest.mark.parametrize("hangs", [True, False])
def test_a_hang_is_known_by_what_it_leaves_and_by_no_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hangs: bool
) -> None:
    from trainer import elastic, launch

    directory = tmp_path / "run"
    directory.mkdir()
    report = directory / "hang-rank0.txt"
    report.write_text("stacks of an earlier hang\n")

    def ranks(*_: Any) -> elastic.Ended:
        if hangs:
            report.write_text("stacks\n")
            os.utime(report, (1, 1))  # the node's clock was set back
        return elastic.Ended({0: -signal.SIGABRT}, None)

    monkeypatch.setattr(elastic, "run_ranks", ranks)
    monkeypatch.setattr(elastic.Signals, "listen", lambda _self: None)
    changes = (f"run.directory={directory}", "data.uri=none", f"checkpoint.uri={tmp_path / 'saved'}")
    sets = [part for change in changes for part in ("--set", change)]
    status = launch.main(["--nproc-per-node", "1", "--", "--config", "cpu-tiny", *sets])
    assert (status == HUNG) == hangs
