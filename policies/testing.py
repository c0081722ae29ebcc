"""A harness for rules: asks the pack as the engine does, without an engine.

Requests are built the way the engine builds them (unknown values and secrets in their wire form) and answered by what
answers the real one, so a rule is tested with its decoding, its configuration and its levels.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pulumi.runtime import proto
from pulumi_policy.deserialize import SPECIAL_SECRET_SIG, SPECIAL_SIG_KEY
from pulumi_policy.proxy import UNKNOWN_STRING_VALUE

from trainyard.policies.cases import Secret
from trainyard.policies.exemptions import written
from trainyard.policies.graph import STACK_REFERENCE, Resource
from trainyard.policies.in_force import InForce
from trainyard.policies.pack import analyzer
from trainyard.policies.registry import RULES
from trainyard.policies.rule import Rule, Scope
from trainyard.policies.values import UNKNOWN


@dataclass(frozen=True)
class Diagnostic:
    """What the engine would print: the policy, the URN, the level (`mandatory` or `advisory`) and the message."""

    policy: str
    urn: str
    level: str
    message: str


@dataclass(frozen=True)
class Analysis:
    """The answer to a whole stack, and how often each policy said that a resource is not its business."""

    diagnostics: tuple[Diagnostic, ...]
    not_applicable: Mapping[str, int]


class Harness:
    """A pack with its configuration (policy -> properties), asked as an engine would ask it."""

    def __init__(
        self,
        rules: Iterable[Rule] = RULES,
        configuration: Mapping[str, Mapping[str, Any]] | None = None,
        judging: InForce | None = None,
    ) -> None:
        """`rules`, with the exemptions of policies/exemptions.yaml; or all that `judging` says."""
        asked = judging or InForce(tuple(rules), exemptions=written())
        self.servicer = analyzer(asked)
        self._alone = any(rule.scope is Scope.RESOURCE for rule in asked.rules)
        if configuration is not None:
            self.servicer.Configure(_configure_request(configuration), None)

    def analyze(self, resources: Sequence[Resource]) -> Analysis:
        """Each resource alone, as while the program runs, and then all together, as at its end."""
        found: list[Diagnostic] = []
        skipped: dict[str, int] = {}
        told = [resource for resource in resources if resource.type != STACK_REFERENCE]  # the engine keeps what is read
        for resource in told:
            alone = replace(resource, props=self._given(resource))
            _collect(self.servicer.Analyze(analyze_request(alone), None), resource.urn, found, skipped)
        request = proto.AnalyzeStackRequest(resources=[stack_resource(resource) for resource in told])
        _collect(self.servicer.AnalyzeStack(request, None), "", found, skipped)
        return Analysis(tuple(found), skipped)

    def _given(self, resource: Resource) -> dict[str, Any]:
        """What the program gives. Where whole stacks are judged, a case writes outputs too: what is unknown in it and
        computed from nothing."""
        if self._alone:
            return dict(resource.props)
        depends = resource.property_dependencies
        return {name: one for name, one in resource.props.items() if one is not UNKNOWN or name in depends}


def _configure_request(configuration: Mapping[str, Mapping[str, Any]]) -> Any:
    request = proto.ConfigureAnalyzerRequest()
    for policy, properties in configuration.items():
        request.policyConfig[policy].enforcementLevel = proto.MANDATORY
        request.policyConfig[policy].properties.update(properties)
    return request


def _collect(response: Any, urn: str, found: list[Diagnostic], skipped: dict[str, int]) -> None:
    for one in response.diagnostics:
        level = proto.EnforcementLevel.Name(one.enforcementLevel).lower()
        found.append(Diagnostic(one.policyName, one.urn or urn, level, one.message))
    for one in response.not_applicable:
        skipped[one.policy_name] = skipped.get(one.policy_name, 0) + 1


def analyze_request(resource: Resource) -> Any:
    """What the engine asks of one resource alone."""
    return proto.AnalyzeRequest(
        urn=resource.urn,
        type=resource.type,
        name=resource.name,
        properties=_struct(resource.props),
        provider=_provider(resource.provider),
    )


def stack_resource(resource: Resource) -> Any:
    """A resource as it stands in what the engine asks of a whole stack."""
    dependencies = {
        name: proto.AnalyzerPropertyDependencies(urns=urns) for name, urns in resource.property_dependencies.items()
    }
    return proto.AnalyzerResource(
        urn=resource.urn,
        type=resource.type,
        name=resource.name,
        properties=_struct(resource.props),
        provider=_provider(resource.provider),
        dependencies=resource.dependencies,
        propertyDependencies=dependencies,
    )


def _provider(provider: Resource | None) -> Any:
    if provider is None:
        return None
    return proto.AnalyzerProviderResource(
        urn=provider.urn, type=provider.type, name=provider.name, properties=_struct(provider.props)
    )


def _struct(props: Mapping[str, Any]) -> Any:
    struct = proto.AnalyzeRequest().properties
    struct.update(wire(props))
    return struct


def wire(value: Any) -> Any:
    if value is UNKNOWN:
        return UNKNOWN_STRING_VALUE
    if isinstance(value, Secret):
        return {SPECIAL_SIG_KEY: SPECIAL_SECRET_SIG, "value": wire(value.value)}
    if isinstance(value, Mapping):
        return {key: wire(item) for key, item in value.items()}
    if isinstance(value, list):
        return [wire(item) for item in value]
    return value
