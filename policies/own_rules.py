"""Rules that a team wrote itself: loaded from its folders, and refused with a reason rather than left out.

A folder holds modules with rules, and `cases/<rule id>.yaml` for each. Nothing in it can end the others' judgement:
whatever cannot be served is a problem that the pack reports, and what is served runs in a process of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from trainyard.policies import team_file
from trainyard.policies.cases import cases_named
from trainyard.policies.exemptions import REGISTER_RULE
from trainyard.policies.graph import Graph, Resource
from trainyard.policies.levels import LEVELS_RULE
from trainyard.policies.own_process import SECONDS, OwnProcess
from trainyard.policies.own_worker import Key
from trainyard.policies.rule import Finding, OwnRuleError, Rule, Scope, Severity, Verdict

FILE = "own_rules.yaml"
PACK_RULE = "pack-in-order"
_ABOUT_ITSELF = (PACK_RULE, LEVELS_RULE, REGISTER_RULE)
_ID = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)+")
_MOST_SECONDS = 600
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
    seconds_in(file)
    named = _read(file)["folders"]
    if wrong := [one for one in named if not isinstance(one, str) or not one.strip()]:
        raise ValueError(f"{file}: {wrong[0]!r} is no folder; write its path, relative to this file")
    return [(file.parent / one).resolve() for one in named]


def seconds_in(file: Path) -> float:
    """How long one of the rules may take for one resource. Raises ValueError saying what is wrong with the file."""
    seconds = _read(file).get("seconds", SECONDS)
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds <= _MOST_SECONDS:
        raise ValueError(f"{file}: seconds is {seconds!r}; it may be a number up to {_MOST_SECONDS}")
    return float(seconds)


def _read(file: Path) -> dict[str, Any]:
    if not team_file.is_there(file):
        return {"folders": []}
    raw = team_file.read(file) or {}
    if not isinstance(raw, dict) or not {"folders"} <= set(raw) <= {"folders", "seconds"}:
        raise ValueError(f"{file}: it holds one list, `folders: [../our-rules]`, and perhaps `seconds: {SECONDS:g}`")
    if not isinstance(raw["folders"], list):
        raise ValueError(f"{file}: folders is one list, such as `folders: [../our-rules]`")
    return raw


def load(folders: Iterable[Path], shipped: Iterable[Rule], seconds: float = SECONDS) -> OwnRules:
    """The rules of the folders, beside those that are `shipped`, whose ids are taken. Each may take `seconds` for one
    resource."""
    found: list[OwnRule] = []
    problems: list[str] = []
    ids = dict.fromkeys((*(rule.id for rule in shipped), *_ABOUT_ITSELF), "the pack")
    process = OwnProcess(seconds)
    for folder in folders:
        rules, before = 0, len(problems)
        for file, outcome in _rules_in(folder, process):
            rules += 1
            if isinstance(outcome, str):
                problems.append(f"{file}: {outcome}")
                continue
            described, key = outcome
            if wrong := _wrong_with(described, folder, ids):
                problems += [f"{file}: {reason}" for reason in wrong]
                continue
            rule = _asked_there(described, key, process)
            ids[rule.id] = str(file)
            found.append(OwnRule(rule, folder))
        if not rules:
            problems.append(
                f"{folder}: no file there (*.py) defines a rule; write one, or take the folder out of {FILE}"
            )
        if len(problems) == before:  # or the rule is one of those that cannot be asked, which is told already
            problems += _cases_without_rule(folder, [one.rule.id for one in found if one.folder == folder])
    return OwnRules(tuple(found), tuple(problems))


def _rules_in(folder: Path, process: OwnProcess) -> Iterator[tuple[Path, tuple[dict[str, Any], Key] | str]]:
    """Each rule of a folder, described, with its file; or why there is none. A module may import others' rules."""
    if not folder.is_dir():
        yield folder, f"there is no such folder; {FILE} names it"
        return
    for file in sorted(folder.glob("*.py")):
        if file.name == "__init__.py":
            continue
        try:
            described = process.rules_in(folder, file.stem)
        except OwnRuleError as failed:
            yield file, f"it cannot be imported: {failed}"
            continue
        for number, one in enumerate(described):
            yield file, (one, (str(folder), file.stem, number))


def _wrong_with(described: Mapping[str, Any], folder: Path, taken: Mapping[str, str]) -> list[str]:
    """Why a rule cannot be served; nothing where it can."""
    name = described["id"]
    if name is None or not _ID.fullmatch(name):
        return [f"{described['shown']} is no id of a rule; write words with hyphens between, such as team-keys-tagged"]
    if name in taken:
        return [f"{name}: {taken[name]} has a rule of that id already; the id names a rule in reports and exemptions"]
    return [f"{name}: {reason}" for reason in described["wrong"] or _wrong_with_cases(name, folder)]


def _wrong_with_cases(rule_id: str, folder: Path) -> Iterator[str]:
    file = f"cases/{rule_id}.yaml"
    try:
        verdicts = {case.verdict for case in cases_named(rule_id, folder)}
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


def _asked_there(described: Mapping[str, Any], key: Key, process: OwnProcess) -> Rule:
    """The rule as the pack serves it: each of its questions goes to the process that has its code."""

    @cache
    def applies(kind: str) -> bool:
        return process.applies(key, kind)

    def check(resource: Resource, graph: Graph) -> Iterator[Finding]:
        return process.judge(key, resource, graph)

    return Rule(
        described["id"],
        described["title"],
        Severity(described["severity"]),
        Scope(described["scope"]),
        applies,
        {name: tuple(ids) for name, ids in described["controls"].items()},
        described["why"],
        described["remedy"],
        check,
        described["advice"],
    )
