"""What a change does to the policies themselves: both sides are judged by the later ones, so this is told beside them.

A region that is allowed, a rule that asks less, an exemption: each makes a review quieter, and is for people to judge.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from trainyard.cli.review.diff import Sign, lines
from trainyard.policies import own_rules

_PACK = "policies"
_JUDGES = {".py", ".yaml", ".yml", ".json"}
_TABLES = {".yaml", ".yml"}
"""Small, and read by compliance people: shown line by line."""
_BESIDE = {"cases", "mutations", "__pycache__"}
"""Folders of examples, by which nothing is judged."""


@dataclass(frozen=True)
class JudgingChange:
    """A file that judges. `lines` only of a table, as `diff.lines` gives them."""

    file: str
    added: int
    removed: int
    lines: tuple[tuple[Sign, str], ...] = ()

    @property
    def summary(self) -> str:
        """`policies/regions.yaml: 2 lines more, 1 less`."""
        said = [f"{self.added} line{'' if self.added == 1 else 's'} more"] * bool(self.added)
        said += [f"{self.removed} less"] * bool(self.removed)
        return f"{self.file}: {', '.join(said)}"


def changed(base: Path, head: Path) -> tuple[JudgingChange, ...]:
    """Of two checkouts, in the order of the files' names."""
    files = sorted({*_files(base), *_files(head)})
    found = (_compared(file, _text(base / file), _text(head / file)) for file in files)
    return tuple(one for one in found if one.added or one.removed)


def _files(checkout: Path) -> Iterator[str]:
    pack = checkout / _PACK
    try:
        own = own_rules.folders_in(pack / own_rules.FILE)
    except ValueError:  # it judges nothing then
        own = ()
    root = checkout.resolve()
    for folder in (pack, *own):
        for file in sorted(folder.rglob("*")):
            judges = file.suffix in _JUDGES and not _BESIDE & {*file.relative_to(folder).parts}
            if judges and file.is_file() and file.resolve().is_relative_to(root):
                yield file.resolve().relative_to(root).as_posix()


def _compared(file: str, before: str, after: str) -> JudgingChange:
    if before == after:
        return JudgingChange(file, 0, 0)
    shown = tuple(lines(*(text.rstrip("\n") + "\n" if text else None for text in (before, after))))
    signs = [sign for sign, _ in shown]
    return JudgingChange(file, signs.count("+"), signs.count("-"), shown if Path(file).suffix in _TABLES else ())


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
