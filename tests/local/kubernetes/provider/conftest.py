"""Projects and their cluster for the tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from kubernetes_project import Cluster, Project


@pytest.fixture
def project(tmp_path: Path, provider_kubeconfig: Path) -> Iterator[Project]:
    made = Project(tmp_path, provider_kubeconfig)
    yield made
    if (made.home / "up.log").exists():
        made.engine.run("destroy")


@pytest.fixture
def cluster(provider_kubeconfig: Path) -> Cluster:
    return Cluster(provider_kubeconfig)
