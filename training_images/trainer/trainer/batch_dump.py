"""`--dump-batches FILE`: which samples each step trained on, as JSON lines, from what the ranks really took."""

from __future__ import annotations

import json
import logging
import os
from contextlib import suppress
from pathlib import Path

import numpy as np

from trainer.data import StepBatch
from trainer.errors import UserError
from trainer.gang import Gang

_BEGINNING = b'{"step": '

log = logging.getLogger("trainer")


class BatchDump:
    """{"step": 1, "samples": [ids in the order of the data]}, one line a step; every rank calls, the leader writes."""

    def __init__(self, path: Path, resumed_step: int, gang: Gang) -> None:
        """Lines after `resumed_step` are taken out: those steps are about to be done again.

        Raises UserError, on every rank, if the file can't be written.
        """
        self._gang = gang
        self._path = path
        gang.from_leader(lambda: self._open(resumed_step))

    def _open(self, resumed_step: int) -> None:
        another = "name a new file, or one from this run"
        try:
            *lines, half = self._path.read_bytes().split(b"\n") if self._path.exists() else [b""]
            dumped = [json.loads(line) for line in lines]
            kept = "".join(
                json.dumps(line) + "\n" for line in dumped if line["samples"] and line["step"] <= resumed_step
            )
            if half and not (dumped or half.startswith(_BEGINNING)):
                raise ValueError
            self._path.parent.mkdir(parents=True, exist_ok=True)
            unfinished = self._path.with_name(f"{self._path.name}.new")
            unfinished.write_text(kept)
            unfinished.replace(self._path)
        except OSError as error:
            raise UserError(f"--dump-batches {self._path}: can't be written: {error.strerror}; {another}") from None
        except (ValueError, KeyError, TypeError):
            raise UserError(f"--dump-batches {self._path}: holds something else; {another}") from None

    def write(self, step: int, batch: StepBatch) -> None:
        of_ranks = self._gang.gather(batch.samples)
        if self._gang.leads:
            # Micro-batch by micro-batch, the ranks beside each other: (micro-batches, ranks, micro-batch).
            ids = np.stack(of_ranks, axis=1).reshape(-1).tolist()
            self._append(json.dumps({"step": step, "samples": ids}) + "\n", step)

    def _append(self, line: str, step: int) -> None:
        """A full disk costs the whole line and not the run."""
        before = None
        try:
            with self._path.open("ab", buffering=0) as file:
                before = file.tell()
                if file.write(line.encode()) == len(line):
                    return
            problem = "no space left"
        except OSError as error:
            problem = error.strerror
        if before is not None:
            with suppress(OSError):
                os.truncate(self._path, before)
        log.warning("--dump-batches %s: step %d is missing: %s", self._path, step, problem)
