"""Checkpoints in a folder or a bucket: `<uri>/step-00000123/` with a file per rank, an index and a manifest.

Saving: each rank writes, hashes and uploads what is its own; when all have, rank 0 writes the manifest. Without it,
there is no checkpoint. Loading: the newest whose every byte is as the manifest says; the ranks agree on which, and each
reads its part.
"""

from __future__ import annotations

import re
import shutil
import warnings
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import torch
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint import CheckpointException, FileSystemReader, FileSystemWriter

from trainer.config import DATA, Config
from trainer.errors import TrainingError, UserError
from trainer.gang import Gang
from trainer.manifest import (
    MANIFEST,
    CheckpointManifest,
    FileRecord,
    UnsoundCheckpointError,
    check_file,
    differences,
    hash_of,
    record_of,
)
from trainer.state import Progress, RngState, TrainingState, rng_state, seed_rank, set_rng_state
from trainer.storage import open_storage

# One process is a choice here, not an accident.
warnings.filterwarnings("ignore", message="torch.distributed is disabled, unavailable or uninitialized")

_INDEX = ".metadata"
_STEP_FOLDER = re.compile(r"step-(\d{8,})")


class CheckpointError(TrainingError):
    """A checkpoint could not be saved. Raised on every rank alike; those saved before are untouched."""


@dataclass(frozen=True)
class Saved:
    uri: str
    step: int
    bytes: int


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


class Checkpoints:
    """The checkpoints of one run. Every method is called by all ranks."""

    def __init__(self, config: Config, run_id: str, data_sha256: str, gang: Gang) -> None:
        """Raises UserError for a place that can't be used."""
        self._config = config
        self.run_id = run_id
        """Replaced by that of the checkpoint a run continues from."""
        self._data_sha256 = data_sha256
        self._gang = gang
        self._storage = gang.together(lambda: open_storage(config.checkpoint.uri))
        self._staging = config.run.directory.absolute() / "staging" / f"node-{gang.node_rank}"
        self.refused: list[Refused] = []
        self._drop_staged()

    def newest_sound(self) -> Found | None:
        """Looks from the newest back to one that is whole; what it passes over is left in `refused`."""
        whole = self._gang.from_leader(self._list)
        self.refused = []
        for step in sorted(whole, reverse=True):
            name = _folder_name(step)
            try:
                if not whole[step]:
                    raise UnsoundCheckpointError(f"no {MANIFEST}: its saving was never finished")
                manifest = self._read_manifest(name)
                return Found(self._storage.uri_of(name), manifest, self._fetch(name, manifest))
            except UnsoundCheckpointError as reason:
                self.refused.append(Refused(self._storage.uri_of(name), step, str(reason)))
        return None

    def load(self, found: Found, state: TrainingState) -> str:
        """Restores `state` and this rank's random numbers. Returns in words where those came from.

        Raises UserError if the checkpoint was trained with other essential settings or other data.
        """
        manifest = found.manifest
        self._refuse_other_settings(found)
        tensors = state.tensors()
        saved_rng = self._gang.rank < manifest.world_size and manifest.device == self._gang.device.type
        random_numbers: RngState = rng_state(self._gang.device) if saved_rng else {}
        tensors |= {f"rng/{self._gang.rank}/{kind}": value for kind, value in random_numbers.items()}
        try:
            dcp.load(
                tensors,
                storage_reader=FileSystemReader(found.folder),
                process_group=self._gang.control,
                no_dist=self._gang.control is None,
            )
        except CheckpointException as error:
            raise UserError(f"{found.uri}: does not fit this model: {error}") from error
        state.progress = Progress(**manifest.progress)
        if manifest.scaler is not None and state.scaler.is_enabled():
            state.scaler.load_state_dict(manifest.scaler)
        self.run_id = manifest.run_id
        if saved_rng:
            set_rng_state(random_numbers, self._gang.device)
        else:
            seed_rank(self._config.run.seed, self._gang.rank, manifest.step)
        self._drop_staged()
        derived = self._gang.sum(not saved_rng)[0]
        if not derived:
            return "restored on every rank"
        ranks = f"{derived} of {self._gang.world_size} ranks"
        return f"derived from seed and step on {ranks} (saved by {manifest.world_size} on {manifest.device})"

    def save(self, state: TrainingState) -> Saved:
        """Returns once the checkpoint is durable. Raises CheckpointError if it could not be made so."""
        name = _folder_name(state.progress.step)
        try:
            # What an earlier attempt left under this name loses its manifest first, then the rest.
            self._gang.from_leader(lambda: self._delete(name))
            records = self._write(name, state)
            manifest = self._manifest(state, records)
            self._gang.from_leader(lambda: self._storage.write_bytes(f"{name}/{MANIFEST}", manifest.to_json()))
        except (UserError, CheckpointException) as error:
            self._drop_staged()
            raise CheckpointError(f"{self._storage.uri_of(name)}: could not be saved: {error}") from error
        self._drop_staged()
        return Saved(self._storage.uri_of(name), state.progress.step, manifest.total_bytes)

    def prune(self, newest: int) -> None:
        """Deletes all but the last few up to the one just saved. Later ones are unsound and will be written over.

        Raises CheckpointError where that is not allowed.
        """
        try:
            self._gang.from_leader(lambda: self._prune(newest))
        except UserError as error:
            raise CheckpointError(f"older checkpoints could not be deleted: {error}") from error

    def _write(self, name: str, state: TrainingState) -> list[FileRecord]:
        """All ranks write their tensors to disk, hash them and, where the place is no folder, upload them."""
        tensors = state.tensors()
        for kind, value in rng_state(self._gang.device).items():
            tensors[f"rng/{self._gang.rank}/{kind}"] = value
        in_place = self._storage.local_path(name)
        folder = in_place or self._staging / name
        dcp.save(
            tensors,
            storage_writer=FileSystemWriter(folder),
            process_group=self._gang.control,
            no_dist=self._gang.control is None,
        )

        def hash_and_upload() -> list[FileRecord]:
            own = sorted(folder.glob(f"__{self._gang.rank}_*.distcp"))
            own += [folder / _INDEX] if self._gang.leads else []
            records = [record_of(file) for file in own]
            for file in own if in_place is None else []:
                self._storage.upload(file, f"{name}/{file.name}")
            return records

        return [record for records in self._gang.gather(self._gang.together(hash_and_upload)) for record in records]

    def _manifest(self, state: TrainingState, records: list[FileRecord]) -> CheckpointManifest:
        config = self._config.model_dump(mode="json")
        return CheckpointManifest(
            run_id=self.run_id,
            progress=asdict(state.progress),
            scaler=state.scaler_state(),
            world_size=self._gang.world_size,
            strategy=state.model.strategy,
            device=self._gang.device.type,
            data_sha256=self._data_sha256,
            essentials=self._config.essentials(),
            config=config,
            config_sha256=hash_of(config),
            versions={"torch": str(torch.__version__)},
            saved_at=datetime.now(UTC).isoformat(timespec="seconds"),
            files=tuple(records),
        )

    def _list(self) -> dict[int, bool]:
        """Steps that have files, and whether a manifest is among them."""
        whole: dict[int, bool] = {}
        for key in self._storage.list("step-"):
            folder, _, file = key.partition("/")
            if match := _STEP_FOLDER.fullmatch(folder):
                step = int(match[1])
                whole[step] = whole.get(step, False) or file == MANIFEST
        return whole

    def _read_manifest(self, name: str) -> CheckpointManifest:
        def read() -> CheckpointManifest | str:
            try:
                return CheckpointManifest.from_json(self._storage.read_bytes(f"{name}/{MANIFEST}"))
            except (UnsoundCheckpointError, FileNotFoundError) as error:
                return str(error)

        manifest = self._gang.from_leader(read)
        if isinstance(manifest, str):
            raise UnsoundCheckpointError(manifest)
        return manifest

    def _fetch(self, name: str, manifest: CheckpointManifest) -> Path:
        """Brings the files to where they can be read and verifies them, the ranks sharing the work.

        In a folder that all see, each file is read by one rank; from a bucket, each node fetches them once.
        Raises UnsoundCheckpointError on every rank alike.
        """
        gang = self._gang
        in_place = self._storage.local_path(name)
        folder = in_place or self._staging / name
        first, stride = (gang.rank, gang.world_size) if in_place else (gang.local_rank, gang.local_world_size)

        def first_problem() -> str | None:
            for record in manifest.files[first::stride]:
                try:
                    if in_place is None:
                        self._storage.download(f"{name}/{record.name}", folder / record.name)
                    check_file(folder / record.name, record)
                except FileNotFoundError:
                    return f"{record.name} is missing"
                except UnsoundCheckpointError as reason:
                    return str(reason)
            return None

        # A place that can't be reached is no sign of a damaged checkpoint: that ends the start, on every rank.
        problems = [text for text in gang.gather(gang.together(first_problem)) if text is not None]
        if problems:
            self._drop_staged()
            raise UnsoundCheckpointError("; ".join(dict.fromkeys(problems)))
        return folder

    def _refuse_other_settings(self, found: Found) -> None:
        saved = {**found.manifest.essentials, DATA: found.manifest.data_sha256}
        present = {**self._config.essentials(), DATA: self._data_sha256}
        changed = differences(saved, present)
        refused = {name: pair for name, pair in changed.items() if name not in self._config.checkpoint.allow_changed}
        if refused:
            lines = "\n".join(f"  {name}: saved with {old!r}, now {new!r}" for name, (old, new) in refused.items())
            raise UserError(
                f"{found.uri}: was trained with other settings, so going on from it would be another run:\n{lines}\n"
                f"Put them back, train elsewhere (checkpoint.uri), or allow it: "
                f"--set checkpoint.allow_changed=[{','.join(refused)}]"
            )

    def _delete(self, name: str) -> None:
        """The manifest goes first: what is half deleted is no checkpoint."""
        keys = self._storage.list(f"{name}/")
        manifest = f"{name}/{MANIFEST}"
        if manifest in keys:
            self._storage.delete([manifest])
        self._storage.delete([key for key in keys if key != manifest])

    def _prune(self, newest: int) -> None:
        whole = {step: complete for step, complete in self._list().items() if step <= newest}
        kept = sorted((step for step, complete in whole.items() if complete), reverse=True)
        for step in whole.keys() - set(kept[: self._config.checkpoint.keep_last]):
            self._delete(_folder_name(step))

    def _drop_staged(self) -> None:
        if self._storage.local_path(MANIFEST) is None:
            self._gang.gather(None)  # no rank still reads what the first one of each node removes
            if self._gang.local_rank == 0:
                shutil.rmtree(self._staging, ignore_errors=True)


def _folder_name(step: int) -> str:
    return f"step-{step:08d}"
