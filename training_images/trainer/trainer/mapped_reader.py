"""Reads a checkpoint's tensors straight from the mapped files into their places, several files at a time.

torch's own reader unpickles each tensor into memory of its own and copies it from there, in one thread: about as much
work again as fetching and hashing the files.
"""

from __future__ import annotations

import dataclasses
import mmap
import os
import zipfile
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributed._shard._utils import narrow_tensor_by_index
from torch.distributed.checkpoint import FileSystemReader
from torch.distributed.checkpoint.metadata import Metadata, TensorStorageMetadata
from torch.distributed.checkpoint.planner import LoadItemType, LoadPlan, LoadPlanner, ReadItem
from torch.futures import Future

from trainer.snapshot import Frame

_THREADS = 4


class MappedReader(FileSystemReader):
    """For checkpoints of `snapshot.Snapshot`, whose tensors are contiguous; torch's own reader takes all others."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._folder = folder

    def set_up_storage_reader(self, metadata: Metadata, is_coordinator: bool, *args: Any, **kwargs: Any) -> None:
        super().set_up_storage_reader(metadata, is_coordinator, *args, **kwargs)
        self._described = metadata.state_dict_metadata

    def read_data(self, plan: LoadPlan, planner: LoadPlanner) -> Future[None]:
        by_file: dict[str, list[ReadItem]] = defaultdict(list)
        for item in plan.items:
            by_file[self.storage_data[item.storage_index].relative_path].append(item)
        with ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1)) as pool:
            left = pool.map(lambda name: self._read_file(name, by_file[name], planner), by_file)
            others = [item for items in left for item in items]
        if others:
            return super().read_data(dataclasses.replace(plan, items=others), planner)
        done: Future[None] = Future()
        done.set_result(None)
        return done

    def _read_file(self, name: str, items: list[ReadItem], planner: LoadPlanner) -> list[ReadItem]:
        """Returns those that are for torch's own reader."""
        with (self._folder / name).open("rb") as file:
            # A private copy where somebody should write to it, which torch can't be told that nobody does.
            content = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY))
        left = []
        for item in items:
            tensor = self._tensor(content, item) if item.type is LoadItemType.TENSOR else None
            if tensor is None:
                left.append(item)
                continue
            target = planner.resolve_tensor(item).detach()
            target.copy_(narrow_tensor_by_index(tensor, item.storage_offsets, item.lengths))
            planner.commit_tensor(item, target)
        return left

    def _tensor(self, content: memoryview, item: ReadItem) -> Tensor | None:
        """The whole tensor, or shard of it, that was saved as one, without a copy. None for what looks otherwise."""
        described = self._described[item.storage_index.fqn]
        if not isinstance(described, TensorStorageMetadata):
            return None
        offset = item.storage_index.offset
        chunk = next((one for one in described.chunks if offset is None or one.offsets == offset), None)
        place = self.storage_data[item.storage_index]
        frame = content[place.offset : place.offset + place.length]
        try:
            data = Frame(frame, len(frame)).data()
        except (zipfile.BadZipFile, ValueError):
            return None
        dtype = described.properties.dtype
        if chunk is None or not len(data) or len(data) != chunk.sizes.numel() * dtype.itemsize:
            return None
        return torch.frombuffer(data, dtype=dtype).view(chunk.sizes)
