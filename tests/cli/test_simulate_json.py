"""`trainyard simulate --json` says one object and nothing else, also where its picture or its output is not written."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

COMMAND = [sys.executable, "-m", "trainyard.cli.main", "simulate", "rare", "--interval", "500", "--json"]


def test_a_picture_that_can_not_be_written_is_all_that_is_told(tmp_path: Path) -> None:
    picture = tmp_path / "no/such/folder/picture.svg"
    done = subprocess.run([*COMMAND, "--svg", str(picture)], capture_output=True, text=True, check=False, timeout=180)
    assert done.returncode == 2
    told = json.loads(done.stdout)  # a second object after it would be refused here
    assert str(picture) in json.dumps(told)
    assert "traces" not in told


def test_a_full_disk_behind_standard_output_is_told_by_the_status() -> None:
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        done = subprocess.run(COMMAND, stdout=full, stderr=subprocess.PIPE, text=True, check=False, timeout=180)
    assert done.returncode == 3
    assert "standard output cannot be written" in done.stderr
    assert "Traceback" not in done.stderr
