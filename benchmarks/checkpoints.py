"""What a checkpoint costs: how long training stands still for it, how much training time is lost to it altogether, and
how fast it goes to a bucket and comes back.

A state of --megabytes (weights and Adam's moments) is trained on all cores. Lost is the wall time of a stretch with one
save in it, less that of as many steps without, so that what the background takes from training counts. The stretch ends
when the checkpoint is durable. Compared with torch.distributed.checkpoint: saved synchronously with the number of
threads that is best here, and its asynchronous ways. These neither hash nor read back; the trainer does both.

Upload and restore go to an emulated bucket in a process of its own, and are compared with boto3 alone, files in
parallel and in parts: it neither hashes nor verifies nor loads.

    python -m benchmarks.checkpoints --json checkpoints.json
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

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

WIDTH = 2048
LEAST_STEPS = 12
SYNCHRONOUS_THREADS = (1, 2, 4, 8)
BUCKET = "checkpoints"
LOST_TARGET, STALL_TARGET, TRANSFER_TARGET = 0.10, 1.5, 0.9

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
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result there too")
    given = parser.parse_args()
    torch.set_num_threads(os.cpu_count() or 1)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    # A gang of one: saving in a process asks for a group.
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    dist.init_process_group("gloo", rank=0, world_size=1)
    training = Training(given.megabytes)
    with tempfile.TemporaryDirectory(prefix="checkpoints-", dir=Path.cwd()) as work:
        result = {
            "benchmark": "checkpoints",
            "machine": {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count()},
            "torch": torch.__version__,
            "state_megabytes": round(training.bytes / 1e6, 1),
            "rounds": given.rounds,
            **cost_of_saving(training, Path(work), given.rounds),
            **transfers(training, Path(work), given.rounds),
        }
    dist.destroy_process_group()
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
    ways: dict[str, Begin] = {
        "trainer": lambda: begin_ours(training, ours),
        f"dcp.save, {threads} threads": lambda: begin_synchronous(training, work, threads),
        "dcp.async_save": lambda: begin_asynchronous(training, work),
        "dcp.async_save, stager reused": lambda: begin_asynchronous(training, work, async_stager=stager),
        "dcp.async_save, process": lambda: begin_asynchronous(
            training, work, async_checkpointer_type=AsyncCheckpointerType.PROCESS
        ),
    }
    taken = {way: {"stall": [], "lost": []} for way in ways}
    memcpy = []
    for way in ways:
        stretch(training, ways[way])  # the first is not counted
    names = list(ways)
    for number in range(rounds):
        memcpy.append(seconds_of_memcpy(training))
        for way in names[number % len(names) :] + names[: number % len(names)]:
            before = training.steps(LEAST_STEPS)
            stall, seconds, count = stretch(training, ways[way])
            per_step = (before + training.steps(LEAST_STEPS)) / (2 * LEAST_STEPS)
            taken[way]["stall"].append(stall)
            taken[way]["lost"].append(seconds - count * per_step)
    ours.close(wait=False)
    stager.close()
    synchronous = names[1]
    best = statistics.median(taken[synchronous]["lost"])
    return {
        "memcpy_seconds": spread(memcpy),
        "saving": {
            way: {"stall_seconds": spread(one["stall"]), "lost_seconds": spread(one["lost"])}
            for way, one in taken.items()
        },
        "lost_to_best_synchronous": {**ratios(taken["trainer"]["lost"], [best] * rounds), "target": LOST_TARGET},
        "stall_to_memcpy": {**ratios(taken["trainer"]["stall"], memcpy), "target": STALL_TARGET},
    }


def stretch(training: Training, begin: Begin) -> tuple[float, float, int]:
    """Trains until the checkpoint is durable, and a little on. Returns stall, seconds in all, and steps."""
    gc.collect()
    began = time.perf_counter()
    training.steps(2)
    at_save = time.perf_counter()
    durable = begin()
    stall = time.perf_counter() - at_save
    count = 2
    while not durable() or count < LEAST_STEPS:
        training.steps(1)
        count += 1
    training.steps(2)
    return stall, time.perf_counter() - began, count + 2


def begin_ours(training: Training, checkpoints: Checkpoints) -> Callable[[], bool]:
    started = checkpoints.save(training.state, "interval")
    assert started.state == "under way", started

    def durable() -> bool:
        told = checkpoints.finished()
        assert all(isinstance(one, Saved) for one in told), told
        return bool(told)

    return durable


def begin_synchronous(training: Training, work: Path, threads: int) -> Callable[[], bool]:
    folder = fresh(work / "peer")
    dcp.save(training.state.tensors(), storage_writer=dcp.FileSystemWriter(folder, thread_count=threads), no_dist=True)
    return lambda: True


def begin_asynchronous(training: Training, work: Path, **options: Any) -> Callable[[], bool]:
    writer = dcp.FileSystemWriter(fresh(work / "peer"), thread_count=1)
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
        began = time.perf_counter()
        begin_synchronous(training, work, threads)
        return time.perf_counter() - began

    return min(SYNCHRONOUS_THREADS, key=lambda threads: min(seconds(threads) for _ in range(3)))


def seconds_of_memcpy(training: Training) -> float:
    """Of the whole state, into memory that is there already."""
    sources = list(training.state.tensors().values())
    places = [torch.empty_like(tensor) for tensor in sources]
    torch._foreach_copy_(places, sources)
    began = time.perf_counter()
    torch._foreach_copy_(places, sources)
    return time.perf_counter() - began


def transfers(training: Training, work: Path, rounds: int) -> dict[str, Any]:
    """Megabytes per second to and from a bucket, ours and boto3's, in turn."""
    rates: dict[str, list[float]] = {name: [] for name in ("upload", "boto3 upload", "restore", "boto3 download")}
    with bucket(work):
        for number in range(rounds):
            pair = [lambda n=number: our_transfers(training, work, n, rates), lambda: raw_transfers(work, rates)]
            if number == 0:
                pair[0]()  # lays out the files that boto3 carries too; not counted
                for name in rates:
                    rates[name].clear()
            for one in pair if number % 2 == 0 else reversed(pair):
                one()
    return {
        "transfers_megabytes_per_second": {name: spread(values) for name, values in rates.items()},
        "upload_to_boto3": {**ratios(rates["upload"], rates["boto3 upload"]), "target": TRANSFER_TARGET},
        "restore_to_boto3": {**ratios(rates["restore"], rates["boto3 download"]), "target": TRANSFER_TARGET},
    }


def our_transfers(training: Training, work: Path, number: int, rates: dict[str, list[float]]) -> None:
    """A save that is waited for, upload and confirmation alone; then a restore on a node with an empty disk, whole."""
    uri = f"s3://{BUCKET}/ours-{number}-{time.monotonic_ns()}"
    checkpoints = training.checkpoints(fresh(work / "node"), uri, asynchronous=False)
    seconds = upload_seconds(training, checkpoints)
    rates["upload"].append(training.bytes / 1e6 / seconds)
    other = training.checkpoints(fresh(work / "other-node"), uri, asynchronous=False)
    began = time.perf_counter()
    found = other.newest_sound()
    assert found is not None
    other.load(found, training.state)
    rates["restore"].append(training.bytes / 1e6 / (time.perf_counter() - began))
    shutil.rmtree(work / "files", ignore_errors=True)
    shutil.copytree(found.folder, work / "files")
    empty_bucket()


def upload_seconds(training: Training, checkpoints: Checkpoints) -> float:
    """From when all is hashed and on the node's own disk until the manifest stands in the bucket."""
    from trainer.flight import Flight

    hashed: list[float] = []
    hear = Flight.hear

    def heard(flight: Flight, answer: Any) -> None:
        if answer.stage == "files":
            hashed.append(time.perf_counter())
        hear(flight, answer)

    Flight.hear = heard
    try:
        checkpoints.save(training.state, "interval", wait=True)
        return time.perf_counter() - hashed[0]
    finally:
        Flight.hear = hear
        checkpoints.close(wait=True)


def raw_transfers(work: Path, rates: dict[str, list[float]]) -> None:
    """The same files, as boto3 alone carries them: so many at once, each in parts."""
    import boto3
    from boto3.s3.transfer import TransferConfig
    from botocore.config import Config

    client = boto3.client("s3", config=Config(s3={"addressing_style": "path"}, max_pool_connections=64))
    config = TransferConfig(max_concurrency=8)
    files = sorted((work / "files").iterdir())
    size = sum(file.stat().st_size for file in files)
    with ThreadPoolExecutor(8) as pool:
        began = time.perf_counter()
        list(pool.map(lambda f: client.upload_file(str(f), BUCKET, f"raw/{f.name}", Config=config), files))
        rates["boto3 upload"].append(size / 1e6 / (time.perf_counter() - began))
        to = fresh(work / "raw")
        to.mkdir()
        began = time.perf_counter()
        list(pool.map(lambda f: client.download_file(BUCKET, f"raw/{f.name}", str(to / f.name), Config=config), files))
        rates["boto3 download"].append(size / 1e6 / (time.perf_counter() - began))
    empty_bucket()


def empty_bucket() -> None:
    from trainer.storage import open_storage

    storage = open_storage(f"s3://{BUCKET}")
    storage.delete(storage.list())


@contextmanager
def bucket(work: Path):
    """An emulated account with an empty bucket, and the environment that leads there."""
    import boto3

    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"]
    with (work / "moto.log").open("w") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 60
        while "Running on http://" not in (said := (work / "moto.log").read_text()):
            assert time.monotonic() < deadline, said
            time.sleep(0.1)
        endpoint = said.split("Running on ")[1].split()[0]
        os.environ.update(
            AWS_ENDPOINT_URL=endpoint,
            AWS_ACCESS_KEY_ID="benchmark",
            AWS_SECRET_ACCESS_KEY="benchmark",
            AWS_DEFAULT_REGION="us-east-1",
            AWS_EC2_METADATA_DISABLED="true",
        )
        boto3.client("s3").create_bucket(Bucket=BUCKET)
        yield
    finally:
        server.kill()
        server.wait()


def fresh(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    return folder


def spread(values: list[float]) -> dict[str, float]:
    return {
        "median": round(statistics.median(values), 4),
        "min": round(min(values), 4),
        "max": round(max(values), 4),
    }


def ratios(ours: list[float], theirs: list[float]) -> dict[str, float]:
    return spread([own / other for own, other in zip(ours, theirs, strict=True)])


def show(result: dict[str, Any]) -> None:
    console = Console()
    title = (
        f"a save of {result['state_megabytes']:.0f} MB, {result['machine']['cores']} cores, {result['rounds']} rounds"
    )
    saving = Table(title=title, title_justify="left")
    saving.add_column("way")
    for column in ("stall, s", "min … max", "training lost, s", "min … max"):
        saving.add_column(column, justify="right")
    for way, one in result["saving"].items():
        saving.add_row(way, *columns(one["stall_seconds"], 3), *columns(one["lost_seconds"], 2))
    saving.add_row("a copy of the state in memory", *columns(result["memcpy_seconds"], 3))
    console.print(saving)
    moved = Table(title="to and from a bucket", title_justify="left")
    moved.add_column("what")
    for column in ("MB/s", "min … max"):
        moved.add_column(column, justify="right")
    for what, rate in result["transfers_megabytes_per_second"].items():
        moved.add_row(what, *columns(rate, 0))
    console.print(moved)
    for name, said, at_most in (
        ("lost_to_best_synchronous", "training lost, to the best synchronous save", True),
        ("stall_to_memcpy", "stall, to a copy in memory", True),
        ("upload_to_boto3", "upload, to boto3", False),
        ("restore_to_boto3", "restore, to a download with boto3", False),
    ):
        one = result[name]
        met = one["median"] <= one["target"] if at_most else one["median"] >= one["target"]
        verdict = "met" if met else "[bold red]missed[/]"
        console.print(
            f"{said}: {one['median']:.2f} ({'at most' if at_most else 'at least'} {one['target']}: {verdict})"
        )


def columns(one: dict[str, float], digits: int) -> tuple[str, str]:
    return f"{one['median']:.{digits}f}", f"{one['min']:.{digits}f} … {one['max']:.{digits}f}"


if __name__ == "__main__":
    sys.exit(main())
