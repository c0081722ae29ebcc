"""What a review says, before it is told in any format."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from trainyard.cli.review import cost, picture, reach, residency
from trainyard.cli.review.cost import Cost
from trainyard.cli.review.judging import JudgingChange
from trainyard.cli.review.reach import Reaching
from trainyard.cli.review.residency import Residency
from trainyard.local.changes import Change, Operation
from trainyard.local.chosen_names import logical
from trainyard.local.review import Comparison, Found, Side, classified
from trainyard.policies.rule import Finding as RuleFinding
from trainyard.policies.rule import Result, Severity, Verdict


class Standing(StrEnum):
    """Of a finding: whether the change brings it, ends it, or leaves it as it was."""

    NEW = "new"
    FIXED = "fixed"
    STANDING = "standing"


@dataclass(frozen=True)
class Finding:
    """What a rule has against a resource. `level` is mandatory, advisory or exempt."""

    standing: Standing
    rule: str
    title: str
    severity: Severity
    verdict: Verdict
    level: str
    urn: str
    type: str
    name: str
    place: str
    message: str
    why: str
    remedy: str
    controls: Mapping[str, tuple[str, ...]]

    @property
    def stops(self) -> bool:
        return self.standing is Standing.NEW and self.level == "mandatory"


@dataclass(frozen=True)
class Consequence:
    """What it costs to lose a resource. `loses`: data that cannot be had back."""

    downtime: str
    data: str
    loses: bool = False


@dataclass(frozen=True)
class ChangedResource:
    """A change, and what it costs where the resource is lost by it."""

    change: Change
    consequence: Consequence | None = None


@dataclass(frozen=True)
class Environment:
    """One environment of a review. Where `failure` is given, there was nothing to compare."""

    name: str
    region: str | None
    changes: tuple[ChangedResource, ...] = ()
    findings: tuple[Finding, ...] = ()
    resources_before: int = 0
    resources_after: int = 0
    apply_error: str = ""
    noted: tuple[str, ...] = ()
    """What is not emulated: judged as it is written, and not tried."""
    residency: Residency | None = None
    picture: str = ""
    """SVG of the later side, with what changes marked on it."""
    cost: Cost | None = None
    reach: Reaching | None = None
    failure: str = ""
    bad_settings: bool = False
    source: str = ""
    """The file that was judged, where it is not the environment's settings."""

    def counts(self) -> dict[str, int]:
        """Of changes, by operation; those that do not occur are left out."""
        counted = Counter(one.change.operation.value for one in self.changes)
        return {one.value: counted[one.value] for one in Operation if counted[one.value]}

    def of(self, standing: Standing) -> list[Finding]:
        return [one for one in self.findings if one.standing == standing]  # templates name it by its text

    @property
    def lost(self) -> list[ChangedResource]:
        """What is replaced or deleted, the irreplaceable first."""
        found = [one for one in self.changes if one.consequence is not None]
        return sorted(found, key=lambda one: not (one.consequence and one.consequence.loses))

    @property
    def exit_status(self) -> int:
        """0 nothing new, 1 a new violation, 2 bad settings, 3 something new cannot be verified, or nothing compared."""
        stopping = [one for one in self.findings if one.stops]
        if self.bad_settings:
            return 2
        if any(one.verdict is Verdict.VIOLATION for one in stopping):
            return 1
        return 3 if self.failure or self.apply_error or stopping else 0


@dataclass(frozen=True)
class Review:
    """Of a change to the repository, or to a settings file. `applied`: the later side was tried on top of the earlier
    one, which an exported state does not allow. `gone`: environments that only the earlier side has a file of. `ahead`:
    how many commits the earlier side has that the later one has not."""

    base: str
    head: str
    environments: tuple[Environment, ...] = field(default=())
    judging: tuple[JudgingChange, ...] = ()
    applied: bool = True
    gone: tuple[str, ...] = ()
    ahead: int = 0

    @property
    def exit_status(self) -> int:
        """The gravest of the environments': violations, then bad settings, then what could not be judged."""
        order = {0: 0, 3: 1, 2: 2, 1: 3}
        return max((one.exit_status for one in self.environments), key=order.__getitem__, default=0)

    def as_json(self) -> dict[str, Any]:
        return {
            "base": self.base,
            "head": self.head,
            "exit_status": self.exit_status,
            "applied": self.applied,
            "gone": list(self.gone),
            "ahead": self.ahead,
            "judging": [asdict(one) for one in self.judging],
            "environments": [
                {**asdict(replace(one, picture="")), "counts": one.counts(), "exit_status": one.exit_status}
                for one in self.environments
            ],
        }


def environment_of(comparison: Comparison) -> Environment:
    base, head = comparison.base, comparison.head
    new, fixed, standing = classified(base.results, head.results, logical(base.export), logical(head.export))
    findings = [
        *_findings(new, Standing.NEW),
        *_findings(standing, Standing.STANDING),
        *_findings(fixed, Standing.FIXED),
    ]
    return Environment(
        comparison.environment,
        comparison.region,
        tuple(ChangedResource(one, consequence_of(one)) for one in comparison.changes),
        tuple(sorted(findings, key=_gravity)),
        _count(comparison.base),
        _count(comparison.head),
        comparison.error,
        comparison.noted,
        residency.compared(comparison.base.export, comparison.head.export),
        picture.draw(comparison.base.export, comparison.head.export, comparison.changes)
        if comparison.head.export
        else "",
        cost.compared(comparison.base.export, comparison.head.export),
        reach.compared(comparison.base.export, comparison.head.export),
    )


def judged_file(name: str, file: str, results: list[Result], resources: int) -> Environment:
    """What was found in resources that a file holds, with nothing to compare them with."""
    found = [(result, finding) for result in results for finding in result.findings]
    findings = tuple(sorted(_findings(found, Standing.NEW), key=_gravity))
    return Environment(name, None, findings=findings, resources_after=resources, source=file)


_STAYS = "none is lost: the old one is retained, stays in the account, and has to be looked after by hand"
_KEPT = Consequence("none", _STAYS)
_REPLACED_AND_KEPT = Consequence("what uses it goes over to the new one, which begins empty", _STAYS)


def consequence_of(change: Change) -> Consequence | None:
    """What it costs; None where the resource stays."""
    if change.operation not in (Operation.REPLACE, Operation.DELETE):
        return None
    if change.kept:
        return _REPLACED_AND_KEPT if change.operation is Operation.REPLACE else _KEPT
    known = _consequences().get(change.type)
    return known or Consequence("not known of this kind", "not known of this kind: look it up before you approve")


@cache
def _consequences() -> Mapping[str, Consequence]:
    raw = yaml.safe_load(Path(__file__).with_name("consequences.yaml").read_text(encoding="utf-8"))
    return {kind: Consequence(**one) for kind, one in raw.items()}


def _findings(found: list[Found], standing: Standing) -> Iterator[Finding]:
    for result, finding in found:
        rule, resource = result.rule, result.resource
        yield Finding(
            standing,
            rule.id,
            rule.title,
            rule.severity,
            finding.verdict,
            "exempt" if finding.exemption else finding.level.value,
            resource.urn,
            resource.type,
            resource.name,
            finding.place,
            _message(finding),
            rule.why,
            rule.remedy,
            rule.controls,
        )


def _message(finding: RuleFinding) -> str:
    """With why it stops nothing, or does, where that is not the rule's own level."""
    heads = [f"[{said}]" for said in (finding.exemption, finding.told_because) if said]
    return " ".join([*heads, finding.message])


_GRAVEST_FIRST = list(reversed(Severity))


def _gravity(finding: Finding) -> tuple[Any, ...]:
    return (
        list(Standing).index(finding.standing),
        finding.level != "mandatory",
        finding.verdict is not Verdict.VIOLATION,
        _GRAVEST_FIRST.index(finding.severity),
        finding.rule,
        finding.name,
    )


def _count(side: Side) -> int:
    """Resources that a cloud or a cluster holds."""
    return sum(1 for one in side.resources if not one.type.startswith(("pulumi:", "trainyard:")))
