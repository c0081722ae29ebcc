"""What checkpoints lie in a place: `<place>/step-00000123/`, a folder each, of which `manifest.json` makes a whole.

Nothing here imports torch: the saving process and the command line look here too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from trainer.manifest import MANIFEST, CheckpointManifest, FileRecord, UnsoundCheckpointError
from trainer.storage import Storage, StorageError

_STEP_FOLDER = re.compile(r"step-([0-9]{8,})")


def folder_name(step: int) -> str:
    return f"step-{step:08d}"


@dataclass(frozen=True)
class Entry:
    """The files found under the name of one checkpoint."""

    step: int
    name: str
    sizes: dict[str, int]
    """Bytes of each file, the manifest among them if the checkpoint was finished."""

    @property
    def finished(self) -> bool:
        return MANIFEST in self.sizes

    @property
    def bytes(self) -> int:
        return sum(self.sizes.values())


def entries(storage: Storage) -> dict[int, Entry]:
    """By step. Raises StorageError where the place can't be listed."""
    found: dict[int, Entry] = {}
    for key, size in sorted(storage.sizes("step-").items()):
        folder, _, file = key.partition("/")
        if file and (match := _STEP_FOLDER.fullmatch(folder)) and folder == folder_name(step := int(match[1])):
            found.setdefault(step, Entry(step, folder, {})).sizes[file] = size
    return found


def read_manifest(storage: Storage, name: str) -> CheckpointManifest:
    """Raises UnsoundCheckpointError where there is none, or no whole one."""
    try:
        manifest = CheckpointManifest.from_json(storage.read_bytes(f"{name}/{MANIFEST}"))
    except FileNotFoundError as error:
        raise UnsoundCheckpointError(str(error)) from None
    if folder_name(manifest.step) != name:
        raise UnsoundCheckpointError(f"{MANIFEST} is that of step {manifest.step}")
    return manifest


def problems(
    storage: Storage, name: str, files: Collection[FileRecord], threads: int, told: Callable[[FileRecord], None]
) -> list[str]:
    """What of a checkpoint is not as its manifest says. Reads every byte; `told` hears of each file that has been."""

    def problem(record: FileRecord) -> str | None:
        key = f"{name}/{record.name}"
        try:
            if (size := storage.size(key)) != record.bytes:
                return f"{record.name} has {size} bytes instead of {record.bytes}"
            differs = storage.sha256(key) != record.sha256
        except FileNotFoundError:
            return f"{record.name} is missing"
        told(record)
        return f"the SHA-256 of {record.name} differs" if differs else None

    with ThreadPoolExecutor(threads) as pool:
        return [text for text in pool.map(problem, files) if text is not None]


def clear(storage: Storage, name: str, keep: Collection[str] = ()) -> None:
    """Deletes what lies under `name` but the files `keep`. The manifest goes first: half deleted is no checkpoint."""
    keys = storage.list(f"{name}/")
    manifest = f"{name}/{MANIFEST}"
    if manifest in keys:
        storage.delete([manifest])
    storage.delete([key for key in keys if key != manifest and key.removeprefix(f"{name}/") not in keep])


def outdated(found: Iterable[Entry], newest: int, keep_last: int, keep_every: int | None) -> list[Entry]:
    """Those to be deleted once step `newest` has been saved: all finished ones but the last `keep_last` and the first
    at or after each multiple of `keep_every`, and all unfinished ones before. Later steps were passed over and will be
    written again.
    """
    present = [entry for entry in found if entry.step <= newest]
    finished = sorted((entry.step for entry in present if entry.finished), reverse=True)
    kept = set(finished[:keep_last])
    if keep_every:
        first = {step // keep_every: step for step in finished}  # newest first, so the oldest of each stretch stays
        kept |= {step for stretch, step in first.items() if stretch}
    return sorted((entry for entry in present if entry.step not in kept), key=lambda entry: entry.step)


def prune(storage: Storage, newest: int, keep_last: int, keep_every: int | None) -> list[Entry]:
    """Deletes the outdated. Returns them. Raises StorageError naming the first that could not be deleted."""
    gone = outdated(entries(storage).values(), newest, keep_last, keep_every)
    failed: StorageError | None = None
    for entry in gone:
        try:
            clear(storage, entry.name)
        except StorageError as error:
            failed = failed or error
    if failed is not None:
        raise failed
    return gone
