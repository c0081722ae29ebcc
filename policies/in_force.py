"""What an environment is judged by: the rules that are shipped, a team's own, their levels, and the exemptions.

All of it stands in one folder, the pack's: the folder that the engine is given as `--policy-pack`. In this repository
that is `policies/`; who uses the installed package has one of their own, with a `__main__.py` that serves it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from pathlib import Path
from typing import TypeVar

from trainyard.policies import exemptions, levels, own_rules, tables
from trainyard.policies.cases import SHIPPED
from trainyard.policies.exemptions import Exemption, Register
from trainyard.policies.graph import Resource
from trainyard.policies.levels import Levels
from trainyard.policies.own_rules import PACK_RULE, OwnRule, OwnRules
from trainyard.policies.registry import RULES
from trainyard.policies.rule import Finding, Rule, Scope, Severity, resource_rule, violation

_STACK = "pulumi:pulumi:Stack"
_FILES = ("PulumiPolicy.yaml", own_rules.FILE, levels.FILE, exemptions.FILE)
_Read = TypeVar("_Read")


class BrokenPackError(Exception):
    """Something that a team wrote about the policies cannot be used; the message says what, where, and what may stand
    there."""

    exit_status = 2


@dataclass(frozen=True)
class InForce:
    """What judges: each part may stand in for the folder's, as in tests of one rule."""

    rules: tuple[Rule, ...] = RULES
    own: tuple[OwnRule, ...] = ()
    levels: Levels = field(default_factory=Levels)
    exemptions: tuple[Exemption, ...] = ()
    problems: tuple[str, ...] = ()
    about_itself: tuple[Rule, ...] = ()
    """Rules that judge what stands in the folder, rather than the resources."""

    @cached_property
    def served(self) -> tuple[Rule, ...]:
        """All rules that a resource is judged by, less the one about exemptions: that is asked last."""
        return (*self.about_itself, *self.rules)

    def register(self) -> Register:
        return Register(self.exemptions, (rule.id for rule in self.served))

    def scoped(self, scope: Scope) -> list[Rule]:
        return [rule for rule in self.served if rule.scope is scope]

    def folder_of(self, rule: Rule) -> Path:
        """The folder that has the rule's cases."""
        return next((one.folder for one in self.own if one.rule.id == rule.id), SHIPPED)

    def with_levels_of(self, file: Path) -> InForce:
        """The same, which tells a reviewer of the levels in another file: those of an earlier revision. One that
        cannot be read tells of none."""
        try:
            rows = levels.load(file)
        except ValueError:
            rows = ()
        others = tuple(one for one in self.about_itself if one.id != levels.LEVELS_RULE)
        return replace(self, about_itself=(*others, Levels(rows).rule()))

    def require_order(self) -> InForce:
        """Raises `BrokenPackError` with every problem there is: what was left out would look like what passed."""
        if self.problems:
            raise BrokenPackError("\n".join(self.problems))
        return self


@cache
def in_force(folder: Path = SHIPPED) -> InForce:
    """What the folder of a pack says. What is wrong in it is in `problems`, and is a finding in every environment."""
    if not any((folder / name).is_file() for name in _FILES):
        raise BrokenPackError(f"{folder} is no folder of a policy pack: it has none of {', '.join(_FILES)}")
    problems = list(tables.wrong_with())
    known = tables.environments()
    folders = list(_or_problem(own_rules.folders_in, folder / own_rules.FILE, problems))
    own = own_rules.load(folders, RULES, own_rules.seconds_in(folder / own_rules.FILE)) if folders else OwnRules()
    problems += own.problems
    rules = (*RULES, *(one.rule for one in own.rules))
    rows = tuple(_or_problem(levels.load, folder / levels.FILE, problems))
    wrong = list(levels.wrong_with(rows, rules, known or {row.environment for row in rows}))
    problems += [f"{folder / levels.FILE}: {reason}" for reason in wrong]
    counting = Levels(() if wrong else rows)
    exempt = tuple(_or_problem(exemptions.load, folder / exemptions.FILE, problems))
    problems += [
        f"{folder / exemptions.FILE}: {one}: there is no environment {one.environment!r} (regions.yaml)"
        for one in exempt
        if known and one.environment not in known  # no environment would ever tell of it
    ]
    about_itself = (_in_order(problems), counting.rule())
    return InForce(rules, own.rules, counting, exempt, tuple(problems), about_itself)


def _or_problem(read: Callable[[Path], Iterable[_Read]], file: Path, problems: list[str]) -> Iterable[_Read]:
    try:
        return read(file)
    except ValueError as wrong:
        problems.append(str(wrong))
        return ()


def _in_order(problems: Iterable[str]) -> Rule:
    found = tuple(problems)

    @resource_rule(
        PACK_RULE,
        title="Every rule, level and exemption of the team's own is in force as written",
        severity=Severity.CRITICAL,
        applies={_STACK},  # the first resource of all, so that nothing is made before
        controls={"NIST 800-53": ("CM-6", "CA-7"), "ISO 27001": ("A.5.36",)},
        why="A rule that is not asked finds nothing, which looks as if there were nothing to find.",
        remedy="""
# trainyard policies test    # says what is wrong in which file; docs/writing-a-rule.md says what may stand there
""",
    )
    def in_order(_: Resource) -> Iterator[Finding]:
        yield from map(violation, found)

    return in_order
