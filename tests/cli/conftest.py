"""An emulated account for the commands that look at, or make things in, a real one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from emulated_account import Clients, empty, emulated_account

from trainyard.local.engine import emulated_aws_environment


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder: Path = tmp_path_factory.mktemp("account")
    with emulated_account(folder) as address:
        yield address


@pytest.fixture
def endpoint(server: str) -> str:
    """The address of an emulated account with nothing in it."""
    empty(server)
    return server


@pytest.fixture
def in_account(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Every session of this process leads to the emulated account."""
    for name, value in emulated_aws_environment(endpoint).items():
        monkeypatch.setenv(name, value)
    return endpoint


@pytest.fixture
def aws(endpoint: str) -> Clients:
    return Clients(endpoint)
