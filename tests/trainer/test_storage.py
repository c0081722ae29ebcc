"""A folder and a bucket (moto's S3 server) behave alike, and what goes wrong is said so that a person can act."""

from __future__ import annotations

import os
import pickle
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from botocore.exceptions import ClientError
from faulty_s3 import NOT_IMPLEMENTED, FaultyS3, Forward
from trainer.storage import Storage, StorageError, open_storage
from trainer.storage_local import LocalStorage
from trainer.storage_s3 import MULTIPART_BYTES
from waiting import WAIT_SECONDS


@pytest.fixture(params=["path", "s3"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    if request.param == "path":
        return open_storage(tmp_path / "place")
    return open_storage(f"s3://{request.getfixturevalue('s3')}/team/runs/")


def test_what_is_written_is_read_listed_measured_and_deleted(storage: Storage) -> None:
    assert storage.list() == []
    storage.write_bytes("b/2.bin", b"two")
    storage.write_bytes("a.json", b"{}")
    storage.write_bytes("b/1.bin", b"")
    storage.write_bytes("b/2.bin", b"second two")
    assert storage.list() == ["a.json", "b/1.bin", "b/2.bin"]
    assert storage.list("b/") == ["b/1.bin", "b/2.bin"]
    assert storage.list("b/1") == ["b/1.bin"]
    assert storage.list("nothing/here") == []
    assert storage.read_bytes("b/2.bin") == b"second two"
    assert (storage.size("b/2.bin"), storage.size("b/1.bin")) == (10, 0)
    assert [storage.exists(key) for key in ("a.json", "b", "a.jso")] == [True, False, False]
    storage.delete(["b/1.bin", "b/2.bin", "never/was"])
    assert storage.list() == ["a.json"]


def test_an_exchange_returns_what_was_there(storage: Storage) -> None:
    assert storage.exchange("owner", b"first") is None
    assert storage.exchange("owner", b"second") == b"first"
    assert storage.read_bytes("owner") == b"second"


def test_of_many_exchanges_at_once_in_a_bucket_each_sees_the_one_before(s3: str) -> None:
    storage = open_storage(f"s3://{s3}/runs")
    names = [f"{number}".encode() for number in range(4)]
    with ThreadPoolExecutor(4) as pool:
        before = list(pool.map(lambda name: storage.exchange("owner", name), names))
    assert sorted([*before, storage.read_bytes("owner")], key=lambda name: name or b"") == [None, *names]


def test_an_exchange_whose_answer_was_lost_is_not_taken_for_somebody_elses(
    s3: str, s3_endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unheard(_front: FaultyS3, body: bytes, forward: Forward) -> None:
        forward(body)

    with FaultyS3(s3_endpoint) as front:
        monkeypatch.setenv("AWS_ENDPOINT_URL", front.url)
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "3")
        storage = open_storage(f"s3://{s3}/runs")
        storage.exchange("owner", b"before")
        front.fail("PUT", "/owner$", unheard, times=1)
        assert storage.exchange("owner", b"mine") == b"before"
        assert storage.read_bytes("owner") == b"mine"
        assert len(front.met) == 1


def test_an_endpoint_that_knows_no_conditions_is_written_without(
    s3: str, s3_endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FaultyS3(s3_endpoint) as front:
        monkeypatch.setenv("AWS_ENDPOINT_URL", front.url)
        storage = open_storage(f"s3://{s3}/runs")
        front.fail("PUT", "/owner$", NOT_IMPLEMENTED, times=1)
        assert storage.exchange("owner", b"mine") is None
        assert storage.read_bytes("owner") == b"mine"
        assert len(front.met) == 1


def test_a_missing_object_is_named_by_its_full_uri(storage: Storage, tmp_path: Path) -> None:
    for attempt in (
        lambda: storage.read_bytes("step-1/model.bin"),
        lambda: storage.size("step-1/model.bin"),
        lambda: storage.download("step-1/model.bin", tmp_path / "copy"),
    ):
        with pytest.raises(FileNotFoundError) as caught:
            attempt()
        assert f"{storage.uri}/step-1/model.bin" in str(caught.value)
    assert not (tmp_path / "copy").exists()
    assert list(tmp_path.glob(".copy*")) == []


def test_large_files_go_up_and_come_down_whole(storage: Storage, tmp_path: Path) -> None:
    content = os.urandom(1 << 20) * (MULTIPART_BYTES // (1 << 20)) + b"tail"  # just above one part: multipart on S3
    (tmp_path / "model.bin").write_bytes(content)
    storage.upload(tmp_path / "model.bin", "step-1/model.bin")
    storage.download("step-1/model.bin", tmp_path / "deep/down/copy.bin")
    assert (tmp_path / "deep/down/copy.bin").read_bytes() == content
    assert storage.read_bytes("step-1/model.bin") == content


def test_uploading_a_file_that_is_not_there_names_the_file(storage: Storage, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"gone\.bin"):
        storage.upload(tmp_path / "gone.bin", "gone.bin")
    assert storage.list() == []


@pytest.mark.parametrize("key", ["", "/etc/passwd", "../other", "a/../../b", "a//b", "./a"])
def test_keys_cannot_leave_their_storage(storage: Storage, key: str) -> None:
    with pytest.raises(ValueError, match="storage key"):
        storage.write_bytes(key, b"x")


# In a process of its own: pytest's has threads (servers, progress bars), and a fork copies the locks they hold.
READ_IN_CHILDREN = """
import sys
from multiprocessing import get_context
from trainer.storage import open_storage
storage = open_storage(sys.argv[1])
storage.write_bytes("shared", b"same for all")
with get_context(sys.argv[2]).Pool(2) as pool:
    read = [pool.apply_async(storage.read_bytes, ("shared",)) for _ in range(4)]
    assert [answer.get(timeout=150) for answer in read] == [b"same for all"] * 4
assert storage.read_bytes("shared") == b"same for all"
"""


@pytest.mark.parametrize("start_method", ["fork", "spawn"])
def test_a_used_storage_works_in_child_processes(storage: Storage, start_method: str) -> None:
    program = [sys.executable, "-c", READ_IN_CHILDREN, storage.uri, start_method]
    subprocess.run(program, check=True, timeout=WAIT_SECONDS)
    assert storage.read_bytes("shared") == b"same for all"


def test_threads_share_a_storage(storage: Storage) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: storage.write_bytes(f"{n % 3}/{n}", str(n).encode()), range(40)))
        assert set(pool.map(lambda n: storage.read_bytes(f"{n % 3}/{n}") == str(n).encode(), range(40))) == {True}
        list(pool.map(lambda n: storage.delete([f"{n % 3}/{n}"]), range(40)))
    assert storage.list() == []


def test_readers_of_a_path_never_see_part_of_a_write(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path)
    whole = [b"a" * 3_000_000, b"b" * 3_000_000]
    storage.write_bytes("model", whole[0])
    stop = threading.Event()

    def write_on() -> None:
        while not stop.is_set():
            for content in whole:
                storage.write_bytes("model", content)

    writer = threading.Thread(target=write_on)
    writer.start()
    try:
        for _ in range(50):
            assert storage.read_bytes("model") in whole
            assert storage.list() == ["model"]
    finally:
        stop.set()
        writer.join()


def test_a_failed_write_leaves_the_old_content_and_no_litter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = LocalStorage(tmp_path)
    storage.write_bytes("model", b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match=r"model: write failed: No space left on device"):
        storage.write_bytes("model", b"new")
    assert storage.read_bytes("model") == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["model"]


def test_files_get_the_ordinary_permissions(tmp_path: Path) -> None:
    LocalStorage(tmp_path).write_bytes("ours", b"")
    (tmp_path / "plain").touch()
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_the_last_object_takes_its_folder_with_it(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path)
    storage.write_bytes("step-1/rank-0/model", b"x")
    storage.delete(["step-1/rank-0/model"])
    assert list(tmp_path.iterdir()) == []


def test_a_file_where_the_folder_should_be_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for attempt in (lambda s: s.list(), lambda s: s.write_bytes("x", b""), lambda s: s.read_bytes("x")):
        with pytest.raises(StorageError, match="file"):
            attempt(open_storage(tmp_path / "file"))


def test_file_uris_and_paths_are_the_same_place(tmp_path: Path) -> None:
    open_storage(f"file://{tmp_path}/with%20space").write_bytes("x", b"1")
    assert open_storage(str(tmp_path / "with space")).read_bytes("x") == b"1"


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("gs://bucket/x", "'gs' is not known: expected a path, file:// or s3://"),
        ("s3://", "'' is no bucket name"),
        ("s3://Upper_Case/x", "'Upper_Case' is no bucket name"),
        ("file://host/x", "file:///absolute/path"),
        ("", "empty storage URI"),
    ],
)
def test_impossible_uris_are_refused_at_once(uri: str, said: str) -> None:
    with pytest.raises(StorageError, match=said):
        open_storage(uri)


def test_a_missing_bucket_is_not_taken_for_a_missing_object(s3: str, tmp_path: Path) -> None:
    storage = open_storage("s3://no-such-bucket-here/prefix")
    for attempt in (
        lambda: storage.read_bytes("x"),
        lambda: storage.exists("x"),
        lambda: storage.list(),
        lambda: storage.write_bytes("x", b""),
        lambda: storage.download("x", tmp_path / "x"),
        lambda: storage.delete(["x"]),
    ):
        with pytest.raises(StorageError, match=r"s3://no-such-bucket-here/prefix.*no such bucket"):
            attempt()


def test_an_endpoint_that_does_not_answer_is_named(s3: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    (tmp_path / "x").write_bytes(b"x")
    for attempt in (lambda s: s.read_bytes("x"), lambda s: s.upload(tmp_path / "x", "x"), lambda s: s.list()):
        with pytest.raises(
            StorageError, match=rf"s3://{s3}/p.*127\.0\.0\.1:{port}.*check the network.*AWS_ENDPOINT_URL"
        ):
            attempt(open_storage(f"s3://{s3}/p"))


@pytest.mark.parametrize("said", ["nonsense", "127.0.0.1:9000", "http://"])
def test_an_endpoint_that_is_none_is_told(s3: str, monkeypatch: pytest.MonkeyPatch, said: str) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", said)
    with pytest.raises(StorageError, match=rf"AWS_ENDPOINT_URL is '{said}'.*expected http\(s\)://host"):
        open_storage(f"s3://{s3}/p").list()


def test_missing_credentials_say_how_to_get_some(s3: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    with pytest.raises(StorageError, match=rf"s3://{s3}/p/x: read failed: .*credentials.*AWS_PROFILE"):
        open_storage(f"s3://{s3}/p").read_bytes("x")


def test_a_refusal_names_the_permission_that_lacks(s3: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """moto checks no policy unless told to, so its answer is put in botocore's mouth."""
    (tmp_path / "x").write_bytes(b"x")

    def refuse(self: object, operation: str, parameters: dict) -> None:
        raise ClientError({"Error": {"Code": "AccessDenied", "Message": "Access Denied"}}, operation)

    storage = open_storage(f"s3://{s3}/p")
    monkeypatch.setattr("botocore.client.BaseClient._make_api_call", refuse)
    for attempt, permission in (
        (lambda: storage.read_bytes("x"), "s3:GetObject.*kms:Decrypt"),
        (lambda: storage.write_bytes("x", b""), "s3:PutObject.*kms:GenerateDataKey"),
        (lambda: storage.upload(tmp_path / "x", "x"), "s3:PutObject.*kms:GenerateDataKey"),
        (lambda: storage.list(), "s3:ListBucket"),
        (lambda: storage.delete(["x"]), "s3:DeleteObject"),
    ):
        with pytest.raises(StorageError, match=rf"s3://{s3}/p.*AccessDenied.*The role needs {permission}"):
            attempt()


def test_more_objects_than_one_page_or_one_delete_holds(s3: str, tmp_path: Path) -> None:
    storage = open_storage(f"s3://{s3}/many")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: storage.write_bytes(f"{n:04}", b""), range(1005)))
    open_storage(f"s3://{s3}/many-others").write_bytes("kept", b"")
    assert storage.list() == [f"{n:04}" for n in range(1005)]
    storage.delete(storage.list())
    assert storage.list() == []
    assert open_storage(f"s3://{s3}").list() == ["many-others/kept"]


def test_storages_travel_by_pickle(storage: Storage) -> None:
    storage.write_bytes("x", b"1")
    assert pickle.loads(pickle.dumps(storage)).read_bytes("x") == b"1"
