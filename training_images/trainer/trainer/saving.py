"""Saves in the background, and the ranks' agreement on how far they are.

Each rank's saving process works by itself; the ranks compare notes whenever training lets them, at step boundaries.
When all have hashed their files, each node's disk gets the manifest; when all files have arrived in the durable place,
that does. Nothing here is done in threads, so that nothing happens between two boundaries.
"""

from __future__ import annotations

import base64
import logging
import time
from collections.abc import Callable, Mapping

from torch import Tensor

from trainer.config_sections import CheckpointConfig
from trainer.flight import Flight, Medians, PruneFailed, Saved, SaveFailed
from trainer.gang import Gang
from trainer.manifest import CheckpointManifest, FileRecord
from trainer.ownership import TAKEN_OVER, TakenOverError
from trainer.saver import Setup, Tier
from trainer.saver_process import Background, SaverProcess, SaverThreads
from trainer.snapshot import INDEX, Snapshot
from trainer.storage import Storage, open_storage
from trainer.storage_local import LocalStorage

log = logging.getLogger("trainer")

PATIENCE_SECONDS = 600.0
"""With a durable place where nothing succeeds any more. Then the save is given up, and the next one begun."""
READ_SECONDS = 30.0
"""Of silence after which a request is made again."""
POLL_SECONDS = 0.005
NICENESS = 19
"""Of the saving processes: the lowest priority, so that they get what training leaves."""

MakeManifest = Callable[[Flight, tuple[FileRecord, ...]], CheckpointManifest]


class Saving:
    """At most one save is under way. Every method is called by all ranks alike.

    Whichever of them hears that another run has taken over the durable place raises TakenOverError, on every rank.
    """

    def __init__(
        self,
        gang: Gang,
        durable: Storage,
        local: LocalStorage | None,
        settings: CheckpointConfig,
        owner: str,
        make_manifest: MakeManifest,
    ) -> None:
        """`owner`: the token with which the durable place has been claimed."""
        self._gang, self._durable, self._local, self._settings = gang, durable, local, settings
        self._owner, self._make_manifest = owner, make_manifest
        self._snapshot: Snapshot | None = None
        self._process: Background | None = None
        self._pruning: Flight | None = None
        self._reports: list[Saved | SaveFailed | PruneFailed] = []
        self.flight: Flight | None = None
        self.newest_durable: str | None = None
        self.last: CheckpointManifest | None = None
        """Of the newest checkpoint that this process saved, or has all ranks' hashes of."""
        self.measured = Medians()

    def snapshot(self, tensors: Mapping[str, Tensor]) -> int:
        """Takes `tensors`; training may go on afterwards. Returns the bytes of this rank's part.

        Raises MemoryError, on every rank, where there is no room for it.
        """
        if self._snapshot is not None and not self._snapshot.fits(tensors):
            self.close()
        if self._snapshot is None:
            self._snapshot = Snapshot(tensors, self._gang, self._settings.upload_threads)
            names = self._gang.gather([file.name for file in self._snapshot.files])
            self._expected = [INDEX, *(name for names_of_rank in names for name in names_of_rank)]
            started = time.perf_counter()
            self._snapshot.take(tensors)  # once more, to know at once what the next ones will cost
            self.measured.laid_out(max(self._gang.gather(time.perf_counter() - started)))
        else:
            self._snapshot.take(tensors)
        return self._snapshot.bytes

    def begin(self, flight: Flight) -> None:
        """Has the snapshot saved."""
        assert self.flight is None
        self.flight = flight
        self._send("save", name=flight.name)

    def advance(self, time_is_up: bool = False) -> bool:
        """Hears what the processes have told, and does what follows from it. Costs nothing while nothing is under way.

        Returns whether rank 0 says that time is up.
        """
        if self.idle:
            return False
        self._hear()
        flight, pruning, leads = self.flight, self._pruning, self._gang.leads
        files, local, durable, manifest, pruned, up = self._gang.sum(
            flight is not None and flight.ended("files"),
            flight is not None and flight.ended("local manifest"),
            flight is not None and flight.ended("durable"),
            leads and flight is not None and flight.sealed and flight.ended("durable manifest"),
            pruning is not None and pruning.ended("prune"),
            time_is_up and leads,
        )
        everyone = self._gang.world_size
        if flight is not None:
            if files == everyone and flight.manifest is None:
                self._seal_locally(flight)
            elif local == everyone and self._local is not None and not flight.is_local and flight.not_local is None:
                self._note_local(flight)
            if durable == everyone and not flight.sealed:
                self._seal(flight)
            elif manifest and flight.sealed:
                self._land(flight)
        if pruning is not None and pruned == everyone:
            self._pruning = None
            problems = [text for text in self._gang.gather(pruning.problems["prune"]) if text is not None]
            if problems:
                reason = _joined(problems)
                self._reports.append(PruneFailed(pruning.step, reason))
        return up > 0

    def until(self, reached: Callable[[], bool], seconds: float | None = None) -> bool:
        """Waits for what all ranks will see alike. Returns whether that came before rank 0's `seconds` had passed."""
        deadline = None if seconds is None else time.monotonic() + seconds
        while not reached():
            if self.advance(time_is_up=deadline is not None and time.monotonic() > deadline):
                return reached()
            if not reached():
                time.sleep(POLL_SECONDS)
        return True

    @property
    def idle(self) -> bool:
        return self.flight is None and self._pruning is None

    def reports(self) -> list[Saved | SaveFailed | PruneFailed]:
        """What has been completed since the last call."""
        reports, self._reports = self._reports, []
        return reports

    def take_failure(self, step: int) -> SaveFailed | None:
        """Out of the reports, if the save of `step` has failed."""
        failed = next((one for one in self._reports if isinstance(one, SaveFailed) and one.step == step), None)
        if failed is not None:
            self._reports.remove(failed)
        return failed

    def abandon(self, reason: str) -> None:
        """Gives up the save under way. What has arrived of it is no checkpoint, and is deleted after a later one."""
        flight = self.flight
        if flight is None:
            return
        if self._process is not None:
            self._process.kill()
            self._process = None
        self._fail(flight, reason)
        self._pruning = None

    def close(self) -> None:
        """Ends the process and frees the memory. What is under way is lost."""
        if self._process is not None:
            self._process.kill()
            self._process = None
        if self._snapshot is not None:
            self._snapshot.close()
            self._snapshot = None
        self.flight = self._pruning = None

    def _hear(self) -> None:
        if self._process is None:
            return
        for answer in self._process.answers():
            for flight in (self.flight, self._pruning):
                if flight is not None and flight.name == answer.name:
                    if answer.stage == "retry" and not flight.retried:
                        log.warning("checkpoint %s: trying again: %s", flight.name, answer.problem)
                    flight.hear(answer)
        if ended := self._process.ended:
            if self.flight is not None:
                self.flight.lose(ended)
            if self._pruning is not None:
                self._pruning.problems.setdefault("prune", ended)
            self._process.kill()
            self._process = None

    def _seal_locally(self, flight: Flight) -> None:
        """All files have their hashes. Where they all are on the nodes' own disks too, these get the manifest."""
        told = self._gang.gather((flight.records, flight.problems["files"], flight.stall_seconds))
        flight.stall_seconds = max(stall for _, _, stall in told)
        records = tuple(record for records, _, _ in told for record in records)
        # What is saved at is in it: one rank's clock decides.
        flight.manifest = self._gang.from_leader(lambda: self._make_manifest(flight, records))
        problems = [problem for _, problem, _ in told if problem is not None]
        if problems:
            flight.not_local = problems[0]
        elif self._local is not None and self._gang.local_rank == 0:
            content = flight.manifest.to_json().decode()
            self._send("manifest", name=flight.name, tier="local", content=content)
        else:
            flight.problems["local manifest"] = None

    def _note_local(self, flight: Flight) -> None:
        problems = [text for text in self._gang.gather(flight.problems["local manifest"]) if text is not None]
        flight.not_local = problems[0] if problems else None
        flight.is_local = not problems

    def _seal(self, flight: Flight) -> None:
        """All files have arrived, or never will."""
        problems = [text for text in self._gang.gather(flight.problems["durable"]) if text is not None]
        if problems:
            self._fail(flight, _joined(problems))
            return
        assert flight.manifest is not None
        flight.sealed = True
        flight.problems.pop("durable manifest", None)
        if self._gang.leads:
            content = flight.manifest.to_json().decode()
            self._send("manifest", name=flight.name, tier="durable", content=content)

    def _land(self, flight: Flight) -> None:
        """Rank 0 has written the manifest, or can't."""
        problem, seconds = self._gang.from_leader(
            lambda: (flight.problems["durable manifest"], time.perf_counter() - flight.started)
        )
        if problem is not None:
            self._fail(flight, _joined([problem]))
            return
        assert flight.manifest is not None
        retried = dict.fromkeys(reason for reasons in self._gang.gather(flight.retried) for reason in reasons)
        uri = self._durable.uri_of(flight.name)
        saved = Saved(
            uri,
            flight.step,
            flight.manifest.total_bytes,
            seconds,
            flight.stall_seconds,
            tuple(retried),
            flight.not_local,
        )
        self._reports.append(saved)
        self.measured.saved(saved)
        self.newest_durable, self.last = uri, flight.manifest
        self.flight, self._pruning = None, flight
        tiers: list[Tier] = ["durable"] if self._gang.leads else []
        if self._local is not None and self._gang.local_rank == 0:
            tiers.append("local")
        if tiers:
            self._send("prune", name=flight.name, newest=flight.step, tiers=tiers)
        else:
            flight.problems["prune"] = None

    def _fail(self, flight: Flight, reason: str) -> None:
        self.flight = None
        uri = self._durable.uri_of(flight.name)
        self._reports.append(SaveFailed(uri, flight.step, reason, self.newest_durable))

    def _send(self, job: str, **fields: object) -> None:
        if self._process is None:
            kind = SaverProcess if self._settings.asynchronous else SaverThreads
            self._process = kind(self._setup())
        self._process.send(job, **fields)

    def _setup(self) -> Setup:
        snapshot, settings = self._snapshot, self._settings
        assert snapshot is not None
        return Setup(
            memory=snapshot.handle,
            files=[(file.name, file.offset, file.bytes) for file in snapshot.files],
            index_name=INDEX,
            index=base64.b64encode(snapshot.index).decode(),
            expected=self._expected,
            durable=self._durable.uri,
            local=self._local.uri if self._local else None,
            owner=self._owner,
            leads=self._gang.leads,
            leads_node=self._gang.local_rank == 0,
            threads=settings.upload_threads,
            keep_last=settings.keep_last,
            keep_every=settings.keep_every_steps,
            patience_seconds=PATIENCE_SECONDS,
            read_seconds=READ_SECONDS,
            niceness=NICENESS,
        )


def _joined(problems: list[str]) -> str:
    """Of the ranks, each once. Raises TakenOverError if that is what one of them has met."""
    if taken_over := next((text for text in problems if TAKEN_OVER in text), None):
        raise TakenOverError(taken_over)
    return "; ".join(dict.fromkeys(problems))


def in_a_hurry(storage: Storage) -> Storage:
    """The same place, with little patience: for a word that is good to have said, but not worth waiting for."""
    if storage.local_path("any") is not None:
        return storage
    from trainer.storage_s3 import Patience

    return open_storage(storage.uri, Patience(connect_seconds=3.0, read_seconds=10.0, attempts=2))
