"""Token shards: read as one stream, fetched once, checked always; damage is refused with the object's name."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from trainer.shards import MANIFEST, DataError, Manifest, TokenShards
from trainer.storage import Storage, open_storage
from trainer.storage_local import LocalStorage
from waiting import WAIT_SECONDS

SHARD_TOKENS = (1000, 1000, 333)


def write_data_set(storage: Storage, dtype: str = "uint16", vocab_size: int = 4096) -> np.ndarray:
    """A data set with three train shards and one val shard, not made by trainer.prepare. Returns the train stream."""
    stream = np.random.default_rng(7).integers(0, vocab_size, sum(SHARD_TOKENS)).astype(dtype)
    pieces = [("train", piece) for piece in np.split(stream, np.cumsum(SHARD_TOKENS)[:-1])] + [("val", stream[:50])]
    shards = []
    for number, (split, piece) in enumerate(pieces):
        name = f"{split}-{number if split == 'train' else 0:05}.bin"
        content = piece.astype(f"<u{piece.itemsize}").tobytes()
        storage.write_bytes(name, content)
        sha256 = hashlib.sha256(content).hexdigest()
        shards.append({"name": name, "split": split, "tokens": len(piece), "bytes": len(content), "sha256": sha256})
    manifest = {
        "format_version": 1,
        "dtype": dtype,
        "vocab_size": vocab_size,
        "end_of_text": 0,
        "shards": shards,
        "totals": {
            "train": {"tokens": len(stream), "documents": 3, "text_bytes": 9000},
            "val": {"tokens": 50, "documents": 1, "text_bytes": 200},
        },
        "tokenizer": {"kind": "byte-level-bpe", "vocab_size": vocab_size, "sha256": "0" * 64},
        "source": {"kind": "files", "uri": "/x", "files": 4, "bytes": 9200, "sha256": "1" * 64, "skipped": {}},
        "preparation": {
            "vocab_size": vocab_size,
            "shard_tokens": 1000,
            "val_fraction": 0.1,
            "seed": 1,
            "include": ["*"],
        },
        "created_by": {"program": "test", "version": "0", "tokenizers": "0"},
    }
    storage.write_bytes(MANIFEST, json.dumps(manifest).encode())
    return stream


@pytest.fixture(params=["path", "s3"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    return open_storage(tmp_path / "data" if request.param == "path" else f"s3://{request.getfixturevalue('s3')}/data")


@pytest.mark.parametrize(("dtype", "vocab_size"), [("uint16", 65536), ("uint32", 200_000)])
def test_shards_read_as_one_stream(storage: Storage, tmp_path: Path, dtype: str, vocab_size: int) -> None:
    stream = write_data_set(storage, dtype, vocab_size)
    tokens = TokenShards.open(storage.uri, "train", tmp_path / "cache")
    assert len(tokens) == len(stream) == 2333
    for start, length in [(0, 2333), (0, 0), (2333, 0), (999, 2), (1000, 1000), (500, 1700), (2332, 1)]:
        read = tokens.read(start, length)
        assert (read.dtype, read.flags.writeable) == (np.dtype(dtype), True)
        np.testing.assert_array_equal(read, stream[start : start + length])
    np.testing.assert_array_equal(TokenShards.open(storage.uri, "val", tmp_path / "cache").read(0, 50), stream[:50])


@pytest.mark.parametrize(("start", "length"), [(-1, 2), (0, 2334), (2333, 1), (5, -1)])
def test_reading_outside_the_stream_is_an_error(tmp_path: Path, start: int, length: int) -> None:
    write_data_set(LocalStorage(tmp_path / "data"))
    with pytest.raises(IndexError, match="2333"):
        TokenShards.open(tmp_path / "data", "train", tmp_path / "cache").read(start, length)


def test_a_second_opening_needs_the_bucket_for_the_manifest_only(s3: str, tmp_path: Path) -> None:
    storage = open_storage(f"s3://{s3}/data")
    stream = write_data_set(storage)
    TokenShards.open(storage.uri, "train", tmp_path / "cache")
    storage.delete(key for key in storage.list() if key != MANIFEST)
    np.testing.assert_array_equal(TokenShards.open(storage.uri, "train", tmp_path / "cache").read(0, 2333), stream)


def test_a_data_set_on_disk_is_not_copied(tmp_path: Path) -> None:
    write_data_set(LocalStorage(tmp_path / "data"))
    TokenShards.open(tmp_path / "data", "train", tmp_path / "cache")
    assert [file for file in (tmp_path / "cache").iterdir() if file.stat().st_size > 500] == []


@pytest.mark.parametrize("damage", ["flip", "cut", "grow", "remove"])
def test_a_damaged_cached_shard_is_fetched_again(s3: str, tmp_path: Path, damage: str) -> None:
    storage = open_storage(f"s3://{s3}/data")
    stream = write_data_set(storage)
    TokenShards.open(storage.uri, "train", tmp_path / "cache")
    cached = min((tmp_path / "cache").glob("*.bin"))
    content = cached.read_bytes()
    if damage == "remove":
        cached.unlink()
    else:
        cached.write_bytes(
            {"flip": bytes([content[0] ^ 1]) + content[1:], "cut": content[:-2], "grow": content + b"\0"}[damage]
        )
    np.testing.assert_array_equal(TokenShards.open(storage.uri, "train", tmp_path / "cache").read(0, 2333), stream)


@pytest.mark.parametrize(
    ("damage", "how"), [("flip", "SHA-256"), ("cut", "1998 bytes instead of 2000"), ("remove", "missing")]
)
def test_a_damaged_shard_is_refused_by_name(storage: Storage, tmp_path: Path, damage: str, how: str) -> None:
    write_data_set(storage)
    content = storage.read_bytes("train-00001.bin")
    if damage == "remove":
        storage.delete(["train-00001.bin"])
    else:
        storage.write_bytes(
            "train-00001.bin", content[:-2] if damage == "cut" else bytes([content[0] ^ 1]) + content[1:]
        )
    for _ in range(2):  # the second time must not find the first's copy good
        with pytest.raises(DataError, match=rf"{storage.uri}/train-00001\.bin: damaged: .*{how}"):
            TokenShards.open(storage.uri, "train", tmp_path / "cache")


def test_damage_done_after_a_good_opening_is_seen(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path / "data")
    write_data_set(storage)
    TokenShards.open(storage.uri, "train", tmp_path / "cache")
    file = tmp_path / "data/train-00000.bin"
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(DataError, match=r"train-00000\.bin: damaged: its SHA-256 differs"):
        TokenShards.open(storage.uri, "train", tmp_path / "cache")


# In a process of its own: pytest's has threads (servers, progress bars), and a fork copies the locks they hold.
OPEN_IN_CHILDREN = """
import sys
from multiprocessing import get_context
from pathlib import Path
import numpy as np
from trainer.shards import TokenShards
from trainer.storage_s3 import S3Storage

uri, cache, fetched = sys.argv[1:]
download = S3Storage.download

def recorded(self, key, local):
    with Path(fetched).open("a") as log:
        log.write(f"{key}\\n")
    download(self, key, local)

def sum_of_all(_):
    return int(TokenShards.open(uri, "train", cache).read(0, 2333).astype(np.int64).sum())

S3Storage.download = recorded
with get_context("fork").Pool(4) as pool:
    print(*set(pool.map_async(sum_of_all, range(8), chunksize=1).get(timeout=150)))
"""


def test_local_ranks_fetch_each_shard_once_between_them(s3: str, tmp_path: Path) -> None:
    storage = open_storage(f"s3://{s3}/data")
    stream = write_data_set(storage)
    fetched = tmp_path / "fetched"
    program = [sys.executable, "-c", OPEN_IN_CHILDREN, storage.uri, str(tmp_path / "cache"), str(fetched)]
    sums = subprocess.run(program, check=True, timeout=WAIT_SECONDS, capture_output=True, text=True).stdout
    assert sums.split() == [str(int(stream.astype(np.int64).sum()))]
    assert sorted(fetched.read_text().split()) == ["train-00000.bin", "train-00001.bin", "train-00002.bin"]
    assert not list((tmp_path / "cache").glob(".*"))


def test_what_a_killed_process_left_in_the_cache_is_swept_away(s3: str, tmp_path: Path) -> None:
    storage = open_storage(f"s3://{s3}/data")
    write_data_set(storage)
    sha256 = Manifest.load(storage).shards[0].sha256
    (tmp_path / "cache").mkdir()
    (tmp_path / f"cache/.{sha256}.bin.abc123.writing").write_bytes(b"half")
    TokenShards.open(storage.uri, "train", tmp_path / "cache")
    assert not list((tmp_path / "cache").glob(".*"))


def test_no_data_set_says_how_to_make_one(storage: Storage, tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=rf"{storage.uri}: no data set here .*trainer\.prepare SOURCE --to {storage.uri}"
    ):
        TokenShards.open(storage.uri, "train", tmp_path / "cache")


def test_a_split_that_is_not_there_names_those_that_are(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path / "data")
    write_data_set(storage)
    with pytest.raises(DataError, match=r"no split 'test'; it has: train, val"):
        TokenShards.open(storage.uri, "test", tmp_path / "cache")  # ty: ignore[invalid-argument-type]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format_version": 2}, "format version 2; this trainer reads version 1"),
        ({"vocab_size": 70000}, "uint16 can't hold a vocabulary of 70000"),
        ({"end_of_text": 4096}, "end_of_text 4096 is no token of a vocabulary of 4096"),
        ({"dtype": "float32"}, "dtype"),
        ({"totals": {"train": {"tokens": 5, "documents": 1, "text_bytes": 1}}}, "do not add up to 5 tokens"),
        (
            {"shards": [{"name": "../x", "split": "train", "tokens": 1, "bytes": 2, "sha256": "0" * 64}]},
            "shards.0.name",
        ),
        ({"owner": "me"}, "owner"),
    ],
)
def test_a_manifest_that_cannot_be_right_is_refused(tmp_path: Path, change: dict, said: str) -> None:
    storage = LocalStorage(tmp_path)
    write_data_set(storage)
    storage.write_bytes(MANIFEST, json.dumps(json.loads(storage.read_bytes(MANIFEST)) | change).encode())
    with pytest.raises(DataError, match=rf"{tmp_path}/manifest\.json: .*{said}"):
        Manifest.load(storage)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe"])
def test_a_manifest_that_is_no_json_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / MANIFEST).write_bytes(content)
    with pytest.raises(DataError, match=r"manifest\.json: not a"):
        Manifest.load(LocalStorage(tmp_path))


def test_the_hash_is_of_the_tokens_not_of_the_place(tmp_path: Path) -> None:
    here, there, other = (LocalStorage(tmp_path / name) for name in ("here", "there", "other"))
    write_data_set(here), write_data_set(there), write_data_set(other, vocab_size=5000)
    moved = json.loads(there.read_bytes(MANIFEST))
    moved["source"]["uri"] = "s3://elsewhere/text"
    there.write_bytes(MANIFEST, json.dumps(moved).encode())
    assert Manifest.load(here).hash == Manifest.load(there).hash != Manifest.load(other).hash
    assert Manifest.model_validate_json(Manifest.load(here).to_json()) == Manifest.load(here)


def test_a_cache_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    write_data_set(LocalStorage(tmp_path / "data"))
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(DataError, match=r"cache: can't be used as a cache: .*writable folder"):
        TokenShards.open(tmp_path / "data", "train", tmp_path / "cache")


def test_threads_read_at_once(tmp_path: Path) -> None:
    stream = write_data_set(LocalStorage(tmp_path / "data"))
    tokens = TokenShards.open(tmp_path / "data", "train", tmp_path / "cache")
    with ThreadPoolExecutor(8) as pool:
        for start, read in enumerate(pool.map(lambda start: tokens.read(start, 100), range(2000))):
            np.testing.assert_array_equal(read, stream[start : start + 100])
