"""Large files written and read past the page cache are what was given, whatever their size and place in memory."""

from __future__ import annotations

import mmap
import os
from pathlib import Path

import pytest
from trainer.direct_io import holds, write_whole

MEBIBYTE = 1 << 20


@pytest.mark.parametrize("size", [0, 1, 4096, MEBIBYTE, 4 * MEBIBYTE, 4 * MEBIBYTE + 4096, 9 * MEBIBYTE + 17])
@pytest.mark.parametrize("offset", [0, 1], ids=["aligned", "not aligned"])
def test_what_is_written_is_what_is_read(tmp_path: Path, size: int, offset: int) -> None:
    with mmap.mmap(-1, size + 8192) as memory:
        memory[offset : offset + size] = content = os.urandom(size)
        data = memoryview(memory)[offset : offset + size]
        with (tmp_path / "file").open("wb") as file:
            write_whole(file.fileno(), data)
        data.release()
    assert (tmp_path / "file").read_bytes() == content
    with (tmp_path / "file").open("rb") as file:
        assert holds(file.fileno(), memoryview(content))


@pytest.mark.parametrize("size", [100, 3 * MEBIBYTE, 9 * MEBIBYTE + 17])
@pytest.mark.parametrize("place", [0.0, 0.5, 0.9999])
def test_one_flipped_bit_or_a_missing_end_is_seen(tmp_path: Path, size: int, place: float) -> None:
    content = os.urandom(size)
    flipped = bytearray(content)
    flipped[int(place * size)] ^= 4
    for other in (flipped, content[:-1], content + b"."):
        (tmp_path / "file").write_bytes(other)
        with (tmp_path / "file").open("rb") as file:
            os.fsync(file.fileno())
            assert not holds(file.fileno(), memoryview(content))


def test_a_file_system_without_it_takes_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refused = []

    def refuse(handle: int, command: int, flags: int = 0) -> int:
        if flags & os.O_DIRECT:
            refused.append(handle)
            raise OSError(22, "Invalid argument")
        return 0

    monkeypatch.setattr("fcntl.fcntl", refuse)
    content = os.urandom(5 * MEBIBYTE)
    with (tmp_path / "file").open("wb") as file:
        write_whole(file.fileno(), memoryview(content))
    with (tmp_path / "file").open("rb") as file:
        assert holds(file.fileno(), memoryview(content))
    assert len(refused) == 2
