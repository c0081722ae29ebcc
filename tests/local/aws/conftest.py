"""An emulated account for the tests of this folder, and a provider that works on it."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator

import boto3
import pytest
from aws_program import DEFAULT_TAGS, Program

from trainyard.local.aws.account import Account
from trainyard.local.aws.provider import Configuration, Provider


@pytest.fixture(scope="session")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an emulated account, served by a process of its own."""
    log = tmp_path_factory.mktemp("server") / "log"
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


@pytest.fixture(scope="session")
def account(endpoint: str) -> Account:
    return Account(endpoint)


@pytest.fixture(scope="session")
def aws(endpoint: str):
    """boto3 clients of the emulated account: `aws("s3")`, `aws("s3", "eu-west-1")`."""
    clients = {}

    def client(service: str, region: str = "us-east-1"):
        if (service, region) not in clients:
            clients[service, region] = boto3.client(
                service,
                region,
                endpoint_url=endpoint,
                aws_access_key_id="testing",
                aws_secret_access_key="testing",
            )
        return clients[service, region]

    return client


@pytest.fixture
def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def provider(account: Account) -> Provider:
    return Provider(Configuration("us-east-1", DEFAULT_TAGS), account)


@pytest.fixture
def program(provider: Provider) -> Program:
    """A program's resources, worked on as the engine would."""
    return Program(provider)
