"""What the engine keeps of a stack, read without asking it; and what only it can say, asked for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from trainyard.local.engine import Engine, EngineError

STACK = {"urn": "urn:pulumi:test::small::pulumi:pulumi:Stack::small-test", "type": "pulumi:pulumi:Stack"}
SECRET = {"4dabf18193072939515e22adb298388d": "1b47061264138c4ac30d75fd1eb44270", "ciphertext": "v1:abc"}


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    """An engine whose `pulumi` prints, as JSON, what it was asked for, and notes it."""
    (tmp_path / "pulumi").write_text(
        f"""#!/bin/sh
echo "$@" >> "{tmp_path / "asked"}"
if [ "$2" = ls ]; then echo '[{{"name": "organization/small/test"}}]'; else echo "{{\\"asked\\": \\"$2\\"}}"; fi
"""
    )
    (tmp_path / "pulumi").chmod(0o755)
    (tmp_path / "Pulumi.yaml").write_text("name: small\nruntime: python\n")
    return Engine(tmp_path / "pulumi", tmp_path, "test", tmp_path / "home", "http://127.0.0.1:1")


def _keep(engine: Engine, content: Any, name: str = "test.json") -> None:
    file = engine.home / "state" / ".pulumi" / "stacks" / "small" / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content if isinstance(content, str) else json.dumps(content))


def _state(version: int = 3, **outputs: Any) -> dict[str, Any]:
    return {"version": version, "checkpoint": {"latest": {"resources": [{**STACK, "outputs": outputs}]}}}


def test_a_state_that_is_kept_is_read(engine: Engine, tmp_path: Path) -> None:
    _keep(engine, _state(region="us-east-1"))
    assert engine.export() == {"version": 3, "deployment": _state(region="us-east-1")["checkpoint"]["latest"]}
    assert engine.outputs() == {"region": "us-east-1"}
    assert not (tmp_path / "asked").exists()


@pytest.mark.parametrize(
    "kept",
    [
        None,
        "",
        "[]",
        {"version": 3, "checkpoint": {"stack": "organization/small/test"}},
        {"version": 3, "checkpoint": {"latest": {"manifest": {}}}},
        _state(version=4),
    ],
    ids=["none", "empty", "a list", "a stack that was never up", "no resources", "a later version"],
)
def test_a_state_of_another_form_is_asked_for(engine: Engine, kept: Any) -> None:
    if kept is not None:
        _keep(engine, kept)
    assert engine.export() == {"asked": "export"}
    assert engine.outputs() == {"asked": "output"}


def test_outputs_with_a_secret_in_them_are_opened_by_the_engine(engine: Engine) -> None:
    _keep(engine, _state(users=[{"password": SECRET}]))
    assert engine.outputs() == {"asked": "output"}
    assert "deployment" in engine.export()


def test_whether_there_is_a_stack_is_asked_only_where_something_bears_its_name(engine: Engine, tmp_path: Path) -> None:
    _keep(engine, _state())
    engine.ensure_stack()
    assert not (tmp_path / "asked").exists()

    (engine.home / "state" / ".pulumi" / "stacks" / "small" / "test.json").unlink()
    _keep(engine, _state(), "test-data.json")
    with pytest.raises(EngineError, match="made no stack"):
        engine.ensure_stack()
    assert (tmp_path / "asked").read_text().split() == ["stack", "init", "test"]

    _keep(engine, b"compressed".hex(), "test.json.gz")
    engine.ensure_stack()
    assert "stack ls --json" in (tmp_path / "asked").read_text()
