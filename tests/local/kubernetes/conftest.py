"""One control plane with an emulated account beside it, shared by all tests that need a real API server."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from trainyard.local import supervisor, toolchain


@pytest.fixture(scope="package")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, supervisor.Running]]:
    """The rehearsal's directory, and the services that run in it."""
    for tool in ("etcd", "kubernetes"):
        toolchain.find_all(tool)
    directory = tmp_path_factory.mktemp("services")
    running, owner = supervisor.start(directory, owned=True, kubernetes=True)
    yield directory, running
    supervisor.stop(directory)
    if owner is not None:
        os.close(owner)


@pytest.fixture(scope="package")
def administrator_kubeconfig(services: tuple[Path, supervisor.Running]) -> Path:
    """The kubeconfig of an administrator who is none of AWS's."""
    return supervisor.kubeconfig_of(services[0])


@pytest.fixture(scope="package")
def provider_kubeconfig(administrator_kubeconfig: Path) -> Path:
    """The cluster on which the provider's tests work."""
    return administrator_kubeconfig
