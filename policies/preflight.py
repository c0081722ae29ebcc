"""What the rules about AWS's own constraints share: the table of types and regions, and who belongs to whom."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml

from trainyard.policies.graph import Graph, Resource
from trainyard.policies.values import UNKNOWN, UnverifiedError, Value, shown

LAUNCH_TEMPLATES = frozenset({"aws:ec2/launchTemplate:LaunchTemplate"})
NODE_GROUPS = frozenset({"aws:eks/nodeGroup:NodeGroup"})
SUBNETS = frozenset({"aws:ec2/subnet:Subnet"})

EFA_KINDS = ("efa", "efa-only")


@dataclass(frozen=True)
class GpuType:
    """A type with GPUs.

    Attributes:
        name: such as `p5.48xlarge`.
        gpus: how many.
        cards: network cards.
        efa: the most EFA interfaces.
        rdma: whether EFA reaches GPU memory.
    """

    name: str
    gpus: int
    cards: int
    efa: int
    rdma: bool


@dataclass(frozen=True)
class Offerings:
    """GPU types, and which of them a region offers."""

    types: Mapping[str, GpuType]
    regions: Mapping[str, tuple[str, ...]]


@cache
def offerings() -> Offerings:
    raw = yaml.safe_load(Path(__file__).with_name("offerings.yaml").read_text(encoding="utf-8"))
    return Offerings(
        {name: GpuType(name=name, **row) for name, row in raw["types"].items()},
        {region: tuple(names) for region, names in raw["regions"].items()},
    )


def gpu_type(name: str | None) -> GpuType | None:
    """The type's row; None for a type without GPUs, or one that the table does not know."""
    return offerings().types.get(name or "")


def number(value: Value) -> int | None:
    """A whole number, also where it is written as text; None where it is absent."""
    raw = value.raw
    if isinstance(raw, bool | dict | list):
        raise UnverifiedError(value, f"a number was expected, this is {shown(raw)!r}")
    if isinstance(raw, int):
        return raw
    if isinstance(raw, float):
        if not raw.is_integer():
            raise UnverifiedError(value, f"a whole number was expected, this is {shown(raw)!r}")
        return int(raw)
    text = value.text()
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise UnverifiedError(value, f"a number was expected, this is {shown(text)!r}")
    return int(text)


def yes(value: Value) -> bool:
    """A switch, which some properties write as text."""
    return value.raw is True or (not isinstance(value.raw, bool) and value.text() == "true")


def interfaces(template: Resource) -> list[Value]:
    return template["networkInterfaces"].items()


def has_efa(interface: Value) -> bool:
    return interface["interfaceType"].text() in EFA_KINDS


def template_of(group: Resource, graph: Graph) -> Resource | None:
    """The launch template of a node group; None where it has none of its own.

    Raises UnverifiedError where that cannot be told.
    """
    held = group["launchTemplate"]
    if not held.present:
        return None
    templates = graph.of(LAUNCH_TEMPLATES)
    if held.known:
        names = {text for key in ("id", "name") if isinstance(text := held[key].raw, str) and text}
        found = [template for template in templates if names & _identities(template)]
        if len(found) == 1:
            return found[0]
    origins = [one for one in graph.origins(group, "launchTemplate") if one.type in LAUNCH_TEMPLATES]
    if len(origins) != 1:
        raise UnverifiedError(held, "which launch template this is cannot be told here")
    return origins[0]


def zones_of(group: Resource, graph: Graph) -> set[str]:
    """The zones of a node group's subnets. One subnet lies in one zone, whichever it is.

    Raises UnverifiedError where they cannot be told.
    """
    subnets = group["subnetIds"].items()
    if len(subnets) < 2:
        return {"the only one"} if subnets else set()
    return {_zone(subnet, graph) for subnet in subnets}


def _zone(subnet: Value, graph: Graph) -> str:
    name = subnet.text()
    found = [one for one in graph.of(SUBNETS) if name in _identities(one)]
    if len(found) != 1:
        raise UnverifiedError(subnet, "the subnet is not part of this stack, so its zone is not known here")
    zone = found[0]["availabilityZone"].text()
    if not zone:
        raise UnverifiedError(found[0]["availabilityZone"], "the subnet's zone is not known")
    return zone


def _identities(resource: Resource) -> set[str]:
    """What another resource may call it by. An id is often no property of its own, but the end of the ARN."""
    found = {text for key in ("id", "name") if isinstance(text := resource.props.get(key), str) and text}
    arn = resource.props.get("arn")
    return found | {arn.rpartition("/")[2]} if isinstance(arn, str) and arn else found


def same(one: Resource, other: Resource, name: str, graph: Graph) -> bool | None:
    """Whether two resources have the same value under a name; None where that cannot be told."""
    first, second = one.props.get(name), other.props.get(name)
    if isinstance(first, str) and isinstance(second, str):
        return first == second
    if first is None or second is None:
        return False
    shared = {origin.urn for origin in graph.origins(one, name)} & {origin.urn for origin in graph.origins(other, name)}
    return True if shared else None


def group_names(group: Resource) -> Iterator[Value]:
    """The names of the Auto Scaling groups that EKS made for a node group, as far as they are known."""
    made = group["resources"]
    if made.raw is UNKNOWN:
        return
    for part in made.items():
        if part.raw is not UNKNOWN:
            for one in part["autoscalingGroups"].items() if part["autoscalingGroups"].known else ():
                if one.known:
                    yield one["name"]
