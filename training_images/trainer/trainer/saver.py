"""`python -m trainer.saver`: the process that brings a rank's snapshots to disk and to the durable place.

It shares the snapshot's memory with the rank, and needs neither torch nor the rank's interpreter: hashing, writing and
uploading take nothing from training but what processor time is left over. It ends with the rank, whatever ends that.
"""

from __future__ import annotations

import base64
import ctypes
import hashlib
import json
import mmap
import os
import queue
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from trainer import catalog, ownership
from trainer.direct_io import write_whole
from trainer.manifest import MANIFEST, FileRecord
from trainer.storage import Storage, StorageError, UnlikeError, open_storage
from trainer.storage_local import LocalStorage, local_errors, opened_in_its_folder
from trainer.upload import Part, Persistence, put_all

_PR_SET_PDEATHSIG = 1

Tier = Literal["local", "durable"]
Stage = Literal["files", "durable", "local manifest", "durable manifest", "prune", "retry"]
"""files: hashed, and on the node's own disk if there is one to write to. durable: in the durable place, confirmed."""


@dataclass(frozen=True)
class Setup:
    """What all jobs of one rank have in common. The first line the process is given."""

    memory: int
    """File descriptor of the snapshot."""
    files: list[tuple[str, int, int]]
    """Name, offset in the memory and bytes of each file of this rank."""
    index_name: str
    index: str
    """Content of the index, base64."""
    expected: list[str]
    """The files of all ranks: what else lies under a checkpoint's name is from an earlier attempt."""
    durable: str
    local: str | None
    owner: str
    """The token with which this run has claimed the durable place."""
    leads: bool
    """This rank writes index and manifest to the durable place, and deletes there."""
    leads_node: bool
    """The same on the node's own disk."""
    threads: int
    keep_last: int
    keep_every: int | None
    patience_seconds: float
    read_seconds: float
    niceness: int


@dataclass(frozen=True)
class Answer:
    """A line of the process's output: a stage of a job has ended, or is tried again."""

    name: str
    """The checkpoint."""
    stage: Stage
    problem: str | None = None
    records: tuple[FileRecord, ...] = ()
    """With stage files: what this rank adds to the manifest."""

    def to_line(self) -> bytes:
        return json.dumps({**asdict(self), "records": [r.model_dump() for r in self.records]}).encode() + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> Answer:
        told = json.loads(line)
        records = tuple(FileRecord(**record) for record in told["records"])
        return cls(told["name"], told["stage"], told["problem"], records)


class Saver:
    def __init__(self, setup: Setup, answer: Callable[[Answer], None]) -> None:
        self._setup = setup
        self._answer = answer
        last = max((offset + size for _, offset, size in setup.files), default=0)
        self._memory = memoryview(mmap.mmap(setup.memory, last, prot=mmap.PROT_READ)) if last else memoryview(b"")
        self._index = base64.b64decode(setup.index)
        self._given_up = threading.Event()
        self._durable = _open(setup)
        self._local = LocalStorage(Path(setup.local)) if setup.local else None

    def give_up(self) -> None:
        self._given_up.set()

    def start(self, failed: Callable[[], None], job: str, **fields: Any) -> None:
        """Does a job in a thread of its own: a manifest for the node's own disk does not wait for the upload.

        `failed` is called after a defect: no answer will come.
        """
        action = {"save": self.save, "manifest": self.manifest, "prune": self.prune}[job]

        def run() -> None:
            try:
                action(**fields)
            except BaseException:  # noqa: BLE001
                traceback.print_exc()
                failed()

        threading.Thread(target=run, name=f"checkpoint-{job}", daemon=True).start()

    def save(self, name: str) -> None:
        """The rank's files to both tiers. The snapshot stays as it is meanwhile."""
        setup = self._setup
        problem, parts = None, []
        try:
            if self._local is not None and setup.leads_node:
                catalog.clear(self._local, name, keep=setup.expected)
            with ThreadPoolExecutor(min(setup.threads, os.cpu_count() or 1)) as pool:
                parts = list(pool.map(lambda file: self._part(*file), setup.files))
                list(pool.map(lambda part: self._write_locally(name, part), [*parts, *self._index_for("local")]))
        except StorageError as error:
            problem = str(error)
            parts = parts or [self._part(*file) for file in setup.files]
        own = [*parts, *self._index_for("durable")]
        records = tuple(FileRecord(name=part.name, bytes=len(part.data), sha256=part.sha256) for part in own)
        self._answer(Answer(name, "files", problem, records))

        persist = self._persistence(name)

        def clear_and_put() -> None:
            self._confirm(persist)
            if setup.leads:
                persist(lambda: catalog.clear(self._durable, name, keep=setup.expected))
            put_all(self._durable, name, own, setup.threads, persist)

        problem = _problem_of(clear_and_put)
        if problem is not None:
            # All its threads have ended. One may have asked for credentials anew, and got those that did not do.
            self._durable = _open(setup)
        self._answer(Answer(name, "durable", problem))

    def manifest(self, name: str, tier: Tier, content: str) -> None:
        """Makes it a checkpoint in one of the tiers."""
        data = content.encode()
        if tier == "local":
            local = self._local
            assert local is not None
            problem = _problem_of(lambda: local.write_bytes(f"{name}/{MANIFEST}", data))
            self._answer(Answer(name, "local manifest", problem))
            return
        part = Part(MANIFEST, memoryview(data), hashlib.sha256(data).hexdigest())
        persist = self._persistence(name)

        def publish() -> None:
            self._confirm(persist)
            put_all(self._durable, name, [part], 1, persist)

        self._answer(Answer(name, "durable manifest", _problem_of(publish)))

    def prune(self, name: str, newest: int, tiers: list[Tier]) -> None:
        """Deletes what is older and not to be kept. On a node's own disk nothing is kept for ever."""
        setup = self._setup
        problems = []
        if "durable" in tiers:

            def prune_durable() -> None:
                self._confirm(self._persistence(name))
                catalog.prune(self._durable, newest, setup.keep_last, setup.keep_every)

            problems.append(_problem_of(prune_durable))
        if "local" in tiers and (local := self._local) is not None:
            problems.append(_problem_of(lambda: catalog.prune(local, newest, setup.keep_last, None)))
        self._answer(Answer(name, "prune", "; ".join(filter(None, problems)) or None))

    def _confirm(self, persist: Persistence) -> None:
        """Raises TakenOverError where the durable place belongs to a later start by now."""
        persist(lambda: ownership.confirm(self._durable, self._setup.owner))

    def _part(self, name: str, offset: int, size: int) -> Part:
        data = self._memory[offset : offset + size]
        return Part(name, data, hashlib.sha256(data).hexdigest())

    def _index_for(self, tier: Tier) -> list[Part]:
        writes = self._setup.leads if tier == "durable" else self._setup.leads_node
        sha256 = hashlib.sha256(self._index).hexdigest()
        return [Part(self._setup.index_name, memoryview(self._index), sha256)] if writes else []

    def _write_locally(self, name: str, part: Part) -> None:
        """Not synced: what a crash of the node takes away does not count, and what it tears has another hash."""
        if self._local is None:
            return
        path = self._local.root / name / part.name
        with local_errors(path, "write"), opened_in_its_folder(path, "wb") as file:
            write_whole(file.fileno(), part.data)

    def _persistence(self, name: str) -> Persistence:
        def tell(reason: str) -> None:
            self._answer(Answer(name, "retry", reason))

        return Persistence(self._setup.patience_seconds, tell, self._given_up)


def _open(setup: Setup) -> Storage:
    if not setup.durable.startswith("s3://"):
        return open_storage(setup.durable)
    from trainer.storage_s3 import Patience

    # Further attempts are made, and told, by Persistence.
    return open_storage(setup.durable, Patience(read_seconds=setup.read_seconds, attempts=2))


def _problem_of(action: Callable[[], Any]) -> str | None:
    try:
        action()
    except (StorageError, UnlikeError, OSError) as error:
        return str(error)
    return None


def main() -> int:
    _end_with_parent(int(sys.argv[1]))
    for asked_to_end in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(asked_to_end, signal.SIG_IGN)  # meant for the rank, which decides what is still to be saved
    out = os.dup(1)
    os.dup2(2, 1)  # nothing else may get between the answers
    writing = threading.Lock()

    def answer(one: Answer) -> None:
        with writing, open(out, "wb", closefd=False) as file:
            file.write(one.to_line())

    jobs: queue.Queue[dict[str, Any]] = queue.Queue()
    threading.Thread(target=_read, args=(jobs,), daemon=True).start()
    setup = Setup(**jobs.get())
    os.nice(setup.niceness)
    saver = Saver(setup, answer)
    while True:
        saver.start(lambda: os._exit(1), **jobs.get())


def _read(jobs: queue.Queue[dict[str, Any]]) -> None:
    for line in sys.stdin.buffer:
        jobs.put(json.loads(line))
    os._exit(0)  # the rank has ended


def _end_with_parent(parent: int) -> None:
    if sys.platform == "linux":  # elsewhere the end of its input has to do, which a forked data worker may hold open
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
