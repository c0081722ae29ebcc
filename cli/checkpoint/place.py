"""The checkpoints of one place, as a person asks for them."""

from __future__ import annotations

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from trainer import catalog, ownership
from trainer.catalog import Entry
from trainer.errors import UserError
from trainer.manifest import CheckpointManifest, UnsoundCheckpointError
from trainer.storage import Storage, open_storage

_THREADS = 16


@dataclass(frozen=True)
class Line:
    """One checkpoint in a list."""

    entry: Entry
    manifest: CheckpointManifest | None
    problem: str | None
    """Why there is no manifest to show."""

    def to_json(self) -> dict[str, Any]:
        told: dict[str, Any] = {
            "name": self.entry.name,
            "step": self.entry.step,
            "finished": self.entry.finished,
            "bytes": self.entry.bytes,
            "files": len(self.entry.sizes),
        }
        if self.manifest is None:
            return {**told, "problem": self.problem}
        manifest = self.manifest
        return {
            **told,
            "run_id": manifest.run_id,
            "ending": manifest.ending,
            "saved_at": manifest.saved_at,
            "world_size": manifest.world_size,
            "strategy": manifest.strategy,
            "seconds_trained": manifest.history.seconds_trained,
            "failures": manifest.history.failures,
            "code_revision": manifest.code_revision,
        }


@dataclass(frozen=True)
class Verdict:
    name: str
    files: int
    bytes: int
    problems: tuple[str, ...]

    @property
    def sound(self) -> bool:
        return not self.problems

    def to_json(self) -> dict[str, Any]:
        told = {"name": self.name, "sound": self.sound, "files": self.files, "bytes": self.bytes}
        return {**told, "problems": list(self.problems)}


class Place:
    def __init__(self, storage: Storage, step: int | None) -> None:
        self.storage = storage
        self.uri = storage.uri
        self._step = step
        self._entries = catalog.entries(storage)
        if not self._entries:
            raise UserError(f"{self.uri}: no checkpoints there. Expected what the run's checkpoint.uri says")

    @classmethod
    def at(cls, uri: str) -> Place:
        """Raises UserError where nothing has been saved, or the place can't be read."""
        place, _, last = uri.rstrip("/").rpartition("/")
        one = re.fullmatch(r"step-(\d{8,})", last)
        return cls(open_storage(place or ".") if one else open_storage(uri), int(one[1]) if one else None)

    def lines(self) -> list[Line]:
        with ThreadPoolExecutor(_THREADS) as pool:
            return list(pool.map(self._line, [self._entries[step] for step in sorted(self._entries)]))

    def names(self, step: int | None, every: bool) -> list[str]:
        """Of all, or the one asked for, or the newest finished one."""
        if every:
            return [self._entries[one].name for one in sorted(self._entries)]
        return [self._entry(step).name]

    def manifest(self, step: int | None) -> tuple[str, CheckpointManifest]:
        entry = self._entry(step)
        line = self._line(entry)
        if line.manifest is None:
            raise UserError(f"{self.storage.uri_of(entry.name)}: {line.problem}")
        return entry.name, line.manifest

    def verify(self, name: str, threads: int, told: Callable[[int, int], None]) -> Verdict:
        """`told` hears how many megabytes of how many have been read."""
        entry = next(entry for entry in self._entries.values() if entry.name == name)
        line = self._line(entry)
        if line.manifest is None:
            return Verdict(name, len(entry.sizes), entry.bytes, (line.problem or "",))
        done, total = 0, line.manifest.total_bytes

        def read(record: Any) -> None:
            nonlocal done
            done += record.bytes
            told(done // 1_000_000, max(1, total // 1_000_000))

        problems = catalog.problems(self.storage, name, line.manifest.files, threads, read)
        return Verdict(name, len(line.manifest.files), total, tuple(problems))

    def outdated(self, keep_last: int, keep_every: int | None) -> list[Entry]:
        finished = [step for step, entry in self._entries.items() if entry.finished]
        if not finished:
            return []
        return catalog.outdated(self._entries.values(), max(finished), keep_last, keep_every)

    def unfinished_since(self, name: str) -> list[str]:
        """Newer than `name`, and without a manifest: a run may be about to finish them, or was ended before it had."""
        after = next(step for step, entry in self._entries.items() if entry.name == name)
        return [entry.name for step, entry in self._entries.items() if step > after and not entry.finished]

    def used_by(self) -> str | None:
        """The run that is alive here, as far as a file system's locks tell. In a bucket nothing does."""
        lock = self.storage.local_path(ownership.LOCK)
        holder = ownership.holder(lock.parent) if lock is not None else None
        return None if holder is None else str(holder)

    def delete(self, entry: Entry) -> None:
        catalog.clear(self.storage, entry.name)

    def _line(self, entry: Entry) -> Line:
        if not entry.finished:
            return Line(entry, None, "no manifest.json: its saving was never finished")
        try:
            return Line(entry, catalog.read_manifest(self.storage, entry.name), None)
        except UnsoundCheckpointError as reason:
            return Line(entry, None, str(reason))

    def _entry(self, step: int | None) -> Entry:
        wanted = self._step if step is None else step
        if wanted is None:
            finished = [number for number, entry in self._entries.items() if entry.finished]
            if not finished:
                raise UserError(
                    f"{self.uri}: holds no finished checkpoint; `trainyard checkpoint list` shows what is there"
                )
            wanted = max(finished)
        if wanted not in self._entries:
            nearest = sorted(self._entries, key=lambda there: abs(there - wanted))[:4]
            raise UserError(
                f"{self.uri}: no checkpoint of step {wanted}; there are {', '.join(map(str, sorted(nearest)))}"
            )
        return self._entries[wanted]
