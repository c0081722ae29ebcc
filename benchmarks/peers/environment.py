"""The virtual environments of the peers. The training loops have their own few packages in front of the project's.

PyTorch and its libraries take five gigabytes, and everyone is to run the same ones, so they are not installed again:
the packages of the project's environment come last on the search path. `requirements.lock` therefore holds only what
that one lacks. Checkov has one to itself, from a lock of its own. Both are made on first use in the per-user cache, and
again when a lock has changed.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import trainer
from filelock import FileLock
from rich.console import Console

from trainyard.local.paths import ROOT, cache_directory

LOCK = Path(__file__).with_name("requirements.lock")
CHECKOV_LOCK = Path(__file__).with_name("checkov.lock")


def peers_python() -> str:
    """Path of the interpreter of the peers' environment, which is made if there is none. Exits where it can't be."""
    also = (ROOT / "requirements.lock").read_text()
    return _environment("peers", LOCK, f"{sysconfig.get_path('purelib')}\n", also)


def checkov_python() -> str:
    """The same for Checkov's, which holds Checkov and what it needs, and nothing of the project's."""
    return _environment("checkov", CHECKOV_LOCK)


def _environment(name: str, lock: Path, search: str = "", also: str = "") -> str:
    """Makes what `lock` says, unless it stands; `search` is what comes last on the search path, and `also` what else
    the environment depends on."""
    folder = cache_directory() / f"{name}-{hashlib.sha256(sys.prefix.encode()).hexdigest()[:8]}"
    python = folder / "bin" / "python"
    stamp = folder / "installed"
    wanted = f"{sys.version}\n{lock.read_text()}\n{also}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not stamp.exists() or stamp.read_text() != wanted:
            Console(stderr=True).print(f"making the environment of {name} in {folder}")
            _uv("venv", "--quiet", "--clear", "--python", sys.executable, str(folder))
            _uv("pip", "sync", "--quiet", "--python", str(python), "--require-hashes", str(lock))
            if search:
                (site_packages,) = folder.glob("lib/python*/site-packages")
                (site_packages / "project.pth").write_text(search)
            stamp.write_text(wanted)
    return str(python)


def peers_path() -> str:
    """PYTHONPATH for that interpreter: this repository's packages, wherever this process has them from."""
    package = Path(next(iter(trainer.__path__))).parent
    return os.pathsep.join([str(ROOT), str(package)])


def _uv(*arguments: str) -> None:
    done = subprocess.run([str(Path(sys.prefix) / "bin" / "uv"), *arguments], check=False)
    if done.returncode:
        sys.exit(f"uv {' '.join(arguments)} failed: the peers' environment could not be made")
