"""The one configuration of a run: read from YAML, changed with `--set`, validated once, frozen from then on.

Every field is documented where it is defined. A field that is not here does not exist: unknown keys are refused.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from trainer.errors import UserError

RECIPES = Path(__file__).parent / "recipes"

DATA = "data"
"""Names the token data set's content among the things a checkpoint insists on."""

Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0.0, lt=1.0)]
Precision = Literal["fp32", "bf16", "fp16"]
Strategy = Literal["ddp", "fsdp"]


class _Section(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False, coerce_numbers_to_str=True
    )


class RunConfig(_Section):
    directory: Path
    """Where this run leaves `metrics.jsonl`, `outcome.json` and its staging area, on the node's own disk."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 1337
    """Of the initial weights, the data order and dropout."""
    deterministic: bool = False
    """Only algorithms that give the same bits each time. Costs speed on GPUs, next to nothing on CPUs."""


class DataConfig(_Section):
    uri: str
    """A token data set as `prepare` leaves it: a folder or `s3://bucket/prefix`."""
    cache_directory: Path = Path("~/.cache/trainer/tokens")
    """Token shards are fetched here once per node."""


class ModelConfig(_Section):
    layers: Count
    heads: Count
    width: Count
    """Features of the residual stream; a multiple of `heads`."""
    context: Count
    """Tokens a sample holds, and the furthest the model looks back."""
    dropout: Share = 0.0
    tied_embeddings: bool = True
    """Use the token embedding as output projection too."""

    @model_validator(mode="after")
    def _heads_divide_width(self) -> ModelConfig:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is no multiple of heads {self.heads}")
        return self


class TrainingConfig(_Section):
    steps: Count
    """Optimiser steps of the whole run; also the length of the learning-rate schedule."""
    global_batch_size: Count
    """Samples per optimiser step over all ranks and accumulated micro-batches. Independent of the number of ranks."""
    micro_batch_size: Count
    """Samples one rank holds in memory at once. Accumulation follows: global / (ranks x micro)."""
    precision: Precision = "fp32"
    """What the forward and backward pass compute in; weights and optimiser state stay float32. fp16 scales the loss."""


class OptimizerConfig(_Section):
    """AdamW: linear warm-up, then a cosine down to the minimum at the last step."""

    learning_rate: Annotated[float, Field(gt=0)]
    minimum_learning_rate: Annotated[float, Field(ge=0)] = 0.0
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    weight_decay: Annotated[float, Field(ge=0)] = 0.1
    """Of matrices only: neither norms, biases nor embeddings decay."""
    beta1: Share = 0.9
    beta2: Share = 0.95
    epsilon: Annotated[float, Field(gt=0)] = 1e-8
    gradient_clip_norm: Annotated[float, Field(gt=0)] | None = 1.0
    """Largest norm of all gradients together; null for no clipping."""

    @model_validator(mode="after")
    def _minimum_below_peak(self) -> OptimizerConfig:
        if self.minimum_learning_rate > self.learning_rate:
            raise ValueError(
                f"minimum_learning_rate {self.minimum_learning_rate} exceeds learning_rate {self.learning_rate}"
            )
        return self


class ParallelConfig(_Section):
    strategy: Strategy = "ddp"
    """How several ranks share the work. ddp: a whole model on each. fsdp: weights, gradients and optimiser state split
    over them (FSDP2). One process needs neither and gets neither."""
    activation_checkpointing: bool = False
    """Recompute each block in the backward pass instead of keeping its activations."""
    compile: bool = False
    """Compile each block with torch.compile."""


class EvaluationConfig(_Section):
    interval_steps: Count | None = None
    """Null: never."""
    samples: Count = 256
    """Of the held-out split, always its first ones."""


class CheckpointConfig(_Section):
    uri: str
    """A folder that all ranks see, or `s3://bucket/prefix`. A run continues from the newest sound checkpoint there."""
    interval_steps: Count = 500
    keep_last: Count = 3
    """Older ones are deleted. With one there is nothing to fall back on if it turns out damaged."""
    allow_changed: tuple[str, ...] = ()
    """Settings, by name, that may differ from those the checkpoint was trained with, such as `training.steps`."""


class MetricsConfig(_Section):
    interval_steps: Count = 10
    """Steps between lines in `metrics.jsonl`; every line costs one synchronisation with the device."""


class TrackingConfig(_Section):
    uri: str | None = None
    """Where MLflow keeps its record: `sqlite:///runs/mlflow.db` or a server's address; null for none."""
    experiment: str = "trainer"
    run_name: str | None = None

    @field_validator("uri")
    @classmethod
    def _something_mlflow_writes_to(cls, uri: str | None) -> str | None:
        if uri is not None and not re.match(r"(sqlite:///.|(postgresql|mysql)(\+\w+)?://.|https?://.)", uri):
            raise ValueError(f"{uri!r}: expected sqlite:///path/to/mlflow.db, a server's http(s):// address, or null")
        return uri


class PreemptionConfig(_Section):
    queue_url: str | None = None
    """SQS queue that EventBridge fills with interruption warnings; null to rely on SIGTERM alone. Region, credentials
    and endpoint come from the AWS environment. Each rank's instance is named by TRAINER_INSTANCE_ID."""
    wait_seconds: Annotated[int, Field(ge=1, le=20)] = 10
    """Length of one long poll."""


class Config(_Section):
    run: RunConfig
    data: DataConfig
    model: ModelConfig
    training: TrainingConfig
    optimizer: OptimizerConfig
    checkpoint: CheckpointConfig
    parallel: ParallelConfig = ParallelConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    metrics: MetricsConfig = MetricsConfig()
    tracking: TrackingConfig = TrackingConfig()
    preemption: PreemptionConfig = PreemptionConfig()

    @model_validator(mode="after")
    def _warmup_within_steps(self) -> Config:
        if self.optimizer.warmup_steps >= self.training.steps:
            raise ValueError(
                f"optimizer.warmup_steps is {self.optimizer.warmup_steps}: fewer than training.steps "
                f"({self.training.steps}) may stand there"
            )
        return self

    @model_validator(mode="after")
    def _allowed_changes_exist(self) -> Config:
        known = {*self.essentials(), DATA}
        for name in self.checkpoint.allow_changed:
            if name not in known:
                close = difflib.get_close_matches(name, known, n=1)
                raise ValueError(
                    f"checkpoint.allow_changed names {name!r}, which a checkpoint does not insist on; "
                    + (f"did you mean {close[0]}?" if close else f"it insists on {', '.join(sorted(known))}")
                )
        return self

    def essentials(self) -> dict[str, Any]:
        """The settings that decide which numbers come out, by dotted name. The rest may change on resuming."""
        whole = self.model_dump(mode="json")
        names = ["run.seed", "training.steps", "training.global_batch_size", "training.precision"]
        names += [f"{section}.{field}" for section in ("model", "optimizer") for field in whole[section]]
        return {name: whole[name.split(".")[0]][name.split(".")[1]] for name in names}


def load_config(file: str, changes: Iterable[str] = ()) -> Config:
    """The configuration in `file` (a path, or the name of a recipe) with `section.field=value` changes applied.

    Raises UserError listing everything that is wrong with it.
    """
    path = Path(file)
    if not path.exists() and (RECIPES / f"{file}.yaml").exists():
        path = RECIPES / f"{file}.yaml"
    try:
        values = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        recipes = ", ".join(sorted(recipe.stem for recipe in RECIPES.glob("*.yaml")))
        raise UserError(f"{file}: no such configuration file. Recipes that come with the trainer: {recipes}") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{path}: can't be read as YAML: {error}") from None
    if not isinstance(values, dict):
        raise UserError(f"{path}: expected sections such as `model:` and `training:`, found {type(values).__name__}")
    for change in changes:
        _apply(values, change)
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        problems = "\n".join(f"  {_said(problem)}" for problem in error.errors())
        raise UserError(f"{path} and its changes do not make a configuration:\n{problems}") from None


def accumulation_steps(training: TrainingConfig, world_size: int) -> int:
    """Micro-batches each rank runs per optimiser step. Raises UserError where the batch can't be shared out evenly."""
    at_once = world_size * training.micro_batch_size
    if training.global_batch_size % at_once == 0:
        return training.global_batch_size // at_once
    share, uneven = divmod(training.global_batch_size, world_size)
    fitting = [] if uneven else [size for size in range(1, share + 1) if share % size == 0]
    nearest = sorted(sorted(fitting, key=lambda size: abs(size - training.micro_batch_size))[:4])
    instead = f", or set training.micro_batch_size to one of {', '.join(map(str, nearest))}" if nearest else ""
    raise UserError(
        f"training.global_batch_size is {training.global_batch_size}, which {world_size} rank(s) x "
        f"{training.micro_batch_size} samples (training.micro_batch_size) = {at_once} do not divide: "
        f"use a multiple of {at_once}{instead}"
    )


def _apply(values: dict[str, Any], change: str) -> None:
    name, separator, text = change.partition("=")
    section, dot, field = name.strip().partition(".")
    if not (separator and dot and section and field):
        raise UserError(f"--set {change}: expected section.field=value, such as training.steps=100")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        value = text
    inside = values.setdefault(section, {})
    if not isinstance(inside, dict):
        raise UserError(f"--set {change}: `{section}` holds no fields")
    inside[field] = value


def _said(problem: Any) -> str:
    """One pydantic error in words: where, what is wrong, what may stand there."""
    where = [str(part) for part in problem["loc"]]
    name = ".".join(where) or "settings"
    if problem["type"] == "missing":
        needed = [name] if len(where) > 1 else [f"{name}.{field}" for field in _required_fields(name)]
        return f"{name}: is missing; add it or {' '.join(f'--set {field}=...' for field in needed)}"
    if problem["type"] == "extra_forbidden":
        known = sorted(_fields_beside(where))
        close = difflib.get_close_matches(where[-1], known, n=1)
        meant = f"did you mean {close[0]}?" if close else f"known here: {', '.join(known)}"
        return f"{name}: there is no such setting; {meant}"
    message = problem["msg"].removeprefix("Value error, ")
    return f"{name}: {message}" + ("" if problem["type"] == "value_error" else f", not {problem['input']!r}")


def _fields_beside(where: list[str]) -> Iterable[str]:
    return Config.model_fields if len(where) == 1 else _section(where[0]).model_fields


def _required_fields(section: str) -> list[str]:
    return [name for name, field in _section(section).model_fields.items() if field.is_required()]


def _section(name: str) -> type[BaseModel]:
    section = Config.model_fields[name].annotation
    assert isinstance(section, type)
    assert issubclass(section, BaseModel)
    return section
