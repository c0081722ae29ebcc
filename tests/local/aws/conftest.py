"""An emulated account for the tests of this folder, and a provider that works on it."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from aws_program import DEFAULT_TAGS, Program
from emulated_account import Clients, emulated_account

from trainyard.local.aws.account import Account
from trainyard.local.aws.provider import Configuration, Provider


@pytest.fixture(scope="session")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an emulated account, served by a process of its own."""
    with emulated_account(tmp_path_factory.mktemp("server")) as address:
        yield address


@pytest.fixture(scope="session")
def account(endpoint: str) -> Account:
    return Account(endpoint)


@pytest.fixture(scope="session")
def aws(endpoint: str) -> Clients:
    return Clients(endpoint)


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
