"""Findings that somebody has answered for: each silences one rule on one resource until a day, and no longer.

What is exempt is still reported, as advice with the reason. The register itself is judged like any other resource: an
exemption whose day has passed, that silences nothing any more, or that silences more than one resource is a violation.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError

from trainyard.policies import team_file
from trainyard.policies.graph import Graph, Resource, is_layer, name_of
from trainyard.policies.rule import Finding, Level, Result, Rule, Severity, stack_rule, violation

FILE = "exemptions.yaml"
LONGEST = timedelta(days=366)
EXEMPT = "exempt"
REGISTER_RULE = "exemptions-in-order"
_STACK = "pulumi:pulumi:Stack"
_Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
_Reason = Annotated[str, StringConstraints(strip_whitespace=True, min_length=15)]


class Exemption(BaseModel):
    """One entry of policies/exemptions.yaml, which says what each field means."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rule: _Text
    environment: _Text
    resource: _Text
    owner: _Text
    reason: _Reason
    ticket: _Text
    expires: date

    def names(self, resource: Resource) -> bool:
        known_as = (resource.name, f"{resource.type}::{resource.name}")
        return resource.environment == self.environment and self.resource in known_as

    def says_the_same_as(self, other: Exemption) -> bool:
        """Also where one of them gives the resource's type and the other does not."""
        if (self.rule, self.environment) != (other.rule, other.environment):
            return False
        long, short = sorted((self.resource, other.resource), key=len, reverse=True)
        return long == short or long.endswith(f"::{short}")

    def __str__(self) -> str:
        return f"{self.rule} on {self.resource} ({self.ticket}, {self.owner})"


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    exemptions: list[Exemption]


def load(path: Path) -> tuple[Exemption, ...]:
    """None where there is no such file. Raises ValueError where one is broken: that must stop, and not exempt."""
    if not team_file.is_there(path):
        return ()
    try:
        read = _File.model_validate(team_file.read(path) or {})
    except ValidationError as wrong:
        raise ValueError(f"{path}: {team_file.faults(wrong)}") from None
    for place, one in enumerate(read.exemptions):
        if any(one.says_the_same_as(earlier) for earlier in read.exemptions[:place]):
            raise ValueError(f"{path}: {one.rule} on {one.resource} in {one.environment} stands there twice")
    return tuple(read.exemptions)


@cache
def written() -> tuple[Exemption, ...]:
    return load(Path(__file__).with_name(FILE))


def today() -> date:
    return datetime.now(UTC).date()


class Register:
    """The exemptions while an environment is judged: what they have silenced until now."""

    def __init__(self, exemptions: Iterable[Exemption], known_rules: Iterable[str], day: date | None = None) -> None:
        self._exemptions = tuple(exemptions)
        self._known_rules = frozenset(known_rules)
        self._day = day or today()
        self._silenced: defaultdict[Exemption, set[str]] = defaultdict(set)

    def answer(self, result: Result) -> Result:
        """The result with what is exempt marked so."""
        if not result.findings or not self._exemptions:
            return result
        for one in self._exemptions:
            if one.rule == result.rule.id and one.names(result.resource):
                self._silenced[one].add(result.resource.urn)
                if self._day <= one.expires <= self._day + LONGEST:
                    said = f"{EXEMPT} until {one.expires}: {one.reason} ({one.ticket}, {one.owner})"
                    exempt = (replace(each, exemption=said, level=Level.ADVISORY) for each in result.findings)
                    return replace(result, findings=tuple(exempt))
        return result

    def rule(self) -> Rule:
        """Judges the register. To be asked last, when all other rules have been."""

        @stack_rule(
            REGISTER_RULE,
            title="Every exemption is in force, needed, and for one resource",
            severity=Severity.MEDIUM,
            applies={_STACK},
            controls={"NIST 800-53": ("CA-5", "PM-4"), "ISO 27001": ("A.5.36",)},
            why="An exemption that nobody looks at again is a hole that everybody believes is watched.",
            remedy="""
# policies/exemptions.yaml: take the entry out, or have its owner give it a new reason and a new day
""",
        )
        def in_order(stack: Resource, graph: Graph) -> Iterator[Finding]:
            for one in self._exemptions:
                if one.environment == stack.environment:
                    yield from self._judge(one, stack, graph)

        return in_order

    @staticmethod
    def _hint(one: Exemption) -> str:
        if one.resource.startswith("urn:"):
            return f"; write its name instead of its URN: {one.resource.rpartition('::')[2]}"
        return "; each is named by itself, there are no wildcards" if set(one.resource) & set("*?") else ""

    def _judge(self, one: Exemption, stack: Resource, graph: Graph) -> Iterator[Finding]:
        named = [resource for resource in graph.resources if one.names(resource)]
        if one.rule not in self._known_rules:
            yield violation(f"{one}: there is no such rule")
        elif not named:
            if not is_layer(stack.urn):  # of a split environment, it may be in another stack
                yield violation(f"{one}: there is no such resource any more{self._hint(one)}")
        elif not (silenced := self._silenced[one]):
            yield violation(f"{one}: the rule has nothing against it any more")
        elif len(silenced) > 1:
            names = ", ".join(sorted(f"{urn.split('$')[-1].split('::')[-2]}::{name_of(urn)}" for urn in silenced))
            yield violation(f"{one}: it is for {len(silenced)} resources; name one of them: {names}")
        elif one.expires < self._day:
            yield violation(f"{one}: it has expired on {one.expires}")
        elif one.expires > self._day + LONGEST:
            yield violation(f"{one}: {one.expires} is more than a year away")
