"""An earlier revision of the repository, laid out in a folder as if it had been checked out there."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path


class RevisionError(Exception):
    """There is no such revision, or no repository to take it from."""

    exit_status = 2


def lay_out(repository: Path, reference: str, folder: Path) -> str:
    """Write the files of `reference` (a branch, a tag, a commit) into `folder`; returns the commit's id.

    The virtual environment is that of the caller: packages are not installed anew for each revision.
    """
    commit = resolve(repository, reference)
    with tempfile.TemporaryFile() as archive:
        _git(repository, "archive", "--format=tar", commit, stdout=archive.fileno())
        archive.seek(0)
        try:
            with tarfile.open(fileobj=archive) as packed:
                packed.extractall(folder, filter="data")
        except tarfile.TarError as refused:  # such as a link out of the repository
            raise RevisionError(f"{reference} ({commit[:12]}) cannot be laid out: {refused}") from None
    if not (folder / "Pulumi.yaml").is_file():
        raise RevisionError(f"{reference} ({commit[:12]}) has no Pulumi.yaml: it is no revision of this project")
    environment = folder / ".venv"
    if not environment.exists():
        environment.symlink_to(sys.prefix)
    return commit


def resolve(repository: Path, reference: str) -> str:
    """The id of the commit that `reference` means. Raises `RevisionError`."""
    if reference.startswith("-"):
        raise RevisionError(f"{reference!r} is no revision: write a branch, a tag or a commit")
    found = _git(
        repository, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{reference}^{{commit}}", check=False
    )
    if found.returncode != 0:
        shallow = _git(repository, "rev-parse", "--is-shallow-repository", check=False).stdout.strip() == b"true"
        hint = "; this clone is shallow: fetch it (git fetch --unshallow)" if shallow else ""
        if near := _of_remotes(repository, reference):
            hint = f"; there is {' and '.join(near)}{hint}"
        said = found.stderr.decode(errors="replace").strip()
        raise RevisionError(
            f"{repository} has no revision {reference!r}{hint}; name a branch, a tag, a commit, "
            f"or a settings file (.yaml){said and f': {said}'}"
        )
    return found.stdout.decode().strip()


def ahead(repository: Path, commit: str) -> int:
    """How many commits `commit` has that what is checked out has not: others' work, in the most cases."""
    counted = _git(repository, "rev-list", "--count", f"HEAD..{commit}", check=False)
    return int(counted.stdout) if counted.returncode == 0 else 0  # a shallow clone may not know


def _of_remotes(repository: Path, reference: str) -> list[str]:
    """Branches of that name that a clone knows of its remotes only."""
    listed = _git(repository, "for-each-ref", "--format=%(refname:lstrip=2)", "refs/remotes", check=False)
    return [name for name in listed.stdout.decode(errors="replace").split() if name.partition("/")[2] == reference]


def _git(
    repository: Path, *arguments: str, stdout: int = subprocess.PIPE, check: bool = True
) -> subprocess.CompletedProcess[bytes]:
    try:
        done = subprocess.run(
            ["git", "-C", str(repository), *arguments], stdout=stdout, stderr=subprocess.PIPE, check=False
        )
    except FileNotFoundError:
        raise RevisionError("git is not installed: it lays the earlier revision out") from None
    if check and done.returncode != 0:
        raise RevisionError(f"git {arguments[0]} failed: {done.stderr.decode(errors='replace').strip()}")
    if b"not a git repository" in done.stderr:
        raise RevisionError(f"{repository} is no git repository: name a settings file as --base instead")
    return done
