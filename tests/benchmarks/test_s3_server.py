"""The benchmarks' S3 server gives back to boto3 and to the trainer's storage what they have sent."""

import hashlib
from pathlib import Path

import boto3
import pytest
from boto3.s3.transfer import TransferConfig
from trainer.storage import open_storage
from trainer.upload import Part, Persistence, put_all

from benchmarks.object_storage import bucket


@pytest.fixture(autouse=True)
def endpoint(monkeypatch):
    for name in ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION"):
        monkeypatch.setenv(name, "replaced")  # put back after the test
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with bucket() as url:
        yield url


def test_in_parts_there_and_in_ranges_back(tmp_path: Path):
    content = bytes(range(256)) * (1 << 16)  # 16 MiB
    (tmp_path / "there").write_bytes(content)
    client = boto3.client("s3")
    parts = TransferConfig(multipart_threshold=1 << 20, multipart_chunksize=5 << 20, max_concurrency=4)
    client.upload_file(str(tmp_path / "there"), "checkpoints", "one", Config=parts)
    client.download_file("checkpoints", "one", str(tmp_path / "back"), Config=parts)
    assert (tmp_path / "back").read_bytes() == content
    assert (
        client.get_object(Bucket="checkpoints", Key="one", Range="bytes=5242870-5242890")["Body"].read()
        == (content[5242870:5242891])
    )


def test_what_the_trainer_puts_it_can_confirm_list_fetch_and_delete(tmp_path: Path):
    storage = open_storage("s3://checkpoints/run")
    content = b"weights" * 100_000
    put_all(
        storage,
        "step-1",
        [Part("a", memoryview(content), hashlib.sha256(content).hexdigest())],
        2,
        Persistence(5.0, lambda reason: pytest.fail(reason)),
    )
    assert storage.sizes("step-1/") == {"step-1/a": len(content)}
    assert storage.fetch("step-1/a", tmp_path / "a") == hashlib.sha256(content).hexdigest()
    assert (tmp_path / "a").read_bytes() == content
    storage.delete(["step-1/a"])
    assert not storage.exists("step-1/a")
    with pytest.raises(FileNotFoundError):
        storage.read_bytes("step-1/a")
