"""A checkpoint's tensors are read as torch's own reader reads them, and what is not ours is left to that one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.distributed.checkpoint as dcp
from small_training import SmallTraining
from torch.distributed.checkpoint import FileSystemReader
from trainer.mapped_reader import MappedReader

pytestmark = pytest.mark.filterwarnings("ignore:torch.distributed is disabled")


def test_what_a_snapshot_holds_is_read_bit_for_bit(tmp_path: Path) -> None:
    training = SmallTraining(tmp_path, tmp_path / "durable", numbers=1000)
    for _ in range(3):
        training.step()
    training.checkpoints.save(training.state, "interval", wait=True)
    folder = tmp_path / "durable" / "step-00000003"
    wanted = {name: value.clone() for name, value in training.state.tensors().items()}
    for reader in (FileSystemReader(folder), MappedReader(folder)):
        read = {name: torch.full_like(value, 7) for name, value in wanted.items()}
        dcp.load(read, storage_reader=reader, no_dist=True)
        assert all(torch.equal(read[name], value) for name, value in wanted.items())


def test_saved_by_torch_itself_with_other_kinds_of_things(tmp_path: Path) -> None:
    saved = {
        "matrix": torch.arange(6.0).view(2, 3),
        "half": torch.arange(5, dtype=torch.bfloat16),
        "empty": torch.zeros(0),
        "number": torch.tensor(3),
        "words": {"of": ["any", "kind"]},
    }
    dcp.save(saved, checkpoint_id=tmp_path, no_dist=True)
    read = {
        **{name: torch.full_like(value, 9) for name, value in saved.items() if isinstance(value, torch.Tensor)},
        "words": {"of": ["", ""]},
    }
    dcp.load(read, storage_reader=MappedReader(tmp_path), no_dist=True)
    assert read["words"] == saved["words"]
    for name in ("matrix", "half", "empty", "number"):
        assert torch.equal(read[name], saved[name]), name
