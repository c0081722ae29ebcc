"""Text in, token shards out: nothing lost, the same bytes every time, and nothing half-made taken for whole."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import Tokenizer
from trainer import corpus, encode
from trainer.encode import END_OF_TEXT
from trainer.prepare import Progress, prepare
from trainer.shards import MANIFEST, TOKENIZER, DataError, Manifest, Split, TokenShards
from trainer.storage import Storage, StorageError, open_storage
from trainer.storage_s3 import S3Storage
from waiting import WAIT_SECONDS

SMALL: dict[str, Any] = {"vocab_size": 400, "shard_tokens": 1000, "val_fraction": 0.2}


def write_documents(folder: Path, first: int = 0, count: int = 60) -> dict[str, str]:
    """`count` different documents in nested folders; name -> text."""
    documents = {
        f"part-{number % 3}/doc-{number}.txt": f"Document {number}: naïve café, 東京, 🙂.\n" * (3 + number % 7)
        for number in range(first, first + count)
    }
    for name, text in documents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return documents


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    write_documents(tmp_path / "texts")
    return tmp_path / "texts"


def documents_of(uri: str | Path, split: Split, cache: Path) -> list[str]:
    """The documents of a split, decoded from its tokens."""
    shards = TokenShards.open(uri, split, cache)
    stream = shards.read(0, len(shards)).tolist()
    tokenizer = Tokenizer.from_str(open_storage(uri).read_bytes(TOKENIZER).decode())
    ends = [at for at, token in enumerate(stream) if token == shards.manifest.end_of_text]
    assert ends[-1] == len(stream) - 1
    assert len(ends) == shards.manifest.totals[split].documents
    return [
        tokenizer.decode(stream[a + 1 : b], skip_special_tokens=False) for a, b in zip([-1, *ends], ends, strict=False)
    ]


def content_of(folder: Path) -> dict[str, str]:
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    folder = tmp_path_factory.mktemp("tokenizer")
    write_documents(folder / "texts")
    prepare(str(folder / "texts"), str(folder / "data"), **SMALL)
    made = Tokenizer.from_file(str(folder / "data" / TOKENIZER))
    made.encode_special_tokens = True
    return made


@given(st.text())
@example(f"a{END_OF_TEXT}b")
@example("  \r\n\t\n  \x00\x7f\u2028é\U0010ffff")
def test_any_text_survives_the_tokenizer(tokenizer: Tokenizer, text: str) -> None:
    assert tokenizer.decode(tokenizer.encode(text).ids, skip_special_tokens=False) == text


def test_every_document_is_in_one_split_and_whole(texts: Path, tmp_path: Path) -> None:
    manifest = prepare(str(texts), str(tmp_path / "data"), **SMALL)
    train, val = (documents_of(tmp_path / "data", split, tmp_path / "cache") for split in ("train", "val"))
    assert sorted(train + val) == sorted(file.read_text() for file in texts.rglob("*.txt"))
    assert 4 <= len(val) <= 20
    assert len(manifest.shards_of("train")) > 2
    assert {shard.tokens for shard in manifest.shards_of("train")[:-1]} == {1000}
    assert manifest.source.bytes == sum(file.stat().st_size for file in texts.rglob("*.txt"))
    assert manifest.tokenizer.sha256 == hashlib.sha256((tmp_path / "data" / TOKENIZER).read_bytes()).hexdigest()
    assert Manifest.load(open_storage(tmp_path / "data")) == manifest


def test_the_tokenizer_has_learned_the_training_split_only(tmp_path: Path) -> None:
    texts = tmp_path / "texts"
    texts.mkdir()
    words = {f"zq{chr(97 + number // 26)}{chr(97 + number % 26)}xw" for number in range(40)}
    for word in words:  # in each document a word of its own, often enough to become a token
        (texts / f"{word}.txt").write_text(f"{word} " * 200)
    manifest = prepare(str(texts), str(tmp_path / "data"), vocab_size=1000, val_fraction=0.3)
    vocabulary = Tokenizer.from_file(str(tmp_path / "data" / TOKENIZER)).get_vocab()
    held_out = {document.split()[0] for document in documents_of(tmp_path / "data", "val", tmp_path / "cache")}
    learned = {word for word in words if f"Ġ{word}" in vocabulary}
    assert learned == words - held_out
    assert len(held_out) == manifest.totals["val"].documents > 1


@pytest.mark.parametrize("threads", ["1", "4"])
def test_the_same_text_gives_the_same_bytes(texts: Path, tmp_path: Path, threads: str) -> None:
    prepare(str(texts), str(tmp_path / "here"), **SMALL)
    code = f"from trainer.prepare import prepare; prepare({str(texts)!r}, {str(tmp_path / 'there')!r}, **{SMALL!r})"
    environment = os.environ | {"RAYON_NUM_THREADS": threads, "PYTHONHASHSEED": threads}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment, timeout=WAIT_SECONDS)
    assert content_of(tmp_path / "here") == content_of(tmp_path / "there")


def test_settings_change_what_they_name(texts: Path, tmp_path: Path) -> None:
    usual = prepare(str(texts), str(tmp_path / "usual"), **SMALL)
    seeded = prepare(str(texts), str(tmp_path / "seeded"), **SMALL, seed=1)
    assert documents_of(tmp_path / "usual", "val", tmp_path) != documents_of(tmp_path / "seeded", "val", tmp_path)
    whole = prepare(str(texts), str(tmp_path / "whole"), vocab_size=300, val_fraction=0)
    assert (set(whole.totals), whole.vocab_size) == ({"train"}, 300)
    assert usual.hash != seeded.hash != whole.hash


def test_added_files_move_no_document_to_the_other_split(texts: Path, tmp_path: Path) -> None:
    prepare(str(texts), str(tmp_path / "before"), **SMALL)
    write_documents(texts, first=1000, count=100)
    prepare(str(texts), str(tmp_path / "after"), **SMALL)
    for split in ("train", "val"):
        before = set(documents_of(tmp_path / "before", split, tmp_path / "cache"))
        assert before < set(documents_of(tmp_path / "after", split, tmp_path / "cache"))


def test_copies_of_a_document_are_held_out_together(tmp_path: Path) -> None:
    for copy in range(3):
        write_documents(tmp_path / f"texts/copy-{copy}")
    prepare(str(tmp_path / "texts"), str(tmp_path / "data"), **SMALL)
    train, val = (documents_of(tmp_path / "data", split, tmp_path / "cache") for split in ("train", "val"))
    assert not set(train) & set(val)
    assert len(val) == 3 * len(set(val)) > 0


@pytest.mark.parametrize("text", ["line of text\n" * 3000, "no line end, très long " * 2000, "東" * 9000, "\n" * 20000])
def test_a_long_file_is_cut_without_losing_a_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(corpus, "PIECE_BYTES", 1000)
    monkeypatch.setattr(encode, "ENCODE_BATCH_BYTES", 2500)
    text = "\ufeff" + "".join(f"{number} {text[number * 300 : number * 300 + 300]}" for number in range(70))
    (tmp_path / "long.txt").write_text(text)
    manifest = prepare(str(tmp_path / "long.txt"), str(tmp_path / "data"), val_fraction=0, vocab_size=400)
    assert documents_of(tmp_path / "data", "train", tmp_path / "cache") == [text[1:]]
    assert manifest.totals["train"].text_bytes == len(text[1:].encode())

    prepare(str(tmp_path / "long.txt"), str(tmp_path / "split"), val_fraction=0.2, vocab_size=400)
    train, val = (documents_of(tmp_path / "split", split, tmp_path / "cache") for split in ("train", "val"))
    assert sum(len(document.encode()) for document in train + val) == len(text[1:].encode())
    assert all(document in text for document in train + val)
    assert len(val) > 1


@pytest.mark.parametrize("count", [2, 3])
def test_a_tiny_source_still_has_both_splits(tmp_path: Path, count: int) -> None:
    write_documents(tmp_path / "texts", count=count)
    for seed in range(8):
        for fraction in (0.001, 0.5):
            manifest = prepare(
                str(tmp_path / "texts"),
                str(tmp_path / f"{seed}-{fraction}"),
                val_fraction=fraction,
                seed=seed,
                vocab_size=300,
            )
            assert set(manifest.totals) == {"train", "val"}


def test_files_that_are_no_text_are_counted_and_left_out(texts: Path, tmp_path: Path) -> None:
    plain = prepare(str(texts), str(tmp_path / "plain"), **SMALL)
    (texts / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n" + os.urandom(500))
    (texts / "late.txt").write_bytes(b"good text\n" * 40000 + b"\xff\xfe")
    (texts / "zero.txt").write_bytes(b"text\0text")
    (texts / "empty.txt").write_text("")
    (texts / "blank.txt").write_text(" \n\n")
    (texts / "dangling.txt").symlink_to(texts / "nowhere")
    (texts / "loop").symlink_to(texts)
    os.mkfifo(texts / "pipe.txt")
    (texts / ".git").mkdir()
    (texts / ".git/config").write_text("hidden")
    (texts / ".hidden.txt").write_text("hidden")
    manifest = prepare(str(texts), str(tmp_path / "data"), **SMALL)
    assert manifest.source.skipped == {"empty": 2, "not an ordinary file": 2, "not text": 3}
    assert manifest.shards == plain.shards


def test_what_cannot_be_read_is_counted(texts: Path, tmp_path: Path) -> None:
    (texts / "broken.txt").symlink_to("/proc/self/mem")  # opens as an ordinary file; reading it is an I/O error
    assert prepare(str(texts), str(tmp_path / "data"), **SMALL).source.skipped == {"unreadable": 1}


@pytest.mark.parametrize(
    ("include", "chosen"),
    [
        (["*.md"], {"a.md", "docs/b.md"}),
        (["docs/*"], {"docs/b.md", "docs/c.txt"}),
        (["*.md", "d.txt"], {"a.md", "docs/b.md", "d.txt"}),
    ],
)
def test_include_chooses_files(tmp_path: Path, include: list[str], chosen: set[str]) -> None:
    for name in ("a.md", "docs/b.md", "docs/c.txt", "d.txt"):
        (tmp_path / "texts" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "texts" / name).write_text(f"{name}\n" * 50)
    prepare(str(tmp_path / "texts"), str(tmp_path / "data"), include=include, val_fraction=0, vocab_size=300)
    found = {document.split()[0] for document in documents_of(tmp_path / "data", "train", tmp_path / "cache")}
    assert found == chosen


def test_bucket_to_bucket(s3: str, texts: Path, tmp_path: Path) -> None:
    source = open_storage(f"s3://{s3}/raw")
    for file in texts.rglob("*.txt"):
        source.upload(file, file.relative_to(texts).as_posix())
    source.write_bytes("bad.bin", b"\0")
    from_bucket = prepare(source.uri, f"s3://{s3}/raw/prepared", **SMALL)  # the destination lies within the source
    from_folder = prepare(str(texts), str(tmp_path / "data"), **SMALL)
    assert from_bucket.hash == from_folder.hash
    assert from_bucket.source.sha256 == from_folder.source.sha256
    assert from_bucket.source.skipped == {"not text": 1}
    assert prepare(source.uri, f"s3://{s3}/raw/prepared", **SMALL) == from_bucket
    single = prepare(f"s3://{s3}/raw/part-0/doc-0.txt", str(tmp_path / "one"), val_fraction=0, vocab_size=300)
    assert single.source.files == 1


def test_an_object_without_permission_is_counted(
    s3: str, texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from botocore.exceptions import ClientError

    source = open_storage(f"s3://{s3}/raw")
    for file in texts.rglob("*.txt"):
        source.upload(file, file.relative_to(texts).as_posix())

    def refuse_one(self: S3Storage, key: str, local: Path) -> None:
        with self._errors("read", "s3:GetObject", key):
            if key.endswith("doc-7.txt"):
                raise ClientError({"Error": {"Code": "AccessDenied", "Message": "Access Denied"}}, "GetObject")
        download(self, key, local)

    download = S3Storage.download
    monkeypatch.setattr(S3Storage, "download", refuse_one)
    assert prepare(source.uri, str(tmp_path / "data"), **SMALL).source.skipped == {"unreadable": 1}


def test_made_again_it_is_left_alone(texts: Path, tmp_path: Path) -> None:
    first = prepare(str(texts), str(tmp_path / "data"), **SMALL)
    times = {file: file.stat().st_mtime_ns for file in (tmp_path / "data").iterdir()}
    seen: list[Progress] = []
    assert prepare(str(texts), str(tmp_path / "data"), **SMALL, progress=seen.append) == first
    assert seen[-1].stage == "already there"
    assert {file: file.stat().st_mtime_ns for file in (tmp_path / "data").iterdir()} == times


def test_another_data_set_is_not_written_over_unasked(texts: Path, tmp_path: Path) -> None:
    first = prepare(str(texts), str(tmp_path / "data"), **SMALL)
    kept = content_of(tmp_path / "data")
    with pytest.raises(DataError, match=r"data: holds a data set already, prepared with other settings.*--overwrite"):
        prepare(str(texts), str(tmp_path / "data"), **SMALL, seed=1)
    write_documents(texts, first=500, count=1)
    with pytest.raises(DataError, match=r"data: holds a data set already, made from other text.*--overwrite"):
        prepare(str(texts), str(tmp_path / "data"), **SMALL)
    assert content_of(tmp_path / "data") == kept
    replaced = prepare(str(texts), str(tmp_path / "data"), vocab_size=300, overwrite=True)
    assert len(replaced.shards) == 2 < len(first.shards)
    assert set(content_of(tmp_path / "data")) == {MANIFEST, TOKENIZER, "train-00000.bin", "val-00000.bin"}
    prepare(str(texts), str(tmp_path / "fresh"), vocab_size=300)
    assert content_of(tmp_path / "fresh") == content_of(tmp_path / "data")


def test_a_shard_that_got_lost_is_not_taken_for_there(texts: Path, tmp_path: Path) -> None:
    prepare(str(texts), str(tmp_path / "data"), **SMALL)
    kept = content_of(tmp_path / "data")
    (tmp_path / "data/train-00001.bin").unlink()
    with pytest.raises(DataError, match=r"train-00001\.bin: missing or cut: repair .*--overwrite"):
        prepare(str(texts), str(tmp_path / "data"), **SMALL)
    prepare(str(texts), str(tmp_path / "data"), **SMALL, overwrite=True)
    assert content_of(tmp_path / "data") == kept


def test_foreign_files_at_the_destination_are_not_touched(texts: Path, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home/thesis.tex").write_text("years of work")
    with pytest.raises(DataError, match=r"home: holds other files \(thesis\.tex\)"):
        prepare(str(texts), str(tmp_path / "home"), **SMALL)
    assert [file.name for file in (tmp_path / "home").iterdir()] == ["thesis.tex"]
    prepare(str(texts), str(tmp_path / "home"), **SMALL, overwrite=True)
    assert (tmp_path / "home/thesis.tex").read_text() == "years of work"


KILLED = """
import os, signal
from trainer import encode
from trainer.prepare import prepare
from trainer.storage_local import LocalStorage
encode.ENCODE_BATCH_BYTES = 500
def kill_in_the_middle(progress):
    if progress.stage == "encode and upload" and progress.done > progress.total / 2:
        os.kill(os.getpid(), signal.{signal})
prepare({source!r}, {to!r}, overwrite={overwrite}, progress=kill_in_the_middle, **{settings!r})
"""


@pytest.mark.parametrize("overwrite", [False, True])
def test_killed_midway_leaves_no_data_set_and_the_next_run_makes_one(
    texts: Path, tmp_path: Path, overwrite: bool
) -> None:
    if overwrite:
        prepare(str(texts), str(tmp_path / "data"), vocab_size=300)
    code = KILLED.format(
        signal="SIGKILL", source=str(texts), to=str(tmp_path / "data"), overwrite=overwrite, settings=SMALL
    )
    (tmp_path / "tmp").mkdir()
    killed = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"TMPDIR": str(tmp_path / "tmp")}, timeout=WAIT_SECONDS
    )
    assert killed.returncode == -signal.SIGKILL
    assert (tmp_path / "data/train-00000.bin").exists()
    with pytest.raises(DataError, match="no data set here"):
        TokenShards.open(tmp_path / "data", "train", tmp_path / "cache")
    prepare(str(texts), str(tmp_path / "data"), **SMALL)
    prepare(str(texts), str(tmp_path / "fresh"), **SMALL)
    assert content_of(tmp_path / "data") == content_of(tmp_path / "fresh")


def test_a_source_that_changes_meanwhile_is_refused(texts: Path, tmp_path: Path) -> None:
    def change(progress: Progress) -> None:
        if progress.stage == "learn the tokenizer" and progress.done == progress.total:
            (texts / "part-0/doc-0.txt").write_text("something else\n")

    with pytest.raises(DataError, match=r"part-0/doc-0\.txt: changed while it was read"):
        prepare(str(texts), str(tmp_path / "data"), **SMALL, progress=change)
    assert not (tmp_path / "data" / MANIFEST).exists()


def test_progress_goes_forward_to_the_end_of_each_stage(texts: Path, tmp_path: Path) -> None:
    seen: list[Progress] = []
    prepare(str(texts), str(tmp_path / "data"), **SMALL, progress=seen.append)
    stages = list(dict.fromkeys(progress.stage for progress in seen))
    assert stages == ["read the source", "learn the tokenizer", "encode and upload", "done"]
    for stage in stages:
        done = [progress.done for progress in seen if progress.stage == stage]
        assert done == sorted(done)
        assert done[-1] == next(progress.total for progress in reversed(seen) if progress.stage == stage)


def _nothing(folder: Path) -> None:
    folder.mkdir()


def _only_pictures(folder: Path) -> None:
    folder.mkdir()
    (folder / "a.png").write_bytes(b"\0\1")


def _one_document(folder: Path) -> None:
    folder.mkdir()
    (folder / "a.txt").write_text("hello\n")


@pytest.mark.parametrize(
    ("make", "settings", "said"),
    [
        (lambda _: None, {}, "texts: no such file or folder"),
        (_nothing, {}, "texts: no files here"),
        (_one_document, {"include": ["*.md"]}, "texts: no files here .*--include"),
        (_only_pictures, {}, "texts: no usable text in 1 files: 1 not text. Expected UTF-8"),
        (_one_document, {}, "texts: one piece of text only.*--val-fraction 0"),
        (_one_document, {"vocab_size": 256}, "--vocab-size 256: expected 257"),
        (_one_document, {"val_fraction": 1.5}, "--val-fraction 1.5: expected 0"),
        (_one_document, {"shard_tokens": 0}, "--shard-tokens 0: expected 1"),
    ],
)
def test_what_cannot_be_prepared_is_refused(tmp_path: Path, make, settings: dict[str, Any], said: str) -> None:
    make(tmp_path / "texts")
    with pytest.raises(DataError, match=said):
        prepare(str(tmp_path / "texts"), str(tmp_path / "data"), **settings)
    assert not (tmp_path / "data").exists()


def test_the_source_itself_is_no_destination(texts: Path) -> None:
    with pytest.raises(DataError, match="holds other files"):
        prepare(str(texts), str(texts))
    with pytest.raises(DataError, match="is the source itself"):
        prepare(str(texts), str(texts), overwrite=True)


def test_a_missing_bucket_is_said_before_any_work(s3: str, texts: Path) -> None:
    with pytest.raises(StorageError, match=r"s3://no-such-bucket-here/x.*no such bucket"):
        prepare(str(texts), "s3://no-such-bucket-here/x", **SMALL)


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "trainer.prepare", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=WAIT_SECONDS)


def test_the_command_prints_a_table_or_json(texts: Path, tmp_path: Path) -> None:
    as_table = run(texts, "--to", tmp_path / "data", "--vocab-size", 400)
    assert as_table.returncode == 0, as_table.stderr
    assert "60 files" in as_table.stdout
    assert "encode and upload" in as_table.stderr
    as_json = run(texts, "--to", tmp_path / "data", "--vocab-size", 400, "--json")
    assert json.loads(as_json.stdout) == json.loads((tmp_path / "data" / MANIFEST).read_text())
    assert "already there" in as_json.stderr


def test_the_command_exits_2_with_a_sentence_and_no_traceback(tmp_path: Path) -> None:
    failed = run(tmp_path / "none", "--to", tmp_path / "data")
    assert failed.returncode == 2
    assert "no such file or folder" in failed.stderr.replace("\n", " ")
    assert "Traceback" not in failed.stderr


def test_terminated_it_clears_its_working_files(texts: Path, tmp_path: Path) -> None:
    (tmp_path / "tmp").mkdir()
    code = KILLED.format(
        signal="SIGTERM", source=str(texts), to=str(tmp_path / "data"), overwrite=False, settings=SMALL
    )
    code = f"import signal, sys\nsignal.signal(signal.SIGTERM, lambda *_: sys.exit(143))\n{code}"
    ended = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"TMPDIR": str(tmp_path / "tmp")}, timeout=WAIT_SECONDS
    )
    assert ended.returncode == 143
    assert list((tmp_path / "tmp").iterdir()) == []


def test_the_standard_library_makes_a_real_data_set(tmp_path: Path) -> None:
    """What `make demo` trains on: without a source, several megabytes of it on any machine."""
    manifest = prepare(None, str(tmp_path / "data"), vocab_size=512, include=["asyncio/*.py", "email/*.py"])
    assert manifest.source.kind == "python-stdlib"
    assert str(tmp_path) not in manifest.to_json().decode()
    assert sys.prefix not in manifest.to_json().decode()
    documents = documents_of(tmp_path / "data", "train", tmp_path / "cache")
    import asyncio.tasks

    assert Path(asyncio.tasks.__file__).read_text() in documents + documents_of(
        tmp_path / "data", "val", tmp_path / "cache"
    )


def test_storage_interface_is_all_prepare_needs(texts: Path, tmp_path: Path, s3: str) -> None:
    """A path and a bucket get the same objects."""
    prepare(str(texts), str(tmp_path / "data"), **SMALL)
    prepare(str(texts), f"s3://{s3}/data", **SMALL)
    bucket: Storage = open_storage(f"s3://{s3}/data")
    assert {key: hashlib.sha256(bucket.read_bytes(key)).hexdigest() for key in bucket.list()} == content_of(
        tmp_path / "data"
    )
