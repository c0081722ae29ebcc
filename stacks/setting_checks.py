"""What has to hold between settings. Each check yields a problem for every place where it does not."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from trainyard.modules.addons import ADDON_VERSIONS
from trainyard.modules.instance_types import INSTANCE_TYPES
from trainyard.modules.lustre import EFA_STEP_GIB
from trainyard.modules.third_party_images import CLUSTER_AUTOSCALERS
from trainyard.stacks.offerings import offered
from trainyard.stacks.regions import REGIONS
from trainyard.stacks.setting_parts import MOST_BLOCK_NODES, GpuGroupSettings

if TYPE_CHECKING:
    from trainyard.stacks.setting_model import Settings

Problem = tuple[str, str]
"""A setting's path, and what is wrong with it and may stand there instead, in whole sentences."""

BOUND_CLASSES = frozenset({"personal", "health", "financial", "government"})
"""Classes of data whose law asks where they are."""

ADDRESSES_KEPT = 5
"""AWS keeps so many addresses of each subnet (VPC user guide, "Subnet CIDR blocks")."""

ADDRESSES_OF_A_NODE = 10
"""What the VPC CNI holds for a GPU node: its own and a warm pool for a handful of pods."""

UNVERIFIED_LUSTRE = frozenset({"me-central-1"})
"""Regions for which EFA-enabled PERSISTENT_2 file systems have been seen in no source."""


def check(settings: Settings) -> Iterator[Problem]:
    """All problems of settings that are each right by themselves."""
    for one in _CHECKS:
        yield from one(settings)


def _placed(settings: Settings) -> Iterator[tuple[str, GpuGroupSettings]]:
    for index, group in enumerate(settings.gpu_groups):
        yield f"gpu_groups[{index}]", group


def _types_are_offered(settings: Settings) -> Iterator[Problem]:
    there = offered(settings.region)
    if there is None:
        return
    for path, group in _placed(settings):
        if group.instance_type not in there:
            like = _largest_of_each_family(there)
            place = REGIONS[settings.region].place
            yield (
                f"{path}.instance_type",
                f"{group.instance_type} won't do. AWS does not offer it in {settings.region}, {place}, and no other "
                f"region is used instead. Offered there are {_listed(there)}; with the most GPUs {_listed(like)}.",
            )


def _largest_of_each_family(names: Iterable[str]) -> list[str]:
    largest: dict[str, str] = {}
    for name in names:
        kind = INSTANCE_TYPES[name]
        if kind.family not in largest or INSTANCE_TYPES[largest[kind.family]].gpus <= kind.gpus:
            largest[kind.family] = name
    return list(largest.values())


def _zones_are_the_environments(settings: Settings) -> Iterator[Problem]:
    named = [(f"{path}.zones", group.zones) for path, group in _placed(settings)]
    named += [(f"cpu_groups[{index}].zones", group.zones) for index, group in enumerate(settings.cpu_groups)]
    if settings.lustre is not None:
        named.append(("lustre.zone", (settings.lustre.zone,)))
    if settings.network.existing is not None:
        zones = tuple(settings.network.existing.private_subnet_ids_by_zone)
        named.append(("network.existing.private_subnet_ids_by_zone", zones))
        if missing := [zone for zone in settings.availability_zones if zone not in zones]:
            yield (
                "network.existing.private_subnet_ids_by_zone",
                f"It has no subnet for {_listed(missing)}, which availability_zones names.",
            )
    for path, zones in named:
        strange = [zone for zone in zones if zone not in settings.availability_zones]
        if strange:
            yield (
                path,
                f"{_listed(strange)} won't do. The environment has {_listed(settings.availability_zones)} "
                "(availability_zones).",
            )


def _capacity_fits(settings: Settings) -> Iterator[Problem]:
    for path, group in _placed(settings):
        reserved = group.capacity in ("reservation", "capacity-block")
        if reserved and group.reservation_id is None:
            yield (
                f"{path}.reservation_id",
                f"It is missing. A {group.capacity} has an id such as cr-0123456789abcdef0; "
                "aws ec2 describe-capacity-reservations lists yours.",
            )
        if not reserved and group.reservation_id is not None:
            yield (
                f"{path}.reservation_id",
                f"{group.reservation_id} won't do. The group's capacity is {group.capacity}; "
                "make that reservation or capacity-block, or leave the id out.",
            )
        if reserved and len(group.zones) > 1:
            yield (
                f"{path}.zones",
                f"{_listed(group.zones)} won't do. A {group.capacity} lies in one zone; name that one.",
            )
        if group.minimum_nodes > group.maximum_nodes:
            yield (
                f"{path}.minimum_nodes",
                f"{group.minimum_nodes} won't do. It may be 0 to maximum_nodes, which is {group.maximum_nodes}.",
            )
        yield from _block_fits(path, group)
        if group.capacity == "spot" and settings.checkpoints.location == "none":
            yield (
                "checkpoints.location",
                f"none won't do. The group {group.name} is spot, and a run that saves nowhere is lost with its node; "
                "it may be bucket or lustre.",
            )


def _block_fits(path: str, group: GpuGroupSettings) -> Iterator[Problem]:
    if group.capacity != "capacity-block":
        for key in ("starts_at", "ends_at"):
            if getattr(group, key) is not None:
                yield (
                    f"{path}.{key}",
                    f"It is for a Capacity Block. The group's capacity is {group.capacity}; leave it out.",
                )
        return
    for key, what in (("starts_at", "starts"), ("ends_at", "ends")):
        if getattr(group, key) is None:
            yield (
                f"{path}.{key}",
                f"It is missing. It is when the Capacity Block {what}, such as 2027-01-15T11:30:00Z: the group grows "
                "after its start and empties before EC2 reclaims the instances, 30 minutes before its end.",
            )
    if group.starts_at and group.ends_at and group.ends_at <= group.starts_at:
        yield (
            f"{path}.ends_at",
            f"{group.ends_at:%Y-%m-%dT%H:%M:%SZ} won't do. It is not after starts_at, "
            f"{group.starts_at:%Y-%m-%dT%H:%M:%SZ}; a block lasts a day or more.",
        )
    if group.maximum_nodes > MOST_BLOCK_NODES:
        yield (
            f"{path}.maximum_nodes",
            f"{group.maximum_nodes} won't do. A Capacity Block has at most {MOST_BLOCK_NODES} instances.",
        )
    if group.minimum_nodes:
        yield (
            f"{path}.minimum_nodes",
            f"{group.minimum_nodes} won't do. It is 0 for a Capacity Block: before its start there is nothing to "
            "launch.",
        )


def _placement_fits(settings: Settings) -> Iterator[Problem]:
    for path, group in _placed(settings):
        if group.placement == "cluster" and group.capacity == "capacity-block":
            yield (
                f"{path}.placement",
                "cluster won't do. A Capacity Block brings its own placement, and a placement group makes its launches "
                "fail; leave it out or write none.",
            )
        elif group.placement == "cluster" and len(group.zones) > 1:
            yield (
                f"{path}.placement",
                f"cluster won't do over {_listed(group.zones)}. A cluster placement group lies in one zone; name one "
                "zone, or write none.",
            )
        elif len(group.zones) > 1 and INSTANCE_TYPES[group.instance_type].rdma and group.capacity == "on-demand":
            yield (
                f"{path}.zones",
                f"{_listed(group.zones)} won't do. {group.instance_type} trains over EFA, which stays within a zone; "
                "make a group for each zone.",
            )


def _networks_are_apart(settings: Settings) -> Iterator[Problem]:
    service = settings.kubernetes.service_cidr
    if service.overlaps(settings.vpc_cidr):
        yield (
            "kubernetes.service_cidr",
            f"{service} won't do. It overlaps vpc_cidr, {settings.vpc_cidr}; 172.20.0.0/16 or another private block "
            "outside it would.",
        )
    if not 12 <= service.prefixlen <= 24 or not service.is_private:
        yield "kubernetes.service_cidr", f"{service} won't do. EKS takes a private block of /24 to /12."
    for index, reserved in enumerate(settings.network.reserved_cidrs):
        for key, block in (("vpc_cidr", settings.vpc_cidr), ("kubernetes.service_cidr", service)):
            if reserved.overlaps(block):
                yield (
                    key,
                    f"{block} won't do. It overlaps {reserved} (network.reserved_cidrs[{index}]); choose another.",
                )


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
    where = f"A region of {jurisdiction} ({_listed(inside)}) would, or" if inside else "What may stand there is"
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
        elif block.is_private and not block.subnet_of(_DOCUMENTATION):
            yield (
                f"kubernetes.public_access_cidrs[{index}]",
                f"{block} won't do. It is private, and the public side sees public addresses only; put it into "
                "private_access_cidrs.",
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
            f"{version} won't do. Add-on and autoscaler versions are known for {_listed(known)} (modules/addons.py, "
            "modules/third_party_images.py).",
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
        for principal in principals:
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
    _types_are_offered,
    _zones_are_the_environments,
    _capacity_fits,
    _placement_fits,
    _networks_are_apart,
    _addresses_suffice,
    _data_stay_in_their_jurisdiction,
    _somebody_reaches_the_endpoint,
    _lustre_fits,
    _versions_are_known,
    _names_are_unique,
    _people_enter_once,
    _quotas_fit,
)


def _listed(names: Iterable[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last
