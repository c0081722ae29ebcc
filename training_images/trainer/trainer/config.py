"""The one configuration of a run: read from YAML, changed with `--set`, validated once, frozen from then on.

Every field is documented where it is defined, in `config_sections`. A field that is not there does not exist: unknown
keys are refused.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError, model_validator

from trainer.config_sections import (
    CheckpointConfig,
    DataConfig,
    EvaluationConfig,
    GuardConfig,
    MetricsConfig,
    ModelConfig,
    OptimizerConfig,
    ParallelConfig,
    PreemptionConfig,
    ProfileConfig,
    RunConfig,
    Section,
    TrackingConfig,
    TrainingConfig,
    WatchdogConfig,
)
from trainer.errors import UserError

RECIPES = Path(__file__).parent / "recipes"

DATA = "data"
"""Names the token data set's content among the things a checkpoint insists on."""


class Config(Section):
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
    guard: GuardConfig = GuardConfig()
    watchdog: WatchdogConfig = WatchdogConfig()
    profile: ProfileConfig = ProfileConfig()

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
        names += ["guard.spike_factor", "guard.spike_window"]
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
    except RecursionError:
        raise UserError(f"{path}: can't be read as YAML: too many brackets within each other") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{path}: can't be read as YAML: {error}") from None
    if not isinstance(values, dict):
        raise UserError(f"{path}: expected sections such as `model:` and `training:`, found {type(values).__name__}")
    for change in changes:
        _apply(values, change)
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        problems = "\n".join(f"  {said}" for said in dict.fromkeys(map(_said, error.errors())))
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
    except (yaml.YAMLError, RecursionError):
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
    name = ".".join(where[:2]) or "settings"  # pydantic appends which of several types it has tried
    if problem["input"] is None:
        return f"{name}: expected a value, found none"
    if problem["type"] == "tuple_type":
        return f"{name}: expected a list, such as [{problem['input']}]"
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
