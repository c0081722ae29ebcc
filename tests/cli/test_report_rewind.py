"""What a jump of the loss has undone is work done again, not evaluation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from trainyard.cli.report.record import read


def test_a_stretch_that_was_undone_counts_as_lost(tmp_path: Path) -> None:
    def step(number: int, time: float) -> dict[str, Any]:
        return {"step": number, "loss": 1.0, "seconds_per_step": 1.0, "time": time}

    # One second a step; from 103.0 on in vain, then five seconds to restore step 2, whose last line is of 102.0.
    lines = [step(1, 101.0), step(2, 102.0), step(3, 103.0), step(4, 104.0)]
    lines += [{"event": "rewound", "step": 2, "from_step": 4, "uri": "there", "time": 109.0}]
    lines += [step(3, 110.0), step(4, 111.0), {"event": "finished", "step": 4, "time": 112.0}]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    record = read(tmp_path)
    assert record.spent.training == pytest.approx(4.0)
    assert record.spent.restarts == pytest.approx(7.0)
    assert record.spent.other == pytest.approx(1.0)
    assert len(record.starts) == 1
