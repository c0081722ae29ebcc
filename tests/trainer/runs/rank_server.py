"""Starts ranks in a fraction of a second: imports torch and the trainer once, then forks for each.

A forked rank runs what `python -m trainer` runs, in a process of its own that can be signalled and killed; the launcher
can be forked, too. Requests and
answers are JSON lines: {"argv", "environment", "log"} -> pid; {"wait": pid, "seconds"} -> exit code, or null if still
running.
"""

from __future__ import annotations

import json
import os
import runpy
import sys
import time
import traceback


def rank(request: dict) -> int:
    log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.environ.clear()
    os.environ.update(request["environment"])
    program, *sys.argv[1:] = request["argv"]
    try:
        if program == "trainer":
            from trainer.__main__ import main

            return main()
        if program == "trainer.launch":
            from trainer.launch import main as launch

            return launch()
        runpy.run_path(program, run_name="__main__")
        return 0
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    except BaseException:  # noqa: BLE001 - any failure of the rank belongs in its log
        traceback.print_exc()
        return 1


def serve() -> None:
    import torch._dynamo  # noqa: F401 - the first optimiser would, for seconds
    import trainer.loop
    import trainer.run
    import trainer.saving

    trainer.saving.NICENESS = 0  # at the lowest priority a save waits for ever on a machine that has much else to do

    print(json.dumps(trainer.loop.__name__), flush=True)
    running: set[int] = set()
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            print(json.dumps(wait(request["wait"], request["seconds"], running)), flush=True)
            continue
        pid = os.fork()
        if pid == 0:
            code = rank(request)
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
        running.add(pid)
        print(json.dumps(pid), flush=True)
    for pid in running:
        os.kill(pid, 9)


def wait(pid: int, seconds: float, running: set[int]) -> int | None:
    deadline = time.monotonic() + seconds
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            running.discard(pid)
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > deadline:
            return None
        time.sleep(0.005)


if __name__ == "__main__":
    serve()
