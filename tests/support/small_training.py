"""A training of a few thousand numbers in this process, to save and restore."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import nn
from trainer import saving
from trainer.checkpoint import CheckpointError, Checkpoints, Saved, SaveFailed
from trainer.config import Config, load_config
from trainer.gang import Gang
from trainer.manifest import CheckpointManifest
from trainer.parallel import ParallelModel
from trainer.state import TrainingState, rng_state
from waiting import wait_until


class SmallTraining:
    def __init__(self, directory: Path, uri: str | Path, numbers: int = 4096, **settings: Any) -> None:
        """Without saves in the background unless `checkpoint__asynchronous` is true."""
        changes = {"checkpoint.asynchronous": False} | {k.replace("__", "."): v for k, v in settings.items()}
        changes |= {"data.uri": "none", "checkpoint.uri": str(uri), "run.directory": str(directory / "run")}
        saving.NICENESS = 0  # at the lowest priority a save waits for ever on a machine that has much else to do
        self.config: Config = load_config("cpu-tiny", [f"{name}={value}" for name, value in changes.items()])
        torch.manual_seed(1)
        width = max(8, int(numbers**0.5))
        network = nn.Sequential(nn.Linear(width, width), nn.Dropout(0.2), nn.Linear(width, 1))
        model = ParallelModel(network, network, "none", nullcontext(), 1.0)  # ty: ignore[invalid-argument-type]
        optimizer = torch.optim.AdamW(network.parameters(), lr=0.01)
        self.gang = Gang.assemble()
        self.state = TrainingState(model, optimizer, torch.amp.GradScaler("cpu", enabled=False), self.gang)
        self.width = width
        self.checkpoints = Checkpoints(self.config, "a-run", "data-hash", self.gang)

    def step(self, times: int = 1) -> float:
        for _ in range(times):
            loss = self.state.model.module(torch.randn(4, self.width)).square().mean()
            loss.backward()
            self.state.optimizer.step()
            self.state.optimizer.zero_grad()
            self.state.progress.step += 1
        return loss.item()

    def resume(self) -> str | None:
        """URI of what was loaded."""
        found = self.checkpoints.newest_sound()
        if found is not None:
            self.checkpoints.load(found, self.state)
        return found.uri if found else None

    def numbers(self) -> dict[str, torch.Tensor]:
        """All that a checkpoint holds, copied."""
        tensors = {name: tensor.clone() for name, tensor in self.state.tensors().items()}
        return tensors | {f"rng/{kind}": value for kind, value in rng_state(self.gang.device).items()}

    def manifest(self, step: int) -> CheckpointManifest:
        storage = self.checkpoints._tiers.durable
        return CheckpointManifest.from_json(storage.read_bytes(f"step-{step:08d}/manifest.json"))

    @property
    def local(self) -> Path:
        """This run's folder on the node's own disk."""
        tier = self.checkpoints._tiers.local
        assert tier is not None
        return tier.root


def same(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def outcome_of_save(training: SmallTraining) -> Saved | SaveFailed:
    """Saves as the loop does at its interval, and trains on until it has been told what came of it."""
    training.step()
    try:
        training.checkpoints.save(training.state, "interval")
    except CheckpointError as error:
        step = training.state.progress.step
        return SaveFailed("", step, str(error), training.checkpoints.newest_durable)
    told: list[object] = []
    wait_until(lambda: told.extend(training.checkpoints.finished()) or told)
    assert len(told) == 1
    assert isinstance(told[0], Saved | SaveFailed)
    return told[0]
