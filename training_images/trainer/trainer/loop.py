"""The training loop. `Trainer.run` is the whole life of one process, from top to bottom."""

from __future__ import annotations

import os
import time
from pathlib import Path

import torch
from torch import Tensor
from torch.utils import deterministic

from trainer import evaluation
from trainer.batch_dump import BatchDump
from trainer.checkpoint import CheckpointError, Checkpoints
from trainer.config import Config
from trainer.data import BatchStream, Samples, StepBatch, samples_of_step
from trainer.ema import WeightAverage
from trainer.errors import TrainingError, UserError
from trainer.gang import Gang
from trainer.guard import NonFiniteGuard, SpikeGuard
from trainer.metrics import EVALUATION
from trainer.model import Decoder
from trainer.parallel import parallelize, settle
from trainer.preemption import Notice, QueueListener, own_instance_id
from trainer.reporting import Ending, Outcome, Reporter, RunDirectory
from trainer.schedule import build_optimizer, learning_rate, set_learning_rate
from trainer.shards import Split, TokenShards
from trainer.state import TrainingState, rng_state, seed_rank, set_rng_state


class Preempted(Exception):  # noqa: N818 - nothing went wrong
    """The gang was asked to go. Raised on every rank before the same micro-batch."""


class _Spiked(Exception):  # noqa: N818 - it is mended at once
    """The loss has jumped. Raised on every rank after the same step."""


def train(config: Config, notice: Notice, dump_batches: Path | None = None) -> Outcome:
    """Joins the gang and trains. However it ends, `outcome.json` says how; `dump_batches` gets each step's samples.

    Raises UserError or TrainingError, on every rank alike.
    """
    gang = Gang.assemble()
    directory = gang.from_leader(lambda: RunDirectory(config))
    reporter = Reporter(config, directory if gang.leads else None)
    trainer: Trainer | None = None
    try:
        trainer = Trainer(config, gang, notice, reporter, gang.from_leader(directory.run_id), dump_batches)
        outcome = trainer.run()
    except Exception as error:
        reason = str(error) or type(error).__name__
        failed = trainer.outcome("failed", reason) if trainer else Outcome("failed", step=0, reason=reason)
        reporter.end(failed)
        if isinstance(error, UserError | TrainingError):
            gang.dismiss()  # the other ranks are here too; after any other failure they may not be
        raise
    reporter.end(outcome)
    gang.dismiss()
    return outcome


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
        self.model = parallelize(decoder, config.parallel, config.training.precision, gang)
        self.optimizer = build_optimizer(config.optimizer, self.model.named_parameters())
        self.scaler = torch.amp.GradScaler(gang.device.type, enabled=config.training.precision == "fp16")
        ema_decay = config.optimizer.ema_decay
        self.average = WeightAverage(dict(self.model.named_parameters()), ema_decay) if ema_decay else None
        self.state = TrainingState(self.model, self.optimizer, self.scaler, gang, self.average)
        self.guard, self.spikes = NonFiniteGuard(config.guard, self.scaler), SpikeGuard(config.guard)
        seed_rank(config.run.seed, gang.rank, step=0)

        self.checkpoints = Checkpoints(config, run_id, data.hash, gang)
        self.dump_path, self.dump = dump_batches, None
        self.resumed_from_step: int | None = None
        self.newest_checkpoint: str | None = None
        self.saved_step = 0

    def run(self) -> Outcome:
        """Trains to the last step, until the held-out loss stops to fall, or until the gang is asked to go."""
        self._resume()
        listener = self._listen_to_queue()
        settle(self.model, self.config.training.micro_batch_size, self.gang)
        self._open_batches()
        try:
            while (end := self._end()) is None:
                try:
                    self._train_step()
                except _Spiked as jump:
                    self._rewind(str(jump))
                    continue
                if self._due(self.config.evaluation.interval_steps):
                    self._evaluate()
                if self._due(self.config.checkpoint.interval_steps):
                    self._save()
            self._save()
            return self.outcome("finished", end)
        except Preempted as reason:
            self._save()
            return self.outcome("preempted", str(reason))
        finally:
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
            return f"held-out loss no lower than {best:.4f} in {settings.patience} evaluations"
        return "all steps done" if progress.step == self.config.training.steps else None

    def _train_step(self) -> None:
        """One optimiser step over the global batch. Raises Preempted with everything as it was before the step."""
        batch = self.batches.next()
        random_numbers = rng_state(self.gang.device)
        try:
            loss_sum, step_tokens = self.accumulate(batch)
        except Preempted:
            # What is done of the step is dropped. The resumed run does it from its start, with the same random numbers.
            self.optimizer.zero_grad(set_to_none=True)
            set_rng_state(random_numbers, self.gang.device)
            raise

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

        progress.step = step
        progress.position += config.training.global_batch_size
        progress.tokens += step_tokens
        self.reporter.count_step(step_tokens)
        if self.dump is not None:
            self.dump.write(step, batch)
        if self._due(config.metrics.interval_steps):
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
            with self.model.reducing(last_micro_batch=index == len(batch.micro_batches) - 1):
                loss, _ = self.model(inputs, targets)
                self.scaler.scale(loss * weight).backward()
            loss_sum += loss.detach()
        return loss_sum, step_tokens

    def _agree_to_go_on(self, valid_tokens: int = 0) -> int:
        """One small all-reduce: has any rank been told to go (raises Preempted)? How many tokens have all together?"""
        told, tokens = self.gang.sum(self.notice.received, valid_tokens)
        if told:
            reasons = enumerate(self.gang.gather(self.notice.reason))
            raise Preempted(", ".join(f"{reason} (rank {rank})" for rank, reason in reasons if reason is not None))
        return tokens

    def _evaluate(self) -> None:
        """Preempted between micro-batches, it is left to the resumed run."""
        assert self.held_out is not None
        started = time.perf_counter()
        config, progress = self.config, self.state.progress
        loss = evaluation.held_out_loss(
            self.model, self.held_out, config, self.gang, self._agree_to_go_on, self.average
        )
        evaluation.note(progress, config.evaluation, loss)
        said = f"step {progress.step}: held-out loss {loss:.4f}"
        self.reporter.event(EVALUATION, said, step=progress.step, evaluation_loss=loss)
        self.reporter.pause_clock(time.perf_counter() - started)

    def _save(self) -> None:
        """Saves what is not saved yet. A save that fails ends the run only when it is the last chance."""
        step = self.state.progress.step
        if step == self.saved_step:
            return
        started = time.perf_counter()
        try:
            saved = self.checkpoints.save(self.state)
        except CheckpointError as error:
            last_chance = step == self.config.training.steps or self.gang.sum(self.notice.received)[0]
            said = f"{error}; newest checkpoint: {self.newest_checkpoint}"
            self.reporter.event("checkpoint-failed", said, step=step, reason=str(error))
            if last_chance:
                raise
            return
        seconds = time.perf_counter() - started
        self.saved_step, self.newest_checkpoint = step, saved.uri
        said = f"step {step}: saved {saved.uri} ({saved.bytes / 1e6:.1f} MB in {seconds:.2f} s)"
        self.reporter.event("checkpoint", said, step=step, uri=saved.uri, bytes=saved.bytes, seconds=round(seconds, 3))
        try:
            self.checkpoints.prune(step)
        except CheckpointError as error:
            self.reporter.event("prune-failed", str(error), step=step, reason=str(error))
        self.reporter.pause_clock(time.perf_counter() - started)

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
        self.checkpoints.load(found, self.state)
        progress = self.state.progress
        progress.position, progress.rewinds = spiked.position, spiked.rewinds + 1
        self.spikes.restore(progress.recent_losses)
        self.saved_step = progress.step
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
        random_numbers = self.checkpoints.load(found, self.state) if found is not None else None
        progress = self.state.progress
        self.spikes.restore(progress.recent_losses)
        self.reporter.open(self.checkpoints.run_id, progress.step)
        for refused in self.checkpoints.refused:
            said = f"checkpoint {refused.uri} is not used: {refused.reason}"
            self.reporter.event("checkpoint-refused", said, step=refused.step, uri=refused.uri, reason=refused.reason)
        if found is not None:
            self.resumed_from_step = self.saved_step = progress.step
            self.newest_checkpoint = found.uri
            said = f"resumed at step {progress.step} from {found.uri}; random numbers {random_numbers}"
            self.reporter.event("resumed", said, step=progress.step, uri=found.uri, random_numbers=random_numbers)

    def _listen_to_queue(self) -> QueueListener | None:
        settings = self.config.preemption
        if settings.queue_url is None:
            return None
        instance_ids = {instance for instance in self.gang.gather(own_instance_id()) if instance is not None}
        url = settings.queue_url

        def listen() -> QueueListener | None:
            return QueueListener(url, instance_ids, self.notice, settings.wait_seconds) if self.gang.leads else None

        return self.gang.together(listen)

    def _report(self, loss_sum: Tensor, step_tokens: int, norm: Tensor, rate: float) -> None:
        """Measures and tells. Raises TrainingError on every rank where too many steps in a row had to be skipped."""
        progress = self.state.progress
        loss = self.gang.sum_float(loss_sum.item()) / step_tokens
        skipped = self.guard.skipped()
        progress.skipped_steps += len(skipped)
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
        for one in skipped:
            said = f"step {one.step}: the gradient is no number; the weights stay as they were"
            samples = samples_of_step(len(self.train_samples), self.config, one.position)
            self.reporter.event("step-skipped", said, step=one.step, samples=samples)
        if self.guard.too_many:
            raise TrainingError(
                f"{self.guard.in_a_row} steps in a row, until step {skipped[-1].step}, gave gradients that are no "
                f"number. Their samples stand in metrics.jsonl. Newest checkpoint: {self.newest_checkpoint}. "
                "Lower optimizer.learning_rate, lengthen the warm-up, or use bf16 instead of fp16"
            )

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

    def outcome(self, how: Ending, reason: str | None = None) -> Outcome:
        return Outcome(how, self.state.progress.step, self.resumed_from_step, reason, self.newest_checkpoint)
