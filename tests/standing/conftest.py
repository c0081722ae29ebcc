"""One environment that stands, looked at and never changed: the rehearsed one, or with TRAINYARD_VERIFY a real one.

With TRAINYARD_VERIFY=dev the AWS session is the caller's own, and `pulumi stack output --json -s dev` says what stands
where. Otherwise `local` is brought up in an emulated account, once for all these tests.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import kubernetes
import pytest
import yaml
from botocore.config import Config

from trainyard.cli import environments
from trainyard.local.paths import require_checkout
from trainyard.local.rehearsal import Rehearsal
from trainyard.stacks.settings import LAYERS, Settings

VARIABLE = "TRAINYARD_VERIFY"
_READS = ("describe_", "get_", "list_", "head_", "batch_get_")


@dataclass(frozen=True)
class Standing:
    """What stands: the stack's outputs, the settings it was made from, and clients that read it."""

    outputs: dict[str, Any]
    settings: Settings
    make_client: Callable[[str], Any]
    kubernetes: kubernetes.client.ApiClient

    def client(self, service: str) -> Any:
        """A client that refuses, before anything is sent, whatever is not a read."""
        client = self.make_client(service)
        client.meta.events.register_first("before-call.*.*", _only_reads)
        return client


def _only_reads(model: Any, **_: Any) -> None:
    name = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in model.name).lstrip("_")
    if not name.startswith(_READS):
        raise AssertionError(f"{model.name} is no read: these tests change nothing in an account")


@pytest.fixture(scope="package")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Standing]:
    """The environment that is looked at."""
    root = require_checkout()
    environment = os.environ.get(VARIABLE) or "local"
    file = environments.environment_file(environment, root)
    settings = environments.parse(environment, environments.read_values(file), str(file))
    if VARIABLE in os.environ:
        outputs = _outputs(root, settings)
        session = boto3.Session(region_name=settings.region)
        config = _kubeconfig(outputs, tmp_path_factory.mktemp("verify"))
        yield Standing(outputs, settings, _maker(session), config)
        return
    with Rehearsal("local", tmp_path_factory.mktemp("standing") / "rehearsal", throw_away=True) as rehearsal:
        rehearsal.up()
        found = rehearsal.aws_environment()
        session = boto3.Session(
            aws_access_key_id=found["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=found["AWS_SECRET_ACCESS_KEY"],
            region_name=settings.region,
        )
        config = kubernetes.config.new_client_from_config(rehearsal.kubernetes_environment()["KUBECONFIG"])
        yield Standing(rehearsal.outputs(), settings, _maker(session, rehearsal.endpoint), config)


def _maker(session: boto3.Session, endpoint: str | None = None) -> Callable[[str], Any]:
    config = Config(retries={"mode": "standard", "max_attempts": 5})
    return lambda service: session.client(service, endpoint_url=endpoint, config=config)


def _outputs(root: Path, settings: Settings) -> dict[str, Any]:
    """The outputs of the environment's stack, or of its three together."""
    stacks = [f"{settings.environment}-{layer}" for layer in LAYERS] if settings.layers else [settings.environment]
    outputs: dict[str, Any] = {}
    for stack in stacks:
        done = subprocess.run(
            ["pulumi", "stack", "output", "--json", "-s", stack],
            cwd=root, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"pulumi stack output -s {stack}: {done.stderr.strip()}"
        outputs |= json.loads(done.stdout)
    return outputs


def _kubeconfig(outputs: dict[str, Any], folder: Path) -> kubernetes.client.ApiClient:
    file = folder / "kubeconfig"
    text = outputs["kubeconfig"]
    file.write_text(text if isinstance(text, str) else yaml.safe_dump(text))
    return kubernetes.config.new_client_from_config(str(file))


@pytest.fixture
def settings(standing: Standing) -> Settings:
    return standing.settings


@pytest.fixture
def outputs(standing: Standing) -> dict[str, Any]:
    return standing.outputs


@pytest.fixture
def client(standing: Standing) -> Callable[[str], Any]:
    return standing.client
