"""A clone of this repository with changes in it, as whoever reviews a pull request has checked it out."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from trainyard.cli import environments
from trainyard.local.paths import ROOT

CHANGES: Mapping[str, Any] = yaml.safe_load(Path(__file__).with_name("changes.yaml").read_text(encoding="utf-8"))
"""By name; the file says what each consists of."""


def filled(text: str, name: str, environment: str, variant: str = "abroad") -> str:
    """A text of the change `name`, for an environment."""
    file = ROOT / "stacks" / "environments" / f"Pulumi.{environment}.yaml"
    _, settings = environments.read(environment, file)
    change = CHANGES[name]
    text = text.replace("<<place>>", change[variant] if variant == "abroad" else change.get("home", settings.region))
    for slot, value in (
        ("<<environment>>", environment),
        ("<<region>>", settings.region),
        ("<<class>>", settings.data_class),
        ("<<team>>", settings.teams[0].name),
    ):
        text = text.replace(slot, value)
    return text


@dataclass(frozen=True)
class Checkout:
    """The clone. What is committed there is the base of a review, what is not is the change."""

    folder: Path

    @classmethod
    def of_this_repository(cls, folder: Path) -> Checkout:
        """A clone with what stands in the working tree here, committed or not, and no history."""
        listed = subprocess.run(
            ["git", "-C", str(ROOT), "ls-files", "-z", "--exclude=.venv", "--cached", "--others", "--exclude-standard"],
            check=True,
            capture_output=True,
            text=True,
        )
        folder.mkdir(parents=True)
        for name in filter(None, listed.stdout.split("\0")):
            here, there = ROOT / name, folder / name
            if here.is_symlink() or here.is_file():
                there.parent.mkdir(parents=True, exist_ok=True)
                there.symlink_to(here.readlink()) if here.is_symlink() else there.write_bytes(here.read_bytes())
        (folder / ".venv").symlink_to(sys.prefix)
        made = cls(folder)
        made.git("init", "--quiet")
        (folder / ".git" / "info" / "exclude").write_text(".venv\n", encoding="utf-8")
        made.commit("The platform")
        return made

    def git(self, *arguments: str) -> None:
        identity = ("-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
        subprocess.run(["git", "-C", str(self.folder), *identity, *arguments], check=True, capture_output=True)

    def commit(self, message: str) -> None:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", message)

    def back(self, revision: str = "HEAD") -> None:
        """The files as they were committed."""
        self.git("checkout", "--quiet", revision, "--", ".")

    def change(self, names: Iterable[str], environment: str, variant: str) -> None:
        """Make the changes of these names for an environment; `variant` is `home` or `abroad`."""
        for name in names:
            for edit in CHANGES[name]["edits"]:
                old, new = (filled(edit[key], name, environment, variant) for key in ("old", "new"))
                self.edit(filled(edit["file"], name, environment, variant), old, new, edit.get("unless", new))

    def edit(self, file: str, old: str, new: str, unless: str) -> None:
        """Raises ValueError where `old` does not stand there once, unless `unless` does."""
        path = self.folder / file
        text = path.read_text(encoding="utf-8")
        if unless in text:
            return
        if text.count(old) != 1:
            raise ValueError(f"{file} has {text.count(old)} times {old!r}: changes.yaml does not fit it any more")
        path.write_text(text.replace(old, new), encoding="utf-8")

    def review(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """`trainyard review` of the clone, by the clone's own command line and rules."""
        paths = (self.folder, self.folder / "training_images" / "trainer")
        return subprocess.run(
            [sys.executable, "-m", "trainyard.cli.main", "review", *arguments],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(str(path) for path in paths)},
            capture_output=True,
            text=True,
            check=False,
        )
