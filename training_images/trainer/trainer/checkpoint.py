"""The checkpoints of one run: `<place>/step-00000123/` with files of each rank, an index and a manifest.

A save takes a snapshot, and training goes on; in the background the snapshot comes to the node's own disk and then to
the durable place. Its manifest is written there last: without it there is no checkpoint. A run goes on from the newest
whose every byte is as the manifest says, in either tier; for the loss of a node only the durable one counts.
"""

from __future__ import annotations

import hashlib
import logging
import re
import time
import warnings
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import torch
import torch.distributed.checkpoint as dcp
from torch import Tensor
from torch.distributed.checkpoint import CheckpointException

from trainer import saving
from trainer.catalog import folder_name
from trainer.code_revision import code_revision
from trainer.config import DATA, Config
from trainer.errors import TrainingError, UserError
from trainer.flight import Flight, Medians, PruneFailed, Saved, SaveFailed
from trainer.gang import Gang
from trainer.manifest import MANIFEST, CheckpointManifest, Ending, FileRecord, History, differences, hash_of
from trainer.mapped_reader import MappedReader
from trainer.ownership import TAKEN_OVER, Claim, confirm
from trainer.restore import Found, Refused, Tiers
from trainer.saving import Saving
from trainer.state import Progress, RngState, TrainingState, rng_state, seed_rank, set_rng_state
from trainer.storage import open_storage
from trainer.storage_local import LocalStorage

__all__ = ["CheckpointError", "Checkpoints", "Found", "PruneFailed", "Refused", "SaveFailed", "Saved", "Started"]

log = logging.getLogger("trainer")

# One process is a choice here, not an accident.
warnings.filterwarnings("ignore", message="torch.distributed is disabled, unavailable or uninitialized")

_RESTORE_PATIENCE_SECONDS = 120.0
_TIME_TO_GIVE_UP = 2.0
"""An older save is dropped for an emergency when less than this many times an upload's usual seconds are left,"""
_LEAST_SECONDS_FOR_UPLOAD = 6.0
"""or than this: machines that are taken away are busy."""
_USUAL_UPLOAD_SECONDS = 10.0  # until one has been measured


class CheckpointError(TrainingError):
    """A checkpoint could not be saved. Raised on every rank alike; those saved before are untouched."""


@dataclass(frozen=True)
class Started:
    """What has become of a save when training may go on."""

    uri: str
    step: int
    state: Literal["under way", "local", "durable", "skipped"]
    """local: on the nodes' own disks, and time was too short for more."""
    stall_seconds: float = 0.0
    """How long this rank stood still for the snapshot."""
    reason: str | None = None
    """Why it was skipped, or is not durable."""


class Checkpoints:
    """Every method is called by all ranks."""

    def __init__(self, config: Config, run_id: str, data_sha256: str, gang: Gang) -> None:
        """Raises UserError for a place that can't be used, or that another run is using."""
        self._config = config
        self.run_id = run_id
        """Replaced by that of the checkpoint a run continues from."""
        self._data_sha256 = data_sha256
        self._gang = gang
        self._begun = time.monotonic()
        durable = gang.together(lambda: open_storage(config.checkpoint.uri))
        local = _local_tier(config, durable.uri, in_place=durable.local_path(MANIFEST) is not None)
        self._claim = Claim(gang, durable, local, config.run.directory.absolute())
        self._tiers = Tiers(gang, durable, local, config.checkpoint.upload_threads, _RESTORE_PATIENCE_SECONDS, _retried)
        self._saving = Saving(gang, durable, local, config.checkpoint, self._claim.token, self._manifest)
        self._before = History()
        self._resumed = False
        self._search_seconds = 0.0
        self.refused: list[Refused] = []

    @property
    def newest_durable(self) -> str | None:
        """URI of what the loss of a node would go back to."""
        return self._saving.newest_durable

    @property
    def _fallback(self) -> str:
        return f"newest durable: {self.newest_durable or 'none yet'}"

    @property
    def measured(self) -> Medians:
        return self._saving.measured

    @property
    def history(self) -> History:
        """Of the run, this process included."""
        seconds = self._before.seconds_trained + time.monotonic() - self._begun
        return History(
            seconds_trained=round(seconds, 3), failures=self._before.failures, costs=self._saving.measured.costs
        )

    def newest_sound(self) -> Found | None:
        """Looks from the newest back to one that is whole; what it passes over is left in `refused`.

        A save under way is waited for. Raises UserError where the durable place can't be reached.
        """
        self._saving.until(lambda: self._saving.idle)
        started = time.perf_counter()
        found, self.refused = self._tiers.newest_sound()
        if found is not None:
            self._saving.newest_durable = found.uri if found.tier == "durable" else self._tiers.newest_durable()
        self._search_seconds = time.perf_counter() - started
        return found

    def load(self, found: Found, state: TrainingState) -> str:
        """Restores `state` and this rank's random numbers. Returns in words where those came from.

        Raises UserError if the checkpoint was trained with other essential settings or other data.
        """
        started = time.perf_counter()
        manifest = found.manifest
        self._refuse_other_settings(found)
        tensors = state.tensors()
        saved_rng = self._gang.rank < manifest.world_size and manifest.device == self._gang.device.type
        random_numbers: RngState = rng_state(self._gang.device) if saved_rng else {}
        tensors |= self._named(random_numbers)
        try:
            dcp.load(
                tensors,
                storage_reader=MappedReader(found.folder),
                process_group=self._gang.control,
                no_dist=self._gang.control is None,
            )
        except CheckpointException as error:
            raise UserError(f"{found.uri}: does not fit this model: {_in_words(error)}") from error
        known = {field.name for field in fields(Progress)}
        state.progress = Progress(**{name: value for name, value in manifest.progress.items() if name in known})
        if manifest.scaler is not None and state.scaler.is_enabled():
            state.scaler.load_state_dict(manifest.scaler)
        self._go_on_from(found)
        if saved_rng:
            set_rng_state(random_numbers, self._gang.device)
        else:
            seed_rank(self._config.run.seed, self._gang.rank, manifest.step)
        seconds = self._search_seconds + time.perf_counter() - started
        self.measured.restored(max(self._gang.gather(seconds)))
        derived = self._gang.sum(not saved_rng)[0]
        if not derived:
            return "restored on every rank"
        ranks = f"{derived} of {self._gang.world_size} ranks"
        return f"derived from seed and step on {ranks} (saved by {manifest.world_size} on {manifest.device})"

    def save(
        self, state: TrainingState, ending: Ending, wait: bool = False, seconds_left: float | None = None
    ) -> Started:
        """Takes a snapshot, which is all that training waits for, and has it saved in the background.

        With `wait` it returns once the checkpoint is durable, or, `seconds_left` having run out, on the nodes' disks.
        There is one save at a time: at the interval a further one is skipped, at any other ending it waits for the one
        before, drops it when there is time for the new one only, or is skipped for it when there is not even that.
        Raises CheckpointError if no snapshot can be taken or, with `wait`, if no checkpoint came to stand anywhere.
        """
        wait = wait or not self._config.checkpoint.asynchronous
        ends = None if seconds_left is None else time.monotonic() + seconds_left
        step, name = state.progress.step, folder_name(state.progress.step)
        uri = self._tiers.durable.uri_of(name)
        self._saving.advance()
        under_way, instead = self._saving.flight, None
        if under_way is not None and under_way.step != step:
            if ending == "interval" and not wait:
                seconds = time.perf_counter() - under_way.started
                reason = f"{under_way.name} has been under way for {seconds:.0f} s; {self._fallback}"
                return Started(uri, step, "skipped", reason=reason)
            instead = self._make_way(under_way, ends)
            if instead is not None and self._tiers.local is None:
                return Started(uri, step, "skipped", reason=instead)
        stall_seconds = 0.0
        if self._saving.flight is None and self.newest_durable != uri:
            stall_seconds = self._begin(state, ending)
        if wait:
            try:
                return self._wait(uri, step, ending, stall_seconds, ends)
            except CheckpointError:
                if instead is None:
                    raise
                return Started(uri, step, "skipped", stall_seconds, instead)
        return Started(uri, step, "under way" if self._saving.flight else "durable", stall_seconds)

    def finished(self) -> list[Saved | SaveFailed | PruneFailed]:
        """What the background has completed since the last call, the same on every rank. To be called at each step."""
        self._saving.advance()
        return self._saving.reports()

    def close(self, wait: bool) -> None:
        """Ends the background, and with `wait` only after what is under way there. Without, it needs no other rank.

        Other runs may use the place from then on.
        """
        if wait:
            self._saving.until(lambda: self._saving.idle)
        self._saving.close()
        self._claim.release()

    def _begin(self, state: TrainingState, ending: Ending) -> float:
        """Returns the seconds this rank stood still."""
        started = time.perf_counter()
        step = state.progress.step
        try:
            size = self._saving.snapshot(state.tensors() | self._named(rng_state(self._gang.device)))
        except (MemoryError, CheckpointException) as error:
            uri = self._tiers.durable.uri_of(folder_name(step))
            raise CheckpointError(f"{uri}: could not be saved: {_in_words(error)}") from error
        seconds = time.perf_counter() - started
        self._saving.begin(
            Flight(
                step=step,
                name=folder_name(step),
                ending=ending,
                progress=asdict(state.progress),
                scaler=state.scaler_state(),
                strategy=state.model.strategy,
                history=self.history,
                bytes=size,
                stall_seconds=seconds,
                started=started,
            )
        )
        return seconds

    def _make_way(self, older: Flight, ends: float | None) -> str | None:
        """Ends an older save: waits for it, but not if that would leave no time for the next.

        Where the next one can't be expected to fit even so, the older one is the better bet and gets all the time there
        is. Returns what came of that, if it is a checkpoint. Raises CheckpointError if neither will be one.
        """
        usual = self.measured.upload_seconds or _USUAL_UPLOAD_SECONDS

        def plan() -> tuple[float | None, bool]:
            if ends is None:
                return None, False
            left = max(0.0, ends - time.monotonic())
            hopeless = left < usual
            return left if hopeless else max(
                0.0, left - max(_TIME_TO_GIVE_UP * usual, _LEAST_SECONDS_FOR_UPLOAD)
            ), hopeless

        seconds, hopeless = self._gang.from_leader(plan)  # by one clock
        ended = self._saving.until(lambda: self._saving.flight is None, seconds)
        if not hopeless:
            if not ended:
                self._saving.abandon("dropped, to have time for a newer one")
            return None
        said = f"an upload takes {usual:.0f} s, so {older.name}, which was under way, was let end instead"
        if not ended:
            self._saving.abandon("no time left")
            if not older.is_local:
                raise CheckpointError(f"no time left: {said}, in vain; {self._fallback}")
            return f"{said}; it stands on the nodes' disks; {self._fallback}"
        durable = self.newest_durable == self._tiers.durable.uri_of(older.name)
        return f"{said}; it is durable" if durable else None

    def _wait(self, uri: str, step: int, ending: Ending, stall_seconds: float, ends: float | None) -> Started:
        flight = self._saving.flight
        seconds = None if ends is None else max(0.0, ends - time.monotonic())
        if self._saving.until(lambda: self._saving.flight is None, seconds):
            if failed := self._saving.take_failure(step):
                raise CheckpointError(f"{uri}: could not be saved: {failed.reason}")
            self._say_ending(self._saving.last, ending, durable=True)
            return Started(uri, step, "durable", stall_seconds)
        assert flight is not None
        reason = f"no time left to make it durable; {self._fallback}"
        local = self._tiers.local
        if local is None or not flight.is_local:
            self._saving.abandon(reason)
            self._saving.take_failure(step)
            raise CheckpointError(f"{uri}: could not be saved: {reason}")
        self._say_ending(flight.manifest, ending, durable=False)
        return Started(local.uri_of(flight.name), step, "local", stall_seconds, reason)

    def _say_ending(self, manifest: CheckpointManifest | None, ending: Ending, durable: bool) -> None:
        """A checkpoint that was saved at its interval can turn out to be the last one before an orderly end."""
        if manifest is None or ending in ("interval", manifest.ending):
            return
        gang, tiers = self._gang, self._tiers
        key = f"{folder_name(manifest.step)}/{MANIFEST}"
        changed = manifest.model_copy(update={"ending": ending})

        def write() -> None:
            if gang.local_rank == 0 and tiers.local is not None and tiers.local.exists(key):
                tiers.local.write_bytes(key, changed.to_json())
            if gang.leads and durable:
                confirm(tiers.durable, self._claim.token)
                saving.in_a_hurry(tiers.durable).write_bytes(key, changed.to_json())

        try:
            gang.together(write)
        except UserError as error:
            if TAKEN_OVER in str(error):
                raise
            log.warning("%s counts as saved at its interval: %s", folder_name(manifest.step), error)
        if durable:
            self._saving.last = changed

    def _go_on_from(self, found: Found) -> None:
        manifest = found.manifest
        self.run_id = manifest.run_id
        self._saving.last = manifest if found.tier == "durable" else None
        if not self._resumed:
            failures = manifest.history.failures + (manifest.ending == "interval")
            self._before = manifest.history.model_copy(update={"failures": failures})
            self.measured.remember(manifest.history.costs)
            self._resumed = True

    def _manifest(self, flight: Flight, records: tuple[FileRecord, ...]) -> CheckpointManifest:
        config = self._config.model_dump(mode="json")
        return CheckpointManifest(
            run_id=self.run_id,
            ending=flight.ending,
            history=flight.history,
            code_revision=code_revision(),
            progress=flight.progress,
            scaler=flight.scaler,
            world_size=self._gang.world_size,
            strategy=flight.strategy,
            device=self._gang.device.type,
            data_sha256=self._data_sha256,
            essentials=self._config.essentials(),
            config=config,
            config_sha256=hash_of(config),
            versions={"torch": str(torch.__version__)},
            saved_at=datetime.now(UTC).isoformat(timespec="seconds"),
            files=records,
        )

    def _named(self, random_numbers: RngState) -> dict[str, Tensor]:
        """This rank's generators among the tensors of all."""
        return {f"rng/{self._gang.rank}/{kind}": value for kind, value in random_numbers.items()}

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


def local_directory(config: Config, durable_uri: str) -> Path:
    """Where a node keeps its part. A folder for each durable place: what was saved for one is of no use to another."""
    directory = config.checkpoint.local_directory or config.run.directory / "checkpoints"
    readable = re.sub(r"[^A-Za-z0-9]+", "-", durable_uri).strip("-")[-40:]
    return directory.expanduser().absolute() / f"{readable}-{hashlib.sha256(durable_uri.encode()).hexdigest()[:8]}"


def _local_tier(config: Config, durable_uri: str, in_place: bool) -> LocalStorage | None:
    if in_place and config.checkpoint.local_directory is None:
        return None
    return LocalStorage(local_directory(config, durable_uri))


def _in_words(error: BaseException) -> str:
    """What torch's own exception says only together with the stacks of all ranks."""
    if not isinstance(error, CheckpointException):
        return str(error)
    said = "; ".join(dict.fromkeys(str(failure).strip() for failure, _ in error.failures.values()))
    if "Missing key in checkpoint state_dict: average/" in said:
        return f"{said}. It holds no averaged weights: it was saved without optimizer.ema_decay"
    return said


def _retried(reason: str) -> None:
    log.warning("trying again: %s", reason)
