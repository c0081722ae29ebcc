"""Rules that a team wrote itself: loaded from its folders, and refused with a reason rather than left out.

A folder holds modules with rules, and `cases/<rule id>.yaml` for each. Nothing in it can end the others' judgement:
whatever cannot be served is a problem that the pack reports, and what is served is guarded against its own mistakes.
"""

from __future__ import annotations

import importlib
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml

from trainyard.policies import team_file
from trainyard.policies.cases import cases_of
from trainyard.policies.exemptions import REGISTER_RULE
from trainyard.policies.graph import Graph, Resource
from trainyard.policies.levels import LEVELS_RULE
from trainyard.policies.rule import Finding, Rule, Severity, Verdict

FILE = "own_rules.yaml"
PACK_RULE = "pack-in-order"
_ABOUT_ITSELF = (PACK_RULE, LEVELS_RULE, REGISTER_RULE)
_ID = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)+")
_END = object()
_NEEDED = (Verdict.PASSED, Verdict.VIOLATION)
_WORDS = {Verdict.PASSED: "good", Verdict.VIOLATION: "bad"}


@dataclass(frozen=True)
class OwnRule:
    """A rule, and the folder that its cases are in."""

    rule: Rule
    folder: Path


@dataclass(frozen=True)
class OwnRules:
    """What the folders hold: the rules that can be served, and why others cannot."""

    rules: tuple[OwnRule, ...] = ()
    problems: tuple[str, ...] = ()


def folders_in(file: Path) -> list[Path]:
    """The folders that a pack's own_rules.yaml names, which are relative to it. None where there is no such file.

    Raises ValueError saying what is wrong with the file.
    """
    if not team_file.is_there(file):
        return []
    raw = team_file.read(file) or {}
    named = raw.get("folders") if isinstance(raw, dict) else None
    if not isinstance(raw, dict) or set(raw) != {"folders"} or not isinstance(named, list):
        raise ValueError(f"{file}: it holds one list, `folders: [../our-rules]`, and nothing else")
    if wrong := [one for one in named if not isinstance(one, str) or not one.strip()]:
        raise ValueError(f"{file}: {wrong[0]!r} is no folder; write its path, relative to this file")
    return [(file.parent / one).resolve() for one in named]


def load(folders: Iterable[Path], shipped: Iterable[Rule]) -> OwnRules:
    """The rules of the folders, beside those that are `shipped`, whose ids are taken."""
    found: list[OwnRule] = []
    problems: list[str] = []
    seen = list(shipped)
    ids = dict.fromkeys((*(rule.id for rule in seen), *_ABOUT_ITSELF), "the pack")
    for folder in folders:
        rules, before = 0, len(problems)
        for file, outcome in _rules_in(folder, seen):
            rules += 1
            if isinstance(outcome, str):
                problems.append(f"{file}: {outcome}")
                continue
            if wrong := _wrong_with(outcome, folder, ids):
                problems += [f"{file}: {reason}" for reason in wrong]
                continue
            ids[outcome.id] = str(file)
            found.append(OwnRule(_guarded(outcome), folder))
        if not rules:
            problems.append(
                f"{folder}: no file there (*.py) defines a rule; write one, or take the folder out of {FILE}"
            )
        if len(problems) == before:  # or the rule is one of those that cannot be asked, which is told already
            problems += _cases_without_rule(folder, [one.rule.id for one in found if one.folder == folder])
    return OwnRules(tuple(found), tuple(problems))


def _rules_in(folder: Path, seen: list[Rule]) -> Iterator[tuple[Path, Rule | str]]:
    """Each rule that was not `seen` before with its file, or why there is none. A module may import others' rules."""
    if not folder.is_dir():
        yield folder, f"there is no such folder; {FILE} names it"
        return
    for file in sorted(folder.glob("*.py")):
        if file.name == "__init__.py":
            continue
        try:
            module = _imported(folder, file.stem)
        except KeyboardInterrupt:
            raise
        except BaseException as failed:  # noqa: BLE001  # somebody else's code: whatever it does is told
            yield file, f"it cannot be imported: {_said(failed, file)}"
            continue
        for rule in vars(module).values():
            if isinstance(rule, Rule) and not any(rule is one for one in seen):
                seen.append(rule)
                yield file, rule


def _imported(folder: Path, stem: str) -> ModuleType:
    """A module of a folder, which is a package of its own: modules of one folder may import each other relatively."""
    package = f"trainyard_own_rules_{sha256(str(folder).encode()).hexdigest()[:12]}"
    if package not in sys.modules:
        whole = ModuleType(package)
        whole.__path__ = [str(folder)]
        sys.modules[package] = whole
    with redirect_stdout(sys.stderr):  # the engine reads the pack's address from standard output
        return importlib.import_module(f"{package}.{stem}")


def _said(failed: BaseException, file: Path) -> str:
    """An error in one line, with the line of the file that it came from."""
    lines = [one.lineno for one in traceback.extract_tb(failed.__traceback__) if one.filename == str(file)]
    if isinstance(failed, SyntaxError) and failed.lineno:
        lines = [failed.lineno]
    where = f" (line {lines[-1]})" if lines else ""
    return f"{type(failed).__name__}: {' '.join(str(failed).split())}{where}"


def _wrong_with(rule: Rule, folder: Path, taken: Mapping[str, str]) -> list[str]:
    """Why a rule cannot be served; nothing where it can."""
    name = rule.id
    if not isinstance(name, str) or not _ID.fullmatch(name):
        return [f"{name!r} is no id of a rule; write words with hyphens between, such as team-keys-tagged"]
    if name in taken:
        return [f"{name}: {taken[name]} has a rule of that id already; the id names a rule in reports and exemptions"]
    wrong = [f"{name}: {reason}" for reason in _wrong_with_metadata(rule)]
    return wrong or [f"{name}: {reason}" for reason in _wrong_with_cases(rule, folder)]


def _wrong_with_metadata(rule: Rule) -> Iterator[str]:
    for field in ("title", "why", "remedy"):
        text = getattr(rule, field)
        if not isinstance(text, str) or not text.strip():
            yield f"{field} is missing; it is what a person reads who has to mend a finding"
    if not isinstance(rule.severity, Severity):
        yield f"severity is {rule.severity!r}; it may be {', '.join(f'Severity.{one.name}' for one in Severity)}"
    if not callable(rule.applies):
        yield f"applies is {rule.applies!r}; write a set of resource types, or a function that tests one"
    controls = rule.controls
    if not isinstance(controls, Mapping) or not controls:
        yield 'controls name what demands this, such as {"NIST 800-53": ("SC-12",)}; a standard of your own will do'
        return
    for catalogue, ids in controls.items():
        if not isinstance(ids, tuple) or not ids or not all(isinstance(one, str) for one in ids):
            yield f'controls[{catalogue!r}] is {ids!r}; write a tuple of ids, such as ("SC-12",)'


def _wrong_with_cases(rule: Rule, folder: Path) -> Iterator[str]:
    file = f"cases/{rule.id}.yaml"
    try:
        verdicts = {case.verdict for case in cases_of(rule, folder)}
    except FileNotFoundError:
        yield f"there is no {file}: a rule without examples, good and bad, is not asked"
    except (ValueError, KeyError, TypeError, AttributeError, OSError, RecursionError, yaml.YAMLError) as wrong:
        yield f"{file} cannot be read: {type(wrong).__name__}: {' '.join(str(wrong).split())}"
    else:
        for verdict in _NEEDED:
            if verdict not in verdicts:
                yield f"{file} has no {_WORDS[verdict]} case; a rule needs at least one good and one bad"


def _cases_without_rule(folder: Path, ids: Iterable[str]) -> Iterator[str]:
    """A rule that no module has as a name of its own, or that was renamed, would be missed by nobody."""
    for file in sorted((folder / "cases").glob("*.yaml")):
        if file.stem not in ids:
            yield f"{file}: no file in {folder} (*.py) has a rule {file.stem!r}, so nobody asks it; name the rule there"


def _guarded(rule: Rule) -> Rule:
    """The rule, whose mistakes stay its own: a test of types that fails takes every resource, and then says so."""

    def applies(kind: str) -> bool:
        try:
            return bool(_own(rule.applies, kind))
        except Exception:  # noqa: BLE001  # raised again where it becomes a finding
            return True

    def check(resource: Resource, graph: Graph) -> Iterator[Finding]:
        _own(rule.applies, resource.type)
        found = iter(_own(rule.check, resource, graph))
        while (finding := _own(next, found, _END)) is not _END:
            yield _sound(finding)

    return replace(rule, applies=applies, check=check)


def _own(step: Callable[..., Any], *arguments: Any) -> Any:
    """One step of a rule's own code. It may not end the command, nor write where the result is written."""
    try:
        with redirect_stdout(sys.stderr):
            return step(*arguments)
    except (SystemExit, GeneratorExit) as ended:
        raise RuntimeError(f"it raises {type(ended).__name__}, which ends no judgement") from ended


def _sound(finding: Any) -> Finding:
    if not isinstance(finding, Finding):
        raise TypeError(f"yield violation(…) or unverified(…), not a {type(finding).__name__}")
    if not isinstance(finding.message, str):
        raise TypeError(f"a finding's message is a text, not a {type(finding.message).__name__}")
    return finding
