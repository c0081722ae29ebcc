"""Rehearsals for tests: the real engine against an emulated account of the test's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml

from trainyard.local.engine import Engine
from trainyard.local.rehearsal import Rehearsal

PROGRAMS = Path(__file__).parent / "programs"


class Account:
    """A program under the engine, its settings, and the account it works on seen from outside."""

    def __init__(self, rehearsal: Rehearsal, project: str) -> None:
        self.rehearsal = rehearsal
        self.project = project
        self.engine: Engine = rehearsal.engine()

    def configure(self, **settings: Any) -> None:
        """Set the program's configuration; a setting that is None is taken away."""
        content = yaml.safe_load(self.engine.config_file.read_text())
        config = content.setdefault("config", {})
        for name, value in settings.items():
            if value is None:
                config.pop(f"{self.project}:{name}", None)
            else:
                config[f"{self.project}:{name}"] = str(value).lower() if isinstance(value, bool) else value
        self.engine.config_file.write_text(yaml.safe_dump(content))

    def client(self, service: str, region: str = "us-east-1") -> Any:
        return boto3.client(
            service,
            region_name=region,
            endpoint_url=self.rehearsal.endpoint,
            aws_access_key_id="testing",
            aws_secret_access_key="testing",
        )

    def resource(self, name: str) -> dict[str, Any]:
        """The state's entry of the resource called `name`."""
        found = [one for one in self.engine.export()["deployment"]["resources"] if one["urn"].endswith(f"::{name}")]
        assert len(found) == 1, f"{len(found)} resources are called {name}"
        return found[0]


@pytest.fixture
def rehearse(tmp_path: Path) -> Iterator[Callable[[str], Account]]:
    """A function that rehearses one of the programs beside this file; its services end with the test."""
    begun: list[Rehearsal] = []

    def begin(program: str) -> Account:
        config = tmp_path / "Pulumi.test.yaml"
        config.write_text("config: {}\n")
        rehearsal = Rehearsal("test", tmp_path / "rehearsal", PROGRAMS / program, config, kubernetes=False)
        begun.append(rehearsal)
        rehearsal.start(owned=True)
        return Account(rehearsal, yaml.safe_load((PROGRAMS / program / "Pulumi.yaml").read_text())["name"])

    yield begin
    for rehearsal in begun:
        rehearsal.stop()
