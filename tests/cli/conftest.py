"""An emulated account for the commands that look at, or make things in, a real one."""

from __future__ import annotations

import subprocess
import sys
import urllib.request
from collections.abc import Iterator

import boto3
import pytest

from trainyard.local.engine import emulated_aws_environment


@pytest.fixture(scope="session")
def server(tmp_path_factory) -> Iterator[str]:
    log = tmp_path_factory.mktemp("account") / "aws.log"
    with log.open("w") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "trainyard.local.aws.server", "--port", "0"],
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )
        assert process.stdout is not None
        line = process.stdout.readline()
        assert "http://" in line, log.read_text()
        yield line.split()[-1]
        process.terminate()
        assert process.wait(10) == 0


@pytest.fixture
def endpoint(server) -> str:
    """The address of an emulated account with nothing in it."""
    urllib.request.urlopen(urllib.request.Request(f"{server}/moto-api/reset", method="POST")).close()
    return server


@pytest.fixture
def in_account(endpoint, monkeypatch) -> str:
    """Every session of this process leads to the emulated account."""
    for name, value in emulated_aws_environment(endpoint).items():
        monkeypatch.setenv(name, value)
    return endpoint


@pytest.fixture
def aws(endpoint):
    def client(service: str, region: str = "us-east-1"):
        return boto3.client(
            service, region, endpoint_url=endpoint, aws_access_key_id="testing", aws_secret_access_key="testing"
        )

    return client
