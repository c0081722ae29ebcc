"""`trainyard train CONFIG`: one process, many GPUs, many nodes; the launcher's exit status is this command's."""

from __future__ import annotations

import os
import sys
from typing import Annotated, NoReturn

import typer

CONTEXT = {"allow_extra_args": True, "ignore_unknown_options": True}


def train(
    context: typer.Context,
    config: Annotated[str, typer.Argument(help="A YAML file, or the name of a recipe, such as cpu-tiny.")],
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="One setting, such as training.steps=100; may be given again."),
    ] = None,
    processes: Annotated[
        str, typer.Option(metavar="N", help="Ranks on this node: a number, gpu (one for each), or auto (gpu, else 1).")
    ] = "auto",
    nodes: Annotated[int, typer.Option(metavar="N", help="Nodes in the gang; this command runs on each.")] = 1,
    node_rank: Annotated[int, typer.Option(metavar="N", help="Which of them this is, from 0.")] = 0,
    master: Annotated[
        str | None, typer.Option(metavar="HOST[:PORT]", help="The first node, with more nodes than one.")
    ] = None,
    shutdown_timeout: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS", help="From a signal until ranks are killed; the time for saving and 15 s by default."
        ),
    ] = None,
) -> None:
    """Train, or go on from the newest checkpoint. Further options are those of `python -m trainer`.

    Exit status: 0 finished, 1 failed, 2 a setting is wrong, 75 asked to go and saved (start again), 76 hung (start
    again); docs/exit-codes.md has more.
    """
    options = ["--nproc-per-node", processes, "--nnodes", str(nodes), "--node-rank", str(node_rank)]
    if master is not None:
        host, colon, port = master.rpartition(":")
        options += ["--master-addr", host, "--master-port", port] if colon else ["--master-addr", master]
    if shutdown_timeout is not None:
        options += ["--shutdown-timeout", str(shutdown_timeout)]
    arguments = ["--config", config, *(f"--set={change}" for change in changes or ()), *context.args]
    _become([sys.executable, "-m", "trainer.launch", *options, "--", *arguments])


def _become(command: list[str]) -> NoReturn:
    """The launcher in the place of this process: signals reach it, and its exit status is ours."""
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(command[0], command)  # noqa: S606 - no shell is wanted
