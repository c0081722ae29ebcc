"""Runs one Pulumi program in this process, with the settings that the language host sends on standard input.

The language host starts this file as a script with the interpreter of the program's own virtual environment, so it
imports nothing of Trainyard: only the Pulumi SDK that is installed there.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import runpy
import sys
import traceback
from concurrent.futures import ThreadPoolExecutor

import grpc
import pulumi
from pulumi.runtime import Settings, configure, run_in_stack
from pulumi.runtime.config import set_all_config

ERROR_ALREADY_SHOWN = 32
_COLLECT_AFTER = 200_000
"""Allocations between two collections of garbage. Python's 700 take 40 % of a run's processor time: the SDK's classes
are many, what a run makes lives to its end, and with every collection that is looked through once more."""


def main() -> int:
    gc.set_threshold(_COLLECT_AFTER)
    settings = json.load(sys.stdin)
    configure(
        Settings(
            monitor=settings["monitor_address"],
            engine=settings["engine_address"],
            project=settings["project"],
            stack=settings["stack"],
            organization=settings["organization"],
            parallel=settings["parallel"],
            dry_run=settings["dry_run"],
            root_directory=settings["root"],
        )
    )
    set_all_config(settings["config"], settings["config_secret_keys"])
    program = settings["program"]
    sys.path.insert(0, program)
    sys.argv = [program]
    loop = asyncio.new_event_loop()
    loop.set_default_executor(ThreadPoolExecutor(max_workers=max(settings["parallel"], 1) * 4))
    try:
        loop.run_until_complete(run_in_stack(lambda: _run(program)))
        return 0
    except pulumi.RunError as wrong:
        pulumi.log.error(str(wrong))
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 1
    except grpc.RpcError as lost:
        if not isinstance(lost, grpc.Call) or lost.code() != grpc.StatusCode.UNAVAILABLE:
            pulumi.log.error(f"the engine answered: {lost}")  # one that went away has said why itself
    except Exception:  # noqa: BLE001  # whatever the program raised is shown to its author
        pulumi.log.error(f"Program failed with an unhandled exception:\n{traceback.format_exc()}")
    return ERROR_ALREADY_SHOWN


def _run(program: str) -> None:
    runpy.run_path(program, run_name="__main__")


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # threads of a failed run must not hold the process
