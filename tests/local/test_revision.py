"""An earlier revision laid out beside the checkout, and what is said where there is none."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from trainyard.local.revision import RevisionError, ahead, lay_out, resolve

IDENTITY = ("-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")


def git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(folder), *IDENTITY, *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    folder.mkdir()
    git(folder, "init", "--quiet", "--initial-branch", "main")
    (folder / "Pulumi.yaml").write_text("name: first\n")
    (folder / "real").mkdir()
    (folder / "real" / "file").write_text("x")
    (folder / "linked").symlink_to("real")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "first")
    (folder / "Pulumi.yaml").write_text("name: second\n")
    git(folder, "commit", "--quiet", "--all", "--message", "second")
    (folder / "Pulumi.yaml").write_text("name: not committed\n")
    return folder


def test_revision_is_laid_out_as_it_was(repository: Path, tmp_path: Path) -> None:
    commit = lay_out(repository, "HEAD~1", tmp_path / "base")

    assert commit == git(repository, "rev-parse", "HEAD~1")
    assert (tmp_path / "base" / "Pulumi.yaml").read_text() == "name: first\n"
    assert (tmp_path / "base" / "linked" / "file").read_text() == "x"
    assert (tmp_path / "base" / ".venv" / "bin").is_dir()
    assert (repository / "Pulumi.yaml").read_text() == "name: not committed\n"


@pytest.mark.parametrize("reference", ["nowhere", "--upload-pack=x", "HEAD~5", "HEAD:Pulumi.yaml"])
def test_what_is_no_revision_is_refused_by_name(repository: Path, reference: str) -> None:
    with pytest.raises(RevisionError, match="revision"):
        resolve(repository, reference)


def test_a_branch_that_only_the_remote_has_is_named(repository: Path, tmp_path: Path) -> None:
    git(repository, "branch", "release")
    git(tmp_path, "clone", "--quiet", str(repository), "cloned")

    with pytest.raises(RevisionError, match="there is origin/release"):
        resolve(tmp_path / "cloned", "release")


def test_commits_that_the_branch_has_not_are_counted(repository: Path) -> None:
    main = git(repository, "rev-parse", "main")
    git(repository, "checkout", "--quiet", "--force", "-b", "feature", "HEAD~1")

    assert ahead(repository, main) == 1
    assert ahead(repository, git(repository, "rev-parse", "feature")) == 0


def test_outside_a_repository(tmp_path: Path) -> None:
    with pytest.raises(RevisionError, match="no git repository"):
        resolve(tmp_path, "HEAD")


def test_revision_of_something_else(repository: Path, tmp_path: Path) -> None:
    git(repository, "rm", "--quiet", "--force", "Pulumi.yaml")
    git(repository, "commit", "--quiet", "--message", "third")

    with pytest.raises(RevisionError, match=r"no Pulumi\.yaml"):
        lay_out(repository, "main", tmp_path / "base")


def test_revision_that_would_reach_out_of_its_folder(repository: Path, tmp_path: Path) -> None:
    (repository / "out").symlink_to("/etc")
    git(repository, "add", "--all")
    git(repository, "commit", "--quiet", "--message", "third")

    with pytest.raises(RevisionError, match=r"HEAD \(\w{12}\) cannot be laid out: .*'out'"):
        lay_out(repository, "HEAD", tmp_path / "base")
