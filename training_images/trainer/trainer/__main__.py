"""`python -m trainer`, one rank: reads the settings, trains, turns the end into an exit status (see `exit_codes`).

`trainer.launch` starts as many as a node has GPUs; torchrun can too.
"""

from __future__ import annotations

import argparse
import logging
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from trainer import exit_codes
from trainer.config import Config, accumulation_steps, load_config
from trainer.errors import TrainingError, UserError
from trainer.preemption import Notice
from trainer.processes import Place, die_with, launcher


class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}\n{self.format_usage().rstrip()}")


def main() -> int:
    die_with(launcher())
    notice = Notice()
    notice.listen_for_signals()  # first of all: from here on a warning is never lost
    rank = 0
    try:
        place = Place.of()
        rank, world_size = place.rank, place.world_size
        logging.basicConfig(
            level=logging.WARNING, format=f"%(asctime)s rank {rank} %(message)s", datefmt="%H:%M:%S", stream=sys.stderr
        )
        logging.getLogger("trainer").setLevel(logging.INFO)
        preempted = exit_codes.of_preempted()
        arguments = read_arguments()
        config = load_config(arguments.config, arguments.changes)
        if arguments.dry_run:
            tell_plan(config, arguments, world_size, quiet=rank > 0)
            return exit_codes.FINISHED
        accumulation_steps(config.training, world_size)
        from trainer.run import train  # torch takes seconds to import; a misspelt setting should not

        outcome = train(config, notice, arguments.dump_batches)
    except UserError as error:
        return _end(rank, error, exit_codes.BAD_CONFIGURATION)
    except TrainingError as error:
        return _end(rank, error, exit_codes.FAILED)
    return preempted if outcome.outcome == "preempted" else exit_codes.FINISHED


def read_arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Those of `python -m trainer`. Raises UserError for what it does not know."""
    parser = Parser(prog="python -m trainer", description="Trains a GPT-style decoder on prepared token shards.")
    parser.add_argument("--config", required=True, metavar="FILE", help="YAML file, or a recipe's name: cpu-tiny, …")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        dest="changes",
        help="one setting: training.steps=100",
    )
    parser.add_argument(
        "--dump-batches", type=Path, metavar="FILE", help="write which samples each step trains on, as JSON lines"
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="train nothing: print layout, memory, tokens; say whether it fits"
    )
    for name, kind, metavar, said in (
        ("--world-size", _count, "N", "ranks to plan for; by default as many as have been started"),
        ("--device-memory-gib", _gibibytes, "GIB", "memory of one of their devices; by default that of the GPU here"),
        ("--vocabulary-size", _count, "N", "instead of that of the data set, which then need not be there"),
    ):
        parser.add_argument(name, type=kind, metavar=metavar, help=f"with --dry-run: {said}")
    arguments = parser.parse_args(argv)
    if not arguments.dry_run and (arguments.world_size or arguments.device_memory_gib or arguments.vocabulary_size):
        parser.error("--world-size, --device-memory-gib and --vocabulary-size go with --dry-run")
    return arguments


def tell_plan(config: Config, arguments: argparse.Namespace, world_size: int, quiet: bool = False) -> None:
    """`--dry-run`. Raises UserError for what can't be done on so many ranks, or on those that `arguments` name."""
    from trainer.plan import dry_run

    planned = dry_run(config, arguments, world_size)
    if not quiet:
        _print(planned)


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 10**9:
        raise argparse.ArgumentTypeError(f"{text}: expected a number from 1 to 1,000,000,000")
    return int(text)


def _print(text: str) -> None:
    try:
        print(text, flush=True)
    except BrokenPipeError:  # `| head`: whoever read has seen enough; Python would complain once more at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _gibibytes(text: str) -> float:
    try:
        size = float(text)
    except ValueError:
        size = math.nan
    if not 0 < size <= 1e6:
        raise argparse.ArgumentTypeError(f"{text}: expected a number of GiB, such as 80")
    return size


def _end(rank: int, error: Exception, code: int) -> int:
    if rank == 0:
        print(f"trainer: {error}", file=sys.stderr, flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main())
