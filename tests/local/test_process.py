"""A child does not outlive its parent, not even one that is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import psutil

from trainyard.local.process import is_running

PARENT = """
import subprocess, sys, time
from trainyard.local.process import die_with_parent
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], preexec_fn=die_with_parent)
print(child.pid, flush=True)
time.sleep(600)
"""


def _gone_within(pid: int, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not is_running(pid):
            return True
        time.sleep(0.02)
    return False


def test_a_killed_parent_takes_its_child_along():
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    assert is_running(child)
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    assert _gone_within(child, 5)


def test_a_reused_process_id_is_not_taken_for_the_old_process():
    here = psutil.Process()
    assert is_running(here.pid, here.create_time())
    assert not is_running(here.pid, here.create_time() - 3600)
