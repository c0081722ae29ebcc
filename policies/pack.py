"""The rules as a CrossGuard pack: the one place that knows the Pulumi policy SDK."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from pulumi_policy import (
    EnforcementLevel,
    Policy,
    PolicyComplianceFramework,
    PolicyConfigSchema,
    PolicyPack,
    PolicyProviderResource,
    PolicyResource,
    ReportViolation,
    ResourceValidationArgs,
    ResourceValidationPolicy,
    StackValidationArgs,
    StackValidationPolicy,
)
from pulumi_policy import Severity as SdkSeverity
from pulumi_policy.proxy import UNKNOWN_STRING_VALUE, UnknownValueError

from trainyard.policies.graph import Graph, Resource, name_of
from trainyard.policies.registry import RULES
from trainyard.policies.rule import Finding, Result, Rule, Scope, Verdict, judge
from trainyard.policies.values import UNKNOWN

NAME = "trainyard"

# What a rule does about a value that it cannot judge. Advice lets a preview of a new stack succeed; an `up` meets the
# same rules again with the values known.
_CONFIGURATION = PolicyConfigSchema(
    {
        "unverified": {
            "type": "string",
            "enum": ["mandatory", "advisory"],
            "default": "mandatory",
            "description": "Whether what cannot be verified stops the deployment or is reported as advice",
        }
    }
)


class _AdviceError(UnknownValueError):
    """The SDK's own way to report at the advisory level from a mandatory policy."""

    def __init__(self, message: str) -> None:
        super().__init__(UNKNOWN_STRING_VALUE, [])
        self.message = message


def policies(rules: Iterable[Rule] = RULES) -> list[Policy]:
    """One policy for each rule, mandatory unless the pack's configuration says otherwise."""
    return [_resource_policy(one) if one.scope is Scope.RESOURCE else _stack_policy(one) for one in rules]


def serve() -> None:
    """Serves the pack to the engine that started this process; does not return."""
    PolicyPack(NAME, policies(), enforcement_level=EnforcementLevel.MANDATORY)


def explain(result: Result, finding: Finding) -> str:
    """A finding for the person who has to mend it."""
    rule = result.rule
    head = f"[{finding.verdict}] " if finding.verdict is Verdict.UNVERIFIED else ""
    part = f"{name_of(finding.urn)}." if finding.urn not in ("", result.resource.urn) else ""
    place = f"{part}{finding.place}: " if finding.place else ""
    controls = ", ".join(f"{catalogue} {' '.join(ids)}" for catalogue, ids in rule.controls.items())
    text = f"{head}{place}{finding.message}\n    Why:   {rule.why}\n    See:   {controls}"
    if finding.verdict is Verdict.VIOLATION:
        text += "\n    Write:\n" + "\n".join(f"        {line}" for line in rule.remedy.splitlines())
    return text


def plain(value: Any) -> Any:
    """A value of the SDK as plain JSON with `UNKNOWN` where the SDK would raise. Assets become their kind's name."""
    if isinstance(value, str) or value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Mapping):
        return {key: _item(value, key) for key in value}
    if isinstance(value, Sequence):
        return [_item(value, index) for index in range(len(value))]
    return f"<{type(value).__name__}>"


def _item(holder: Any, key: Any) -> Any:
    try:
        return plain(holder[key])
    except UnknownValueError:
        return UNKNOWN


def _provider(provider: PolicyProviderResource | None) -> Resource | None:
    if provider is None:
        return None
    return Resource(provider.urn, provider.resource_type, provider.name, plain(provider.props))


def _alone(args: ResourceValidationArgs) -> Resource:
    return Resource(args.urn, args.resource_type, args.name, plain(args.props), _provider(args.provider))


def _among(resource: PolicyResource) -> Resource:
    return Resource(
        resource.urn,
        resource.resource_type,
        resource.name,
        plain(resource.props),
        _provider(resource.provider),
        tuple(one.urn for one in resource.dependencies),
        {name: tuple(one.urn for one in group) for name, group in resource.property_dependencies.items()},
    )


def _resource_policy(rule: Rule) -> Policy:
    def validate(args: ResourceValidationArgs, report_violation: ReportViolation) -> None:
        if not rule.applies(args.resource_type):
            args.not_applicable(f"{rule.id} is not about {args.resource_type}")
        resource = _alone(args)
        _report([judge(rule, resource, Graph([resource]))], args.get_config(), report_violation)

    return ResourceValidationPolicy(validate=validate, **_metadata(rule))


def _stack_policy(rule: Rule) -> Policy:
    def validate(args: StackValidationArgs, report_violation: ReportViolation) -> None:
        graph = Graph(_among(resource) for resource in args.resources)
        subjects = [resource for resource in graph.resources if rule.applies(resource.type)]
        if not subjects:
            args.not_applicable(f"the stack has nothing that {rule.id} is about")
        _report([judge(rule, subject, graph) for subject in subjects], args.get_config(), report_violation)

    return StackValidationPolicy(validate=validate, **_metadata(rule))


def _report(
    results: list[Result], configuration: Mapping[str, Any], report_violation: Callable[[str, str | None], None]
) -> None:
    advise = configuration.get("unverified") == "advisory"
    advice = []
    for result in results:
        for finding in result.findings:
            message = explain(result, finding)
            if advise and finding.verdict is Verdict.UNVERIFIED:
                advice.append(f"{result.resource.name}: {message}")
            else:
                report_violation(message, result.resource.urn)
    if advice:
        raise _AdviceError("\n".join(advice))


def _metadata(rule: Rule) -> dict[str, Any]:
    catalogue, ids = next(iter(rule.controls.items()))
    return {
        "name": rule.id,
        "enforcement_level": EnforcementLevel.ADVISORY if rule.advice else EnforcementLevel.MANDATORY,
        "description": rule.title,
        "display_name": rule.title,
        "severity": SdkSeverity(rule.severity.value),
        "config_schema": _CONFIGURATION,
        "framework": PolicyComplianceFramework(name=catalogue, specification=" ".join(ids)),
        "tags": [f"{name} {control}" for name, controls in rule.controls.items() for control in controls],
        "remediation_steps": rule.remedy,
    }
