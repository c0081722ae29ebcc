"""An emulated account for the tests of this folder, and a provider that works on it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from aws_program import DEFAULT_TAGS, Program
from emulated_account import Clients, emulated_account

from trainyard.local.aws.account import Account
from trainyard.local.aws.provider import Configuration, Provider
from trainyard.local.service import free_ports


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
    (port,) = free_ports(1)
    return port


@pytest.fixture
def provider(account: Account) -> Provider:
    return Provider(Configuration("us-east-1", DEFAULT_TAGS), account)


@pytest.fixture
def program(provider: Provider) -> Program:
    """A program's resources, worked on as the engine would."""
    return Program(provider)
