"""Whole training runs in processes of their own, on a data set of a few thousand tokens."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from free_port import free_port
from waiting import WAIT_SECONDS, wait_until

HERE = Path(__file__).parent
VOCABULARY = 61

SMALL: dict[str, Any] = {
    "run.deterministic": True,
    "model.layers": 2,
    "model.heads": 2,
    "model.width": 32,
    "model.context": 16,
    "model.dropout": 0.1,
    "training.steps": 12,
    "training.global_batch_size": 12,
    "training.micro_batch_size": 2,
    "optimizer.learning_rate": 0.01,
    "optimizer.warmup_steps": 2,
    "checkpoint.interval_steps": 4,
    "checkpoint.asynchronous": False,  # at steps of milliseconds, so that each is there when a test looks
    "metrics.interval_steps": 1,
}
"""Divides over one, two and three ranks, with accumulation on each."""


@pytest.fixture(scope="session")
def tokens(write_tokens: Callable, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set whose next token mostly follows from the last one; the epoch's last sample is a short one."""
    folder = tmp_path_factory.mktemp("tokens")
    write_tokens(folder, {"train": (1500, 1137), "val": (401,)})
    return folder


@pytest.fixture(scope="session")
def write_tokens() -> Callable[[Path, dict[str, tuple[int, ...]]], None]:
    """Writes shards of the given lengths, and their manifest, into a folder."""
    return _write_tokens


def _write_tokens(folder: Path, splits: dict[str, tuple[int, ...]]) -> None:
    from trainer.shards import (
        FORMAT_VERSION,
        MANIFEST,
        CreatedBy,
        Manifest,
        Preparation,
        Shard,
        Source,
        TokenizerRecord,
        Totals,
    )

    random = np.random.default_rng(5)
    shards = []
    for split, lengths in splits.items():
        for index, length in enumerate(lengths):
            steps = random.choice([3, 3, 3, 17], size=length)
            data = (np.cumsum(steps) % VOCABULARY).astype("<u2").tobytes()
            name = f"{split}-{index:05d}.bin"
            (folder / name).write_bytes(data)
            digest = hashlib.sha256(data).hexdigest()
            shards.append(Shard(name=name, split=split, tokens=length, bytes=len(data), sha256=digest))
    nothing = hashlib.sha256().hexdigest()
    manifest = Manifest(
        format_version=FORMAT_VERSION,
        dtype="uint16",
        vocab_size=VOCABULARY,
        end_of_text=0,
        shards=tuple(shards),
        totals={split: Totals(tokens=sum(sizes), documents=1, text_bytes=1) for split, sizes in splits.items()},
        tokenizer=TokenizerRecord(kind="byte-level-bpe", vocab_size=VOCABULARY, sha256=nothing),
        source=Source(kind="files", uri="test", files=1, bytes=1, sha256=nothing, skipped={}),
        preparation=Preparation(vocab_size=VOCABULARY, shard_tokens=2000, val_fraction=0.1, seed=0, include=()),
        created_by=CreatedBy(program="test", version="0", tokenizers="0"),
    )
    (folder / MANIFEST).write_bytes(manifest.to_json())


@pytest.fixture(scope="session")
def server() -> Iterator[Callable[[dict[str, Any]], Any]]:
    process = subprocess.Popen(
        [sys.executable, str(HERE / "rank_server.py")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    )
    assert process.stdin is not None
    assert process.stdout is not None
    answers, requests = process.stdout, process.stdin
    assert json.loads(answers.readline()) == "trainer.loop"

    def ask(request: dict[str, Any]) -> Any:
        print(json.dumps(request), file=requests, flush=True)
        return json.loads(answers.readline())

    yield ask
    process.stdin.close()
    process.wait(WAIT_SECONDS)


@dataclass
class Ranks:
    """The processes of one gang."""

    ask: Callable[[dict[str, Any]], Any]
    pids: list[int]
    log: Path
    marker: Path | None = None
    """Of the halt they make, if any."""
    codes: dict[int, int] = field(default_factory=dict)
    """Of the ranks that have been waited for."""

    def wait(self) -> list[int]:
        """Exit codes. Fails the test if a rank does not end."""
        codes = [self.wait_for_rank(rank) for rank in range(len(self.pids))]
        if None in codes:
            self.kill()
            pytest.fail(f"still running after {WAIT_SECONDS} s: {codes}\n{self.log.read_text()[-3000:]}")
        return codes

    def wait_for_rank(self, rank: int, seconds: float = WAIT_SECONDS) -> int | None:
        """Its exit code; None if it still runs."""
        if rank not in self.codes:
            code = self.ask({"wait": self.pids[rank], "seconds": seconds})
            if code is None:
                return None
            self.codes[rank] = code
        return self.codes[rank]

    @property
    def running(self) -> bool:
        return any(self.wait_for_rank(rank, seconds=0) is None for rank in range(len(self.pids)))

    def finish(self) -> None:
        codes = self.wait()
        assert set(codes) == {0}, self.log.read_text()[-3000:]

    def signal(self, rank: int, number: signal.Signals) -> None:
        os.kill(self.pids[rank], number)

    def stop(self) -> None:
        """Every process of the gang, and what it has started, as if the nodes' clocks stood still."""
        for process in self._processes():
            process.suspend()
            wait_until(lambda one=process: one.status() == psutil.STATUS_STOPPED)

    def resume(self) -> None:
        for process in self._processes():
            process.resume()

    def go_on(self) -> None:
        """From where they halt."""
        assert self.marker is not None
        Path(f"{self.marker}.go").touch()

    def kill(self) -> None:
        """The whole gang at once, as the loss of its nodes would."""
        for rank, pid in enumerate(self.pids):
            if rank not in self.codes:
                os.kill(pid, signal.SIGKILL)
        for rank in range(len(self.pids)):
            assert self.wait_for_rank(rank) is not None

    def _processes(self) -> list[psutil.Process]:
        ranks = [psutil.Process(pid) for pid in self.pids]
        return [*ranks, *(child for rank in ranks for child in rank.children(recursive=True))]


@dataclass
class Run:
    """One training run, started as often as a test likes."""

    ask: Callable[[dict[str, Any]], Any]
    directory: Path
    settings: dict[str, Any]
    environment: dict[str, str] = field(default_factory=dict)
    program: str = "trainer"
    flags: list[str] = field(default_factory=list)
    halts: int = 0

    @property
    def log(self) -> Path:
        return self.directory.with_suffix(".log")

    @property
    def checkpoints(self) -> Path:
        return self.directory.with_suffix(".checkpoints")

    def arguments(self, **changes: Any) -> list[str]:
        places = {"run.directory": self.directory, "checkpoint.uri": self.checkpoints}
        settings = {**places, **self.settings, **{key.replace("__", "."): value for key, value in changes.items()}}
        empty = self.directory.with_suffix(".yaml")
        empty.write_text("{}")
        sets = [
            f"--set={key}={value if isinstance(value, str) else json.dumps(value, default=str)}"
            for key, value in settings.items()
        ]
        return ["--config", str(empty), *sets, *self.flags]

    def start(self, ranks: int = 1, each: Callable[[int], dict[str, str]] = lambda _rank: {}, **changes: Any) -> Ranks:
        """`each` gives a rank environment variables of its own."""
        port = str(free_port())
        argv = [self.program, *self.arguments(**changes)]
        pids = []
        for rank in range(ranks):
            place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": ranks, "LOCAL_WORLD_SIZE": ranks, "GROUP_RANK": 0}
            rendezvous = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": "1"}
            environment = {**os.environ, **{key: str(value) for key, value in place.items()}, **rendezvous}
            environment |= self.environment | each(rank)
            pids.append(self.ask({"argv": argv, "environment": environment, "log": str(self.log)}))
        return Ranks(self.ask, pids, self.log)

    def launch(self, *options: str, **changes: Any) -> Ranks:
        """The launcher: one process, forked from one that has imported torch. The ranks that it starts have not."""
        environment = {**os.environ, "OMP_NUM_THREADS": "1", **self.environment}
        argv = ["trainer.launch", *options, "--", *self.arguments(**changes)]
        return Ranks(self.ask, [self.ask({"argv": argv, "environment": environment, "log": str(self.log)})], self.log)

    def halted(
        self,
        ranks: int = 1,
        phase: str = "step",
        at: int = 0,
        who: Collection[int] | None = None,
        each: Callable[[int], dict[str, str]] = lambda _rank: {},
        land: int = 0,
        **changes: Any,
    ) -> Ranks:
        """Started, and come to a halt (see `phases.py`): nothing happens any more until the test does something.

        `who` halts, all by default. Killed there, it has done what came before, and all its saves in the foreground.
        """
        self.halts += 1
        marker = self.directory.with_suffix(f".halt{self.halts}")
        place = {"PHASE": phase, "PHASE_AT": str(at), "PHASE_MARKER": str(marker), "PHASE_LAND": str(land)}
        program, self.program = self.program, str(HERE / "phases.py")
        gang = self.start(ranks, each=lambda rank: place | each(rank), **changes)
        self.program, gang.marker = program, marker
        for rank in range(ranks) if who is None else who:
            self.wait_for(Path(f"{marker}.{rank}").exists)
        return gang

    def go(self, ranks: int = 1, **changes: Any) -> Run:
        """Runs to the end."""
        self.start(ranks, **changes).finish()
        return self

    @property
    def lines(self) -> list[dict[str, Any]]:
        journal = self.directory / "metrics.jsonl"
        text = journal.read_text() if journal.exists() else ""
        return [json.loads(line) for line in text.splitlines() if line.endswith("}")]

    @property
    def steps(self) -> dict[int, tuple[float, float]]:
        """Loss and gradient norm of each step; a step told twice fails the test."""
        told = [line for line in self.lines if "event" not in line]
        steps = {line["step"]: (line["loss"], line["grad_norm"]) for line in told}
        assert len(steps) == len(told), "a step is told twice"
        return steps

    def events(self, name: str) -> list[dict[str, Any]]:
        return [line for line in self.lines if line.get("event") == name]

    @staticmethod
    def dumped(file: Path) -> dict[int, list[int]]:
        """Samples of each step; a step told twice fails the test."""
        lines = [json.loads(line) for line in file.read_text().splitlines()]
        samples = {line["step"]: line["samples"] for line in lines}
        assert len(samples) == len(lines), "a step is told twice"
        return samples

    @property
    def outcome(self) -> dict[str, Any]:
        return json.loads((self.directory / "outcome.json").read_text())

    @property
    def finished(self) -> bool:
        return (self.directory / "outcome.json").exists() and self.outcome["outcome"] == "finished"

    @property
    def gave_up(self) -> bool:
        return self.log.exists() and "trainer: " in self.log.read_text()

    def wait_for(self, condition: Callable[[], Any]) -> None:
        deadline = time.monotonic() + WAIT_SECONDS
        while not condition():
            assert not self.gave_up, self.log.read_text()
            assert time.monotonic() < deadline, f"waited {WAIT_SECONDS} s in vain\n{self.log.read_text()[-3000:]}"
            time.sleep(0.01)

    def wait_for_step(self, step: int) -> None:
        self.wait_for(lambda: step in self.steps)


@pytest.fixture(scope="session")
def make_run(server: Callable[[dict[str, Any]], Any], tokens: Path) -> Callable[..., Run]:
    """A run of the small model in a folder; keyword arguments change settings (`model__dropout=0.0`)."""
    numbers = count(1)

    def make(folder: Path, **changes: Any) -> Run:
        settings = {**SMALL, "data.uri": tokens, "data.cache_directory": folder / "cache"}
        settings |= {key.replace("__", "."): value for key, value in changes.items()}
        return Run(server, folder / f"run{next(numbers)}", settings)

    return make


@pytest.fixture
def new_run(make_run: Callable[..., Run], tmp_path: Path) -> Callable[..., Run]:
    """As `make_run`, in a folder of the test's own."""
    return partial(make_run, tmp_path)


@pytest.fixture(scope="session")
def tensors_of() -> Callable[[Path], dict[str, Any]]:
    """Everything a checkpoint folder holds, by name."""
    import torch
    import torch.distributed.checkpoint as dcp
    from torch.distributed.checkpoint.metadata import TensorStorageMetadata

    def read(folder: Path) -> dict[str, Any]:
        reader = dcp.FileSystemReader(folder)
        metadata = reader.read_metadata().state_dict_metadata
        tensors = {
            name: torch.empty(entry.size, dtype=entry.properties.dtype)
            for name, entry in metadata.items()
            if isinstance(entry, TensorStorageMetadata)
        }
        assert tensors.keys() == metadata.keys()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="torch.distributed is disabled")
            dcp.load(tensors, storage_reader=dcp.FileSystemReader(folder), no_dist=True)
        return tensors

    return read
