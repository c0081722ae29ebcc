"""The training loop. `Trainer.run` is the whole life of one process, from top to bottom."""

from __future__ import annotations

import math
import os
import time

import torch
from torch import Tensor
from torch.utils import deterministic

from trainer.checkpoint import CheckpointError, Checkpoints
from trainer.config import Config
from trainer.data import BatchStream, Samples, StepBatch, held_out_batches
from trainer.errors import TrainingError, UserError
from trainer.gang import Gang
from trainer.metrics import EVALUATION
from trainer.model import Decoder
from trainer.parallel import parallelize, settle
from trainer.preemption import Notice, QueueListener, own_instance_id
from trainer.reporting import Ending, Outcome, Reporter, RunDirectory
from trainer.schedule import build_optimizer, learning_rate, set_learning_rate
from trainer.shards import Split, TokenShards
from trainer.state import Progress, TrainingState, rng_state, seed_rank, set_rng_state


class Preempted(Exception):  # noqa: N818 - nothing went wrong
    """The gang was asked to go. Raised on every rank before the same micro-batch."""


def train(config: Config, notice: Notice) -> Outcome:
    """Joins the gang and trains. However it ends, `outcome.json` says how.

    Raises UserError or TrainingError, on every rank alike.
    """
    gang = Gang.assemble()
    directory = gang.from_leader(lambda: RunDirectory(config))
    reporter = Reporter(config, directory if gang.leads else None)
    trainer: Trainer | None = None
    try:
        trainer = Trainer(config, gang, notice, reporter, gang.from_leader(directory.run_id))
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
    def __init__(self, config: Config, gang: Gang, notice: Notice, reporter: Reporter, run_id: str) -> None:
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
        self.state = TrainingState(self.model, self.optimizer, self.scaler, gang)
        seed_rank(config.run.seed, gang.rank, step=0)

        self.checkpoints = Checkpoints(config, run_id, data.hash, gang)
        self.resumed_from_step: int | None = None
        self.newest_checkpoint: str | None = None
        self.saved_step = 0

    def run(self) -> Outcome:
        """Trains to the last step, or until the gang is asked to go."""
        config, progress = self.config, self._resume()
        listener = self._listen_to_queue()
        settle(self.model, config.training.micro_batch_size, self.gang)
        self.batches = BatchStream(self.train_samples, config, progress.position, self.gang)
        self.reporter.start_clock(data_wait_seconds=0.0)
        try:
            while True:
                if self._due(config.evaluation.interval_steps) and progress.evaluated_step < progress.step:
                    self._evaluate()
                if self._due(config.checkpoint.interval_steps) or progress.step == config.training.steps:
                    self._save()
                if progress.step == config.training.steps:
                    return self.outcome("finished")
                self._train_step()
        except Preempted as reason:
            self._save()
            return self.outcome("preempted", str(reason))
        finally:
            self.batches.close()
            if listener is not None:
                listener.close()

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
        rate = learning_rate(config.optimizer, progress.step + 1, config.training.steps)
        set_learning_rate(self.optimizer, rate)
        self.scaler.unscale_(self.optimizer)
        norm = self.model.clip_gradients(config.optimizer.gradient_clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)

        progress.step += 1
        progress.position += config.training.global_batch_size
        progress.tokens += step_tokens
        self.reporter.count_step(step_tokens)
        if self._due(config.metrics.interval_steps):
            self._report(loss_sum, step_tokens, norm, rate)

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

    @torch.no_grad()
    def _evaluate(self) -> None:
        """Mean loss over the held-out samples. Preempted between micro-batches, it is left to the resumed run."""
        assert self.held_out is not None
        started = time.perf_counter()
        loss_sum, tokens = torch.zeros(2, dtype=torch.float64, device=self.gang.device)
        self.model.module.eval()
        micro_batch_size = self.config.training.micro_batch_size
        batches = held_out_batches(self.held_out, self.config.evaluation.samples, micro_batch_size, self.gang)
        for inputs, targets in batches:
            self._agree_to_go_on()
            loss, valid = self.model(inputs, targets)
            loss_sum += loss
            tokens += valid
        self.model.module.train()
        progress = self.state.progress
        progress.evaluated_step = progress.step
        mean = self.gang.sum_float(loss_sum.item()) / self.gang.sum_float(tokens.item())
        said = f"step {progress.step}: held-out loss {mean:.4f}"
        self.reporter.event(EVALUATION, said, step=progress.step, evaluation_loss=mean)
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

    def _resume(self) -> Progress:
        """Goes on from the newest sound checkpoint, if there is one, and opens the journal at that step."""
        found = self.checkpoints.newest_sound()
        random_numbers = self.checkpoints.load(found, self.state) if found is not None else None
        progress = self.state.progress
        self.reporter.open(self.checkpoints.run_id, progress.step)
        for refused in self.checkpoints.refused:
            said = f"checkpoint {refused.uri} is not used: {refused.reason}"
            self.reporter.event("checkpoint-refused", said, step=refused.step, uri=refused.uri, reason=refused.reason)
        if found is not None:
            self.resumed_from_step = self.saved_step = progress.step
            self.newest_checkpoint = found.uri
            said = f"resumed at step {progress.step} from {found.uri}; random numbers {random_numbers}"
            self.reporter.event("resumed", said, step=progress.step, uri=found.uri, random_numbers=random_numbers)
        return progress

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
        """Measures and tells. Raises TrainingError on every rank once the loss is no number any more."""
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
        if not math.isfinite(loss):
            raise TrainingError(
                f"step {progress.step}: the loss is {loss}. Newest checkpoint: {self.newest_checkpoint}. "
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
