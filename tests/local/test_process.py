"""A child does not outlive its parent, not even one that is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

from waiting import wait_until

from trainyard.local.process import is_running, started_at

PARENT = """
import subprocess, sys, time
from trainyard.local.process import die_with_parent
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], preexec_fn=die_with_parent)
print(child.pid, flush=True)
time.sleep(600)
"""


def test_a_killed_parent_takes_its_child_along():
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    assert is_running(child)
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    wait_until(lambda: not is_running(child))


def test_a_reused_process_id_is_not_taken_for_the_old_process():
    here = started_at(os.getpid())
    assert here is not None
    assert is_running(os.getpid(), here)
    assert not is_running(os.getpid(), here - 1)


def test_when_a_process_started_does_not_hang_on_the_clock():
    before = time.clock_gettime(time.CLOCK_BOOTTIME)
    child = subprocess.Popen(["sleep", "600"])
    after = time.clock_gettime(time.CLOCK_BOOTTIME)
    told = started_at(child.pid)
    tick = 1 / os.sysconf("SC_CLK_TCK")
    assert told is not None
    assert before - tick <= told <= after, "seconds after the machine's start, which setting the clock does not move"
    child.kill()
    wait_until(lambda: not is_running(child.pid))
    assert started_at(child.pid) is None, "a zombie"
    child.wait()
    assert started_at(child.pid) is None
