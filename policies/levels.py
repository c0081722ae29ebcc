"""Levels by environment: where a rule stops, where it only advises, where it is not asked, and who answers for that.

Residency stays what it is where data above internal may lie: a row for a rule about it changes nothing there, and the
finding says so. Such a finding is answered for one by one, by an exemption that ends.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError, model_validator

from trainyard.policies import team_file
from trainyard.policies.aws import OWN_KEY_CLASSES
from trainyard.policies.graph import Graph, Resource
from trainyard.policies.residency.places import classes_of
from trainyard.policies.rule import Finding, Level, Result, Rule, Scope, Severity, Verdict, stack_rule, violation
from trainyard.policies.rules.regions import PROVIDERS
from trainyard.policies.values import UnverifiedError

FILE = "levels.yaml"
LEVELS_RULE = "levels-in-force"
RESIDENCY = ("residency-", "transfer-")
"""What the ids of rules begin with that say where data may lie; those of a team's own as well."""
_STACK = "pulumi:pulumi:Stack"
_ORDER = (Level.DISABLED, Level.ADVISORY, Level.MANDATORY)
_Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
_Reason = Annotated[str, StringConstraints(strip_whitespace=True, min_length=15)]


class Row(BaseModel):
    """One entry of policies/levels.yaml, which says what each field means."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    environment: _Text
    rule: _Text | None = None
    severity: Severity | None = None
    level: Level | None = None
    unverified: Literal[Level.ADVISORY] | None = None
    owner: _Text
    reason: _Reason

    @model_validator(mode="after")
    def _one_of_each(self) -> Self:
        if (self.rule is None) == (self.severity is None):
            raise ValueError("name a rule or a severity, and not both")
        if self.level is None and self.unverified is None:
            raise ValueError("say a level (mandatory, advisory, disabled), or unverified: advisory")
        if self.severity is not None and self.level is Level.DISABLED:
            raise ValueError("rules are disabled by name, one by one, and not by their severity")
        if self.unverified is not None and self.level not in (None, Level.MANDATORY):
            raise ValueError(f"unverified: advisory adds nothing to level: {self.level}")
        return self

    @property
    def about(self) -> str:
        return self.rule or f"every {self.severity} rule"

    @property
    def levels(self) -> str:
        """`advisory`, `mandatory, advisory where it cannot be verified`."""
        unverified = self.unverified and f"{self.unverified} where it cannot be verified"
        return ", ".join(filter(None, (self.level, unverified)))

    def says(self, level: str) -> str:
        """`advisory in dev (platform@example.org: it is tried there first)`."""
        return f"{level} in {self.environment} ({self.owner}: {self.reason})"

    def is_for(self, rule: Rule, environment: str) -> bool:
        return self.environment == environment and (self.rule == rule.id or self.severity is rule.severity)

    def changes(self, rule: Rule) -> bool:
        """Whether the rule would be at another level without this row."""
        return (self.level is not None and self.level is not rule.level) or (
            self.unverified is not None and (self.level or rule.level) is Level.MANDATORY
        )


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    levels: list[Row]


def load(file: Path) -> tuple[Row, ...]:
    """The rows of a pack's levels.yaml; none where there is no such file. Raises ValueError saying what is wrong."""
    if not team_file.is_there(file):
        return ()
    try:
        return tuple(_File.model_validate(team_file.read(file) or {}).levels)
    except ValidationError as wrong:
        raise ValueError(f"{file}: {team_file.faults(wrong)}") from None


def wrong_with(rows: Iterable[Row], rules: Iterable[Rule], environments: Iterable[str]) -> Iterator[str]:
    """What each row names that is not there, and which say nothing."""
    by_id = {rule.id: rule for rule in rules}
    known = list(environments)
    seen: set[tuple[str, str]] = set()
    for row in rows:
        said = f"{row.about} in {row.environment}"
        if row.environment not in known:
            yield f"{said}: there is no environment {row.environment!r}; there are {', '.join(known)} (regions.yaml)"
        if row.rule is not None and row.rule not in by_id:
            yield f"{said}: there is no such rule, or its level is not to be changed (trainyard policies list)"
        elif not any(row.is_for(rule, row.environment) and row.changes(rule) for rule in by_id.values()):
            yield f"{said}: it has that level without this row"
        if (row.environment, row.about) in seen:
            yield f"{said} stands there twice"
        seen.add((row.environment, row.about))


@dataclass(frozen=True)
class Levels:
    """The rows in force. Of two that are for a rule, the one that names it counts."""

    rows: tuple[Row, ...] = ()

    def row_for(self, rule: Rule, environment: str) -> Row | None:
        found = [row for row in self.rows if row.is_for(rule, environment)]
        return min(found, key=lambda row: row.rule is None, default=None)

    def is_asked(self, rule: Rule, resource: Resource, graph: Graph) -> bool:
        """Whether the rule is judged at all on this resource."""
        row = self.row_for(rule, resource.environment)
        return row is None or row.level is not Level.DISABLED or _is_kept(rule, resource, graph)

    def answer(self, result: Result, graph: Graph) -> Result:
        """The result at the levels that its environment has."""
        row = self.row_for(result.rule, result.resource.environment) if result.findings else None
        if row is None:
            return result
        kept = _is_kept(result.rule, result.resource, graph)
        return replace(result, findings=tuple(_at_level(finding, row, kept) for finding in result.findings))

    def rule(self) -> Rule:
        """Tells which levels are not the rules' own, so that a reviewer meets each one."""

        @stack_rule(
            LEVELS_RULE,
            title="Every rule has its own level",
            severity=Severity.LOW,
            applies={_STACK},
            controls={"NIST 800-53": ("CM-3", "CM-6"), "ISO 27001": ("A.5.36",)},
            why="A level that was lowered for one environment hides what is found there, as an exemption does.",
            remedy="""
# policies/levels.yaml: take the row out once the environment can do without it
""",
            advice=True,
        )
        def in_force(stack: Resource, _: Graph) -> Iterator[Finding]:
            for row in self.rows:
                if row.environment == stack.environment:
                    yield violation(f"{row.about}: {row.says(row.levels)}")

        return in_force


def _at_level(finding: Finding, row: Row, kept: bool) -> Finding:
    unverified = finding.verdict is Verdict.UNVERIFIED and row.unverified is not None
    level = row.unverified if unverified and row.unverified else row.level
    if level is None or level is finding.level:
        return finding
    if kept and _ORDER.index(level) < _ORDER.index(finding.level):
        why = f"{FILE} has it {level.value} in {row.environment}, which does not hold where data above internal may lie"
        return replace(finding, message=f"{finding.message}; {why}")
    return replace(finding, level=level, told_because=row.says(level.value))


def _is_kept(rule: Rule, resource: Resource, graph: Graph) -> bool:
    """Whether the rule is about residency, and data above internal may lie there. What cannot be told counts as such:
    so does a resource without a class in a graph that has none."""
    if not rule.id.startswith(RESIDENCY):
        return False
    if rule.scope is Scope.RESOURCE:
        graph = Graph([resource])  # as it is asked in the engine
    if resource.type in PROVIDERS:  # what it tags others with is what lies there
        resource = Resource(resource.urn, "aws:s3/bucket:Bucket", resource.name, {}, resource)
        graph = Graph([resource])
    try:
        classes = classes_of(resource, graph)
    except UnverifiedError:
        return True
    return not classes or bool(classes & OWN_KEY_CLASSES)
