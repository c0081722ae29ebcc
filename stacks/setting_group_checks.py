"""What has to hold of groups of nodes: type, capacity, zones and placement together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from trainyard.modules.instance_types import INSTANCE_TYPES
from trainyard.stacks.offerings import offered
from trainyard.stacks.regions import REGIONS
from trainyard.stacks.setting_errors import listed
from trainyard.stacks.setting_parts import MOST_BLOCK_NODES, GpuGroupSettings

if TYPE_CHECKING:
    from trainyard.stacks.setting_model import Settings

Problem = tuple[str, str]
"""A setting's path, and what is wrong with it and may stand there instead, in whole sentences."""


def placed(settings: Settings) -> Iterator[tuple[str, GpuGroupSettings]]:
    """The GPU groups, each with its path."""
    for index, group in enumerate(settings.gpu_groups):
        yield f"gpu_groups[{index}]", group


def _types_are_offered(settings: Settings) -> Iterator[Problem]:
    there = offered(settings.region)
    if there is None:
        return
    for path, group in placed(settings):
        if group.instance_type not in there:
            like = _largest_of_each_family(there)
            place = REGIONS[settings.region].place
            yield (
                f"{path}.instance_type",
                f"{group.instance_type} won't do. AWS does not offer it in {settings.region}, {place}, and no other "
                f"region is used instead. Offered there are {listed(there)}; with the most GPUs {listed(like)}.",
            )


def _largest_of_each_family(names: Iterable[str]) -> list[str]:
    largest: dict[str, str] = {}
    for name in names:
        kind = INSTANCE_TYPES[name]
        if kind.family not in largest or INSTANCE_TYPES[largest[kind.family]].gpus <= kind.gpus:
            largest[kind.family] = name
    return list(largest.values())


def _capacity_fits(settings: Settings) -> Iterator[Problem]:
    for path, group in placed(settings):
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
                f"{listed(group.zones)} won't do. A {group.capacity} lies in one zone; name that one.",
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


def _cpu_groups_fit(settings: Settings) -> Iterator[Problem]:
    for index, group in enumerate(settings.cpu_groups):
        if group.minimum_nodes > group.maximum_nodes:
            yield (
                f"cpu_groups[{index}].minimum_nodes",
                f"{group.minimum_nodes} won't do. It may be 0 to maximum_nodes, which is {group.maximum_nodes}.",
            )
        with_gpus = [name for name in group.instance_types if INSTANCE_TYPES[name].gpus]
        if with_gpus:
            yield (
                f"cpu_groups[{index}].instance_types",
                f"{listed(with_gpus)} won't do. A type with GPUs belongs under gpu_groups; m7i.xlarge would do here.",
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
    for path, group in placed(settings):
        if group.placement == "cluster" and group.capacity == "capacity-block":
            yield (
                f"{path}.placement",
                "cluster won't do. A Capacity Block brings its own placement, and a placement group makes its launches "
                "fail; leave it out or write none.",
            )
        elif group.placement == "cluster" and len(group.zones) > 1:
            yield (
                f"{path}.placement",
                f"cluster won't do over {listed(group.zones)}. A cluster placement group lies in one zone; name one "
                "zone, or write none.",
            )
        elif len(group.zones) > 1 and INSTANCE_TYPES[group.instance_type].rdma and group.capacity == "on-demand":
            yield (
                f"{path}.zones",
                f"{listed(group.zones)} won't do. {group.instance_type} trains over EFA, which stays within a zone; "
                "make a group for each zone.",
            )


GROUP_CHECKS: tuple[Callable[[Settings], Iterator[Problem]], ...] = (
    _types_are_offered,
    _capacity_fits,
    _cpu_groups_fit,
    _placement_fits,
)
