"""What teams may ask for, against what the groups can ever have.

A quota is a ceiling of one namespace and no share: teams' quotas may add up to more than there is, and pods then wait
for each other. One team's quota beyond all groups together is a slip: no pod could ever use it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from trainyard.modules.instance_types import INSTANCE_TYPES
from trainyard.stacks.setting_draft import known
from trainyard.stacks.setting_errors import shortly
from trainyard.stacks.setting_group_checks import Problem

if TYPE_CHECKING:
    from trainyard.stacks.setting_model import Settings
    from trainyard.stacks.setting_parts import TeamSettings


def most_gpus(settings: Settings) -> int:
    """What all GPU groups together grow to."""
    return sum(INSTANCE_TYPES[group.instance_type].gpus * group.maximum_nodes for group in settings.gpu_groups)


def most_cpus(settings: Settings) -> int:
    """vCPUs of all groups at their largest, each with the largest of its types."""
    return sum(max(INSTANCE_TYPES[name].vcpus for name in names) * nodes for names, nodes in _types_and_nodes(settings))


def most_memory_gib(settings: Settings) -> int:
    """Their memory, likewise."""
    return sum(
        max(INSTANCE_TYPES[name].memory_gib for name in names) * nodes for names, nodes in _types_and_nodes(settings)
    )


def _types_and_nodes(settings: Settings) -> list[tuple[tuple[str, ...], int]]:
    return [
        *(((group.instance_type,), group.maximum_nodes) for group in settings.gpu_groups),
        *((group.instance_types, group.maximum_nodes) for group in settings.cpu_groups),
    ]


def _gpu_quotas_can_be_used(settings: Settings) -> Iterator[Problem]:
    there = most_gpus(settings)
    may_be = f"it may be 0 to {there}" if there else "it is 0"
    yield from _beyond(
        settings, "gpu_quota", lambda team: team.gpu_quota, there, f"All GPU groups grow to {there} GPUs; {may_be}."
    )


def _cpu_quotas_can_be_used(settings: Settings) -> Iterator[Problem]:
    there = most_cpus(settings)
    yield from _beyond(
        settings,
        "cpu_quota",
        lambda team: team.cpu_quota,
        there,
        f"All groups grow to {there} CPUs; it may be 1 to {there}.",
    )


def _memory_can_be_used(settings: Settings) -> Iterator[Problem]:
    there = most_memory_gib(settings)
    yield from _beyond(
        settings,
        "memory_gib",
        lambda team: team.memory_gib,
        there,
        f"All groups grow to {there} GiB; it may be 1 to {there}.",
    )


def _beyond(
    settings: Settings, key: str, quota: Callable[[TeamSettings], int | None], there: int, says: str
) -> Iterator[Problem]:
    """One finding, however many teams ask for too much: the groups may be what is too small."""
    asked = [(index, team, known(lambda team=team: quota(team)) or 0) for index, team in enumerate(settings.teams)]
    beyond = [(index, team, value) for index, team, value in asked if value > there]
    if len(beyond) == 1:
        index, _, value = beyond[0]
        yield f"teams[{index}].{key}", f"{value} won't do. {says}"
    elif beyond:
        names = shortly(f"teams[{index}] ({value})" for index, _, value in beyond)
        yield "teams", f"The {key} of {names} won't do. {says}"


QUOTA_CHECKS: tuple[Callable[[Settings], Iterator[Problem]], ...] = (
    _gpu_quotas_can_be_used,
    _cpu_quotas_can_be_used,
    _memory_can_be_used,
)
