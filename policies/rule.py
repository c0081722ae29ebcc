"""What a rule is, what it may conclude, and how rules are run so that none can end the analysis of the others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TypeAlias

from trainyard.policies.graph import Graph, Resource
from trainyard.policies.values import NotKnownYetError, UnverifiedError, Value, dotted, shown


class Severity(StrEnum):
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"


class Scope(StrEnum):
    """When a rule can be judged. A RESOURCE rule looks at one resource's inputs, before the resource is made, and so
    can stop it. A STACK rule looks at one resource among all others, after every one is registered."""

    RESOURCE = "resource"
    STACK = "stack"


class Level(StrEnum):
    """What becomes of a finding: MANDATORY stops the deployment, ADVISORY is told. A DISABLED rule is not asked."""

    MANDATORY = "mandatory"
    ADVISORY = "advisory"
    DISABLED = "disabled"


class Verdict(StrEnum):
    PASSED = "passed"
    VIOLATION = "violation"
    UNVERIFIED = "cannot be verified"


@dataclass(frozen=True)
class Finding:
    """Why a resource does not pass, and where: `place` is the property, empty for the whole resource, and `urn` the
    resource that has it, which may be a part of the one that is judged.

    `cause` holds the exception where there was one: a value that could not be read, or the rule's own failure.
    """

    verdict: Verdict
    message: str
    place: str = ""
    urn: str = ""
    cause: Exception | None = None
    exemption: str = ""
    """By whom and why it is answered for, if it is: then it stops nothing."""
    level: Level = Level.MANDATORY
    told_because: str = ""
    """Why `level` is not the rule's own, where an environment has another one."""

    @property
    def crashed(self) -> bool:
        """Whether the rule itself failed."""
        return self.cause is not None and not isinstance(self.cause, UnverifiedError)


def violation(message: str, at: Value | None = None) -> Finding:
    return _finding(Verdict.VIOLATION, message, at)


def unverified(message: str, at: Value | None = None) -> Finding:
    return _finding(Verdict.UNVERIFIED, message, at)


def _finding(verdict: Verdict, message: str, at: Value | None, cause: Exception | None = None) -> Finding:
    return Finding(verdict, message, dotted(at.path), at.urn, cause) if at else Finding(verdict, message, cause=cause)


Check: TypeAlias = Callable[[Resource, Graph], Iterable[Finding]]


@dataclass(frozen=True)
class Rule:
    """A check and all that a person needs to judge and mend what it finds.

    `controls` names the same demand in the catalogues that reviewers use, e.g. {"FSBP": ("S3.5",)}.
    `remedy` is lines of program to write. A rule whose `advice` is true reports and stops nothing: what it looks at may
    be right all the same.
    """

    id: str
    title: str
    severity: Severity
    scope: Scope
    applies: Callable[[str], bool]
    controls: Mapping[str, tuple[str, ...]]
    why: str
    remedy: str
    check: Check
    advice: bool = False

    @property
    def level(self) -> Level:
        """What its findings are unless an environment has another level for it."""
        return Level.ADVISORY if self.advice else Level.MANDATORY


Applies: TypeAlias = Set[str] | Callable[[str], bool]


def resource_rule(
    rule_id: str,
    *,
    title: str,
    severity: Severity,
    applies: Applies,
    controls: Mapping[str, tuple[str, ...]],
    why: str,
    remedy: str,
) -> Callable[[Callable[[Resource], Iterable[Finding]]], Rule]:
    """Makes a RESOURCE rule of a function. `applies` is the resource types that it judges, or a test of a type."""

    def wrap(check: Callable[[Resource], Iterable[Finding]]) -> Rule:
        return Rule(
            rule_id,
            title,
            severity,
            Scope.RESOURCE,
            _test(applies),
            controls,
            why,
            remedy.strip("\n"),
            lambda resource, _: check(resource),
        )

    return wrap


def stack_rule(
    rule_id: str,
    *,
    title: str,
    severity: Severity,
    applies: Applies,
    controls: Mapping[str, tuple[str, ...]],
    why: str,
    remedy: str,
    advice: bool = False,
) -> Callable[[Check], Rule]:
    """Makes a STACK rule of a function. `applies` is the resource types that it judges, or a test of a type."""

    def wrap(check: Check) -> Rule:
        text = remedy.strip("\n")
        return Rule(rule_id, title, severity, Scope.STACK, _test(applies), controls, why, text, check, advice)

    return wrap


def _test(applies: Applies) -> Callable[[str], bool]:
    return applies.__contains__ if isinstance(applies, Set) else applies


@dataclass(frozen=True)
class Result:
    """One rule applied to one resource; no findings is a pass."""

    rule: Rule
    resource: Resource
    findings: tuple[Finding, ...]

    @property
    def verdict(self) -> Verdict:
        verdicts = {finding.verdict for finding in self.findings if not finding.exemption}
        if Verdict.VIOLATION in verdicts:
            return Verdict.VIOLATION
        return Verdict.UNVERIFIED if verdicts else Verdict.PASSED


class OwnRuleError(Exception):
    """A team's rule failed, or ended the process that it runs in; the message says how,
    with the kind of the error if there was one."""


def judge(rule: Rule, resource: Resource, graph: Graph) -> Result:
    """Runs one rule on one resource. Never raises: what the rule could not read, or its own mistake, is a finding."""
    findings: list[Finding] = []
    try:
        findings.extend(rule.check(resource, graph))
    except UnverifiedError as unread:
        findings.append(_finding(Verdict.UNVERIFIED, unread.reason, unread.value, unread))
    except Exception as crash:  # noqa: BLE001 (one rule's mistake must not end the others)
        how = str(crash) if isinstance(crash, OwnRuleError) else f"{type(crash).__name__}: {shown(crash)}"
        message = f"the rule itself failed ({how}); please report this"
        findings.append(_finding(Verdict.UNVERIFIED, message, None, crash))
    found = (replace(_with_hint(finding, graph), level=rule.level) for finding in findings)
    return Result(rule, resource, tuple(found))


def evaluate(rules: Iterable[Rule], graph: Graph) -> Iterator[Result]:
    """Applies each rule to each resource that it is about."""
    for rule in rules:
        told = graph.as_inputs if rule.scope is Scope.RESOURCE else graph
        for resource in told.about(rule.applies):
            yield judge(rule, resource, told)


def each(values: Iterable[Value], check: Callable[[Value], Iterable[Finding]]) -> Iterator[Finding]:
    """Checks values one by one, so that one that cannot be read does not hide what is wrong with the next."""
    for value in values:
        try:
            yield from check(value)
        except UnverifiedError as unread:
            yield _finding(Verdict.UNVERIFIED, unread.reason, unread.value, unread)


def _with_hint(finding: Finding, graph: Graph) -> Finding:
    """The finding with what would make an unknown value known, as far as the engine tells."""
    if not isinstance(finding.cause, NotKnownYetError):
        return finding
    value = finding.cause.value
    holder = graph.by_urn.get(value.urn)
    origins = graph.origins(holder, str(value.path[0])) if holder and value.path else []
    if origins:
        hint = f"it is once {' and '.join(origin.name for origin in origins[:3])} exists"
    else:
        hint = "it is once what it is computed from exists, or if it is written out in the program"
    return replace(finding, message=f"{finding.message}; {hint}")
