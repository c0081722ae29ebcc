"""What has to hold between settings. Each check yields a problem for every place where it does not.

Where settings are missing or wrong by themselves, the checks see a draft (setting_draft.py): each goes as far as what
it asks for is known.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING

from trainyard.modules.addons import ADDON_VERSIONS
from trainyard.modules.third_party_images import CLUSTER_AUTOSCALERS
from trainyard.stacks.regions import REGIONS
from trainyard.stacks.setting_draft import as_far_as_known, known
from trainyard.stacks.setting_errors import listed, shortly
from trainyard.stacks.setting_group_checks import CPU_GROUP_CHECKS, GROUP_CHECKS, Placed, Problem, about_zones
from trainyard.stacks.setting_network_checks import NETWORK_CHECKS, addresses_suffice
from trainyard.stacks.setting_quota_checks import QUOTA_CHECKS
from trainyard.stacks.setting_schedule import backup_schedule
from trainyard.stacks.setting_storage_checks import STORAGE_CHECKS, somebody_uses_efa

if TYPE_CHECKING:
    from trainyard.stacks.setting_model import Settings

BOUND_CLASSES = frozenset({"personal", "health", "financial", "government"})
"""Classes of data whose law asks where they are."""

_ABOUT_SIZE = re.compile(r"[cg]pu_groups\[\d+\]\.(instance_types?|minimum_nodes|maximum_nodes)")


def check(settings: Settings, now: datetime) -> Iterator[Problem]:
    """All problems between settings; `now` is what past and future are told by."""
    found: list[Problem] = []
    for whole in WHOLE_CHECKS:
        found += as_far_as_known(whole(settings))
    for index, group in enumerate(known(lambda: settings.gpu_groups) or ()):
        for of_group in GROUP_CHECKS:
            found += as_far_as_known(of_group(Placed(f"gpu_groups[{index}]", group, settings, now)))
    for index, cpu_group in enumerate(known(lambda: settings.cpu_groups) or ()):
        for of_cpu_group in CPU_GROUP_CHECKS:
            found += as_far_as_known(of_cpu_group(Placed(f"cpu_groups[{index}]", cpu_group, settings, now)))
    found += as_far_as_known(backups_lie_ahead(settings, now))
    # What is wrong with a group's type or size would make what builds on it wrong too: one mistake, one finding.
    if not any(_ABOUT_SIZE.fullmatch(path) for path, _ in found):
        for sized in SIZED_CHECKS:
            found += as_far_as_known(sized(settings))
    yield from found


def _zones_are_the_environments(settings: Settings) -> Iterator[Problem]:
    if (lustre := settings.lustre) is not None and lustre.zone not in settings.availability_zones:
        yield "lustre.zone", about_zones((lustre.zone,), settings)


def _existing_network_has_the_zones(settings: Settings) -> Iterator[Problem]:
    if (existing := settings.network.existing) is None:
        return
    path = "network.existing.private_subnet_ids_by_zone"
    zones = tuple(existing.private_subnet_ids_by_zone)
    if missing := [zone for zone in settings.availability_zones if zone not in zones]:
        yield path, f"It has no subnet for {listed(missing)}, which availability_zones names."
    elif strange := [zone for zone in zones if zone not in settings.availability_zones]:
        yield path, about_zones(strange, settings)


def _data_stay_in_their_jurisdiction(settings: Settings) -> Iterator[Problem]:
    if settings.data_class not in BOUND_CLASSES:
        return
    country = REGIONS[settings.region].country
    if not settings.jurisdiction:
        yield (
            "jurisdiction",
            f"It is missing. {settings.data_class} data are bound by the law of a country: name it, {country} if they "
            f"are of where {settings.region} lies.",
        )
        return
    jurisdiction = settings.jurisdiction
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


def _emergencies_are_told(settings: Settings) -> Iterator[Problem]:
    if settings.access.break_glass_principals and not settings.budget.notify:
        yield (
            "budget.notify",
            "It is missing. access.break_glass_principals may take the emergency role, and its use must not go "
            "unnoticed: name who is told, such as security@example.com.",
        )


def _versions_are_known(settings: Settings) -> Iterator[Problem]:
    version = settings.kubernetes.version
    there = [one for one in ADDON_VERSIONS if one in CLUSTER_AUTOSCALERS]
    if version not in there:
        yield (
            "kubernetes.version",
            f"{version} won't do. Add-on and autoscaler versions are known for {listed(there)} (modules/addons.py, "
            "modules/third_party_images.py).",
        )


def _lists_name_things_once(settings: Settings) -> Iterator[Problem]:
    lists: list[tuple[str, Callable[[], tuple[str, ...]]]] = [
        ("network.interface_endpoints", lambda: settings.network.interface_endpoints),
        ("budget.notify", lambda: settings.budget.notify),
        ("access.deployers", lambda: settings.access.deployers),
        ("access.administrators", lambda: settings.access.administrators),
        ("access.viewers", lambda: settings.access.viewers),
    ]
    for index, team in enumerate(known(lambda: settings.teams) or ()):
        lists.append((f"teams[{index}].people", lambda team=team: team.people))
    for path, names_of in lists:
        names = known(names_of) or ()
        if twice := sorted({name for name in names if names.count(name) > 1}):
            yield path, f"{shortly(twice)} won't do more than once; name each once."


def _names_are_unique(settings: Settings) -> Iterator[Problem]:
    gpu_groups, cpu_groups = known(lambda: settings.gpu_groups) or (), known(lambda: settings.cpu_groups) or ()
    teams = known(lambda: settings.teams) or ()
    groups = [
        *((f"gpu_groups[{index}].name", group) for index, group in enumerate(gpu_groups)),
        *((f"cpu_groups[{index}].name", group) for index, group in enumerate(cpu_groups)),
    ]
    for named in (groups, [(f"teams[{index}].name", team) for index, team in enumerate(teams)]):
        seen: set[str] = set()
        for path, one in named:
            name = known(lambda one=one: one.name)
            if name is not None and name in seen:
                yield path, f"{name} won't do. Another has that name; each needs its own."
            seen |= {name} if name else set()


def _namespaces_are_free(settings: Settings) -> Iterator[Problem]:
    for index, team in enumerate(settings.teams):
        name = known(lambda team=team: team.name) or ""
        if name == "default" or name.startswith("kube-"):
            yield f"teams[{index}].name", f"{name} won't do. Kubernetes has a namespace of that name itself."


def _people_enter_once(settings: Settings) -> Iterator[Problem]:
    teams = known(lambda: settings.teams) or ()
    named: list[tuple[str, tuple[str, ...] | None]] = [
        ("access.deployers", known(lambda: settings.access.deployers)),
        ("access.administrators", known(lambda: settings.access.administrators)),
        ("access.viewers", known(lambda: settings.access.viewers)),
        ("teams", tuple(sorted({one for team in teams for one in known(lambda team=team: team.people) or ()}))),
    ]
    seen: dict[str, str] = {}
    for path, principals in named:
        for principal in dict.fromkeys(principals or ()):
            if principal in seen:
                yield (
                    path,
                    f"{principal} won't do. {seen[principal]} names it too, and EKS has one entry for a role; name "
                    "another role in one of the two.",
                )
            seen[principal] = path


def backups_lie_ahead(settings: Settings, now: datetime) -> Iterator[Problem]:
    """A schedule whose last year is over starts no backup."""
    if settings.backups is None:
        return
    schedule = settings.backups.schedule
    if (last := max(backup_schedule(schedule).years)) < now.year:
        yield (
            "backups.schedule",
            f"{schedule} won't do. Its last year, {last}, is over, so that no backup would be made; write * for every "
            "year.",
        )


WHOLE_CHECKS: tuple[Callable[[Settings], Iterator[Problem]], ...] = (
    _zones_are_the_environments,
    _existing_network_has_the_zones,
    _data_stay_in_their_jurisdiction,
    _emergencies_are_told,
    *NETWORK_CHECKS,
    *STORAGE_CHECKS,
    _versions_are_known,
    _names_are_unique,
    _namespaces_are_free,
    _lists_name_things_once,
    _people_enter_once,
)

SIZED_CHECKS: tuple[Callable[[Settings], Iterator[Problem]], ...] = (
    addresses_suffice,
    somebody_uses_efa,
    *QUOTA_CHECKS,
)
"""Those that build on the types and sizes of the groups."""
