"""`python -m trainer.launch -- --config …`: this node's ranks, and one exit status for them all (see `exit_codes`).

Settings are read and checked here, once, before any rank starts. A signal gives the ranks the time that saving takes;
what they themselves say of their end, in outcome.json and by their exit codes, decides this process's. Killed without
warning, it takes its ranks with it.
"""

from __future__ import annotations

import argparse
import logging
import math
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from trainer import exit_codes
from trainer.__main__ import Parser, read_arguments, tell_plan
from trainer.config import Config, accumulation_steps, load_config
from trainer.errors import TrainingError, UserError
from trainer.metrics import read_json
from trainer.preemption import SECONDS_TO_END, machines_end

if TYPE_CHECKING:
    from trainer.elastic import Ended

_SAVING_SETTING = "preemption.seconds_for_saving"

log = logging.getLogger("trainer.launch")


@dataclass(frozen=True)
class Launch:
    """What was asked for."""

    processes: int
    """Ranks on this node."""
    nodes: int
    node_rank: int
    address: str
    port: int
    seconds_to_go: float
    """From a signal until ranks that have not ended are killed."""
    arguments: list[str]
    """Of `python -m trainer`."""
    config: Config
    plan: argparse.Namespace | None
    """The trainer's arguments where they ask for the plan alone: no rank is needed for that."""


def main(argv: Sequence[str] | None = None) -> int:
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", stream=sys.stderr)
    logging.getLogger("trainer").setLevel(logging.INFO)
    try:
        preempted = exit_codes.of_preempted()
        launch = read(sys.argv[1:] if argv is None else argv)
        if launch.plan is not None:
            tell_plan(launch.config, launch.plan, launch.nodes * launch.processes)
            return exit_codes.FINISHED
        return _run(launch, preempted)
    except UserError as error:
        print(f"trainer: {error}", file=sys.stderr, flush=True)
        return exit_codes.BAD_CONFIGURATION
    except TrainingError as error:
        print(f"trainer: {error}", file=sys.stderr, flush=True)
        return exit_codes.FAILED


def read(argv: Sequence[str]) -> Launch:
    """What the command line asks for. Raises UserError for what can't be done, settings included."""
    own, arguments = _split(list(argv))
    asked = _parser().parse_args(own)
    trainer = read_arguments(arguments)
    config = load_config(trainer.config, trainer.changes)
    _check_numbers(asked)
    if not 0 <= asked.node_rank < asked.nnodes:
        raise UserError(
            f"--node-rank {asked.node_rank}: with --nnodes {asked.nnodes} it may be 0 to {asked.nnodes - 1}"
        )
    if asked.nnodes > 1 and asked.master_addr is None and not trainer.dry_run:
        raise UserError("--nnodes is more than 1: --master-addr must name the first node, the same on all")
    processes = _processes(asked.nproc_per_node)
    if not trainer.dry_run:
        accumulation_steps(config.training, asked.nnodes * processes)
    machines_end(config.preemption)
    saving = config.preemption.seconds_for_saving
    seconds_to_go = asked.shutdown_timeout if asked.shutdown_timeout is not None else saving + SECONDS_TO_END
    if saving > seconds_to_go - SECONDS_TO_END:
        # Ranks that believe they have more time than they will get are killed in mid-save.
        left = max(1.0, seconds_to_go - SECONDS_TO_END)
        log.info("--shutdown-timeout %g: %s is %g, not %g", seconds_to_go, _SAVING_SETTING, left, saving)
        arguments = [*arguments, "--set", f"{_SAVING_SETTING}={left}"]
    alone = asked.nnodes == 1
    return Launch(
        processes,
        asked.nnodes,
        asked.node_rank,
        address="127.0.0.1" if alone else asked.master_addr or "",
        port=0 if alone else asked.master_port,
        seconds_to_go=seconds_to_go,
        arguments=arguments,
        config=config,
        plan=trainer if trainer.dry_run else None,
    )


def _check_numbers(asked: argparse.Namespace) -> None:
    if asked.nnodes < 1:
        raise UserError(f"--nnodes {asked.nnodes}: expected a number from 1")
    if not 1 <= asked.master_port <= 65535:
        raise UserError(f"--master-port {asked.master_port}: it may be 1 to 65535")
    if asked.shutdown_timeout is not None and not 0 < asked.shutdown_timeout < math.inf:
        raise UserError(f"--shutdown-timeout {asked.shutdown_timeout:g}: expected seconds, such as 120")


def _run(launch: Launch, preempted: int) -> int:
    from trainer.elastic import Nodes, Signals, ToldToGoError, run_ranks

    signals = Signals()
    signals.listen()
    directory = launch.config.run.directory.absolute()
    _forget_outcome(directory)
    earlier = _hang_reports(directory)
    threads = max(1, len(os.sched_getaffinity(0)) // launch.processes)
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    nodes = Nodes(launch.nodes, launch.node_rank, launch.address, launch.port)
    try:
        ended = run_ranks(launch.arguments, launch.processes, nodes, signals, launch.seconds_to_go)
    except ToldToGoError:
        log.info("asked to go before the first rank started")
        return preempted
    outcome = read_json(directory / "outcome.json") or {}
    how = outcome.get("outcome")
    hung = not _hang_reports(directory) <= earlier
    status = exit_codes.of_gang(ended.codes.values(), how, preempted, ended.told is not None, hung)
    _tell(status, preempted, ended, outcome)
    return status


def _tell(status: int, preempted: int, ended: Ended, outcome: dict) -> None:
    at = f" at step {outcome['step']}" if "step" in outcome else ""
    if status == exit_codes.FINISHED and outcome.get("outcome") != "preempted":
        said = f"finished{at}"
    elif status == preempted:
        newest = f", newest checkpoint {outcome['checkpoint']}" if outcome.get("checkpoint") else ""
        said = f"asked to go, ended{at}{newest}; start again to go on"
    else:
        codes = ", ".join(f"rank {rank}: {code}" for rank, code in sorted(ended.codes.items()))
        said = f"ended{at} ({codes}); {outcome.get('reason') or 'the reason stands above'}"
    log.info("%s; exit status %d", said, status)


def _forget_outcome(directory: Path) -> None:
    """What an earlier start has said of its end; a place that can't be written is for rank 0 to tell."""
    with suppress(OSError):
        (directory / "outcome.json").unlink(missing_ok=True)


def _hang_reports(directory: Path) -> set[tuple[str, int, int]]:
    """What watchdogs have left there, so that new ones show: by no clock, which may be set meanwhile."""
    found = set()
    for file in directory.glob("hang-rank*.txt"):
        with suppress(OSError):
            about = file.stat()
            if about.st_size:
                found.add((file.name, about.st_mtime_ns, about.st_ino))
    return found


def _split(argv: list[str]) -> tuple[list[str], list[str]]:
    """The launcher's part of the command line and, after `--`, the trainer's."""
    if "--" in argv:
        cut = argv.index("--")
        return argv[:cut], argv[cut + 1 :]
    for cut in range(len(argv) - 1):
        if argv[cut : cut + 2] == ["-m", "trainer"]:  # as torchrun has it
            return argv[:cut], argv[cut + 2 :]
    return argv, []


def _processes(said: str) -> int:
    if said.isdecimal() and int(said) > 0:
        return int(said)
    if said not in ("auto", "gpu"):
        raise UserError(f"--nproc-per-node {said}: expected a number from 1, gpu (one for each), or auto (gpu, else 1)")
    import torch  # takes seconds, so only when it has to be asked

    gpus = torch.cuda.device_count()
    if said == "gpu" and not gpus:
        raise UserError("--nproc-per-node gpu: there is no GPU here; say how many processes, such as 2")
    return gpus or 1


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="python -m trainer.launch",
        usage="%(prog)s [options] -- --config FILE [--set KEY=VALUE] …",
        description="Starts the trainer's ranks on this node. What follows -- is for `python -m trainer`.",
        epilog="Exit status: 0 finished, 1 failed, 2 a setting is wrong, 75 asked to go (start again), 76 hung (start "
        "again).",
    )
    parser.add_argument("--nproc-per-node", default="auto", metavar="N", help="ranks here: a number, gpu or auto")
    parser.add_argument("--nnodes", type=int, default=1, metavar="N", help="nodes in the gang")
    parser.add_argument("--node-rank", type=int, default=0, metavar="N", help="which of them this is, from 0")
    parser.add_argument("--master-addr", metavar="HOST", help="of the first node")
    parser.add_argument("--master-port", type=int, default=29500, metavar="PORT", help="of the first node")
    parser.add_argument(
        "--shutdown-timeout",
        type=float,
        metavar="SECONDS",
        help=f"ranks are killed so long after a signal; {_SAVING_SETTING} + {SECONDS_TO_END:.0f} by default",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
