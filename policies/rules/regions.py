"""Data stays in the regions that compliance allows the environment: provider, resource, and what inputs point at."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from trainyard.policies import team_file
from trainyard.policies.graph import Graph, Resource
from trainyard.policies.iam import documents
from trainyard.policies.rule import Finding, Severity, each, resource_rule, stack_rule, unverified, violation
from trainyard.policies.values import UNKNOWN, UnverifiedError, Value, shown

PROVIDERS = frozenset({"pulumi:providers:aws", "pulumi:providers:aws-native"})

_REGION = r"[a-z]{2}(?:-[a-z]+){1,2}-\d{1,2}"
_ARN = re.compile(rf"arn:aws[a-z-]*:[a-z0-9-]+:({_REGION}):")
_HOST = re.compile(rf"\b({_REGION})\.(?:vpce\.)?amazonaws\.com\b")
# Properties that name a region: the resource's own, and the far end of a link. A zone always lies in the former.
_PLACE = re.compile(r"regions?|regionName|[a-z]+Regions?")
# Properties with such names somewhere inside: while one is unknown as a whole, so are the regions.
_HOLDS_PLACES = re.compile(r"replicas?|[a-z]*[rR]eplicationConfigurations?")
# Properties that lead to another resource, or hold parts that do.
_REFERENCE = re.compile(r"[aA]rns?$|KeyId$|^rules?$|[dD]estinations?$|[cC]onfigurations?$")
# Text for people: a region named there moves nothing.
_PROSE = frozenset({"tags", "tagsAll", "description"})

_CONTROLS = {
    "NIST 800-53": ("SA-9(5)", "AC-4"),
    "ISO 27001": ("A.5.31", "A.5.34"),
    "AWS Control Tower": ("CT.MULTISERVICE.PV.1",),
    "UAE PDPL": ("art. 22", "art. 23"),
}
_WHY = (
    "Where data lies decides which law applies and whether it has left the country; "
    "a region that nobody approved is a transfer that nobody approved."
)


@dataclass(frozen=True)
class RegionTable:
    """The regions of each environment, and which services have none."""

    environments: dict[str, frozenset[str]]
    global_services: frozenset[str]
    regional_exceptions: tuple[str, ...]

    def refusal(self, region: str, environment: str) -> str | None:
        """Why the environment may not use the region; None where it may. An unlisted environment may use none."""
        allowed = self.environments.get(environment)
        if allowed is None:
            return f"environment {environment!r} has no row in policies/regions.yaml, so it may use no region"
        if region in allowed:
            return None
        return f"environment {environment!r} may use {', '.join(sorted(allowed))} (policies/regions.yaml)"

    def regional(self, resource_type: str) -> bool:
        """Whether resources of this type live in a region."""
        package, _, rest = resource_type.partition(":")
        if package not in ("aws", "aws-native"):
            return False
        if resource_type.startswith(self.regional_exceptions):
            return True
        return re.split("[/:]", rest, maxsplit=1)[0] not in self.global_services


def load_table(path: Path) -> RegionTable:
    """Reads the table. Raises ValueError saying what is wrong with it: a broken table must stop, not allow."""
    raw = team_file.read(path)
    keys = ("environments", "global_services", "regional_exceptions")
    if not isinstance(raw, dict) or sorted(raw) != sorted(keys):
        raise ValueError(f"{path}: the keys must be {', '.join(keys)}")
    environments = raw["environments"]
    if not isinstance(environments, dict):
        raise ValueError(f"{path}: environments must name the regions of each environment")
    for environment, regions in environments.items():
        if not isinstance(regions, list) or not all(re.fullmatch(_REGION, str(region)) for region in regions):
            raise ValueError(f"{path}: environments.{environment} must be a list of regions such as [us-east-1]")
    return RegionTable(
        {str(name): frozenset(regions) for name, regions in environments.items()},
        frozenset(raw["global_services"]),
        tuple(raw["regional_exceptions"]),
    )


@cache
def table() -> RegionTable:
    return load_table(Path(__file__).parents[1] / "regions.yaml")


def _regional(resource_type: str) -> bool:
    return table().regional(resource_type)


@resource_rule(
    "residency-provider-region",
    title="A provider works in a region that its environment may use",
    severity=Severity.CRITICAL,
    applies=PROVIDERS,
    controls=_CONTROLS,
    why=_WHY,
    remedy="""
provider = aws.Provider("aws", region=settings.region)   # an allowed region, written in the settings
Network("network", args, pulumi.ResourceOptions(provider=provider))
""",
)
def provider_region(provider: Resource) -> Iterator[Finding]:
    region = provider["region"].text()
    if not region:
        reason = "the provider names no region, so it takes the one of whoever runs it (environment, profile, host)"
        yield unverified(reason, provider["region"])
    elif refusal := table().refusal(region, provider.environment):
        yield violation(f"{shown(region)} is not allowed: {refusal}", provider["region"])


@resource_rule(
    "residency-resource-region",
    title="A resource is in a region that its environment may use, and so is the far end of each of its links",
    severity=Severity.CRITICAL,
    applies=_regional,
    controls=_CONTROLS,
    why=_WHY + " Every resource can override its provider's region with one of its own.",
    remedy="""
aws.s3.Bucket("datasets", opts=pulumi.ResourceOptions(parent=self))   # no region=: the provider's is used
""",
)
def resource_region(resource: Resource) -> Iterator[Finding]:
    def judge(place: Value) -> Iterator[Finding]:
        region = place.text()
        if not region:
            return
        if not re.fullmatch(_REGION, region):
            raise UnverifiedError(place, f"{shown(region)!r} is not the name of a region")
        if refusal := table().refusal(region, resource.environment):
            yield violation(f"{region} is not allowed: {refusal}", place)

    yield from each(_places(resource), judge)
    if resource.provider is None and not resource["region"].present:
        yield unverified("neither the resource nor a provider says in which region it will be")


@resource_rule(
    "residency-input-region",
    title="ARNs and addresses in a resource's inputs lead to no other region than the environment's",
    severity=Severity.HIGH,
    applies=_regional,
    controls=_CONTROLS,
    why=_WHY + " A key, log destination, replica or registry elsewhere carries data out although the resource stays.",
    remedy="""
kms_master_key_id=self.keys.data_key_arn   # a key, queue, log group or image of the same environment
""",
)
def input_region(resource: Resource) -> Iterator[Finding]:
    for leaf in _leaves(resource):
        if isinstance(leaf.raw, str):
            for region in sorted(_regions_in(leaf)):
                if refusal := table().refusal(region, resource.environment):
                    yield violation(f"this leads to {region}: {refusal}", leaf)


@stack_rule(
    "residency-unknown-reference",
    title="What a resource refers to by an ARN that is not known yet is part of this stack",
    severity=Severity.HIGH,
    applies=_regional,
    controls=_CONTROLS,
    why=_WHY + " An ARN from another stack or program may lead anywhere, and nothing here has judged its region.",
    remedy="""
kms_key_id=self.keys.data_key_arn   # from a resource of this program, whose region is checked where it is made
""",
)
def unknown_reference(resource: Resource, graph: Graph) -> Iterator[Finding]:
    for name in sorted(resource.property_dependencies):
        unknown = [leaf for leaf in resource[name].leaves() if leaf.raw is UNKNOWN and _REFERENCE.search(_key(leaf))]
        if not unknown:
            continue
        origins = graph.origins(resource, name)
        strangers = [origin for origin in origins if not origin.type.startswith("aws")]
        if strangers or not origins:
            source = strangers[0].name if strangers else "outside this stack"
            for leaf in unknown:
                yield unverified(f"this comes from {source} and is not known yet, so neither is its region", leaf)


def _leaves(resource: Resource) -> Iterator[Value]:
    """Every value of a resource, at any depth, but those that are text for people."""
    for name in resource.props:
        if name not in _PROSE:
            yield from resource[name].leaves()


def _places(resource: Resource) -> Iterator[Value]:
    """The values that name a region. A switch such as `multiRegion` names none."""
    if isinstance(resource["region"].raw, dict | list):
        yield resource["region"]
    for leaf in _leaves(resource):
        key = _key(leaf)
        hidden = leaf.raw is UNKNOWN and _HOLDS_PLACES.fullmatch(key)
        if hidden or (_PLACE.fullmatch(key) and not isinstance(leaf.raw, bool)):
            yield leaf


def _key(leaf: Value) -> str:
    """The nearest property name above a leaf: `subnets` for `subnets[2]`."""
    return next((step for step in reversed(leaf.path) if isinstance(step, str)), "")


def _regions_in(leaf: Value) -> set[str]:
    """The regions that a text leads to. In a policy document a Deny leads nowhere."""
    text = leaf.raw
    if text.lstrip().startswith("{"):
        try:
            parsed = documents.statements(leaf)
        except UnverifiedError:
            parsed = None
        if parsed is not None:
            allowed = [one for one in parsed if one.effect != "Deny"]
            values = [value for one in allowed for test in one.conditions.values() for value in test.values()]
            text = " ".join(part for group in [*(one.resources for one in allowed), *values] for part in group)
    return {*_ARN.findall(text), *_HOST.findall(text)}
