"""A module from an installed wheel works in somebody else's Pulumi program, without this repository on the path."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
import yaml

from trainyard.local.paths import ROOT
from trainyard.local.rehearsal import Rehearsal

PROGRAM = Path(__file__).parent / "programs" / "network_alone"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel of this repository, built from what git would hand out."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (ROOT / name).exists() or (ROOT / name).is_symlink():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, source / name, follow_symlinks=False)
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(source)]
    subprocess.run(command, check=True, capture_output=True)
    return next(folder.glob("trainyard-*.whl"))


@pytest.fixture
def elsewhere(tmp_path, wheel) -> Path:
    """A project of its own, with a virtual environment that has the wheel and this one's other packages."""
    project = tmp_path / "project"
    shutil.copytree(PROGRAM, project)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", project / "venv"], check=True)
    site = next((project / "venv" / "lib").glob("python*/site-packages"))
    # A folder that a .pth file names is searched, but the .pth files in it are not: the editable install stays out.
    (site / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    install = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--no-deps", "--offline"]
    subprocess.run([*install, "--python", str(project / "venv/bin/python"), str(wheel)], check=True)
    described = yaml.safe_load((project / "Pulumi.yaml").read_text())
    described["runtime"] = {"name": "python", "options": {"virtualenv": "venv"}}
    (project / "Pulumi.yaml").write_text(yaml.safe_dump(described))
    return project


def test_the_wheel_carries_every_package_and_its_data(wheel):
    import zipfile

    names = set(zipfile.ZipFile(wheel).namelist())
    assert {
        "trainyard/modules/network.py",
        "trainyard/stacks/architecture.py",
        "trainyard/policies/PulumiPolicy.yaml",
        "trainyard/policies/regions.yaml",
        "trainyard/local/aws/rows/s3.py",
        "trainyard/cli/architecture/architecture.svg.j2",
    } <= names
    assert not [
        name for name in names if name.startswith(("modules/", "policies/", "stacks/", "local/", "cli/", "tests/"))
    ]


def test_the_network_module_works_in_another_program(elsewhere, tmp_path):
    python = elsewhere / "venv" / "bin" / "python"
    imported = subprocess.run(
        [python, "-c", "import trainyard.modules.network as m; print(m.__file__)"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert Path(imported.stdout.strip()).is_relative_to(elsewhere / "venv")
    config = tmp_path / "Pulumi.lab.yaml"
    config.write_text("config: {}\n")
    with Rehearsal("lab", tmp_path / "rehearsal", elsewhere, config, kubernetes=False) as rehearsal:
        rehearsal.up()
        kinds = {one["type"] for one in rehearsal.export()["deployment"]["resources"]}
        assert {"trainyard:network:Network", "aws:ec2/vpc:Vpc", "aws:ec2/flowLog:FlowLog"} <= kinds
        assert set(rehearsal.engine().run("preview").changes) == {"same"}
