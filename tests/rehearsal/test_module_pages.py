"""The example on each module's page is a whole program that works alone: up, no change, down, in one account."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, contextmanager
from itertools import count
from pathlib import Path

import pytest
import yaml
from attached_engine import AttachedEngine, plugins

from trainyard.local import supervisor, toolchain
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


Lab = Callable[[str], AbstractContextManager[AttachedEngine]]


@pytest.fixture(scope="module")
def lab(tmp_path_factory) -> Iterator[Lab]:
    """A function of a program: the engine for it, whose stack is empty. The account, its cluster and the plugins are
    shared; a stack only as long as each program left nothing in it."""
    folder = tmp_path_factory.mktemp("pages")
    running, owner = supervisor.start(folder / "services", owned=True, kubernetes=True)
    assert owner is not None
    project = folder / "project"
    project.mkdir()
    runtime = {"name": "python", "options": {"virtualenv": str(Path(sys.prefix))}}
    (project / "Pulumi.yaml").write_text(yaml.safe_dump({"name": "alone", "runtime": runtime}))
    numbers = count(1)

    def another() -> AttachedEngine:
        pulumi, stack = toolchain.find("pulumi"), f"lab{next(numbers)}"
        return AttachedEngine(pulumi, project, stack, folder / "engine", running.endpoint, checkpoints=False)

    empty = [another()]
    with plugins(empty[0]) as attached:

        @contextmanager
        def stack_for(program: str) -> Generator[AttachedEngine]:
            engine = empty.pop() if empty else another()
            engine.attached = attached
            engine.ensure_stack()
            (project / "__main__.py").write_text(program)
            yield engine
            empty.append(engine)

        yield stack_for
    supervisor.stop(folder / "services")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_example_works_alone(page: Path, lab: Lab):
    blocks = _BLOCK.findall(page.read_text())
    assert len(blocks) == 1, "a page has one example"

    with lab(blocks[0]) as engine:
        engine.run("up")
        assert count_resources(engine.export()) > 0
        assert set(engine.run("preview").changes) == {"same"}
        engine.run("destroy")
        assert count_resources(engine.export()) == 0
