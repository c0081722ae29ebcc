"""`--dump-batches FILE`: which samples each step trained on, as JSON lines, from what the ranks really took."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from trainer.data import StepBatch
from trainer.errors import UserError
from trainer.gang import Gang
from trainer.metrics import read_lines


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
        try:
            kept = [line for line in read_lines(self._path) if line["step"] <= resumed_step]
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.write_text("".join(json.dumps(line) + "\n" for line in kept))
        except (OSError, KeyError, TypeError) as error:
            raise UserError(f"--dump-batches {self._path}: {error!r}; name a new file, or one from this run") from None

    def write(self, step: int, batch: StepBatch) -> None:
        of_ranks = self._gang.gather(batch.samples)
        if self._gang.leads:
            # Micro-batch by micro-batch, the ranks beside each other: (micro-batches, ranks, micro-batch).
            ids = np.stack(of_ranks, axis=1).reshape(-1).tolist()
            with self._path.open("a") as file:
                file.write(json.dumps({"step": step, "samples": ids}) + "\n")
