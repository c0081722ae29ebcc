"""The virtual environment of the peers: their own few packages, in front of all that the project's environment has.

PyTorch and its libraries take five gigabytes, and everyone is to run the same ones, so they are not installed again:
the packages of the project's environment come last on the search path. `requirements.lock` therefore holds only what
that one lacks. Made on the first use in the per-user cache, and again when one of the locks has changed.
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


def peers_python() -> str:
    """Path of the interpreter of the peers' environment, which is made if there is none. Exits where it can't be."""
    here = sys.prefix
    folder = cache_directory() / f"peers-{hashlib.sha256(here.encode()).hexdigest()[:8]}"
    python = folder / "bin" / "python"
    stamp = folder / "installed"
    wanted = f"{sys.version}\n{LOCK.read_text()}\n{(ROOT / 'requirements.lock').read_text()}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not stamp.exists() or stamp.read_text() != wanted:
            Console(stderr=True).print(f"making the peers' environment in {folder}")
            _uv("venv", "--quiet", "--clear", "--python", sys.executable, str(folder))
            _uv("pip", "sync", "--quiet", "--python", str(python), "--require-hashes", str(LOCK))
            (site_packages,) = folder.glob("lib/python*/site-packages")
            (site_packages / "project.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
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
