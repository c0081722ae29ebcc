"""The example on each module's page is a whole program that works alone: up, no change, down, in one account."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from trainyard.local import supervisor, toolchain
from trainyard.local.engine import Engine
from trainyard.local.paths import ROOT
from trainyard.local.rehearsal import count_resources

PAGES = sorted(page for page in (ROOT / "docs" / "modules").glob("*.md") if page.stem != "README")
_BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NOT_COMPONENTS = {
    "account",
    "code_build",
    "efa_proof",
    "endpoint_policy",
    "gpu_capacity",
    "gpu_launch_template",
    "instance_types",
    "job_manifest",
    "job_pod",
    "lustre_security",
    "node_config",
    "node_labels",
    "policy_document",
    "third_party_images",
}
"""Modules that make no resources."""
ON_ANOTHERS_PAGE = {"private_bucket": "object_store"}


def test_every_module_has_a_page():
    modules = {file.stem for file in (ROOT / "modules").glob("*.py")} - NOT_COMPONENTS - {"__init__"}
    assert {ON_ANOTHERS_PAGE.get(module, module) for module in modules} == {page.stem for page in PAGES}


@pytest.fixture(scope="module")
def services(tmp_path_factory) -> Iterator[str]:
    directory = tmp_path_factory.mktemp("pages")
    running, owner = supervisor.start(directory, owned=True, kubernetes=True)
    yield running.endpoint
    assert owner is not None
    supervisor.stop(directory)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_example_works_alone(page: Path, services, tmp_path):
    blocks = _BLOCK.findall(page.read_text())
    assert len(blocks) == 1, "a page has one example"
    project = tmp_path / "project"
    project.mkdir()
    runtime = {"name": "python", "options": {"virtualenv": str(Path(sys.prefix))}}
    (project / "Pulumi.yaml").write_text(yaml.safe_dump({"name": "alone", "runtime": runtime}))
    (project / "__main__.py").write_text(blocks[0])

    engine = Engine(toolchain.find("pulumi"), project, "lab", tmp_path / "engine", services, checkpoints=False)
    engine.ensure_stack()
    engine.run("up")
    assert count_resources(engine.export()) > 0
    assert set(engine.run("preview").changes) == {"same"}
    engine.run("destroy")
    assert count_resources(engine.export()) == 0
