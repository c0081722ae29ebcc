"""Finding the newest checkpoint that is whole, in either tier, and bringing it to where it can be read."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from trainer import catalog
from trainer.gang import Gang
from trainer.manifest import MANIFEST, CheckpointManifest, FileRecord, UnsoundCheckpointError, check_file
from trainer.storage import Storage
from trainer.storage_local import LocalStorage
from trainer.upload import Persistence, Tell

_UNFINISHED = f"no {MANIFEST}: its saving was never finished"


@dataclass(frozen=True)
class Refused:
    uri: str
    step: int
    reason: str


@dataclass(frozen=True)
class Found:
    """A checkpoint whose every file has been verified, ready to be read from `folder`."""

    uri: str
    manifest: CheckpointManifest
    folder: Path
    tier: Literal["local", "durable"]


@dataclass(frozen=True)
class Tiers:
    """Where a gang's checkpoints lie. Every method is called by all ranks."""

    gang: Gang
    durable: Storage
    local: LocalStorage | None
    """On each node's own disk; None where the durable place is a folder itself."""
    threads: int
    """Files each rank fetches at a time."""
    patience_seconds: float
    tell: Tell
    """Hears of attempts that have to be made again."""

    def newest_sound(self) -> tuple[Found | None, list[Refused]]:
        """The newest that is whole, and those passed over for it. Among tiers with the same step, the nearer wins.

        Raises UserError where the durable place can't be reached: that is no sign of a damaged checkpoint.
        """
        durable = self.gang.from_leader(lambda: {s: e.finished for s, e in catalog.entries(self.durable).items()})
        on_nodes = self.gang.gather(self.gang.together(self._manifest_hashes))
        steps = set(durable).union(*on_nodes)
        refused: list[Refused] = []
        for step in sorted(steps, reverse=True):
            name = catalog.folder_name(step)
            if self.local is not None and any(step in manifests for manifests in on_nodes):
                try:
                    return self._local_one(name, [manifests.get(step) for manifests in on_nodes]), refused
                except UnsoundCheckpointError as reason:
                    refused.append(Refused(self.local.uri_of(name), step, str(reason)))
            if step in durable:
                try:
                    if not durable[step]:
                        raise UnsoundCheckpointError(_UNFINISHED)
                    return self._durable_one(name), refused
                except UnsoundCheckpointError as reason:
                    refused.append(Refused(self.durable.uri_of(name), step, str(reason)))
        return None, refused

    def newest_durable(self) -> str | None:
        """URI of the newest that has been finished, whole or not."""
        finished = self.gang.from_leader(lambda: [s for s, e in catalog.entries(self.durable).items() if e.finished])
        return self.durable.uri_of(catalog.folder_name(max(finished))) if finished else None

    def _manifest_hashes(self) -> dict[int, str | None]:
        """Of the checkpoints on this node's disk; None for one without manifest."""
        local = self.local
        if local is None:
            return {}
        return {
            step: _hash_of(local.read_bytes(f"{entry.name}/{MANIFEST}")) if entry.finished else None
            for step, entry in catalog.entries(local).items()
        }

    def _local_one(self, name: str, manifests: list[str | None]) -> Found:
        """`manifests`: the hash of each rank's own."""
        local = self.local
        assert local is not None
        if not any(manifests):
            raise UnsoundCheckpointError(_UNFINISHED)
        if len(set(manifests)) > 1:
            have = len(manifests) - manifests.count(None)
            raise UnsoundCheckpointError(
                f"{have} of {len(manifests)} ranks have it on their node's disk"
                if None in manifests
                else "not the same on all nodes' disks"
            )
        manifest = self._agreed(lambda: catalog.read_manifest(local, name))
        folder = local.root / name
        mine = manifest.files[self.gang.local_rank :: self.gang.local_world_size]
        self._each_sound(mine, lambda record: check_file(folder / record.name, record))
        return Found(local.uri_of(name), manifest, folder, "local")

    def _durable_one(self, name: str) -> Found:
        """In a folder that all ranks see, each file is read by one of them; from a bucket, each node fetches it once,
        unless it still lies on the node's disk."""
        manifest = self._agreed(lambda: catalog.read_manifest(self.durable, name))
        in_place = self.durable.local_path(name)
        if in_place is not None:
            mine = manifest.files[self.gang.rank :: self.gang.world_size]
            self._each_sound(mine, lambda record: check_file(in_place / record.name, record))
            return Found(self.durable.uri_of(name), manifest, in_place, "durable")
        local = self.local
        assert local is not None, "a bucket's checkpoints need a local folder to be fetched to"
        folder = local.root / name
        persist = Persistence(self.patience_seconds, self.tell)
        mine = manifest.files[self.gang.local_rank :: self.gang.local_world_size]
        self._each_sound(mine, lambda record: self._fetch(name, record, folder / record.name, persist))
        if self.gang.local_rank == 0:
            local.write_bytes(f"{name}/{MANIFEST}", manifest.to_json())
        return Found(self.durable.uri_of(name), manifest, folder, "durable")

    def _fetch(self, name: str, record: FileRecord, to: Path, persist: Persistence) -> None:
        try:
            check_file(to, record)
        except UnsoundCheckpointError:
            pass
        else:
            return
        for last_attempt in (False, True):
            try:
                found = persist(lambda: self.durable.fetch(f"{name}/{record.name}", to))
            except FileNotFoundError:
                raise UnsoundCheckpointError(f"{record.name} is missing") from None
            if found == record.sha256:
                return
            if (size := to.stat().st_size) != record.bytes:
                raise UnsoundCheckpointError(f"{record.name} has {size} bytes instead of {record.bytes}")
            if last_attempt:
                raise UnsoundCheckpointError(f"the SHA-256 of {record.name} differs")

    def _each_sound(self, mine: tuple[FileRecord, ...], check: Callable[[FileRecord], None]) -> None:
        """Checks this rank's share of the files. Raises UnsoundCheckpointError on every rank alike."""

        def problem(record: FileRecord) -> str | None:
            try:
                check(record)
            except UnsoundCheckpointError as reason:
                return str(reason)
            return None

        def of_mine() -> list[str]:
            with ThreadPoolExecutor(self.threads) as pool:
                return [text for text in pool.map(problem, mine) if text is not None]

        problems = [text for texts in self.gang.gather(self.gang.together(of_mine)) for text in texts]
        if problems:
            raise UnsoundCheckpointError("; ".join(dict.fromkeys(problems)))

    def _agreed(self, read: Callable[[], CheckpointManifest]) -> CheckpointManifest:
        """What rank 0 reads, or its reason not to, on every rank."""

        def attempt() -> CheckpointManifest | str:
            try:
                return read()
            except UnsoundCheckpointError as reason:
                return str(reason)

        result = self.gang.from_leader(attempt)
        if isinstance(result, str):
            raise UnsoundCheckpointError(result)
        return result


def _hash_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
