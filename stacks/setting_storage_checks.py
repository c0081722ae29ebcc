"""What has to hold of the file system and of where training saves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from trainyard.modules.instance_types import INSTANCE_TYPES
from trainyard.modules.lustre import EFA_STEP_GIB, SMALLEST_GIB, STEP_GIB
from trainyard.stacks.regions import REGIONS
from trainyard.stacks.setting_draft import known
from trainyard.stacks.setting_errors import listed, shortly
from trainyard.stacks.setting_group_checks import Problem
from trainyard.stacks.setting_parts import MOST_STORAGE_GIB

if TYPE_CHECKING:
    from trainyard.stacks.setting_model import Settings

LIMITED_THROUGHPUTS = (125, 250)
"""MB/s for each TiB, where a region's offer is `limited` (stacks/regions.py)."""


def _runs_save_somewhere(settings: Settings) -> Iterator[Problem]:
    location = settings.checkpoints.location
    if location == "lustre" and settings.lustre is None:
        yield "checkpoints.location", "lustre won't do. There is no file system; describe one under lustre."
    if location != "none":
        return
    spot = []
    for index, group in enumerate(settings.gpu_groups):
        if known(lambda group=group: group.capacity) == "spot":
            spot.append(known(lambda group=group: group.name) or f"gpu_groups[{index}]")
    if spot:
        may_be = "bucket or lustre" if known(lambda: settings.lustre) else "bucket"
        yield (
            "checkpoints.location",
            f"none won't do. {shortly(spot)} {'are' if len(spot) > 1 else 'is'} spot, and a run that saves nowhere is "
            f"lost with its node; it may be {may_be}.",
        )


def _the_region_has_lustre(settings: Settings) -> Iterator[Problem]:
    lustre, region = settings.lustre, settings.region
    if lustre is None:
        return
    match REGIONS[region].lustre:
        case "absent" | "unlisted" as offer:
            says = "does not offer" if offer == "absent" else "names the region in no list of those that offer"
            yield (
                "lustre",
                f"It won't do in {region}. AWS {says} file systems of the kind PERSISTENT_2, which these are; leave it "
                "out: data sets and checkpoints lie in the buckets. What AWS has added since belongs into "
                "stacks/regions.py.",
            )
        case "limited" if known(lambda: lustre.throughput_mbps_per_tib) not in (None, *LIMITED_THROUGHPUTS):
            yield (
                "lustre.throughput_mbps_per_tib",
                f"{lustre.throughput_mbps_per_tib} won't do in {region}. AWS offers "
                f"{listed(map(str, LIMITED_THROUGHPUTS), 'or')} there.",
            )


def _the_region_has_efa(settings: Settings) -> Iterator[Problem]:
    if (lustre := settings.lustre) is not None and lustre.efa and REGIONS[settings.region].lustre == "limited":
        yield (
            "lustre.efa",
            f"true won't do in {settings.region}. AWS offers file systems without EFA there; leave it false.",
        )


def _its_size_is_made(settings: Settings) -> Iterator[Problem]:
    lustre = settings.lustre
    if lustre is None:
        return
    size = lustre.storage_gib
    if lustre.efa:
        throughput = lustre.throughput_mbps_per_tib
        step = least = EFA_STEP_GIB[throughput]
        what = f"With EFA at {throughput} MB/s per TiB it is a multiple of {step}"
    else:
        least, step = SMALLEST_GIB, STEP_GIB
        what = f"FSx takes {least} or a multiple of {step}"
    if size == least or (size >= step and size % step == 0):
        return
    near = [one for one in (max(size // step * step, least), (size // step + 1) * step) if one <= MOST_STORAGE_GIB]
    near = sorted(set(near))
    yield (
        "lustre.storage_gib",
        f"{size} won't do. {what}; near it {'are' if len(near) > 1 else 'is'} {listed(map(str, near))}.",
    )


def _a_linked_file_system_has_no_backups(settings: Settings) -> Iterator[Problem]:
    lustre = settings.lustre
    if lustre is not None and lustre.linked and lustre.backup_retention_days:
        yield (
            "lustre.backup_retention_days",
            f"{lustre.backup_retention_days} won't do. AWS makes no backups of a file system that is linked to "
            "buckets: they hold the data. Leave it 0, or set lustre.linked to false.",
        )


def _backups_live_as_long_as_the_lock(settings: Settings) -> Iterator[Problem]:
    lock, backups = settings.lock, settings.backups
    if lock is None or backups is None or backups.retention_days >= lock.days:
        return
    why = "retention_lock.days" if settings.retention_lock else f"what {settings.data_class} data ask for"
    yield (
        "backups.retention_days",
        f"{backups.retention_days} won't do. The vault's lock takes no backup that lives less than {lock.days} days, "
        f"{why}; it may be {lock.days} or more.",
    )


def _nothing_unprotected_is_locked_for_good(settings: Settings) -> Iterator[Problem]:
    if settings.lock is not None and settings.lock.mode == "compliance" and not settings.protect_data:
        yield (
            "retention_lock.mode",
            "compliance won't do where protect_data is false. Nobody could take the environment down before the days "
            "are over; it may be governance, or set protect_data to true.",
        )


def somebody_uses_efa(settings: Settings) -> Iterator[Problem]:
    """A file system over EFA costs more and can't be changed; without a group that has EFA it is of no use."""
    if settings.lustre is None or not settings.lustre.efa or REGIONS[settings.region].lustre != "full":
        return
    if not any(INSTANCE_TYPES[group.instance_type].efa_interfaces for group in settings.gpu_groups):
        yield "lustre.efa", "true won't do. No GPU group's type has EFA, so nobody could use it; leave it false."


STORAGE_CHECKS: tuple[Callable[[Settings], Iterator[Problem]], ...] = (
    _runs_save_somewhere,
    _the_region_has_lustre,
    _the_region_has_efa,
    _its_size_is_made,
    _a_linked_file_system_has_no_backups,
    _backups_live_as_long_as_the_lock,
    _nothing_unprotected_is_locked_for_good,
)
