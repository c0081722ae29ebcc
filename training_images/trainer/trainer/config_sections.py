"""The sections of a run's configuration. Every field is documented where it is defined."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

Count = Annotated[int, Field(ge=1, le=10**9)]
Width = Annotated[int, Field(ge=1, le=2**20)]
"""Of a layer, an order of magnitude beyond any model there is: a slip of the keyboard is told before it takes a
machine's memory."""
Share = Annotated[float, Field(ge=0.0, lt=1.0)]
Precision = Literal["fp32", "bf16", "fp16"]
Strategy = Literal["ddp", "fsdp"]
Architecture = Literal["gpt2", "llama"]
Schedule = Literal["cosine", "linear", "wsd", "constant"]


class Section(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False, coerce_numbers_to_str=True
    )

    @field_validator("*", mode="before")
    @classmethod
    def _values_that_cannot_be_meant(cls, value: object, info: ValidationInfo) -> object:
        """What pydantic would let through: `true` as the number 1, an empty path as the current folder."""
        kinds = str(cls.model_fields[str(info.field_name)].annotation)
        if isinstance(value, bool) and "bool" not in kinds:
            raise ValueError(f"expected another kind of value than {str(value).lower()}")
        if isinstance(value, str) and (not value.strip() or "\0" in value):
            raise ValueError(f"{value!r}: expected a text with something in it, and no NUL characters")
        return value


class RunConfig(Section):
    directory: Path
    """Where this run leaves `metrics.jsonl`, `outcome.json` and its staging area, on the node's own disk."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 1337
    """Of the initial weights, the data order and dropout."""
    deterministic: bool = False
    """Only algorithms that give the same bits each time. Costs speed on GPUs, next to nothing on CPUs."""


class DataConfig(Section):
    uri: str
    """A token data set as `prepare` leaves it: a folder or `s3://bucket/prefix`."""
    cache_directory: Path = Path("~/.cache/trainer/tokens")
    """Token shards are fetched here once per node."""


class ModelConfig(Section):
    architecture: Architecture = "gpt2"
    """gpt2: learned positions, LayerNorm, GELU. llama: rotary ones, RMSNorm, SwiGLU, grouped queries, no biases."""
    layers: Annotated[int, Field(ge=1, le=10_000)]
    """Blocks of attention and feed-forward layers."""
    heads: Width
    """Of attention, in each block."""
    width: Width
    """Features of the residual stream; a multiple of `heads`."""
    context: Count
    """Tokens a sample holds, and the furthest the model looks back."""
    dropout: Share = 0.0
    """Share of units that are left out of a step: of embeddings, attention and what each layer adds."""
    tied_embeddings: bool = True
    """Use the token embedding as output projection too."""
    key_value_heads: Count | None = None
    """llama: key and value heads that groups of `heads` share; null for as many as `heads`."""
    feed_forward_width: Annotated[int, Field(ge=1, le=2**23)] | None = None
    """Between the feed-forward layers. Null: 4 x width, for llama 8/3 x width rounded up to a multiple of 256."""
    rope_theta: Annotated[float, Field(gt=0)] = 10_000.0
    """llama: base of the rotary frequencies."""
    norm_epsilon: Annotated[float, Field(gt=0)] = 1e-5
    """Added to the variance in each norm."""
    initialize_from: str | None = None
    """Hugging Face weights to start a new run from: a folder or `s3://bucket/prefix`. A resumed run has its own."""

    @model_validator(mode="after")
    def _heads_divide_width(self) -> ModelConfig:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is no multiple of heads {self.heads}")
        if self.architecture == "gpt2" and self.key_value_heads is not None:
            raise ValueError("key_value_heads is a setting of architecture llama")
        if self.key_value_heads is not None and self.heads % self.key_value_heads:
            raise ValueError(f"heads {self.heads} is no multiple of key_value_heads {self.key_value_heads}")
        if self.architecture == "llama" and self.width // self.heads % 2:
            raise ValueError(f"width / heads is {self.width // self.heads}: rotary positions turn pairs, so even only")
        return self


class TrainingConfig(Section):
    steps: Count
    """Optimiser steps of the whole run; also the length of the learning-rate schedule."""
    global_batch_size: Count
    """Samples per optimiser step over all ranks and accumulated micro-batches. Independent of the number of ranks."""
    micro_batch_size: Count
    """Samples one rank holds in memory at once. Accumulation follows: global / (ranks x micro)."""
    precision: Precision = "fp32"
    """What the forward and backward pass compute in; weights and optimiser state stay float32. fp16 scales the loss."""


class OptimizerConfig(Section):
    """AdamW: linear warm-up, then the schedule down to the minimum at the last step."""

    schedule: Schedule = "cosine"
    """After the warm-up. cosine, linear: down to the minimum at the last step. constant: no decay. wsd: constant, then
    straight down over the last `decay_steps`."""
    decay_steps: Count | None = None
    """wsd: length of the decay; null for a tenth of all steps."""
    ema_decay: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Keep an exponential moving average of the weights, used for evaluation and export; null for none."""
    learning_rate: Annotated[float, Field(gt=0)]
    """The highest, at the end of the warm-up."""
    minimum_learning_rate: Annotated[float, Field(ge=0)] = 0.0
    """The lowest, at the last step; constant does not come down to it."""
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    """Steps in which the rate rises in a straight line; fewer than all."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.1
    """Of matrices only: neither norms, biases nor embeddings decay."""
    beta1: Share = 0.9
    """Decay of the mean of gradients."""
    beta2: Share = 0.95
    """Decay of the mean of their squares."""
    epsilon: Annotated[float, Field(gt=0)] = 1e-8
    """Added to the root of that."""
    gradient_clip_norm: Annotated[float, Field(gt=0)] | None = 1.0
    """Largest norm of all gradients together; null for no clipping."""

    @model_validator(mode="after")
    def _minimum_below_peak(self) -> OptimizerConfig:
        if self.minimum_learning_rate > self.learning_rate:
            raise ValueError(
                f"minimum_learning_rate {self.minimum_learning_rate} exceeds learning_rate {self.learning_rate}"
            )
        if self.decay_steps is not None and self.schedule != "wsd":
            raise ValueError(f"decay_steps is a setting of schedule wsd, not of {self.schedule}")
        return self


class ParallelConfig(Section):
    strategy: Strategy = "ddp"
    """How several ranks share the work. ddp: a whole model on each. fsdp: weights, gradients and optimiser state split
    over them (FSDP2). One process needs neither and gets neither."""
    activation_checkpointing: bool = False
    """Recompute each block in the backward pass instead of keeping its activations."""
    compile: bool = False
    """Compile each block with torch.compile."""


class EvaluationConfig(Section):
    interval_steps: Count | None = None
    """Null: never."""
    samples: Count = 256
    """Of the held-out split, always its first ones."""
    patience: Count | None = None
    """End the run after this many evaluations in a row without a lower loss; null: never."""
    minimum_improvement: Annotated[float, Field(ge=0)] = 0.0
    """How much lower, in nats per token, counts as lower."""

    @model_validator(mode="after")
    def _patience_with_evaluations(self) -> EvaluationConfig:
        if self.patience is not None and self.interval_steps is None:
            raise ValueError(
                f"patience {self.patience} counts evaluations, and there are none: set evaluation.interval_steps"
            )
        return self


class CheckpointConfig(Section):
    uri: str
    """The durable place: a folder that all ranks see and that outlives the node, or `s3://bucket/prefix`. A run
    continues from the newest sound checkpoint there or in `local_directory`."""
    local_directory: Path | None = None
    """Where a node keeps its part of the newest ones before they are durable, and for a quick restart. Null:
    `checkpoints` in the run's directory, and nowhere if `uri` is a folder itself."""
    asynchronous: bool = True
    """Train on while a checkpoint is written and uploaded; only taking the snapshot stops the training."""
    interval_steps: Count | Literal["auto"] = 500
    """auto: chosen from the measured cost of a save and the failures seen; until measured, every 100 steps."""
    mean_seconds_between_failures: Annotated[float, Field(gt=0)] | None = None
    """What auto believes before it has seen failures, for the whole gang. Null: 40 days per node (Llama 3's 419
    interruptions in 54 days on 2,048 nodes come to 264 days; spot and small clusters do worse)."""
    upload_threads: Annotated[int, Field(ge=1, le=64)] = 8
    """Parallel transfers per rank."""
    keep_last: Count = 3
    """Older ones are deleted. With one there is nothing to fall back on if it turns out damaged."""
    keep_every_steps: Count | None = None
    """The first at or after each multiple of this is kept for ever; null: none."""
    allow_changed: tuple[str, ...] = ()
    """Settings, by name, that may differ from those the checkpoint was trained with, such as `training.steps`."""


class MetricsConfig(Section):
    interval_steps: Count = 10
    """Steps between lines in `metrics.jsonl`; every line costs one synchronisation with the device."""
    device_peak_tflops: Annotated[float, Field(gt=0)] | None = None
    """What one device can do at most in this precision, for the MFU. Null: what `trainer/flops.py` has of it; of a
    device that it does not know, CPUs among them, no MFU is told."""


class TrackingConfig(Section):
    uri: str | None = None
    """Where MLflow keeps its record: `sqlite:///runs/mlflow.db` or a server's address; null for none."""
    experiment: str = "trainer"
    """MLflow's name for runs that belong together; made if it is not there."""
    run_name: str | None = None
    """Of this run, in MLflow and in `trainyard report`; null for one that MLflow makes up."""

    @field_validator("uri")
    @classmethod
    def _something_mlflow_writes_to(cls, uri: str | None) -> str | None:
        if uri is not None and not re.match(r"(sqlite:///.|(postgresql|mysql)(\+\w+)?://.|https?://.)", uri):
            raise ValueError(f"{uri!r}: expected sqlite:///path/to/mlflow.db, a server's http(s):// address, or null")
        return uri


class PreemptionConfig(Section):
    queue_url: str | None = None
    """SQS queue that EventBridge fills with interruption warnings; null to rely on SIGTERM alone. Region, credentials
    and endpoint come from the AWS environment. Each rank's instance is named by TRAINER_INSTANCE_ID."""
    wait_seconds: Annotated[int, Field(ge=1, le=20)] = 10
    """Length of one long poll."""
    ends_at: AwareDatetime | None = None
    """When the machines are taken away whatever happens, such as a Capacity Block's end, with a time zone;
    TRAINER_ENDS_AT says it too. The gang leaves in time to save."""
    seconds_for_saving: Annotated[float, Field(gt=0)] = 90.0
    """How long the gang has, from a warning on, to save: EC2 gives spot instances two minutes."""


class GuardConfig(Section):
    """What happens at a step whose loss or gradient is no number, or whose loss jumps."""

    non_finite_steps: Count = 5
    """Such a step is skipped; this many in a row end the run. Each one's samples stand in the run's journal."""
    spike_factor: Annotated[float, Field(gt=1)] | None = None
    """Go back to the newest checkpoint and pass over the data in between when the loss exceeds this many times the
    median of the last `spike_window` steps; null: never."""
    spike_window: Annotated[int, Field(ge=4)] = 64
    """Steps whose median loss counts as usual; before there are as many, no loss is called a jump."""
    rewinds: Annotated[int, Field(ge=0)] = 3
    """At most this many in a run, then it ends."""


class WatchdogConfig(Section):
    seconds: Annotated[float, Field(gt=0)] | None = 1800.0
    """A rank that says nothing for so long is hung: every rank leaves its stacks in the run's directory and ends, so
    that the gang can be started again. Longer than the slowest compilation or restore. Null: wait for ever."""


class ProfileConfig(Section):
    steps: str | None = None
    """Steps to profile with torch's profiler, `first-last`, as a Chrome trace for each rank; SIGUSR1 asks for the next
    three at any time."""
    memory: bool = False
    """Record a snapshot of CUDA memory over the same steps, and when memory runs out."""

    @field_validator("steps")
    @classmethod
    def _first_to_last(cls, steps: str | None) -> str | None:
        if steps is not None:
            match = re.fullmatch(r"(\d+)-(\d+)", steps)  # with a colon, YAML takes it for a number of base 60
            if not match or not 1 <= int(match[1]) <= int(match[2]):
                raise ValueError(f"{steps!r}: expected first-last, such as 10-12")
        return steps
