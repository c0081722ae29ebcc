"""An S3 bucket for the tests that need one, moto's server in this process, and one behind a front that misbehaves."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
import pytest
from moto.server import ThreadedMotoServer
from waiting import WAIT_SECONDS

if TYPE_CHECKING:
    from faulty_s3 import FaultyS3
    from small_training import SmallTraining


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """The URL of an emulated AWS account on this machine."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An empty bucket's name, with the environment that leads there; the account is wiped afterwards."""
    for name, value in {
        "AWS_ENDPOINT_URL": s3_endpoint,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "eu-west-1",
        "AWS_MAX_ATTEMPTS": "1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL_S3", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    bucket = "training-data"
    boto3.client("s3").create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    yield bucket
    urllib.request.urlopen(
        urllib.request.Request(f"{s3_endpoint}/moto-api/reset", method="POST"), timeout=WAIT_SECONDS
    ).close()


@pytest.fixture
def front(s3: str, s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyS3]:
    """Asked with all patience, so that nothing but what a test has it do is taken for a fault."""
    from faulty_s3 import FaultyS3
    from trainer import saving

    monkeypatch.setattr(saving, "READ_SECONDS", WAIT_SECONDS)
    monkeypatch.setattr(saving, "PATIENCE_SECONDS", WAIT_SECONDS)
    with FaultyS3(s3_endpoint) as front:
        monkeypatch.setenv("AWS_ENDPOINT_URL", front.url)
        yield front


@pytest.fixture
def training(front: FaultyS3, s3: str, tmp_path: Path) -> Iterator[SmallTraining]:
    from small_training import SmallTraining

    made = SmallTraining(tmp_path, f"s3://{s3}/runs/a", checkpoint__asynchronous=True, checkpoint__keep_last=9)
    assert made.resume() is None
    yield made
    made.checkpoints.close(wait=False)
