"""What a reader wants to know of a component before its parts: a line or two, from what was really deployed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

Props = Mapping[str, Any]


class Resources:
    """A component's resources, by the last word of their type."""

    def __init__(self, resources: Sequence[tuple[str, Props]]) -> None:
        self._resources = resources

    def all(self, kind: str) -> list[Props]:
        return [props for type_, props in self._resources if type_.rpartition(":")[2] == kind]

    def first(self, kind: str) -> Props:
        return next(iter(self.all(kind)), {})


def _at(value: Any, *path: str | int) -> Any:
    """What stands at a path in nested properties; None where there is nothing."""
    for step in path:
        if isinstance(value, Mapping) and isinstance(step, str):
            value = value.get(step)
        elif isinstance(value, Sequence) and not isinstance(value, str) and isinstance(step, int) and step < len(value):
            value = value[step]
        else:
            return None
    return value


def _said(*parts: Any) -> str:
    return " · ".join(str(part) for part in parts if part not in (None, "", [], ()))


def _plural(count: int, one: str, many: str = "") -> str:
    return f"{count} {one if count == 1 else many or one + 's'}"


def _texts(values: Any) -> list[str]:
    return [value for value in values if isinstance(value, str)] if isinstance(values, Sequence) else []


def _network(found: Resources) -> list[str]:
    subnets = found.all("Subnet")
    zones = sorted({zone for subnet in subnets for zone in _texts([subnet.get("availabilityZone")])})
    endpoints = sorted(
        service.rpartition("amazonaws.")[2].partition(".")[2]
        for endpoint in found.all("VpcEndpoint")
        for service in _texts([endpoint.get("serviceName")])
    )
    public = [subnet for subnet in subnets if subnet.get("mapPublicIpOnLaunch") is True]
    gateways = len(found.all("NatGateway"))
    way_out = _plural(gateways, "NAT gateway") if gateways else "no way to the internet"
    lines = [
        _said(_at(found.first("Vpc"), "cidrBlock"), _plural(len(zones), "zone") if zones else "", way_out),
        _said(f"{len(public)} public subnets" if public else "", ", ".join(zones)),
    ]
    return [*lines, f"endpoints: {', '.join(endpoints)}" if endpoints else ""]


def _cluster(found: Resources) -> list[str]:
    cluster = found.first("Cluster")
    config = cluster.get("vpcConfig")
    public = _texts(_at(config, "publicAccessCidrs")) if _at(config, "endpointPublicAccess") is True else []
    service = _at(cluster, "kubernetesNetworkConfig", "serviceIpv4Cidr")
    return [
        _said(f"Kubernetes {cluster['version']}" if cluster.get("version") else "", service and f"services {service}"),
        f"endpoint public for {', '.join(public)}" if public else "endpoint private" if cluster else "",
        _said("secrets under own key" if cluster.get("encryptionConfig") else "secrets without own key")
        if cluster
        else "",
    ]


def _nodes(found: Resources) -> list[str]:
    group, template = found.first("NodeGroup"), found.first("LaunchTemplate")
    labels = group.get("labels") if isinstance(group.get("labels"), Mapping) else {}
    types = _texts(group.get("instanceTypes")) or _texts([template.get("instanceType")])
    scaling = group.get("scalingConfig")
    least, most = _at(scaling, "minSize"), _at(scaling, "maxSize")
    interfaces = template.get("networkInterfaces")
    efa = sum(
        str(_at(one, "interfaceType") or "").startswith("efa")
        for one in (interfaces if isinstance(interfaces, Sequence) else [])
    )
    bought = {"ON_DEMAND": "on demand", "SPOT": "spot", "CAPACITY_BLOCK": "Capacity Block"}
    capacity = str(group.get("capacityType") or "")
    target = _at(template, "capacityReservationSpecification", "capacityReservationTarget", "capacityReservationId")
    if target and capacity == "ON_DEMAND":
        capacity = "reserved"
    placed = "one cluster placement group" if found.all("PlacementGroup") else ""
    return [
        _said("/".join(types) or (labels or {}).get("trainyard.dev/instance-type")),
        _said(
            f"{least}–{most} nodes" if isinstance(most, int | float) else "",
            bought.get(capacity, capacity),
            target,
        ),
        _said(f"{_plural(efa, 'EFA interface')} each" if efa else "", placed),
    ]


def _lustre(found: Resources) -> list[str]:
    system = found.first("LustreFileSystem")
    size, rate = system.get("storageCapacity"), system.get("perUnitStorageThroughput")
    efa = "EFA" if system.get("efaEnabled") is True else ""
    links = [
        f"{link.get('fileSystemPath')} ↔ {link.get('dataRepositoryPath')}"
        for link in found.all("DataRepositoryAssociation")
    ]
    return [_said(f"{size} GiB" if size else "", f"{rate} MB/s per TiB" if rate else "", efa), *sorted(links)]


def _team(found: Resources) -> list[str]:
    namespace, quota = found.first("Namespace"), _at(found.first("ResourceQuota"), "spec", "hard")
    hard = quota if isinstance(quota, Mapping) else {}
    level = _at(namespace, "metadata", "labels", "pod-security.kubernetes.io/enforce")
    amounts = (("requests.nvidia.com/gpu", "GPUs"), ("requests.cpu", "CPUs"), ("pods", "pods"))
    quotas = [f"{hard[name]} {title}" for name, title in amounts if name in hard]
    return [
        f"at most {', '.join(quotas)}" if quotas else "",
        _said(
            f"pod security: {level}" if level else "",
            _plural(len(found.all("NetworkPolicy")), "network policy", "network policies"),
        ),
    ]


def _budget(found: Resources) -> list[str]:
    budget = found.first("Budget")
    limit, unit = budget.get("limitAmount"), budget.get("limitUnit")
    alarms = len(found.all("MetricAlarm"))
    return [
        _said(f"{limit} {unit} a month" if limit else "", _plural(alarms, "alarm") + " on idle GPUs" if alarms else "")
    ]


def _backup(found: Resources) -> list[str]:
    rule = _at(found.first("Plan"), "rules", 0)
    days = _at(rule, "lifecycle", "deleteAfter")
    return [_said(_at(rule, "schedule"), f"kept {days} days" if days else "")]


def _addons(found: Resources) -> list[str]:
    return [
        f"{addon.get('addonName')} {str(addon.get('addonVersion') or '').partition('-eksbuild')[0]}"
        for addon in sorted(found.all("Addon"), key=lambda addon: str(addon.get("addonName")))
    ]


def _events(found: Resources) -> list[str]:
    patterns = [str(rule.get("eventPattern") or "") for rule in found.all("EventRule")]
    known = (
        ("Spot Instance Interruption", "spot interruption"),
        ("Rebalance", "rebalance"),
        ("Capacity Block", "Capacity Block"),
        ("Capacity Reservation", "Capacity Block"),
        ("State-change", "instance state"),
        ("AWS Health", "AWS Health"),
        ("Instance-terminate", "scale-in"),
    )
    said = [next((words for sign, words in known if sign in pattern), "") for pattern in patterns]
    return [f"warns of {', '.join(sorted({words for words in said if words}))}"] if any(said) else []


def _templates(found: Resources) -> list[str]:
    names = sorted(str(_at(one, "metadata", "name")) for one in found.all("ConfigMap"))
    return [", ".join(names)] if names else []


def _volumes(found: Resources) -> list[str]:
    lines = []
    for volume in found.all("PersistentVolume"):
        driver = {"s3.csi.aws.com": "S3", "fsx.csi.aws.com": "Lustre"}.get(
            str(_at(volume, "spec", "csi", "driver")), ""
        )
        claim = _at(volume, "spec", "claimRef", "name") or _at(volume, "metadata", "name")
        lines.append(_said(f"{claim} ({driver})" if driver else claim))
    return [", ".join(sorted(lines))] if lines else []


def _mirror(found: Resources) -> list[str]:
    names = sorted(name.rpartition("/")[2] for one in found.all("Repository") for name in _texts([one.get("name")]))
    return [", ".join(names)] if names else []


FACTS: Mapping[str, Callable[[Resources], list[str]]] = {
    "trainyard:addons:Addons": _addons,
    "trainyard:backup:Backup": _backup,
    "trainyard:budget:Budget": _budget,
    "trainyard:cluster:Cluster": _cluster,
    "trainyard:cpu_group:CpuGroup": _nodes,
    "trainyard:gpu_group:GpuGroup": _nodes,
    "trainyard:image_mirror:ImageMirror": _mirror,
    "trainyard:interruption_queue:InterruptionQueue": _events,
    "trainyard:job_templates:JobTemplates": _templates,
    "trainyard:lustre:Lustre": _lustre,
    "trainyard:network:Network": _network,
    "trainyard:shared_volumes:SharedVolumes": _volumes,
    "trainyard:team_namespace:TeamNamespace": _team,
}


def facts(component_type: str, resources: Sequence[tuple[str, Props]]) -> list[str]:
    """Lines of text; none for a component of an unknown type, or where nothing is known yet."""
    of = FACTS.get(component_type)
    return [line for line in of(Resources(resources)) if line] if of else []
