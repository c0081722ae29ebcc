"""A rank's part of a checkpoint, held in memory as the very bytes of the files it will be.

The files are those of `torch.distributed.checkpoint`: any of its readers opens them. They are laid out once, with the
plan all ranks make together; from then on a snapshot is a copy of each tensor to its place, and nothing else. The
memory is shared with the process that hashes, writes and uploads, so that none of that work is done in this one.
"""

from __future__ import annotations

import io
import logging
import mmap
import os
import pickle
import struct
import zipfile
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any, cast

import torch
import torch.distributed.checkpoint as dcp
from torch import Tensor
from torch.distributed.checkpoint.filesystem import _StorageInfo
from torch.distributed.checkpoint.metadata import Metadata, MetadataIndex, StorageMeta
from torch.distributed.checkpoint.planner import SavePlan, SavePlanner, WriteItem
from torch.distributed.checkpoint.storage import StorageWriter, WriteResult
from torch.distributed.checkpoint.utils import find_state_dict_object
from torch.futures import Future

from trainer.gang import Gang

log = logging.getLogger("trainer")

INDEX = ".metadata"
"""The file that says where in the others each tensor lies."""

_ALIGNMENT = 64  # of each tensor's frame in its file, as `torch.save` aligns inside it
_LARGEST_FRAME = 8192  # bytes that `torch.save` adds to a tensor, at most
_LOCAL_HEADER_BYTES, _NAME_LENGTH_OFFSET = 30, 26  # of an entry in a zip archive
_SMALLEST_FILE, _LARGEST_FILE = 32 << 20, 512 << 20


@dataclass(frozen=True)
class ImageFile:
    """A file, as a stretch of the shared memory."""

    name: str
    offset: int
    bytes: int


class Snapshot:
    """The last state taken. Made and taken by all ranks alike."""

    def __init__(self, tensors: Mapping[str, Tensor], gang: Gang, files_at_once: int) -> None:
        """Lays `tensors` out as files and takes them. Where ranks hold the same tensor, one of them keeps it.

        The rank's part is split into about `files_at_once` files, so that as many can be under way at a time.
        Raises MemoryError where there is not as much memory again as this rank's part takes.
        """
        self._gang = gang
        self._shapes = _shapes(tensors)
        writer = _ImageWriter(files_at_once)
        dcp.save(
            dict(tensors),
            storage_writer=writer,
            process_group=gang.control,
            no_dist=gang.control is None,
        )
        self._places = writer.places
        self._memory = writer.memory
        self.handle = writer.handle
        """File descriptor of the shared memory."""
        self.files = tuple(writer.files)
        self.bytes = sum(file.bytes for file in self.files)
        index = gang.from_leader(lambda: writer.index)
        assert index is not None
        self.index: bytes = index
        """Content of the file INDEX, the same for every state taken and on every rank."""
        self._pinned = gang.device.type == "cuda" and _pin(self._memory)

    def fits(self, tensors: Mapping[str, Tensor]) -> bool:
        """Whether `tensors` have the names, shapes and types this was laid out for."""
        return _shapes(tensors) == self._shapes

    @torch.no_grad()
    def take(self, tensors: Mapping[str, Tensor]) -> None:
        """Copies this rank's part. What was held before is gone."""
        present = dict(tensors)
        sources = [find_state_dict_object(present, index) for index, _ in self._places]
        torch._foreach_copy_([place for _, place in self._places], sources, non_blocking=True)
        if self._gang.device.type == "cuda":
            torch.cuda.current_stream().synchronize()

    def close(self) -> None:
        if self._pinned:
            _unpin(self._memory)
        self._places = []
        os.close(self.handle)


class _ImageWriter(StorageWriter):
    """What `torch.distributed.checkpoint` writes to; keeps in memory what its own writer would put on disk."""

    def __init__(self, files_at_once: int) -> None:
        self._files_at_once = files_at_once
        self.files: list[ImageFile] = []
        self.places: list[tuple[MetadataIndex, Tensor]] = []
        self.index: bytes | None = None

    def reset(self, checkpoint_id: str | os.PathLike[str] | None = None) -> None: ...

    def set_up_storage_writer(self, is_coordinator: bool, *_: Any, **__: Any) -> None: ...

    def prepare_local_plan(self, plan: SavePlan) -> SavePlan:
        return plan

    def prepare_global_plan(self, plans: list[SavePlan]) -> list[SavePlan]:
        for rank, plan in enumerate(plans):
            object.__setattr__(plan, "storage_data", rank)
        return plans

    def write_data(self, plan: SavePlan, planner: SavePlanner) -> Future[list[WriteResult]]:
        tensors = [(item, _data(planner, item)) for item in plan.items]
        sizes = [tensor.nbytes + _LARGEST_FRAME for _, tensor in tensors]
        file_bytes = min(max(sum(sizes) // self._files_at_once, _SMALLEST_FILE), _LARGEST_FILE)
        self.handle, self.memory = _shared_memory(sum(sizes) + (len(sizes) + 1) * mmap.PAGESIZE)
        results: list[WriteResult] = []
        position, start = 0, 0
        with _without_checksums():
            for number, (item, tensor) in enumerate(tensors):
                name = f"__{plan.storage_data}_{len(self.files)}.distcp"
                frame = Frame(memoryview(self.memory)[position : position + sizes[number]])
                torch.save(tensor, cast("IO[bytes]", frame))
                begin, length = position - start, frame.end
                results.append(WriteResult(item.index, length, _StorageInfo(name, begin, length)))
                if tensor.nbytes:
                    place = torch.frombuffer(frame.data(), dtype=tensor.dtype).view(tensor.shape)
                    self.places.append((item.index, place))
                position += length
                last = number + 1 == len(tensors)
                if last or position - start >= file_bytes:
                    self.files.append(ImageFile(name, start, position - start))
                    position = start = _up_to(position, mmap.PAGESIZE)
                else:
                    position = _up_to(position, _ALIGNMENT)
        future: Future[list[WriteResult]] = Future()
        future.set_result(results)
        return future

    def finish(self, metadata: Metadata, results: list[list[WriteResult]]) -> None:
        metadata.storage_data = {one.index: one.storage_data for results_of_rank in results for one in results_of_rank}
        metadata.storage_meta = self.storage_meta()
        metadata.version = "1.0.0"
        self.index = pickle.dumps(metadata)

    def storage_meta(self) -> StorageMeta | None:
        return StorageMeta()

    @classmethod
    def validate_checkpoint_id(cls, checkpoint_id: str | os.PathLike[str]) -> bool:
        raise NotImplementedError


class Frame(io.RawIOBase):
    """A stretch of memory as the file that `torch.save` writes one tensor to: a zip archive."""

    def __init__(self, memory: memoryview, end: int = 0) -> None:
        self._memory = memory
        self._position, self.end = 0, end

    def data(self) -> memoryview:
        """The tensor's own bytes. Raises ValueError or BadZipFile where they do not lie there as they are."""
        with zipfile.ZipFile(self) as archive:
            (entry,) = (entry for entry in archive.infolist() if entry.filename.endswith("/data/0"))
        if entry.compress_type != zipfile.ZIP_STORED:
            raise ValueError(f"{entry.filename} is compressed")
        name_and_extra = struct.unpack_from("<HH", self._memory, entry.header_offset + _NAME_LENGTH_OFFSET)
        begin = entry.header_offset + _LOCAL_HEADER_BYTES + sum(name_and_extra)
        return self._memory[begin : begin + entry.file_size]

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._position = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.end}[whence]
        return self._position

    def readinto(self, buffer: Any) -> int:
        part = self._memory[self._position : min(self._position + len(buffer), self.end)]
        buffer[: len(part)] = part
        self._position += len(part)
        return len(part)

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        self._memory[self._position : self._position + len(view)] = view
        self._position += len(view)
        self.end = max(self.end, self._position)
        return len(view)


def _data(planner: SavePlanner, item: WriteItem) -> Tensor:
    """This rank's part of a tensor, on the CPU and in a storage of its own."""
    data = planner.resolve_data(item)
    assert isinstance(data, Tensor), f"{item.index.fqn}: only tensors are saved here"
    return torch.empty(data.shape, dtype=data.dtype).copy_(data.detach())


def _shared_memory(size: int) -> tuple[int, mmap.mmap]:
    """Memory without a name, so that nothing is left of it when the last process that has it ends."""
    handle = os.memfd_create("checkpoint", os.MFD_CLOEXEC)
    try:
        os.ftruncate(handle, size)
        return handle, mmap.mmap(handle, size)
    except OSError as error:
        os.close(handle)
        raise MemoryError(f"a snapshot needs {size / 1e9:.2f} GB of memory: {error}") from error


def _shapes(tensors: Mapping[str, Tensor]) -> dict[str, tuple[torch.Size, torch.dtype]]:
    return {name: (tensor.shape, tensor.dtype) for name, tensor in tensors.items()}


def _up_to(position: int, multiple: int) -> int:
    return -(-position // multiple) * multiple


@contextmanager
def _without_checksums() -> Generator[None]:
    """`torch.save` leaves out the CRC-32 of the data, which would change with every state. Files have their SHA-256."""
    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        yield
    finally:
        torch.serialization.set_crc32_options(before)


def _pin(memory: mmap.mmap) -> bool:
    """Lets the GPU copy into it directly, at several times the speed."""
    address = torch.frombuffer(memory, dtype=torch.uint8).data_ptr()
    error = int(torch.cuda.cudart().cudaHostRegister(address, len(memory), 0))
    if error:
        log.warning(
            "%.2f GB of memory can't be pinned: snapshots take longer (CUDA error %d)", len(memory) / 1e9, error
        )
    return not error


def _unpin(memory: mmap.mmap) -> None:
    torch.cuda.cudart().cudaHostUnregister(torch.frombuffer(memory, dtype=torch.uint8).data_ptr())
