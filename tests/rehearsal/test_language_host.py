"""The rehearsal's language host runs programs and policy packs under the real engine as the official host does."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
import yaml

from trainyard.local import toolchain
from trainyard.local.engine import Engine, EngineError

NO_ACCOUNT = "http://127.0.0.1:9"  # nothing here talks to a cloud


@pytest.fixture
def project(tmp_path):
    """Make a project of one program; returns a function of its source that gives its engine."""

    def make(source: str, options: dict | None = None, config: dict | None = None) -> Engine:
        folder = tmp_path / "project"
        folder.mkdir(exist_ok=True)
        runtime = {"name": "python", "options": options} if options else "python"
        (folder / "Pulumi.yaml").write_text(yaml.safe_dump({"name": "hosted", "runtime": runtime}))
        (folder / "__main__.py").write_text(source)
        settings = tmp_path / "Pulumi.dev.yaml"
        settings.write_text(yaml.safe_dump({"config": config or {}}))
        engine = Engine(toolchain.find("pulumi"), folder, "dev", tmp_path / "engine", NO_ACCOUNT, settings)
        engine.ensure_stack()
        return engine

    return make


def test_a_program_sees_its_stack_its_config_and_its_folder(project):
    engine = project(
        "import pulumi, os\n"
        "pulumi.export('stack', pulumi.get_stack())\n"
        "pulumi.export('project', pulumi.get_project())\n"
        "pulumi.export('size', pulumi.Config().require_int('size'))\n"
        "pulumi.export('folder', os.path.basename(os.getcwd()))\n",
        config={"hosted:size": "7"},
    )
    result = engine.run("up")
    assert engine.outputs() == {"stack": "dev", "project": "hosted", "size": 7, "folder": "project"}
    assert result.changes == {"create": 1}
    assert result.errors == []


def test_the_users_file_is_left_as_it_was(project, tmp_path):
    engine = project("import pulumi\n", config={"hosted:size": "7"})
    before = (tmp_path / "Pulumi.dev.yaml").read_bytes()
    engine.run("up")
    assert (tmp_path / "Pulumi.dev.yaml").read_bytes() == before


def test_a_run_error_is_shown_without_a_traceback(project):
    engine = project("import pulumi\nraise pulumi.RunError('size has to be even')\n")
    with pytest.raises(EngineError, match="size has to be even") as failed:
        engine.run("preview")
    assert "Traceback" not in str(failed.value)


def test_a_bug_is_shown_with_its_traceback(project):
    engine = project("raise KeyError('forgotten')\n")
    with pytest.raises(EngineError, match=r"Traceback[\s\S]*KeyError: 'forgotten'"):
        engine.run("preview")


def test_what_the_program_prints_is_shown(project):
    shown = []
    project("print('three racks')\n").run("preview", on_event=lambda event: shown.append(event))
    messages = [event["diagnosticEvent"]["message"] for event in shown if "diagnosticEvent" in event]
    assert any("three racks" in message for message in messages)


def test_the_program_runs_in_the_virtual_environment_that_the_project_names(project, tmp_path):
    named = tmp_path / "project" / "its-venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", named], check=True)
    site = named / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    (site / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    engine = project("import pulumi, sys\npulumi.export('prefix', sys.prefix)\n", options={"virtualenv": "its-venv"})
    engine.run("up")
    assert Path(engine.outputs()["prefix"]) == named


def test_a_policy_pack_runs_and_its_finding_stops_the_update(project, tmp_path):
    pack = tmp_path / "pack"
    pack.mkdir()
    (pack / "PulumiPolicy.yaml").write_text("runtime: python\n")
    (pack / "__main__.py").write_text(
        "from pulumi_policy import *\n"
        "def no_outputs(args, report):\n"
        "    for resource in args.resources:\n"
        "        if resource.resource_type == 'pulumi:pulumi:Stack':\n"
        "            report('stacks are not allowed here')\n"
        "PolicyPack('p', policies=[StackValidationPolicy('no-stacks', 'none', no_outputs,"
        " enforcement_level=EnforcementLevel.MANDATORY)])\n"
    )
    with pytest.raises(EngineError) as failed:
        project("import pulumi\n").run("preview", policy_pack=pack)
    found = failed.value.result.violations
    assert [(one["policy"], one["level"]) for one in found] == [("no-stacks", "mandatory")]
    assert "stacks are not allowed here" in found[0]["message"]
