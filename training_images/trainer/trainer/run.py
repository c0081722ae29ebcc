"""One rank's work from joining the gang to leaving it: whatever happens, `outcome.json` says how it ended."""

from __future__ import annotations

from pathlib import Path

import torch

from trainer.config import Config
from trainer.errors import TrainingError, UserError
from trainer.gang import Gang
from trainer.loop import Trainer
from trainer.memory import check_state_fits
from trainer.preemption import Notice
from trainer.reporting import Outcome, Reporter, RunDirectory


def train(config: Config, notice: Notice, dump_batches: Path | None = None) -> Outcome:
    """Joins the gang and trains. However it ends, `outcome.json` says how; `dump_batches` gets each step's samples.

    Raises UserError or TrainingError, on every rank alike.
    """
    gang = Gang.assemble()
    directory = gang.from_leader(lambda: RunDirectory(config))
    reporter = Reporter(config, directory if gang.leads else None, gang.device)
    trainer: Trainer | None = None
    try:
        gang.together(lambda: check_state_fits(config, gang.world_size, gang.local_world_size, gang.device))
        trainer = Trainer(config, gang, notice, reporter, gang.from_leader(directory.run_id), dump_batches)
        outcome = trainer.run()
        trainer.watchdog.close()
    except Exception as error:
        if trainer is not None:
            if isinstance(error, torch.OutOfMemoryError):
                trainer.profiling.out_of_memory()
            trainer.watchdog.close()
        reason = str(error) or type(error).__name__
        failed = trainer.outcome("failed", reason) if trainer else Outcome("failed", step=0, reason=reason)
        reporter.end(failed)
        if isinstance(error, UserError | TrainingError):
            gang.dismiss()  # the other ranks are here too; after any other failure they may not be
        raise
    reporter.end(outcome)
    gang.dismiss()
    return outcome
