"""The pack's side of the conversation with the engine: each request is read once, and judged by every rule.

The SDK's analyzer reads all resources anew for each policy, so that its time grows with policies times resources. This
one keeps the SDK's answers about the pack itself (its name, its policies, its configuration) and replaces the two that
judge. Everything about a rule's result stands here: at which level it is told, and in which words.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pulumi.runtime import proto
from pulumi_policy import EnforcementLevel, Policy
from pulumi_policy.policy import _PolicyAnalyzerServicer

from trainyard.policies.exemptions import EXEMPT, Register
from trainyard.policies.graph import Graph, Resource, is_layer, name_of
from trainyard.policies.levels import Levels
from trainyard.policies.rule import Finding, Level, Result, Rule, Scope, Verdict, judge
from trainyard.policies.sdk_outputs import outputs_before
from trainyard.policies.wire import plain

VERSION = "0.0.0"
_LEVELS = {Level.MANDATORY: EnforcementLevel.MANDATORY, Level.ADVISORY: EnforcementLevel.ADVISORY}


@dataclass(frozen=True)
class _AskedRule:
    """A rule as the pack is configured; `level` where that is not its own."""

    rule: Rule
    policy: Policy
    level: EnforcementLevel | None
    configuration: Mapping[str, Any]


@dataclass(frozen=True)
class _Asked:
    """What judges resources of some types, and what the engine is told of the other rules."""

    rules: list[_AskedRule]
    not_applicable: list[Any]


class Analyzer(_PolicyAnalyzerServicer):
    """Serves `rules`, the last of which judges the register of exemptions; `described` is what the SDK tells the engine
    of each, in the same order."""

    def __init__(
        self, name: str, rules: Sequence[Rule], described: list[Policy], levels: Levels, register: Register
    ) -> None:
        super().__init__(name, VERSION, described, EnforcementLevel.MANDATORY)
        self._name, self._levels, self._register = name, levels, register
        self._rules = list(zip(rules, described, strict=True))
        self._asked: dict[tuple[Scope, frozenset[str]], _Asked] = {}
        self._inputs: dict[str, Mapping[str, Any]] = {}
        """Of each resource, by URN, as it was asked about alone."""

    def Analyze(self, request: Any, _context: Any) -> Any:  # noqa: N802
        """One resource, before it is made."""
        resource = _resource(request)
        self._inputs[resource.urn] = resource.props
        return self._judged(Scope.RESOURCE, Graph([resource]).as_inputs)

    def AnalyzeStack(self, request: Any, _context: Any) -> Any:  # noqa: N802
        """All resources, after the last was registered."""
        return self._judged(Scope.STACK, Graph(self._with_inputs(_resource(one)) for one in request.resources))

    def _with_inputs(self, resource: Resource) -> Resource:
        """With what was told of it alone: which properties the program gave, so only the rest of what is unknown is
        the provider's to choose. In a preview, a provider whose own configuration is unknown is not asked, and the
        engine tells no outputs."""
        inputs = self._inputs.get(resource.urn)
        if not inputs or resource.type.startswith("pulumi:"):
            return resource
        given = {**dict.fromkeys(inputs, ()), **resource.property_dependencies}
        return replace(
            resource,
            props=resource.props or outputs_before(resource.type, inputs),
            property_dependencies=given,
        )

    def Configure(self, request: Any, _context: Any) -> Any:  # noqa: N802
        """What was found with the configuration before no longer holds."""
        answer = super().Configure(request, _context)
        self._asked.clear()
        return answer

    def _judged(self, scope: Scope, graph: Graph) -> Any:
        types = graph.types
        if (asked := self._asked.get((scope, types))) is None:
            asked = self._asked[scope, types] = self._asked_about(scope, types)
        response = proto.AnalyzeResponse(not_applicable=asked.not_applicable)
        for one in asked.rules:
            for subject in graph.about(one.rule.applies):
                if self._levels.is_asked(one.rule, subject, graph):
                    result = self._levels.answer(judge(one.rule, subject, graph), graph)
                    self._tell(self._register.answer(result), one, response)
        return response

    def _asked_about(self, scope: Scope, types: frozenset[str]) -> _Asked:
        """Found once for each type: most rules are not about it, and the engine is told of each of them."""
        found = _Asked([], [])
        for rule, policy in self._rules:
            configured = self._get_enforcement_level(policy)
            if rule.scope is not scope or configured == EnforcementLevel.DISABLED:
                continue
            if any(map(rule.applies, types)):
                # The engine sends a level for every policy. One that is the rule's own was not asked for.
                level = None if configured == _LEVELS[rule.level] else configured
                found.rules.append(_AskedRule(rule, policy, level, self._get_policy_config(rule.id) or {}))
            else:
                reason = f"there is nothing here that {rule.id} is about"
                found.not_applicable.append(proto.PolicyNotApplicable(policy_name=rule.id, reason=reason))
        return found

    def _tell(self, result: Result, asked: _AskedRule, response: Any) -> None:
        # A layer of a split environment refers to what other stacks hold. The gate judges over all of them together.
        beyond = result.rule.scope is Scope.STACK and is_layer(result.resource.urn)
        advise = beyond or asked.configuration.get("unverified") == "advisory"
        stops = asked.configuration.get("stops", True)
        for finding in result.findings:
            unverified = finding.verdict is Verdict.UNVERIFIED
            advises = not stops or finding.exemption or (advise and unverified)
            told_at = EnforcementLevel.ADVISORY if advises else asked.level or _LEVELS[finding.level]
            response.diagnostics.append(
                proto.AnalyzeDiagnostic(
                    policyName=result.rule.id,
                    policyPackName=self._name,
                    policyPackVersion=VERSION,
                    description=result.rule.title,
                    message=told(result, finding),
                    urn=result.resource.urn,
                    enforcementLevel=self._map_enforcement_level(told_at),
                    severity=self._map_severity(asked.policy.severity),
                )
            )


def told(result: Result, finding: Finding) -> str:
    """A finding as the engine tells it: what should hold, and then why it does not."""
    return f"{result.rule.title}\n{explain(result, finding)}"


def explain(result: Result, finding: Finding) -> str:
    """A finding for the person who has to mend it."""
    rule = result.rule
    head = f"[{finding.verdict}] " if finding.verdict is Verdict.UNVERIFIED else ""
    for said in filter(None, (finding.told_because, finding.exemption)):
        head = f"[{said}] {head}"
    part = f"{name_of(finding.urn)}." if finding.urn not in ("", result.resource.urn) else ""
    place = f"{part}{finding.place}: " if finding.place else ""
    controls = ", ".join(f"{catalogue} {' '.join(ids)}" for catalogue, ids in rule.controls.items())
    text = f"{head}{place}{finding.message}\n    Why:   {rule.why}\n    See:   {controls}"
    if finding.verdict is Verdict.VIOLATION:
        text += "\n    Write:\n" + "\n".join(f"        {line}" for line in rule.remedy.splitlines())
    return text


def is_exempt(message: str) -> bool:
    """Whether a message to the engine is of a finding that somebody has answered for."""
    return f"\n[{EXEMPT}" in message


def level_told(message: str, declared: Level) -> Level:
    """The level of the finding that a message to the engine is of, where its rule declares one."""
    if is_exempt(message):
        return Level.ADVISORY
    _, _, finding = message.partition("\n")
    return next((one for one in _LEVELS if finding.startswith(f"[{one} in ")), declared)


def _resource(told: Any) -> Resource:
    """Of a resource alone nobody tells what it depends on."""
    depends: Mapping[str, Any] = getattr(told, "propertyDependencies", {})
    return Resource(
        told.urn,
        told.type,
        told.name,
        plain(told.properties),
        _provider(told),
        tuple(getattr(told, "dependencies", ())),
        {name: tuple(group.urns) for name, group in depends.items()},
    )


def _provider(told: Any) -> Resource | None:
    if not told.HasField("provider"):
        return None
    one = told.provider
    return Resource(one.urn, one.type, one.name, plain(one.properties))
