"""Random kills: whatever signal hits whatever rank at whatever moment, the run ends in the bits of one left alone.

CHAOS_KILLS says how many kills (10), CHAOS_SEED which ones; both, and each kill, are printed. `make soak` makes 100.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
import torch

KILLS = int(os.environ.get("CHAOS_KILLS", "10"))
SEED = int(os.environ.get("CHAOS_SEED", "20261121"))

SETTINGS = {
    "training__steps": 30,
    "checkpoint__interval_steps": 3,
    "checkpoint__asynchronous": True,
    "checkpoint__keep_last": 2,
    "evaluation__interval_steps": 7,
    "evaluation__samples": 24,
    "optimizer__ema_decay": 0.9,
}

KINDS: dict[str, tuple[int, dict[str, Any]]] = {
    "ddp on 2 ranks": (2, {}),
    "fsdp on 2 ranks": (2, {"parallel__strategy": "fsdp"}),
    "ddp on 3 ranks": (3, {}),  # three summands: their order shows in the last bits
    "one process": (1, {}),
    "fp16 on 2 ranks, saving in the foreground": (
        2,
        {"training__precision": "fp16", "checkpoint__asynchronous": False},
    ),
    "fsdp on 2 ranks, bucket": (2, {"parallel__strategy": "fsdp", "checkpoint__uri": "s3://{bucket}/{name}"}),
}

PHASES = Path(__file__).parents[1] / "runs" / "phases.py"
LANDING = {"PHASE_LAND": "6"}
"""Every second save is a checkpoint before the next is due: these runs would be over before the first had landed."""

SECONDS_TO_END = 60.0
"""For ranks that others have left. As the launcher does, they are killed then; it gives them less, and says so."""


@dataclass(frozen=True)
class Kill:
    number: signal.Signals
    rank: int | None
    """None for all."""
    moment: float
    """0 at the start, 1 when an undisturbed run ends."""
    stopped_seconds: float = 0.0

    @classmethod
    def drawn(cls, dice: random.Random, ranks: int) -> Kill:
        number = dice.choices([signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP], [5, 4, 2])[0]
        rank = dice.randrange(ranks) if number is signal.SIGSTOP or dice.random() < 0.7 else None
        return cls(number, rank, dice.random(), dice.uniform(0.1, 1.0) if number is signal.SIGSTOP else 0.0)

    def __str__(self) -> str:
        whom = "all ranks" if self.rank is None else f"rank {self.rank}"
        paused = f", continued {self.stopped_seconds:.2f} s later" if self.stopped_seconds else ""
        return f"{self.number.name} to {whom} at {self.moment:.2f}{paused}"


def strike(gang, kill: Kill) -> bool:
    """Returns whether it hit a process that was running."""
    hit = False
    for pid in gang.pids if kill.rank is None else [gang.pids[kill.rank]]:
        try:
            os.kill(pid, kill.number)
            hit = True
        except ProcessLookupError:
            continue
    if kill.stopped_seconds:
        time.sleep(kill.stopped_seconds)
        gang.signal(kill.rank, signal.SIGCONT)
    return hit


def ended(gang, expected: set[int]) -> list[int]:
    """Exit codes. Ranks that others have left end by themselves, or as the launcher ends them."""
    codes = gang.codes
    killed: set[int] = set()
    first_end = None
    while len(codes) < len(gang.pids):
        for rank in range(len(gang.pids)):
            if rank not in codes and gang.wait_for_rank(rank, seconds=0.05) is not None:
                first_end = first_end or time.monotonic()
        if first_end is not None and time.monotonic() > first_end + SECONDS_TO_END:
            for rank, pid in enumerate(gang.pids):
                if rank not in codes:
                    os.kill(pid, signal.SIGKILL)
                    killed.add(rank)
    assert {code for rank, code in codes.items() if rank not in killed} <= expected, (
        f"{codes}\n{gang.log.read_text()[-4000:]}"
    )
    return [codes[rank] for rank in range(len(gang.pids))]


def paced(run):
    run.program, run.environment = str(PHASES), LANDING
    return run


def undisturbed(new_run: Callable, ranks: int, settings: dict) -> tuple[Any, float]:
    """The run left alone, and how long it took."""
    run = paced(new_run(**settings))
    started = time.monotonic()
    run.go(ranks)
    return run, time.monotonic() - started


def evaluations(run) -> list[tuple[int, float]]:
    return [(line["step"], line["evaluation_loss"]) for line in run.events("evaluation")]


def shares(kinds: list[str], kills: int) -> Iterator[tuple[str, int]]:
    each, more = divmod(kills, len(kinds))
    for index, kind in enumerate(kinds):
        yield kind, each + (index < more)


USUAL = ["fsdp on 2 ranks", "ddp on 3 ranks"]


@pytest.mark.parametrize(("kind", "kills"), list(shares(USUAL if KILLS <= 10 else list(KINDS), KILLS)))
def test_every_resume_is_exact(
    new_run: Callable, tensors_of: Callable, request: pytest.FixtureRequest, tmp_path, kind: str, kills: int
) -> None:
    ranks, changes = KINDS[kind]
    bucket = request.getfixturevalue("s3") if "bucket" in kind else None
    dice = random.Random(f"{SEED} {kind}")
    print(f"\nchaos: {kills} kills of {kind}, CHAOS_SEED={SEED}")

    def settings(name: str) -> dict[str, Any]:
        own = {
            key: value.format(bucket=bucket, name=name) if bucket and key == "checkpoint__uri" else value
            for key, value in changes.items()
        }
        return {**SETTINGS, **own}

    def final(run) -> dict[str, Any]:
        folder = run.checkpoints / f"step-{SETTINGS['training__steps']:08d}"
        if bucket is not None:
            folder = fetched(bucket, run.settings["checkpoint.uri"], folder.name, tmp_path / run.directory.name)
        return tensors_of(folder)

    reference, seconds = undisturbed(new_run, ranks, settings("undisturbed"))
    expected = final(reference)
    done = runs = 0
    while done < kills:
        runs += 1
        run = paced(new_run(**settings(f"run{runs}")))
        finished = False
        while not finished:
            gang = run.start(ranks)
            kill = Kill.drawn(dice, ranks) if done < kills else None
            if kill is not None:
                time.sleep(kill.moment * seconds)
                hit = strike(gang, kill)
                done += hit
                print(f"chaos: {done:3d} {kill}, {'hit' if hit else 'too late'}, at step {max(run.steps, default=0)}")
            codes = ended(gang, {0, 75} if kill is None else {0, 1, 75, -kill.number})
            finished = set(codes) == {0}
        assert run.outcome["outcome"] == "finished"
        assert run.steps == reference.steps
        assert evaluations(run) == evaluations(reference)
        got = final(run)
        assert got.keys() == expected.keys()
        different = [name for name, value in got.items() if not torch.equal(value, expected[name])]
        assert not different


def fetched(bucket: str, uri: str, name: str, folder) -> Any:
    """A checkpoint from the bucket."""
    prefix = f"{uri.removeprefix(f's3://{bucket}/')}/{name}/"
    client = boto3.client("s3")
    folder.mkdir(exist_ok=True)
    for entry in client.list_objects_v2(Bucket=bucket, Prefix=prefix)["Contents"]:
        client.download_file(bucket, entry["Key"], str(folder / entry["Key"].removeprefix(prefix)))
    return folder
