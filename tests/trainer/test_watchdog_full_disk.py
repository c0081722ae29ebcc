"""A gang that stands still is ended, with its stacks, where the disk for them is full too."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from trainer.exit_codes import HUNG

STANDS_STILL = """
import sys, time
from pathlib import Path
from trainer.gang import Gang
from trainer.watchdog import Watchdog

watchdog = Watchdog(Gang.assemble(), 1.0, Path(sys.argv[1]))
watchdog._file.close()
watchdog._file = open("/dev/full", "w")
watchdog.beat("forward")
time.sleep(600)
"""


def test_a_full_disk_does_not_keep_a_gang_standing(tmp_path: Path) -> None:
    command = [sys.executable, "-c", STANDS_STILL, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == HUNG
    assert "can't be written: No space left on device" in done.stderr
    assert 'File "<string>", line 11 in <module>' in done.stderr, "the line that it stands at"
