"""Large files written and read past the kernel's page cache.

A checkpoint is written once and hardly ever read: in the cache it would push out the training data, and bringing it
there costs as much processor time as all else about it. Where a file system does not allow it, the cache is used.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import mmap
import os
from collections.abc import Generator
from contextlib import contextmanager

_BLOCK = 4096  # what devices and file systems want addresses, offsets and lengths to be multiples of
_CHUNK_BYTES = 4 << 20
_WORTH_IT_BYTES = 1 << 20
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


def sha256_from_disk(handle: int) -> str:
    """Of a file, from its beginning: as the device has it, not as the kernel remembers it; hex."""
    digest = hashlib.sha256()
    size, position = os.fstat(handle).st_size, 0
    if size >= _WORTH_IT_BYTES:
        with _past_the_cache(handle) as possible, mmap.mmap(-1, _CHUNK_BYTES) as page_aligned:
            # The whole blocks: what comes after them comes in any length.
            while possible and size - position >= _CHUNK_BYTES:
                try:
                    count = os.preadv(handle, [page_aligned], position)
                except OSError as error:
                    if error.errno != errno.EINVAL:
                        raise
                    break
                with memoryview(page_aligned) as view:
                    digest.update(view[:count])
                position += count
    os.posix_fadvise(handle, position, 0, os.POSIX_FADV_DONTNEED)
    while part := os.pread(handle, _CHUNK_BYTES, position):
        digest.update(part)
        position += len(part)
    return digest.hexdigest()


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
