"""What has to hold between settings. Each check yields a problem for every place where it does not."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from trainyard.modules.addons import ADDON_VERSIONS
from trainyard.modules.instance_types import INSTANCE_TYPES
from trainyard.modules.lustre import EFA_STEP_GIB
from trainyard.modules.third_party_images import CLUSTER_AUTOSCALERS
from trainyard.stacks.regions import REGIONS
from trainyard.stacks.setting_errors import listed
from trainyard.stacks.setting_group_checks import GROUP_CHECKS, Problem, placed

if TYPE_CHECKING:
    from trainyard.stacks.setting_model import Settings

BOUND_CLASSES = frozenset({"personal", "health", "financial", "government"})
"""Classes of data whose law asks where they are."""

ADDRESSES_KEPT = 5
"""AWS keeps so many addresses of each subnet (VPC user guide, "Subnet CIDR blocks")."""

ADDRESSES_OF_A_NODE = 10
"""What the VPC CNI holds for a GPU node: its own and a warm pool for a handful of pods."""

SERVICE_BLOCKS = tuple(ipaddress.IPv4Network(block) for block in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"))
"""Where EKS lets services have their addresses (API reference, KubernetesNetworkConfigRequest)."""

UNVERIFIED_LUSTRE = frozenset({"me-central-1"})
"""Regions for which EFA-enabled PERSISTENT_2 file systems have been seen in no source."""


def check(settings: Settings) -> Iterator[Problem]:
    """All problems of settings that are each right by themselves."""
    for one in _CHECKS:
        yield from one(settings)


def _zones_are_the_environments(settings: Settings) -> Iterator[Problem]:
    named = [(f"{path}.zones", group.zones) for path, group in placed(settings)]
    named += [(f"cpu_groups[{index}].zones", group.zones) for index, group in enumerate(settings.cpu_groups)]
    if settings.lustre is not None:
        named.append(("lustre.zone", (settings.lustre.zone,)))
    if settings.network.existing is not None:
        zones = tuple(settings.network.existing.private_subnet_ids_by_zone)
        named.append(("network.existing.private_subnet_ids_by_zone", zones))
        if missing := [zone for zone in settings.availability_zones if zone not in zones]:
            yield (
                "network.existing.private_subnet_ids_by_zone",
                f"It has no subnet for {listed(missing)}, which availability_zones names.",
            )
    for path, zones in named:
        if len(set(zones)) < len(zones):
            yield path, f"{listed(zones)} won't do. It names a zone twice; once is enough."
        strange = [zone for zone in zones if zone not in settings.availability_zones]
        if strange:
            yield (
                path,
                f"{listed(strange)} won't do. The environment has {listed(settings.availability_zones)} "
                "(availability_zones).",
            )


def _networks_are_apart(settings: Settings) -> Iterator[Problem]:
    service = settings.kubernetes.service_cidr
    if service.overlaps(settings.vpc_cidr):
        yield (
            "kubernetes.service_cidr",
            f"{service} won't do. It overlaps vpc_cidr, {settings.vpc_cidr}; 172.20.0.0/16 or another private block "
            "outside it would.",
        )
    if not 12 <= service.prefixlen <= 24 or not any(service.subnet_of(block) for block in SERVICE_BLOCKS):
        yield (
            "kubernetes.service_cidr",
            f"{service} won't do. EKS takes a private block of /24 to /12 within {listed(map(str, SERVICE_BLOCKS))}.",
        )
    for key, block in (("vpc_cidr", settings.vpc_cidr), ("kubernetes.service_cidr", service)):
        for index, reserved in enumerate(settings.network.reserved_cidrs):
            if reserved.overlaps(block):
                yield (
                    key,
                    f"{block} won't do. It overlaps {reserved} (network.reserved_cidrs[{index}]); choose another.",
                )
                break


def _addresses_suffice(settings: Settings) -> Iterator[Problem]:
    if settings.network.existing is not None:
        return
    subnet = settings.vpc_cidr.prefixlen + 3
    there = 2 ** (32 - subnet) - ADDRESSES_KEPT
    wanted: dict[str, int] = dict.fromkeys(settings.availability_zones, 0)
    for group in (*settings.gpu_groups, *settings.cpu_groups):
        zones = group.zones or settings.availability_zones
        for zone in zones:
            # At worst one zone takes them all: the autoscaler goes where there is capacity.
            if zone in wanted:
                wanted[zone] += group.maximum_nodes * ADDRESSES_OF_A_NODE
    for zone, count in wanted.items():
        if count > there:
            yield (
                "vpc_cidr",
                f"{settings.vpc_cidr} won't do. It gives {zone} a subnet of {there} addresses, and the groups there "
                f"may take {count} ({ADDRESSES_OF_A_NODE} for each of their nodes). A larger block, up to /16, or "
                "smaller groups would.",
            )


def _data_stay_in_their_jurisdiction(settings: Settings) -> Iterator[Problem]:
    if settings.data_class not in BOUND_CLASSES:
        return
    country = REGIONS[settings.region].country
    jurisdiction = settings.jurisdiction or country
    if jurisdiction == country or settings.transfer_basis:
        return
    inside = [name for name, region in REGIONS.items() if region.country == jurisdiction]
    where = f"A region of {jurisdiction} ({listed(inside)}) would, or" if inside else "What may stand there is"
    yield (
        "transfer_basis",
        f"It is missing. The data are {settings.data_class} data of {jurisdiction}, and {settings.region} lies in "
        f"{country}. {where} the documented basis of the transfer, such as a contract's number or an approval's. "
        "This is no legal advice.",
    )


def _somebody_reaches_the_endpoint(settings: Settings) -> Iterator[Problem]:
    kubernetes = settings.kubernetes
    for index, block in enumerate(kubernetes.public_access_cidrs):
        if block.prefixlen < 8:
            yield (
                f"kubernetes.public_access_cidrs[{index}]",
                f"{block} won't do. It opens the API to the internet; name your offices' or VPN's blocks, such as "
                "203.0.113.0/24.",
            )
        elif not block.is_global and not block.subnet_of(_DOCUMENTATION):
            yield (
                f"kubernetes.public_access_cidrs[{index}]",
                f"{block} won't do. It is private, and the public side sees public addresses only; put it into "
                "private_access_cidrs.",
            )
    for index, block in enumerate(kubernetes.private_access_cidrs):
        if block.prefixlen < 8:
            yield (
                f"kubernetes.private_access_cidrs[{index}]",
                f"{block} won't do. It lets nearly every address in; name the VPN's or peered network's blocks, "
                "such as 10.0.0.0/16.",
            )
    if not kubernetes.public_access_cidrs and not kubernetes.private_access_cidrs:
        yield (
            "kubernetes.private_access_cidrs",
            "It is missing. The API has no public side, and nothing outside the VPC could reach it, not even "
            "`pulumi up`: name the VPN's or peered network's blocks, such as 10.0.0.0/16, or public_access_cidrs.",
        )


_DOCUMENTATION = ipaddress.IPv4Network("203.0.113.0/24")


def _lustre_fits(settings: Settings) -> Iterator[Problem]:
    lustre = settings.lustre
    if lustre is None:
        if settings.checkpoints.location == "lustre":
            yield "checkpoints.location", "lustre won't do. There is no file system; describe one under lustre."
        return
    if lustre.storage_gib != 1200 and lustre.storage_gib % 2400:
        below = max(lustre.storage_gib // 2400 * 2400, 1200)
        yield (
            "lustre.storage_gib",
            f"{lustre.storage_gib} won't do. FSx takes 1200 or a multiple of 2400; near it are {below} and "
            f"{(lustre.storage_gib // 2400 + 1) * 2400}.",
        )
    if lustre.linked and lustre.backup_retention_days:
        yield (
            "lustre.backup_retention_days",
            f"{lustre.backup_retention_days} won't do. AWS makes no backups of a file system that is linked to "
            "buckets: they hold the data. Leave it 0, or set lustre.linked to false.",
        )
    if not lustre.efa:
        return
    step = EFA_STEP_GIB[lustre.throughput_mbps_per_tib]
    if lustre.storage_gib < step or lustre.storage_gib % step:
        yield (
            "lustre.storage_gib",
            f"{lustre.storage_gib} won't do. With EFA at {lustre.throughput_mbps_per_tib} MB/s per TiB it is a "
            f"multiple of {step}.",
        )
    if settings.region in UNVERIFIED_LUSTRE:
        yield (
            "lustre.efa",
            f"true won't do. No source shows EFA-enabled file systems in {settings.region}; leave it false.",
        )
    if not any(INSTANCE_TYPES[group.instance_type].efa_interfaces for group in settings.gpu_groups):
        yield "lustre.efa", "true won't do. No GPU group's type has EFA, so nobody could use it; leave it false."


def _versions_are_known(settings: Settings) -> Iterator[Problem]:
    version = settings.kubernetes.version
    known = [one for one in ADDON_VERSIONS if one in CLUSTER_AUTOSCALERS]
    if version not in known:
        yield (
            "kubernetes.version",
            f"{version} won't do. Add-on and autoscaler versions are known for {listed(known)} (modules/addons.py, "
            "modules/third_party_images.py).",
        )


def _lists_name_things_once(settings: Settings) -> Iterator[Problem]:
    lists = [
        ("network.interface_endpoints", settings.network.interface_endpoints),
        ("budget.notify", settings.budget.notify),
        ("access.administrators", settings.access.administrators),
        ("access.viewers", settings.access.viewers),
        *((f"teams[{index}].people", team.people) for index, team in enumerate(settings.teams)),
    ]
    for path, names in lists:
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            yield path, f"{listed(twice)} won't do more than once; name each once."
    for name in settings.network.interface_endpoints:
        if name == "s3":
            yield (
                "network.interface_endpoints",
                "s3 won't do. It is reached through a gateway endpoint, which the network has anyway; leave it out.",
            )
        elif name.startswith("com."):
            yield (
                "network.interface_endpoints",
                f"{name} won't do. It is the end of an endpoint's name, such as {name.split('.', 3)[-1]}.",
            )


def _names_are_unique(settings: Settings) -> Iterator[Problem]:
    groups = [
        *((f"gpu_groups[{index}].name", group.name) for index, group in enumerate(settings.gpu_groups)),
        *((f"cpu_groups[{index}].name", group.name) for index, group in enumerate(settings.cpu_groups)),
    ]
    for named in (groups, [(f"teams[{index}].name", team.name) for index, team in enumerate(settings.teams)]):
        seen: set[str] = set()
        for path, name in named:
            if name in seen:
                yield path, f"{name} won't do. Another has that name; each needs its own."
            seen.add(name)
    for index, team in enumerate(settings.teams):
        if team.name in ("default",) or team.name.startswith("kube-"):
            yield f"teams[{index}].name", f"{team.name} won't do. Kubernetes has a namespace of that name itself."


def _people_enter_once(settings: Settings) -> Iterator[Problem]:
    seen: dict[str, str] = {}
    named = [("access.administrators", settings.access.administrators), ("access.viewers", settings.access.viewers)]
    everyone = {principal for team in settings.teams for principal in team.people}
    for path, principals in (*named, ("teams", sorted(everyone))):
        for principal in dict.fromkeys(principals):
            if principal in seen:
                yield (
                    path,
                    f"{principal} won't do. {seen[principal]} names it too, and EKS has one entry for a role; name "
                    "another role in one of the two.",
                )
            seen[principal] = path


def _quotas_fit(settings: Settings) -> Iterator[Problem]:
    there = sum(INSTANCE_TYPES[group.instance_type].gpus * group.maximum_nodes for group in settings.gpu_groups)
    for index, team in enumerate(settings.teams):
        if team.gpu_quota > there:
            yield (
                f"teams[{index}].gpu_quota",
                f"{team.gpu_quota} won't do. All GPU groups together grow to {there} GPUs; it may be 0 to {there}.",
            )


_CHECKS: tuple[Callable[[Settings], Iterator[Problem]], ...] = (
    *GROUP_CHECKS,
    _zones_are_the_environments,
    _networks_are_apart,
    _addresses_suffice,
    _data_stay_in_their_jurisdiction,
    _somebody_reaches_the_endpoint,
    _lustre_fits,
    _versions_are_known,
    _names_are_unique,
    _lists_name_things_once,
    _people_enter_once,
    _quotas_fit,
)
