"""What a checkpoint costs: how long training stands still for it, and how much training time is lost to it altogether.

A state of --megabytes (weights and Adam's moments) is trained on all cores, then on all but one: beside GPUs, training
leaves most of them alone. Lost is the wall time of a stretch with one save in it, less that of as many steps without,
so that what the background takes from training counts.
The stretch ends when the checkpoint is durable: in a folder, synced. Compared with torch.distributed.checkpoint: saved
synchronously with the number of threads that is best here, and its asynchronous ways. These neither hash nor read back;
the trainer does both. How fast a checkpoint goes to a bucket and comes back: benchmarks.object_storage.

    python -m benchmarks.checkpoints --json checkpoints.json
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import shutil
import socket
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Generator
from concurrent.futures import Future
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from rich.console import Console
from rich.table import Table
from torch import nn
from torch.distributed.checkpoint.staging import DefaultStager, StagingOptions
from torch.distributed.checkpoint.state_dict_saver import AsyncCheckpointerType
from trainer.checkpoint import Checkpoints, Saved
from trainer.config import load_config
from trainer.gang import Gang
from trainer.parallel import ParallelModel
from trainer.state import TrainingState

from benchmarks.figures import Spread, machine, ratios, spread, verdict, work_folder
from benchmarks.turns import QUIET_SHARE, busy_seconds

WIDTH = 2048
LEAST_STEPS = 12
SYNCHRONOUS_THREADS = (1, 2, 4, 8)
LOST_TARGET, STALL_TARGET = 0.10, 1.5

Begin = Callable[[], Callable[[], bool]]
"""Saves; returns what tells whether the checkpoint is durable."""

warnings.filterwarnings("ignore", message="torch.distributed is disabled")


class Training:
    """Steps of a fixed size over a state of a given size."""

    def __init__(self, megabytes: int) -> None:
        layers = max(1, round(megabytes * 1e6 / 12 / (WIDTH * WIDTH)))
        torch.manual_seed(0)
        network = nn.Sequential(*[nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(layers)])
        optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4, fused=True)
        model = ParallelModel(network, network, "none", nullcontext(), 1.0)  # ty: ignore[invalid-argument-type]
        self.gang = Gang.assemble()
        self.state = TrainingState(model, optimizer, torch.amp.GradScaler("cpu", enabled=False), self.gang)
        self.inputs = torch.randn(16, WIDTH)
        self.steps(2)
        self.bytes = sum(tensor.nbytes for tensor in self.state.tensors().values())

    def steps(self, count: int) -> float:
        """Seconds they took."""
        began = time.perf_counter()
        for _ in range(count):
            self.state.model.module(self.inputs).square().mean().backward()
            self.state.optimizer.step()
            self.state.optimizer.zero_grad()
            self.state.progress.step += 1
        return time.perf_counter() - began

    def checkpoints(self, work: Path, uri: str, asynchronous: bool) -> Checkpoints:
        changes = {
            "run.directory": work / "run",
            "data.uri": "none",
            "checkpoint.uri": uri,
            "checkpoint.keep_last": 1,
            "checkpoint.asynchronous": asynchronous,
        }
        config = load_config("cpu-tiny", [f"{name}={value}" for name, value in changes.items()])
        return Checkpoints(config, "benchmark", "none", self.gang)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="of everything (default %(default)s)")
    parser.add_argument("--megabytes", type=int, default=500, help="of state (default %(default)s)")
    cores = os.cpu_count() or 1
    parser.add_argument(
        "--threads",
        type=int,
        nargs="+",
        default=[cores, cores - 1] if cores > 1 else [1],
        help="of training (default: one for each core, then one fewer)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result there too")
    given = parser.parse_args()
    torch.set_num_threads(given.threads[0])
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    # A gang of one: saving in a process asks for a group.
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    dist.init_process_group("gloo", rank=0, world_size=1)
    training = Training(given.megabytes)
    with tempfile.TemporaryDirectory(prefix="checkpoints-", dir=work_folder()) as work:
        by_threads = {}
        for threads in given.threads:
            torch.set_num_threads(threads)
            by_threads[threads] = cost_of_saving(training, Path(work), given.rounds)
    dist.destroy_process_group()
    result = {
        "benchmark": "checkpoints",
        "machine": machine(),
        "torch": torch.__version__,
        "state_megabytes": round(training.bytes / 1e6, 1),
        "rounds": given.rounds,
        "training_threads": by_threads,
    }
    show(result)
    if given.json:
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.write_text(json.dumps(result, indent=2) + "\n")
    return 0


def cost_of_saving(training: Training, work: Path, rounds: int) -> dict[str, Any]:
    """Seconds of stall and of training time lost, for each way of saving, round by round."""
    threads = best_threads(training, work)
    stager = DefaultStager(StagingOptions(False, False, False, False))
    ours = training.checkpoints(work, str(work / "ours"), asynchronous=True)
    synchronous = f"dcp.save, {threads} threads"
    ways: dict[str, Begin] = {
        "trainer": lambda: begin_ours(training, ours),
        synchronous: lambda: begin_synchronous(training, work, threads),
        "dcp.async_save, thread": lambda: begin_asynchronous(training, work, async_stager=stager),
        "dcp.async_save, process": lambda: begin_asynchronous(
            training, work, async_checkpointer_type=AsyncCheckpointerType.PROCESS
        ),
    }
    taken = {
        way: Taken(steps=stretch(training, begin, work).steps) for way, begin in ways.items()
    }  # the first does not count
    memcpy = []
    names = list(ways)
    with share_of_others() as others:
        for number in range(rounds):
            memcpy.append(seconds_of_memcpy(training))
            for way in names[number % len(names) :] + names[: number % len(names)]:
                measure(training, ways[way], taken[way], work)
    ours.close(wait=False)
    stager.close()
    lost = {way: one.lost for way, one in taken.items()}
    return {
        "memcpy_seconds": spread(memcpy),
        "saving": {
            way: {
                "stall_seconds": spread(one.stall),
                "lost_seconds": spread(one.lost),
                "seconds_until_durable": spread(one.until_durable),
            }
            for way, one in taken.items()
        },
        "lost_to_best_synchronous": ratios(lost["trainer"], lost[synchronous], at_most=LOST_TARGET),
        "stall_to_memcpy": ratios(taken["trainer"].stall, memcpy, at_most=STALL_TARGET),
        "share_of_others": others[0],
    }


@dataclass(frozen=True)
class Stretch:
    """Training from a little before a save until a little after the checkpoint is durable; seconds."""

    stall: float
    until_durable: float
    seconds: float
    steps: int


@dataclass
class Taken:
    """By one way of saving, round by round; seconds."""

    steps: int
    """Of the last stretch."""
    stall: list[float] = field(default_factory=list)
    lost: list[float] = field(default_factory=list)
    until_durable: list[float] = field(default_factory=list)


def measure(training: Training, begin: Begin, taken: Taken, work: Path) -> None:
    """A stretch with a save, and about as many steps without one, half of them before and half after."""
    before = taken.steps // 2
    seconds = training.steps(before)
    one = stretch(training, begin, work)
    after = max(one.steps - before, LEAST_STEPS // 2)
    per_step = (seconds + training.steps(after)) / (before + after)
    taken.steps = one.steps
    taken.stall.append(one.stall)
    taken.lost.append(one.seconds - one.steps * per_step)
    taken.until_durable.append(one.until_durable)


def stretch(training: Training, begin: Begin, work: Path) -> Stretch:
    gc.collect()
    fresh(work / "peer")  # deleting the last one's files is none of a save's work
    began = time.perf_counter()
    training.steps(2)
    at_save = time.perf_counter()
    durable = begin()
    stall = time.perf_counter() - at_save
    steps = 2
    while not durable():
        training.steps(1)
        steps += 1
    until_durable = time.perf_counter() - at_save
    rest = max(2, LEAST_STEPS - steps)
    training.steps(rest)
    return Stretch(stall, until_durable, time.perf_counter() - began, steps + rest)


@contextmanager
def share_of_others() -> Generator[list[float]]:
    """What part of all processors other programs used meanwhile: at the end, the only element of the list."""
    share: list[float] = []
    family = [psutil.Process(), *psutil.Process().children(recursive=True)]

    def own_seconds() -> float:
        return sum(sum(process.cpu_times()[:2]) for process in family)

    began, busy, own = time.perf_counter(), busy_seconds(), own_seconds()
    yield share
    used = busy_seconds() - busy - (own_seconds() - own)
    share.append(round(used / (time.perf_counter() - began) / (os.cpu_count() or 1), 3))


def begin_ours(training: Training, checkpoints: Checkpoints) -> Callable[[], bool]:
    started = checkpoints.save(training.state, "interval")
    assert started.state == "under way", started

    def durable() -> bool:
        told = checkpoints.finished()
        assert all(isinstance(one, Saved) for one in told), told
        return bool(told)

    return durable


def begin_synchronous(training: Training, work: Path, threads: int) -> Callable[[], bool]:
    writer = dcp.FileSystemWriter(work / "peer", thread_count=threads)
    dcp.save(training.state.tensors(), storage_writer=writer, no_dist=True)
    return lambda: True


def begin_asynchronous(training: Training, work: Path, **options: Any) -> Callable[[], bool]:
    writer = dcp.FileSystemWriter(work / "peer", thread_count=1)
    alone = "async_checkpointer_type" not in options
    future = dcp.async_save(training.state.tensors(), storage_writer=writer, no_dist=alone, **options)
    assert isinstance(future, Future)

    def durable() -> bool:
        if future.done():
            future.result()
        return future.done()

    return durable


def best_threads(training: Training, work: Path) -> int:
    """With which a synchronous save is fastest."""

    def seconds(threads: int) -> float:
        fresh(work / "peer")
        began = time.perf_counter()
        begin_synchronous(training, work, threads)
        return time.perf_counter() - began

    return min(SYNCHRONOUS_THREADS, key=lambda threads: min(seconds(threads) for _ in range(2)))


def seconds_of_memcpy(training: Training) -> float:
    """Of the whole state, into memory that is there already."""
    sources = list(training.state.tensors().values())
    places = [torch.empty_like(tensor) for tensor in sources]
    torch._foreach_copy_(places, sources)
    began = time.perf_counter()
    torch._foreach_copy_(places, sources)
    return time.perf_counter() - began


def fresh(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    return folder


def show(result: dict[str, Any]) -> None:
    console = Console()
    for threads, cost in result["training_threads"].items():
        size, cores, rounds = result["state_megabytes"], result["machine"]["cores"], result["rounds"]
        title = f"a save of {size:.0f} MB; training on {threads} of {cores} cores; {rounds} rounds"
        table = Table(title=title, title_justify="left")
        table.add_column("way")
        for column in ("stall, s", "training lost, s", "durable after, s"):
            table.add_column(column, justify="right")
        for way, one in cost["saving"].items():
            table.add_row(
                way,
                said(one["stall_seconds"], 3),
                said(one["lost_seconds"], 2),
                said(one["seconds_until_durable"], 1),
            )
        table.add_row("a copy of the state in memory", said(cost["memcpy_seconds"], 3))
        console.print(table)
        console.print(verdict("training lost, to the best synchronous save", cost["lost_to_best_synchronous"]))
        console.print(verdict("stall, to a copy in memory", cost["stall_to_memcpy"]))
        if cost["share_of_others"] > QUIET_SHARE:
            console.print(f"[bold red]others used {cost['share_of_others']:.0%} of the processors[/] meanwhile")


def said(one: Spread, digits: int) -> str:
    return f"{one['median']:.{digits}f} ({one['min']:.{digits}f} … {one['max']:.{digits}f})"


if __name__ == "__main__":
    sys.exit(main())
