"""A rank whose clock of the machines' end is ahead by as many seconds as the file CLOCK says, once there is one."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import trainer.preemption
from trainer.__main__ import main

FILE = Path(os.environ["CLOCK"])


def ahead() -> float:
    said = FILE.read_text() if FILE.exists() else ""
    return time.time() + float(said or 0)


trainer.preemption.time = SimpleNamespace(time=ahead, monotonic=time.monotonic)
if status := main():
    sys.exit(status)
