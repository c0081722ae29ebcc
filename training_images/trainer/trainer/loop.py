"""The training loop: `Trainer.run`, `_train_step` and `accumulate` are all of it, from top to bottom."""

from __future__ import annotations

import os
import time
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor
from torch.utils import deterministic

from trainer import evaluation
from trainer.batch_dump import BatchDump
from trainer.checkpoint import CheckpointError, Checkpoints, Saved
from trainer.config import Config
from trainer.data import BatchStream, Samples, StepBatch, samples_of_step
from trainer.ema import WeightAverage
from trainer.errors import TrainingError, UserError
from trainer.flops import utilisation_of
from trainer.gang import Gang
from trainer.guard import NonFiniteGuard, SpikeGuard
from trainer.initial_weights import load_initial_weights
from trainer.manifest import Ending as SaveEnding
from trainer.metrics import EVALUATION
from trainer.model import Decoder
from trainer.parallel import parallelize, settle
from trainer.phases import Phases
from trainer.preemption import Leaving, Notice, agree_to_leave, listen
from trainer.profiling import Profiling
from trainer.reporting import Ending, Outcome, Reporter
from trainer.save_interval import SaveInterval
from trainer.schedule import build_optimizer, learning_rate, set_learning_rate
from trainer.shards import Split, TokenShards
from trainer.state import TrainingState, rng_state, seed_rank, set_rng_state
from trainer.stragglers import Stragglers
from trainer.watchdog import Watchdog


class Preempted(Exception):  # noqa: N818 - nothing went wrong
    """The gang was asked to go. Raised on every rank before the same micro-batch."""

    def __init__(self, leaving: Leaving) -> None:
        super().__init__(leaving.reason)
        self.leaving = leaving


class _Spiked(Exception):  # noqa: N818 - it is mended at once
    """The loss has jumped. Raised on every rank after the same step."""


class Trainer:
    def __init__(
        self,
        config: Config,
        gang: Gang,
        notice: Notice,
        reporter: Reporter,
        run_id: str,
        dump_batches: Path | None = None,
    ) -> None:
        """Opens and builds all the run needs. Raises UserError, on every rank, for what a setting or a place causes."""
        self.config, self.gang, self.notice, self.reporter = config, gang, notice, reporter
        if config.run.deterministic:
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what cuBLAS needs for it
            torch.use_deterministic_algorithms(True)
            # A debugging aid that costs time, a property of the module itself.
            deterministic.fill_uninitialized_memory = False  # ty: ignore[missing-attribute]

        self.train_samples = self._open("train")
        self.held_out = self._open("val") if config.evaluation.interval_steps else None
        data = self.train_samples.tokens.manifest

        decoder = Decoder(config.model, data.vocab_size)
        decoder.initialize(config.run.seed)
        reporter.utilisation = utilisation_of(config, data.vocab_size, gang.device, gang.world_size)
        self.model = parallelize(decoder, config.parallel, config.training.precision, gang)
        self.optimizer = build_optimizer(config.optimizer, self.model.named_parameters())
        self.scaler = torch.amp.GradScaler(gang.device.type, enabled=config.training.precision == "fp16")
        ema_decay = config.optimizer.ema_decay
        self.average = WeightAverage(dict(self.model.named_parameters()), ema_decay) if ema_decay else None
        self.state = TrainingState(self.model, self.optimizer, self.scaler, gang, self.average)
        self.guard, self.spikes = NonFiniteGuard(config.guard, self.scaler), SpikeGuard(config.guard)
        seed_rank(config.run.seed, gang.rank, step=0)

        self.checkpoints = Checkpoints(config, run_id, data.hash, gang)
        self.save_interval = SaveInterval(config.checkpoint, gang)
        self.dump_path, self.dump = dump_batches, None
        self.resumed_from_step: int | None = None
        self.newest_checkpoint: str | None = None
        self.save_soon = False
        """Something was heard that is worth a checkpoint and no reason to leave."""

        directory = config.run.directory.absolute()
        self.profiling = Profiling(config.profile, gang, directory)
        self.stragglers = Stragglers(gang, directory)
        self.watchdog = Watchdog(gang, config.watchdog.seconds, directory, self._hung)
        self.phases = Phases(self.watchdog, self.stragglers, gang.device)

    def run(self) -> Outcome:
        """Trains to the last step, until the held-out loss stops to fall, or until the gang is asked to go."""
        self.phases.enter("restoring")
        self._resume()
        listener = listen(self.config.preemption, self.gang, self.notice)
        self.phases.enter("first passes")
        settle(self.model, self.config.training.micro_batch_size, self.gang)
        self._open_batches()
        try:
            while (end := self._end()) is None:
                self.profiling.step(self.state.progress.step)
                try:
                    self._train_step()
                except _Spiked as jump:
                    self._rewind(str(jump))
                    continue
                if self._due(self.config.evaluation.interval_steps):
                    self._evaluate()
                if self.save_soon or self.save_interval.due(self.state.progress.step):
                    self.save_soon = False
                    self._save("interval")
                self._tell_saves()
            self._save("final", wait=True)
            self.checkpoints.close(wait=True)
            return self.outcome("finished", end)
        except Preempted as told:
            if self.state.progress.step:  # what the seed gives again needs no saving
                self._save("preempted", wait=True, seconds_left=told.leaving.seconds_left)
            return self.outcome("preempted", str(told))
        finally:
            self.profiling.close(self.state.progress.step)
            self.checkpoints.close(wait=False)
            self.batches.close()
            if listener is not None:
                listener.close()

    def _end(self) -> str | None:
        """Why there is no further step, if there is none."""
        progress, settings = self.state.progress, self.config.evaluation
        if self._due(settings.interval_steps) and progress.evaluated_step < progress.step:
            self._evaluate()  # it was broken off by a warning
        if evaluation.patience_ended(progress, settings):
            best = progress.best_evaluation_loss
            lower = "no number" if best is None else f"no lower than {best:.4f}"
            return f"held-out loss {lower} in {settings.patience} evaluations"
        return "all steps done" if progress.step >= self.config.training.steps else None

    def _train_step(self) -> None:
        """One optimiser step over the global batch. Raises Preempted with everything as it was before the step."""
        self.phases.enter("data")
        batch = self.batches.next()
        random_numbers = rng_state(self.gang.device)
        try:
            loss_sum, step_tokens = self.accumulate(batch)
        except Preempted:
            # What is done of the step is dropped. The resumed run does it from its start, with the same random numbers.
            self.optimizer.zero_grad(set_to_none=True)
            set_rng_state(random_numbers, self.gang.device)
            raise

        self.phases.enter("optimizer")
        config, progress = self.config, self.state.progress
        step = progress.step + 1
        rate = learning_rate(config.optimizer, step, config.training.steps)
        set_learning_rate(self.optimizer, rate)
        self.scaler.unscale_(self.optimizer)
        norm = self.model.clip_gradients(config.optimizer.gradient_clip_norm)
        self.guard.arm(self.optimizer, norm, step, progress.position)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        if self.average is not None:
            self.average.update(step)

        self.phases.enter("reporting")
        progress.step = step
        progress.position += config.training.global_batch_size
        progress.tokens += step_tokens
        self.reporter.count_step(step_tokens)
        if self.dump is not None:
            self.dump.write(step, batch)
        if self._due(config.metrics.interval_steps) or step == config.training.steps:
            self._report(loss_sum, step_tokens, norm, rate)
        if self.spikes.watches:
            self._look_for_a_spike(loss_sum, step_tokens)

    def accumulate(self, batch: StepBatch) -> tuple[Tensor, int]:
        """Forward and backward over the step's micro-batches: leaves the gradient of the mean loss over all its tokens.

        Returns this rank's summed loss, and the number of valid tokens in the step over all ranks and micro-batches.
        """
        step_tokens = self._agree_to_go_on(batch.valid_tokens)
        weight = self.model.gradient_weight / step_tokens
        loss_sum = torch.zeros((), device=self.gang.device)
        for index, (inputs, targets) in enumerate(batch.micro_batches):
            if index:
                self._agree_to_go_on()
            last = index == len(batch.micro_batches) - 1
            with self.model.reducing(last_micro_batch=last):
                self.phases.enter("forward")
                loss, _ = self.model(inputs, targets)
                self.phases.enter("reduction" if last and self.gang.world_size > 1 else "backward")
                self.scaler.scale(loss * weight).backward()
            loss_sum += loss.detach()
        return loss_sum, step_tokens

    def _agree_to_go_on(self, valid_tokens: int = 0) -> int:
        """One small all-reduce: has any rank been told to go (raises Preempted)? How many tokens have all together?"""
        before = self.phases.phase
        self.phases.enter("agreement")
        told, warned, tokens = self.gang.sum(self.notice.received, self.notice.warned, valid_tokens)
        self.phases.enter(before)
        if told:
            raise Preempted(agree_to_leave(self.gang, self.notice))
        if warned:
            self.save_soon = True
            said = self.notice.take_warning()
            self.reporter.event("warned", f"{said}: saving", step=self.state.progress.step, reason=said)
        return tokens

    def _evaluate(self) -> None:
        """Preempted between micro-batches, it is left to the resumed run."""
        assert self.held_out is not None
        self.phases.enter("evaluation")
        started = time.perf_counter()
        config, progress = self.config, self.state.progress
        loss = evaluation.held_out_loss(
            self.model, self.held_out, config, self.gang, self._agree_to_go_on, self.average
        )
        evaluation.note(progress, config.evaluation, loss)
        said = f"step {progress.step}: held-out loss {loss:.4f}"
        self.reporter.event(EVALUATION, said, step=progress.step, evaluation_loss=loss)
        self.reporter.pause_clock(time.perf_counter() - started)

    def _save(self, ending: SaveEnding, wait: bool = False, seconds_left: float | None = None) -> None:
        """Raises CheckpointError, where it waits, if that came to nothing."""
        self._count_skipped()  # so that the checkpoint knows them; nobody waits for the device longer than it does
        self.phases.enter("saving")
        started = time.perf_counter()
        step = self.state.progress.step
        self.save_interval.begun(step)
        try:
            begun = self.checkpoints.save(self.state, ending, wait, seconds_left)
        except CheckpointError as error:
            self._tell_saves()
            said = f"{error}; newest checkpoint: {self.newest_checkpoint}"
            self.reporter.event("checkpoint-failed", said, step=step, reason=str(error))
            if wait:
                raise
            return
        self._tell_saves()
        if begun.state == "skipped":
            said = f"step {step}: not saved: {begun.reason}"
            self.reporter.event("checkpoint-skipped", said, step=step, reason=begun.reason)
        elif begun.state == "local":
            self.newest_checkpoint = begun.uri
            self.reporter.event("checkpoint-local", f"{begun.uri}: {begun.reason}", step=step, uri=begun.uri)
        self.reporter.stalled(time.perf_counter() - started)

    def _tell_saves(self) -> None:
        """What the background has completed."""
        for one in self.checkpoints.finished():
            self.reporter.event(one.event, str(one), **asdict(one))
            if isinstance(one, Saved):
                self.newest_checkpoint = one.uri
                self._choose_interval(one.step)

    def _choose_interval(self, step: int) -> None:
        """From what saves cost, and how often the run fails."""
        measured, history = self.checkpoints.measured, self.checkpoints.history
        if reason := self.save_interval.choose(measured, history, self.reporter.step_seconds):
            chosen = {"steps": self.save_interval.steps, "reason": reason}
            self.reporter.event("interval", f"checkpoints {reason}", step=step, **chosen)

    def _look_for_a_spike(self, loss_sum: Tensor, step_tokens: int) -> None:
        """Raises _Spiked, on every rank, where this step's loss is far above those before."""
        loss = self.gang.sum_float(loss_sum.item()) / step_tokens
        usual = self.spikes.jumped(loss)
        self.state.progress.recent_losses = self.spikes.window
        if usual is not None:
            raise _Spiked(f"step {self.state.progress.step}: loss {loss:.4f}, usually {usual:.4f}")

    def _rewind(self, jump: str) -> None:
        """Back to the newest checkpoint, and past the data since then. Raises TrainingError where that is of no use."""
        spiked = self.state.progress
        limit = self.config.guard.rewinds
        found = self.checkpoints.newest_sound() if spiked.rewinds < limit else None
        if found is None:
            why = (
                "no checkpoint to go back to" if spiked.rewinds < limit else f"gone back {limit} times (guard.rewinds)"
            )
            raise TrainingError(f"{jump}; {why}. Lower optimizer.learning_rate or lengthen the warm-up")
        self._tell_refused()
        self.checkpoints.load(found, self.state)
        progress = self.state.progress
        progress.position, progress.rewinds = spiked.position, spiked.rewinds + 1
        self.spikes.restore(progress.recent_losses)
        self.reporter.go_back(progress.step)
        said = f"{jump}: back to step {progress.step} from {found.uri}, past the samples in between"
        self.reporter.event("rewound", said, step=progress.step, uri=found.uri, from_step=spiked.step)
        self.batches.close()
        self._open_batches()

    def _open_batches(self) -> None:
        progress = self.state.progress
        self.batches = BatchStream(self.train_samples, self.config, progress.position, self.gang)
        if self.dump_path is not None:
            self.dump = BatchDump(self.dump_path, progress.step, self.gang)
        self.reporter.start_clock(data_wait_seconds=0.0)

    def _resume(self) -> None:
        """Goes on from the newest sound checkpoint, if there is one, and opens the journal at that step."""
        found = self.checkpoints.newest_sound()
        last = self.config.training.steps
        if found is not None and found.manifest.step > last:
            raise UserError(
                f"{found.uri} is of step {found.manifest.step}, beyond training.steps, which is {last}: "
                "train for more steps, or elsewhere (checkpoint.uri)"
            )
        random_numbers = self.checkpoints.load(found, self.state) if found is not None else None
        if found is None and self.config.model.initialize_from:
            load_initial_weights(self.state, self.config, self.gang)
        progress = self.state.progress
        self.spikes.restore(progress.recent_losses)
        self.reporter.open(self.checkpoints.run_id, progress.step)
        self._tell_refused()
        if found is not None:
            self.resumed_from_step = progress.step
            self.save_interval.begun(progress.step)
            self.newest_checkpoint = found.uri
            said = f"resumed at step {progress.step} from {found.uri}; random numbers {random_numbers}"
            self.reporter.event("resumed", said, step=progress.step, uri=found.uri, random_numbers=random_numbers)

    def _tell_refused(self) -> None:
        for refused in self.checkpoints.refused:
            said = f"checkpoint {refused.uri} is not used: {refused.reason}"
            self.reporter.event("checkpoint-refused", said, step=refused.step, uri=refused.uri, reason=refused.reason)

    def _report(self, loss_sum: Tensor, step_tokens: int, norm: Tensor, rate: float) -> None:
        """Measures and tells. Raises TrainingError on every rank where too many steps in a row had to be skipped."""
        progress = self.state.progress
        loss = self.gang.sum_float(loss_sum.item()) / step_tokens
        scale = {"loss_scale": self.scaler.get_scale()} if self.scaler.is_enabled() else {}
        self.reporter.step(
            progress.step,
            progress.tokens,
            self.batches.wait_seconds,
            loss=loss,
            grad_norm=norm.item(),
            learning_rate=rate,
            **scale,
        )
        if self.save_interval.waits:
            self._choose_interval(progress.step)
        self.phases.settle()
        compared = self.stragglers.report(progress.step)
        for slow in compared.news if compared else []:
            self.reporter.event("straggler", str(slow), **asdict(slow), step=progress.step)
        self._count_skipped()
        if self.guard.too_many:
            raise TrainingError(
                f"{self.guard.in_a_row} steps in a row, until step {self.guard.last_skipped}, gave gradients that are "
                "no number. Their samples stand in metrics.jsonl. "
                f"Newest checkpoint: {self.newest_checkpoint or 'none yet'}. "
                "Lower optimizer.learning_rate, lengthen the warm-up, or use bf16 instead of fp16"
            )

    def _count_skipped(self) -> None:
        """Waits for the device, and tells of the steps that changed no weight since the last time."""
        for one in self.guard.skipped():
            self.state.progress.skipped_steps += 1
            said = f"step {one.step}: the gradient is no number; the weights stay as they were"
            samples = samples_of_step(len(self.train_samples), self.config, one.position)
            self.reporter.event("step-skipped", said, step=one.step, samples=samples)

    def _due(self, interval_steps: int | None) -> bool:
        return interval_steps is not None and self.state.progress.step % interval_steps == 0

    def _open(self, split: Split) -> Samples:
        settings = self.config.data
        tokens = self.gang.together(lambda: TokenShards.open(settings.uri, split, settings.cache_directory))
        samples, least = Samples(tokens, self.config.model.context), 1
        if split == "train":
            least = self.config.training.global_batch_size
        if len(samples) < least:
            raise UserError(
                f"{settings.uri}: its {split} split makes {len(samples)} samples of {samples.context} tokens "
                f"(model.context), at least {least} are needed: prepare more text, or use shorter samples"
            )
        return samples

    def _hung(self, reason: str) -> None:
        """The last words of a gang that stands still, from the watchdog's thread."""
        self.reporter.end(self.outcome("failed", reason))

    def outcome(self, how: Ending, reason: str | None = None) -> Outcome:
        return Outcome(how, self.state.progress.step, self.resumed_from_step, reason, self.newest_checkpoint)
