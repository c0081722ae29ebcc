"""Large files written and read past the kernel's page cache.

A checkpoint is written once and hardly ever read: in the cache it would push out the training data, and bringing it
there costs as much processor time as all else about it. Where a file system does not allow it, the cache is used.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
from collections.abc import Generator
from contextlib import contextmanager

_BLOCK = 4096  # what devices and file systems want addresses, offsets and lengths to be multiples of
_CHUNK_BYTES = 4 << 20
_WORTH_IT_BYTES = 1 << 20
_COMPARED_BYTES = 128 << 10
_O_DIRECT = getattr(os, "O_DIRECT", 0)  # there is none on macOS


def write_whole(handle: int, data: memoryview) -> None:
    """Appends `data` to an open file. Goes past the cache where `data` lies at a page's beginning in memory."""
    position = 0
    aligned = len(data) // _BLOCK * _BLOCK
    if aligned >= _WORTH_IT_BYTES:
        with _past_the_cache(handle) as possible:
            while possible and position < aligned:
                try:
                    position += os.write(handle, data[position : min(position + _CHUNK_BYTES, aligned)])
                except OSError as error:
                    if error.errno != errno.EINVAL:
                        raise
                    break
    while position < len(data):
        position += os.write(handle, data[position : position + _CHUNK_BYTES])


def holds(handle: int, data: memoryview) -> bool:
    """Whether a file is `data`: as the device gives it back, not as the kernel remembers it."""
    if os.fstat(handle).st_size != len(data):
        return False
    position = 0
    if len(data) >= _WORTH_IT_BYTES:
        with _past_the_cache(handle) as possible, mmap.mmap(-1, _CHUNK_BYTES) as page_aligned:
            # The whole blocks: what comes after them comes in any length.
            while possible and len(data) - position >= _CHUNK_BYTES:
                try:
                    count = os.preadv(handle, [page_aligned], position)
                except OSError as error:
                    if error.errno != errno.EINVAL:
                        raise
                    break
                with memoryview(page_aligned) as view:
                    if not _same(view[:count], data[position : position + count]):
                        return False
                position += count
    os.posix_fadvise(handle, position, 0, os.POSIX_FADV_DONTNEED)
    while part := os.pread(handle, _CHUNK_BYTES, position):
        if not _same(memoryview(part), data[position : position + len(part)]):
            return False
        position += len(part)
    return position == len(data)


def _same(left: memoryview, right: memoryview) -> bool:
    """Compared as `bytes`, a part at a time that stays in the cache: memoryviews are compared item by item."""
    return len(left) == len(right) and all(
        bytes(left[begin : begin + _COMPARED_BYTES]) == bytes(right[begin : begin + _COMPARED_BYTES])
        for begin in range(0, len(left), _COMPARED_BYTES)
    )


@contextmanager
def _past_the_cache(handle: int) -> Generator[bool]:
    """Whether the file system agrees to it."""
    flags = fcntl.fcntl(handle, fcntl.F_GETFL)
    try:
        fcntl.fcntl(handle, fcntl.F_SETFL, flags | _O_DIRECT)
    except OSError:
        yield False
        return
    try:
        yield bool(_O_DIRECT)
    finally:
        fcntl.fcntl(handle, fcntl.F_SETFL, flags)
