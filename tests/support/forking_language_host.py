"""A language host whose programs are forked from a process that has imported the SDKs already.

The rehearsal's own starts an interpreter for each program, and most of what a small program takes is imports. Here each
program is a process of its own as well, with the rehearsal's own runner in it. The process that they are forked from
runs nothing else: no thread of it holds a lock that its children would wait for.
"""

from __future__ import annotations

import io
import json
import multiprocessing
import os
import signal
import sys
from collections.abc import Mapping
from typing import Any

from pulumi.runtime.proto import language_pb2

from trainyard.local import language_host, program_runner
from trainyard.local.process import die_with_parent

IMPORTED = (
    "__main__",
    "pulumi_aws.ec2",
    "pulumi_aws.eks",
    "pulumi_aws.iam",
    "pulumi_aws.kms",
    "pulumi_aws.s3",
    "pulumi_kubernetes.core.v1",
)
"""What most programs use, and this file."""


class ForkingLanguageHost(language_host.LanguageHost):
    """Programs only."""

    def run_program(self, settings: Mapping[str, Any], folder: str, info: language_pb2.ProgramInfo) -> int:  # noqa: ARG002  # this interpreter is the one that has imported everything
        program = _FORKS.Process(target=_run, args=(json.dumps(settings), folder))
        program.start()
        program.join()
        return program.exitcode or 0


def _run(settings: str, folder: str) -> None:
    """In a process of its own: what the runner does when it is started as a script."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # nobody reads the host's own once it has told its port
    os.chdir(folder)
    sys.stdin = io.StringIO(settings)
    status = program_runner.main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


_FORKS = multiprocessing.get_context("forkserver")

if __name__ == "__main__":
    die_with_parent()
    _FORKS.set_forkserver_preload(list(IMPORTED))
    language_host.serve(ForkingLanguageHost(""))
    os._exit(0)  # the process that programs are forked from ends with this one; nobody waits for a program that hangs
