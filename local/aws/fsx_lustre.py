"""What FSx for Lustre takes and refuses: sizes, throughput, EFA, security groups. Pure functions of a request.

Sources: sizes from the FSx service model of botocore 1.44.5 (CreateFileSystem, StorageCapacity), throughput from the
FSx for Lustre guide, "Managing throughput capacity" (a copy, looked up 2026-11). From memory of that guide, unverified:
EFA's sizes, metadata IOPS, security groups, backups.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

SSD_THROUGHPUT = {"PERSISTENT_1": (50, 100, 200), "PERSISTENT_2": (125, 250, 500, 1000)}
"""MB/s per TiB that an SSD file system can have."""
EFA_STEP_GIB = {125: 38400, 250: 19200, 500: 9600, 1000: 4800}
"""Size of an EFA-enabled file system by its throughput: this or a multiple of it."""
SMALLEST_GIB, STEP_GIB = 1200, 2400
METADATA_IOPS = (1500, 3000, 6000, *range(12000, 192001, 12000))
LUSTRE_PORT = 988
MAXIMUM_BACKUP_RETENTION_DAYS = 90


@dataclass(frozen=True)
class Rule:
    """One rule of a security group; `source` is a group's ID or an address block."""

    protocol: str
    first_port: int
    last_port: int
    source: str

    def lets_lustre_through(self) -> bool:
        """Whether the port that Lustre's network uses is open."""
        return self.protocol == "-1" or (
            self.protocol in ("tcp", "6") and self.first_port <= LUSTRE_PORT <= self.last_port
        )


def problems_of_new(request: Mapping[str, Any]) -> Iterator[str]:
    """Why FSx refuses to make the file system of a CreateFileSystem request."""
    lustre = request.get("LustreConfiguration") or {}
    kind = lustre.get("DeploymentType", "SCRATCH_1")
    throughput = lustre.get("PerUnitStorageThroughput")
    capacity = request.get("StorageCapacity")
    efa = bool(lustre.get("EfaEnabled"))
    if request.get("FileSystemType") != "LUSTRE":
        yield f"FileSystemType {request.get('FileSystemType')!r} is not emulated; LUSTRE is"
        return
    if len(request.get("SubnetIds") or ()) != 1:
        yield "Lustre file systems are in exactly one subnet"
    if kind.startswith("PERSISTENT"):
        valid = SSD_THROUGHPUT.get(kind, ())
        if throughput not in valid:
            yield f"PerUnitStorageThroughput {throughput} is not valid for {kind}; valid are {valid}"
    elif throughput is not None:
        yield f"PerUnitStorageThroughput cannot be specified for {kind}"
    if efa and (kind != "PERSISTENT_2" or not lustre.get("MetadataConfiguration")):
        yield "EfaEnabled is supported only by PERSISTENT_2 with a metadata configuration"
    yield from _capacity_problems(capacity, throughput, efa)
    yield from _metadata_problems(kind, lustre.get("MetadataConfiguration"))
    retention = lustre.get("AutomaticBackupRetentionDays") or 0
    if retention and kind.startswith("SCRATCH"):
        yield "backups are not supported by scratch file systems"
    if retention > MAXIMUM_BACKUP_RETENTION_DAYS:
        yield f"AutomaticBackupRetentionDays {retention} is more than {MAXIMUM_BACKUP_RETENTION_DAYS}"
    if (lustre.get("CopyTagsToBackups") or lustre.get("DailyAutomaticBackupStartTime")) and kind.startswith("SCRATCH"):
        yield "settings of backups are for persistent file systems"


def problems_of_change(
    now: Mapping[str, Any], request: Mapping[str, Any], linked_paths: Sequence[str]
) -> Iterator[str]:
    """Why FSx refuses an UpdateFileSystem request for the file system described by `now`."""
    have, want = now["LustreConfiguration"], request.get("LustreConfiguration") or {}
    efa = bool(have.get("EfaEnabled"))
    throughput = want.get("PerUnitStorageThroughput")
    if throughput is not None and throughput != have.get("PerUnitStorageThroughput"):
        if efa:
            yield "the throughput of an EFA-enabled file system cannot be changed"
        valid = SSD_THROUGHPUT.get(have["DeploymentType"], ())
        if throughput not in valid:
            yield f"PerUnitStorageThroughput {throughput} is not valid; valid are {valid}"
    capacity = request.get("StorageCapacity")
    if capacity is not None and capacity != now["StorageCapacity"]:
        if capacity < now["StorageCapacity"]:
            yield f"StorageCapacity can only grow: it is {now['StorageCapacity']}"
        elif have["DeploymentType"] == "SCRATCH_1":
            yield "the storage of a SCRATCH_1 file system cannot grow"
        yield from _capacity_problems(capacity, throughput or have.get("PerUnitStorageThroughput"), efa)
    yield from _metadata_change_problems(have, want.get("MetadataConfiguration"))
    if want.get("AutomaticBackupRetentionDays") and linked_paths:
        yield _NO_BACKUPS_OF_LINKED


_NO_BACKUPS_OF_LINKED = "backups are not supported on file systems that are linked to a data repository"


def problems_of_link(
    file_system: Mapping[str, Any], request: Mapping[str, Any], existing: Iterable[Mapping[str, Any]]
) -> Iterator[str]:
    """Why FSx refuses a CreateDataRepositoryAssociation request."""
    lustre = file_system["LustreConfiguration"]
    existing = list(existing)
    if lustre["DeploymentType"] == "SCRATCH_1" or file_system["FileSystemTypeVersion"] == "2.10":
        yield "data repository associations need Lustre 2.12 or newer and no SCRATCH_1 file system"
    if lustre.get("AutomaticBackupRetentionDays"):
        yield _NO_BACKUPS_OF_LINKED
    if len(existing) >= 8:
        yield "a file system has 8 data repository associations at most"
    path, repository = request.get("FileSystemPath") or "/", request["DataRepositoryPath"]
    if not path.startswith("/"):
        yield f"FileSystemPath {path!r} has to begin with /"
    if not repository.startswith("s3://"):
        yield f"DataRepositoryPath {repository!r} has to begin with s3://"
    for other in existing:
        if _overlap(path, other["FileSystemPath"]):
            yield f"FileSystemPath {path} overlaps with that of {other['AssociationId']}"
        if _overlap(repository, other["DataRepositoryPath"]):
            yield f"DataRepositoryPath {repository} overlaps with that of {other['AssociationId']}"


def problems_of_network(
    group_ids: Sequence[str], ingress: Sequence[Rule], egress: Sequence[Rule], *, efa: bool
) -> Iterator[str]:
    """Why the security groups of a file system do not do."""
    if not any(rule.lets_lustre_through() for rule in ingress):
        yield (
            "The file system cannot be created because the provided security groups do not permit Lustre LNET network "
            f"traffic on port {LUSTRE_PORT}"
        )
    if efa:
        for name, rules in (("inbound", ingress), ("outbound", egress)):
            if not any(rule.protocol == "-1" and rule.source in group_ids for rule in rules):
                yield f"an EFA-enabled file system needs a security group with all {name} traffic to and from itself"


def lustre_version(request: Mapping[str, Any]) -> str:
    """The version of Lustre that a request gets."""
    lustre = request.get("LustreConfiguration") or {}
    if request.get("FileSystemTypeVersion"):
        return request["FileSystemTypeVersion"]
    if lustre.get("DeploymentType") != "PERSISTENT_2":
        return "2.10"
    return "2.15" if lustre.get("MetadataConfiguration") else "2.12"


def _capacity_problems(capacity: Any, throughput: Any, efa: bool) -> Iterator[str]:
    if not isinstance(capacity, int):
        yield "StorageCapacity is missing"
        return
    if efa:
        step = EFA_STEP_GIB.get(throughput)
        if step and (capacity < step or capacity % step):
            yield f"StorageCapacity {capacity} is not valid with EFA at {throughput} MB/s per TiB: multiples of {step}"
    elif capacity != SMALLEST_GIB and (capacity < STEP_GIB or capacity % STEP_GIB):
        yield f"StorageCapacity {capacity} is not valid; it is {SMALLEST_GIB} or a multiple of {STEP_GIB}"


def _metadata_problems(kind: str, metadata: Mapping[str, Any] | None) -> Iterator[str]:
    if not metadata:
        return
    if kind != "PERSISTENT_2":
        yield "MetadataConfiguration is supported only by PERSISTENT_2"
    if metadata.get("Mode") == "AUTOMATIC" and metadata.get("Iops") is not None:
        yield "Iops can be given only in the mode USER_PROVISIONED"
    if metadata.get("Mode") == "USER_PROVISIONED" and metadata.get("Iops") not in METADATA_IOPS:
        yield f"Iops {metadata.get('Iops')} is not valid; valid are 1500, 3000, 6000 and multiples of 12000 to 192000"


def _metadata_change_problems(have: Mapping[str, Any], metadata: Mapping[str, Any] | None) -> Iterator[str]:
    if not metadata:
        return
    now = have.get("MetadataConfiguration")
    if not now:
        yield "a file system made without MetadataConfiguration cannot get one"
        return
    if now["Mode"] == "USER_PROVISIONED" and metadata.get("Iops") and metadata["Iops"] < now["Iops"]:
        yield "metadata IOPS can only grow"
    if metadata.get("Mode") == "USER_PROVISIONED" and metadata.get("Iops") not in METADATA_IOPS:
        yield f"Iops {metadata.get('Iops')} is not valid"


def _overlap(one: str, other: str) -> bool:
    one, other = one.rstrip("/") + "/", other.rstrip("/") + "/"
    return one.startswith(other) or other.startswith(one)
