"""What has to hold of networks: blocks that stay apart, addresses that suffice, an API that somebody reaches."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Iterator, Sequence
from ipaddress import IPv4Network
from typing import TYPE_CHECKING

from trainyard.stacks.setting_draft import known
from trainyard.stacks.setting_errors import listed
from trainyard.stacks.setting_group_checks import Problem
from trainyard.stacks.setting_parts import NODES_CALL

if TYPE_CHECKING:
    from trainyard.stacks.setting_model import Settings

ADDRESSES_KEPT = 5
"""AWS keeps so many addresses of each subnet (VPC user guide, "Subnet CIDR blocks")."""

ADDRESSES_OF_A_NODE = 10
"""What the VPC CNI holds for a GPU node: its own and a warm pool for a handful of pods."""

LARGEST_VPC_PREFIX, SMALLEST_VPC_PREFIX = 16, 20
SUBNET_BITS = 3
"""A zone's private subnet is an eighth of the VPC."""

SERVICE_BLOCKS = tuple(IPv4Network(block) for block in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"))
"""Where EKS lets services have their addresses (API reference, KubernetesNetworkConfigRequest)."""

PRIVATE_BLOCKS = (*SERVICE_BLOCKS, IPv4Network("100.64.0.0/10"))

USUAL_SERVICE_BLOCKS = (IPv4Network("172.20.0.0/16"), IPv4Network("10.100.0.0/16"))
"""What EKS itself takes (same page)."""

NOBODYS: tuple[tuple[IPv4Network, str], ...] = tuple(
    (IPv4Network(block), use)
    for block, use in (
        ("0.0.0.0/8", "means this very network"),
        ("127.0.0.0/8", "is a machine's way to itself"),
        ("169.254.0.0/16", "is for one link"),
        ("192.0.0.0/24", "is for protocols"),
        ("192.0.2.0/24", "is for examples in documents"),
        ("198.18.0.0/15", "is for measurements"),
        ("198.51.100.0/24", "is for examples in documents"),
        ("203.0.113.0/24", "is for examples in documents"),
        ("224.0.0.0/4", "is for multicast"),
        ("240.0.0.0/4", "is reserved"),
    )
)
"""Blocks from which nobody comes. Source: IANA, IPv4 Special-Purpose Address Registry (RFC 6890, RFC 5737)."""

PUBLIC_EXAMPLE = "name your offices' or VPN's public blocks, such as <the office's public address>/32."


def free_block(
    within: Iterable[IPv4Network], prefix: int, taken: Sequence[IPv4Network], first: Sequence[IPv4Network] = ()
) -> IPv4Network | None:
    """A block of that length which none of `taken` overlaps, one of `first` if it can be."""
    for block in first:
        if block.prefixlen == prefix and not any(block.overlaps(other) for other in taken):
            return block
    for private in within:
        start, size = int(private.network_address), 1 << (32 - prefix)
        while prefix >= private.prefixlen and start <= int(private.broadcast_address):
            block = IPv4Network((start, prefix))
            in_the_way = [int(other.broadcast_address) for other in taken if block.overlaps(other)]
            if not in_the_way:
                return block
            start = (max(in_the_way) // size + 1) * size
    return None


def _services_have_a_block(settings: Settings) -> Iterator[Problem]:
    service, path = settings.kubernetes.service_cidr, "kubernetes.service_cidr"
    if not 12 <= service.prefixlen <= 24 or not any(service.subnet_of(block) for block in SERVICE_BLOCKS):
        yield (
            path,
            f"{service} won't do. EKS takes a private block of /24 to /12 within {listed(map(str, SERVICE_BLOCKS))}"
            f"{_such_as(_free_service_block(settings))}.",
        )
        return
    for key, block in _others(settings):
        if service.overlaps(block):
            free = _free_service_block(settings)
            would = f"{free} would" if free else "all private blocks are taken; shrink network.reserved_cidrs"
            yield path, f"{service} won't do. It overlaps {key}, {block}; {would}."
            return


def _free_service_block(settings: Settings) -> IPv4Network | None:
    taken = [block for _, block in _others(settings)]
    for prefix in (16, 20, 24):
        if free := free_block(SERVICE_BLOCKS, prefix, taken, USUAL_SERVICE_BLOCKS):
            return free
    return None


def _others(settings: Settings) -> Iterator[tuple[str, IPv4Network]]:
    """What services must stay clear of, as far as it is known."""
    if (vpc := known(lambda: settings.vpc_cidr)) is not None:
        yield "vpc_cidr", vpc
    for index, reserved in enumerate(known(lambda: settings.network.reserved_cidrs) or ()):
        yield f"network.reserved_cidrs[{index}]", reserved


def _vpc_stays_clear(settings: Settings) -> Iterator[Problem]:
    vpc = settings.vpc_cidr
    for index, reserved in enumerate(settings.network.reserved_cidrs):
        if reserved.overlaps(vpc):
            free = _free_vpc_block(settings, vpc.prefixlen)
            would = f"{free} would" if free else "all private blocks of its length are taken; shrink that one"
            yield "vpc_cidr", f"{vpc} won't do. It overlaps network.reserved_cidrs[{index}], {reserved}; {would}."
            return


def _free_vpc_block(settings: Settings, prefix: int) -> IPv4Network | None:
    taken = [*(known(lambda: settings.network.reserved_cidrs) or ())]
    if (service := known(lambda: settings.kubernetes.service_cidr)) is not None:
        taken.append(service)
    return free_block(PRIVATE_BLOCKS, prefix, taken)


def addresses_suffice(settings: Settings) -> Iterator[Problem]:
    """At worst one zone takes all nodes of the groups that stand in it: the autoscaler goes where there is capacity."""
    if settings.network.existing is not None:
        return
    vpc = settings.vpc_cidr
    wanted: dict[str, int] = dict.fromkeys(settings.availability_zones, 0)
    for group in (*settings.gpu_groups, *settings.cpu_groups):
        for zone in group.zones or settings.availability_zones:
            if zone in wanted:
                wanted[zone] += group.maximum_nodes * ADDRESSES_OF_A_NODE
    zone, count = max(wanted.items(), key=lambda item: item[1])
    if count <= _addresses(vpc.prefixlen):
        return
    large_enough = [
        prefix for prefix in range(vpc.prefixlen - 1, LARGEST_VPC_PREFIX - 1, -1) if count <= _addresses(prefix)
    ]
    free = _free_vpc_block(settings, large_enough[0]) if large_enough else None
    larger = f"a block of /{large_enough[0]}, such as {free}, or " if free else ""
    nodes = _addresses(vpc.prefixlen) // ADDRESSES_OF_A_NODE
    yield (
        "vpc_cidr",
        f"{vpc} won't do. It gives {zone} a subnet of {_addresses(vpc.prefixlen)} addresses, and the groups there may "
        f"take {count} ({ADDRESSES_OF_A_NODE} for each of their nodes); {larger}groups of at most {nodes} nodes in a "
        "zone would.",
    )


def _addresses(vpc_prefix: int) -> int:
    """What a zone's private subnet has for nodes and pods."""
    return (1 << (32 - vpc_prefix - SUBNET_BITS)) - ADDRESSES_KEPT


def _somebody_reaches_the_public_side(settings: Settings) -> Iterator[Problem]:
    for index, block in enumerate(settings.kubernetes.public_access_cidrs):
        path = f"kubernetes.public_access_cidrs[{index}]"
        if block.prefixlen < 8:
            yield path, f"{block} won't do. It opens the API to the internet; {PUBLIC_EXAMPLE}"
        elif use := _use_of(block):
            yield path, f"{block} won't do. It {use}, and nobody has an address in it; {PUBLIC_EXAMPLE}"
        elif not block.is_global:
            yield (
                path,
                f"{block} won't do. It is private, and the public side sees public addresses only; put it into "
                "private_access_cidrs.",
            )


def _somebody_reaches_the_private_side(settings: Settings) -> Iterator[Problem]:
    for index, block in enumerate(settings.kubernetes.private_access_cidrs):
        path = f"kubernetes.private_access_cidrs[{index}]"
        if block.prefixlen < 8:
            what = "lets nearly every address in"
        elif use := _use_of(block):
            what = f"{use}, and nobody has an address in it"
        else:
            continue
        yield (
            path,
            f"{block} won't do. It {what}; name the VPN's or peered network's blocks"
            f"{_such_as(_peered_block(settings))}.",
        )


def _somebody_reaches_the_api(settings: Settings) -> Iterator[Problem]:
    private = settings.kubernetes.private_access_cidrs
    if not settings.kubernetes.public_access_cidrs and private:
        vpc = known(lambda: settings.vpc_cidr)
        if vpc is not None and settings.network.existing is None and all(block.subnet_of(vpc) for block in private):
            yield (
                "kubernetes.private_access_cidrs",
                f"{listed([str(block) for block in private])} won't do. It is in the VPC itself, where nobody types "
                f"`pulumi up`: name the VPN's or peered network's blocks{_such_as(_peered_block(settings))}, or "
                "public_access_cidrs.",
            )
    if not settings.kubernetes.public_access_cidrs and not private:
        yield (
            "kubernetes.private_access_cidrs",
            "It is missing. The API has no public side, and nothing outside the VPC could reach it, not even "
            f"`pulumi up`: name the VPN's or peered network's blocks{_such_as(_peered_block(settings))}, or "
            "public_access_cidrs.",
        )


def _closed_subnets_reach_what_nodes_call(settings: Settings) -> Iterator[Problem]:
    network = settings.network
    if network.existing is not None or network.nat != "none":
        return
    needed = [service for service in NODES_CALL if service != "fsx" or settings.lustre is not None]
    if missing := [service for service in needed if service not in network.interface_endpoints]:
        yield (
            "network.interface_endpoints",
            f"{listed(missing)} {'is' if len(missing) == 1 else 'are'} missing. With nat none nothing leads out, and "
            f"no node could join the cluster; {listed(needed)} would do, or another nat.",
        )


def _use_of(block: IPv4Network) -> str:
    """What a block is for from which nobody comes; empty for any other."""
    return next((use for whole, use in NOBODYS if block.subnet_of(whole)), "")


def _peered_block(settings: Settings) -> IPv4Network | None:
    """A block from which somebody may come: one that is reserved for peers, or one outside the VPC."""
    vpc = known(lambda: settings.vpc_cidr)
    service = known(lambda: settings.kubernetes.service_cidr)
    taken = [block for block in (vpc, service) if block is not None]
    for reserved in known(lambda: settings.network.reserved_cidrs) or ():
        if reserved.prefixlen >= 8 and not any(reserved.overlaps(block) for block in taken):
            return reserved
    return free_block(SERVICE_BLOCKS, 16, taken)


def _such_as(block: ipaddress.IPv4Network | None) -> str:
    return f", such as {block}" if block else ""


NETWORK_CHECKS: tuple[Callable[[Settings], Iterator[Problem]], ...] = (
    _vpc_stays_clear,
    _services_have_a_block,
    _somebody_reaches_the_public_side,
    _somebody_reaches_the_private_side,
    _somebody_reaches_the_api,
    _closed_subnets_reach_what_nodes_call,
)
