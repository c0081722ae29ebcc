"""What has to hold of a group of nodes: type, capacity, zones and placement together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Generic, TypeVar

from trainyard.modules.gpu_capacity import MOST_BLOCK_INSTANCES, SHORTEST_BLOCK
from trainyard.modules.instance_types import INSTANCE_TYPES
from trainyard.stacks.offerings import offered
from trainyard.stacks.regions import REGIONS
from trainyard.stacks.setting_errors import listed, shortly
from trainyard.stacks.setting_parts import CpuGroupSettings, GpuGroupSettings

if TYPE_CHECKING:
    from trainyard.stacks.setting_model import Settings

Problem = tuple[str, str]
"""A setting's path, and what is wrong with it and may stand there instead, in whole sentences."""

LEAST_BLOCK = SHORTEST_BLOCK - timedelta(minutes=30)
"""A block that starts at once starts at the next half hour, and ends at 11:30 UTC all the same."""

AnyGroup = TypeVar("AnyGroup", bound=GpuGroupSettings | CpuGroupSettings)


@dataclass(frozen=True)
class Placed(Generic[AnyGroup]):
    """A group where it stands: its path, the settings around it, and the moment that past and future are told by."""

    path: str
    group: AnyGroup
    settings: Settings
    now: datetime


def _type_is_offered(placed: Placed[GpuGroupSettings]) -> Iterator[Problem]:
    name, region = placed.group.instance_type, placed.settings.region
    there = offered(region)
    if there is None or name in there:
        return
    most = listed(_largest_of_each_family(there))
    yield (
        f"{placed.path}.instance_type",
        f"{name} won't do. AWS does not offer it in {region}, {REGIONS[region].place}, and no other region is used "
        f"instead. Offered there are {listed(there)}; with the most GPUs {most}.",
    )


def _largest_of_each_family(names: Iterable[str]) -> list[str]:
    largest: dict[str, str] = {}
    for name in names:
        kind = INSTANCE_TYPES[name]
        if kind.family not in largest or INSTANCE_TYPES[largest[kind.family]].gpus <= kind.gpus:
            largest[kind.family] = name
    return list(largest.values())


def _is_reserved(group: GpuGroupSettings) -> bool:
    return group.capacity in ("reservation", "capacity-block")


def _reservation_is_named(placed: Placed[GpuGroupSettings]) -> Iterator[Problem]:
    group = placed.group
    if _is_reserved(group) and group.reservation_id is None:
        yield (
            f"{placed.path}.reservation_id",
            f"It is missing. A {group.capacity} has an id such as cr-0123456789abcdef0; "
            "aws ec2 describe-capacity-reservations lists yours.",
        )
    if not _is_reserved(group) and group.reservation_id is not None:
        yield (
            f"{placed.path}.reservation_id",
            f"{group.reservation_id} won't do. The group's capacity is {group.capacity}; "
            "make that reservation or capacity-block, or leave the id out.",
        )


def about_zones(strange: Iterable[str], settings: Settings) -> str:
    """What is said of zones that are not the environment's."""
    there = listed(settings.availability_zones)
    return f"{shortly(strange)} won't do. The environment has {there} (availability_zones)."


def _zones_are_right(placed: Placed[AnyGroup]) -> Iterator[Problem]:
    group = placed.group
    if twice := [zone for zone in group.zones if group.zones.count(zone) > 1]:
        yield f"{placed.path}.zones", f"{shortly(twice)} won't do more than once; once is enough."
    if strange := [zone for zone in group.zones if zone not in placed.settings.availability_zones]:
        yield f"{placed.path}.zones", about_zones(strange, placed.settings)


def _one_zone_where_it_takes_one(placed: Placed[GpuGroupSettings]) -> Iterator[Problem]:
    group = placed.group
    if len(set(group.zones)) < 2:
        return
    zones = shortly(group.zones)
    if _is_reserved(group):
        yield f"{placed.path}.zones", f"{zones} won't do. A {group.capacity} lies in one zone; name that one."
    elif group.capacity == "on-demand" and INSTANCE_TYPES[group.instance_type].rdma:
        yield (
            f"{placed.path}.zones",
            f"{zones} won't do. {group.instance_type} trains over EFA, which stays within a zone; make a group for "
            "each of them.",
        )
    elif group.placement == "cluster":
        yield (
            f"{placed.path}.placement",
            f"cluster won't do over {zones}. A cluster placement group lies in one zone; name one zone, or write none.",
        )


def _block_is_not_placed(placed: Placed[GpuGroupSettings]) -> Iterator[Problem]:
    group = placed.group
    if group.capacity == "capacity-block" and group.placement == "cluster":
        yield (
            f"{placed.path}.placement",
            "cluster won't do. A Capacity Block brings its own placement, and a placement group makes its launches "
            "fail; leave it out or write none.",
        )


def _minimum_is_below_maximum(placed: Placed[AnyGroup]) -> Iterator[Problem]:
    group = placed.group
    if isinstance(group, GpuGroupSettings) and group.capacity == "capacity-block":
        if group.minimum_nodes:
            yield (
                f"{placed.path}.minimum_nodes",
                f"{group.minimum_nodes} won't do. It is 0 for a Capacity Block: before its start there is nothing to "
                "launch.",
            )
    elif group.minimum_nodes > group.maximum_nodes:
        yield (
            f"{placed.path}.minimum_nodes",
            f"{group.minimum_nodes} won't do. It may be 0 to maximum_nodes, which is {group.maximum_nodes}.",
        )


def _block_is_small_enough(placed: Placed[GpuGroupSettings]) -> Iterator[Problem]:
    group = placed.group
    if group.capacity == "capacity-block" and group.maximum_nodes > MOST_BLOCK_INSTANCES:
        yield (
            f"{placed.path}.maximum_nodes",
            f"{group.maximum_nodes} won't do. A Capacity Block has at most {MOST_BLOCK_INSTANCES} instances; a second "
            "one is a second group.",
        )


def _only_blocks_have_times(placed: Placed[GpuGroupSettings]) -> Iterator[Problem]:
    group = placed.group
    if group.capacity == "capacity-block":
        return
    for key in ("starts_at", "ends_at"):
        if getattr(group, key) is not None:
            yield (
                f"{placed.path}.{key}",
                f"It is for a Capacity Block. The group's capacity is {group.capacity}; leave it out.",
            )


def _block_has_times(placed: Placed[GpuGroupSettings]) -> Iterator[Problem]:
    group = placed.group
    if group.capacity != "capacity-block":
        return
    begins = (placed.now + timedelta(days=14)).replace(hour=11, minute=30)
    for key, what, example in (("starts_at", "starts", begins), ("ends_at", "ends", begins + timedelta(days=14))):
        if getattr(group, key) is None:
            yield (
                f"{placed.path}.{key}",
                f"It is missing. It is when the Capacity Block {what}, such as {_moment(example)}: the group grows "
                "after its start and empties before EC2 reclaims the instances, 30 minutes before its end.",
            )


def _block_lasts_and_lies_ahead(placed: Placed[GpuGroupSettings]) -> Iterator[Problem]:
    group = placed.group
    if group.capacity != "capacity-block" or group.ends_at is None:
        return
    if group.ends_at <= placed.now:
        yield (
            f"{placed.path}.ends_at",
            f"{_moment(group.ends_at)} won't do. The Capacity Block ended then, and EC2 has taken its instances back; "
            "remove the group, or name a new block by its reservation_id, starts_at and ends_at.",
        )
    elif group.starts_at is not None and group.ends_at - group.starts_at < LEAST_BLOCK:
        what = "not after" if group.ends_at <= group.starts_at else "less than a day after"
        yield (
            f"{placed.path}.ends_at",
            f"{_moment(group.ends_at)} won't do. It is {what} starts_at, {_moment(group.starts_at)}; a block lasts a "
            "day or more.",
        )


def _moment(when: datetime) -> str:
    return f"{when:%Y-%m-%dT%H:%M:%SZ}"


GROUP_CHECKS: tuple[Callable[[Placed[GpuGroupSettings]], Iterator[Problem]], ...] = (
    _type_is_offered,
    _reservation_is_named,
    _zones_are_right,
    _one_zone_where_it_takes_one,
    _block_is_not_placed,
    _minimum_is_below_maximum,
    _block_is_small_enough,
    _only_blocks_have_times,
    _block_has_times,
    _block_lasts_and_lies_ahead,
)

CPU_GROUP_CHECKS: tuple[Callable[[Placed[CpuGroupSettings]], Iterator[Problem]], ...] = (
    _zones_are_right,
    _minimum_is_below_maximum,
)
