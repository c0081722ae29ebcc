"""The loop that docs/exit-codes.md gives to people without a scheduler starts again what is to be started again."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from trainer.exit_codes import BAD_CONFIGURATION, FAILED, FINISHED, HUNG, REQUEUE

PAGE = Path(__file__).resolve().parents[2] / "docs/exit-codes.md"


@pytest.mark.parametrize(
    ("statuses", "starts"),
    [
        ((REQUEUE, HUNG, HUNG, REQUEUE, FINISHED), 5),
        ((FINISHED,), 1),
        ((HUNG, FAILED, FINISHED), 2),
        ((REQUEUE, BAD_CONFIGURATION, FINISHED), 2),
    ],
)
def test_the_loop_by_hand(statuses: tuple[int, ...], starts: int, tmp_path: Path) -> None:
    (loop,) = re.findall(r"^until trainyard train …; do .*done$", PAGE.read_text(), re.MULTILINE)
    stand_in = f'statuses=({" ".join(map(str, statuses))}); trainyard() {{ echo start; return "${{statuses[n++]}}"; }}'
    done = subprocess.run(
        ["bash", "-c", f"{stand_in}\n{loop}"], capture_output=True, text=True, check=False, timeout=180, cwd=tmp_path
    )
    assert done.stdout.count("start") == starts
