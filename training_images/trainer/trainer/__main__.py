"""`python -m trainer`, alone or under torchrun: reads the settings, trains, turns the end into an exit code.

0: finished, or preempted after saving (outcome.json says which). 1: the training failed. 2: a setting or a place must
be put right first; one message from rank 0 says what. A scheduler that takes 0 for the end of the work sets
TRAINER_PREEMPTED_EXIT_STATUS, 1 to 125, which then stands for "saved, start me again".
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from pathlib import Path
from typing import NoReturn

from trainer.config import accumulation_steps, load_config
from trainer.errors import TrainingError, UserError
from trainer.preemption import Notice


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}\n{self.format_usage().rstrip()}")


def main() -> int:
    notice = Notice()
    notice.listen_for_signals()  # first of all: from here on a warning is never lost
    rank, world_size = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    logging.basicConfig(
        level=logging.WARNING, format=f"%(asctime)s rank {rank} %(message)s", datefmt="%H:%M:%S", stream=sys.stderr
    )
    logging.getLogger("trainer").setLevel(logging.INFO)
    try:
        preempted_status = _preempted_status()
        arguments = _arguments()
        config = load_config(arguments.config, arguments.changes)
        accumulation_steps(config.training, world_size)
        from trainer.loop import train  # torch takes seconds to import; a misspelt setting should not

        outcome = train(config, notice, arguments.dump_batches)
    except UserError as error:
        return _end(rank, error, 2)
    except TrainingError as error:
        return _end(rank, error, 1)
    return preempted_status if outcome.outcome == "preempted" else 0


def _preempted_status() -> int:
    said = os.environ.get("TRAINER_PREEMPTED_EXIT_STATUS", "0")
    if not said.isdecimal() or int(said) > 125:
        raise UserError(f"TRAINER_PREEMPTED_EXIT_STATUS is {said!r}: it may be 0 to 125")
    return int(said)


def _arguments() -> argparse.Namespace:
    parser = _Parser(prog="python -m trainer", description="Trains a GPT-style decoder on prepared token shards.")
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
    return parser.parse_args()


def _end(rank: int, error: Exception, code: int) -> int:
    if rank == 0:
        print(f"trainer: {error}", file=sys.stderr, flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main())
