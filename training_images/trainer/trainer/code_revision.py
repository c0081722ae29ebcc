"""Which trainer this is, so that a checkpoint can say what saved it."""

from __future__ import annotations

import hashlib
import os
import subprocess
from functools import cache
from pathlib import Path

VARIABLE = "TRAINER_CODE_REVISION"
"""What an image's build may say of itself."""


@cache
def code_revision() -> str:
    """What TRAINER_CODE_REVISION says; else `git:<commit>`, with a + for changes not committed; else, where there is no
    repository, `sources:<hash of this package's files>`."""
    if told := os.environ.get(VARIABLE):
        return told
    package = Path(__file__).parent
    try:
        described = ["git", "-C", str(package), "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty=+"]
        said = subprocess.run(described, capture_output=True, text=True, timeout=10, check=True)
        tracked = ["git", "-C", str(package), "ls-files", "--error-unmatch", Path(__file__).name]
        subprocess.run(tracked, capture_output=True, timeout=10, check=True)
        return f"git:{said.stdout.strip()}"
    except (OSError, subprocess.SubprocessError):
        digest = hashlib.sha256()
        for file in sorted(package.rglob("*.py")):
            digest.update(f"{file.relative_to(package)}\0".encode() + file.read_bytes())
        return f"sources:{digest.hexdigest()[:40]}"
