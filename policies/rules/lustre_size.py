"""FSx for Lustre in sizes that AWS makes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from trainyard.policies.graph import Resource
from trainyard.policies.preflight import number, yes
from trainyard.policies.rule import Finding, Severity, resource_rule, violation
from trainyard.policies.values import shown

_FILE_SYSTEMS = frozenset({"aws:fsx/lustreFileSystem:LustreFileSystem"})

THROUGHPUTS: Mapping[str, tuple[int, ...]] = MappingProxyType(
    {"PERSISTENT_1": (50, 100, 200), "PERSISTENT_2": (125, 250, 500, 1000)}
)
"""MB/s per TiB, of SSD file systems. Source: FSx API reference, CreateFileSystemLustreConfiguration, read 2026-11."""

SMALLEST_GIB, STEP_GIB = 1200, 2400
"""Source: FSx API reference, CreateFileSystem, StorageCapacity, read 2026-11."""

EFA_STEP_GIB: Mapping[int, int] = MappingProxyType({125: 38_400, 250: 19_200, 500: 9_600, 1000: 4_800})
"""Smallest size and step with EFA, by MB/s per TiB. Source: FSx for Lustre user guide, "Increasing storage capacity",
read 2026-11."""


@resource_rule(
    "lustre-size",
    title="A Lustre file system has a size and a throughput that FSx offers, with EFA those that EFA asks for",
    severity=Severity.HIGH,
    applies=_FILE_SYSTEMS,
    controls={
        "FSx API reference": ("CreateFileSystem", "CreateFileSystemLustreConfiguration"),
        "NIST 800-53": ("SC-6", "CP-2(2)"),
        "ISO 27001": ("A.8.6",),
    },
    why="FSx refuses other sizes; and whether a file system can be reached over EFA is settled when it is made.",
    remedy="""
LustreArgs(storage_gib=19200, throughput_mbps_per_tib=250, efa=True, ...)   # 1200 or n x 2400 without EFA
""",
)
def lustre_size(system: Resource) -> Iterator[Finding]:
    deployment = system["deploymentType"].text() or "SCRATCH_1"
    if (system["storageType"].text() or "SSD") != "SSD":
        return
    capacity, throughput = system["storageCapacity"], system["perUnitStorageThroughput"]
    size, rate = number(capacity), number(throughput)
    offered = THROUGHPUTS.get(deployment, ())
    if offered and rate not in offered:
        shown_rates = ", ".join(map(str, offered))
        yield violation(f"{deployment} has {shown_rates} MB/s for each TiB, not {shown(rate)}", throughput)
    if size is None:
        # One that is restored from a backup has the backup's size.
        if not system["backupId"].present:
            yield violation("no size is given", capacity)
    elif size != SMALLEST_GIB and (size < STEP_GIB or size % STEP_GIB):
        yield violation(f"{size} GiB is neither {SMALLEST_GIB} nor a multiple of {STEP_GIB}", capacity)
    if yes(system["efaEnabled"]):
        yield from _efa(system, deployment, size, rate)


def _efa(system: Resource, deployment: str, size: int | None, rate: int | None) -> Iterator[Finding]:
    enabled, capacity = system["efaEnabled"], system["storageCapacity"]
    if deployment != "PERSISTENT_2":
        yield violation(f"only PERSISTENT_2 can be reached over EFA, this is {shown(deployment)}", enabled)
    if not system["metadataConfiguration"].present:
        yield violation("EFA needs a metadata configuration", enabled)
    step = EFA_STEP_GIB.get(rate or 0)
    if step and size is not None and (size < step or size % step):
        yield violation(f"with EFA at {rate} MB/s per TiB the size is a multiple of {step} GiB, not {size}", capacity)
