"""File systems: FSx, foremost for Lustre, and EFS."""

from __future__ import annotations

from collections.abc import Iterator

from trainyard.policies.aws import OWN_KEY_CLASSES, own_key, tags_of
from trainyard.policies.backup_plans import backed_up
from trainyard.policies.graph import Graph, Resource
from trainyard.policies.parts import is_providers_choice
from trainyard.policies.preflight import number
from trainyard.policies.rule import Finding, Severity, resource_rule, stack_rule, unverified, violation
from trainyard.policies.values import UNKNOWN

_LUSTRE = frozenset({"aws:fsx/lustreFileSystem:LustreFileSystem"})
_OTHER_FSX = frozenset(
    {
        "aws:fsx/ontapFileSystem:OntapFileSystem",
        "aws:fsx/openZfsFileSystem:OpenZfsFileSystem",
        "aws:fsx/windowsFileSystem:WindowsFileSystem",
        "aws:fsx/fileCache:FileCache",
    }
)
_TAG_COPIERS = _LUSTRE | {"aws:fsx/openZfsFileSystem:OpenZfsFileSystem", "aws:fsx/windowsFileSystem:WindowsFileSystem"}
_EFS = frozenset({"aws:efs/fileSystem:FileSystem"})
_EFS_BACKUPS = frozenset({"aws:efs/backupPolicy:BackupPolicy"})
_LINKS = frozenset({"aws:fsx/dataRepositoryAssociation:DataRepositoryAssociation"})

_ENCRYPTION = {"NIST 800-53": ("SC-28", "SC-12"), "ISO 27001": ("A.8.24",)}
_BACKUP = {"NIST 800-53": ("CP-9", "CP-10"), "ISO 27001": ("A.8.13",)}


def _scratch(file_system: Resource) -> bool:
    """Whether it is a Lustre file system of the kind that lives no longer than a job. FSx makes that where nothing is
    said."""
    return file_system.type in _LUSTRE and (file_system["deploymentType"].text() or "SCRATCH_1").startswith("SCRATCH")


@resource_rule(
    "file-system-names-key",
    title="A file system names its key, where a key can be named",
    severity=Severity.HIGH,
    applies=_LUSTRE | _OTHER_FSX | _EFS,
    controls={
        "Checkov": ("CKV_AWS_178", "CKV_AWS_179", "CKV_AWS_184", "CKV_AWS_190", "CKV_AWS_203"),
        **_ENCRYPTION,
    },
    why=(
        "Where none is named AWS takes its own, and afterwards the two look alike: an ARN with a number. "
        "A key of AWS's can be neither refused to anybody nor withdrawn, and its file system cannot change to another."
    ),
    remedy="""
aws.fsx.LustreFileSystem(name, kms_key_id=key.arn, deployment_type="PERSISTENT_2", ...)
""",
)
def names_key(file_system: Resource) -> Iterator[Finding]:
    if _scratch(file_system):
        data_class = tags_of(file_system)["data-class"]
        if data_class.text() in OWN_KEY_CLASSES:
            yield violation(
                f"a scratch file system has a key of AWS's alone, which {data_class.raw} data may not have",
                file_system["deploymentType"],
            )
        return
    key = file_system["kmsKeyId"]
    # Which key an unknown one is, and whose, is the next rule's question.
    if key.raw in (None, ""):
        yield violation("no key is named, so AWS takes its own", key)


@stack_rule(
    "file-system-own-key",
    title="The key that a file system names is the team's own",
    severity=Severity.HIGH,
    applies=_LUSTRE | _OTHER_FSX | _EFS,
    controls={
        "Checkov": ("CKV_AWS_178", "CKV_AWS_179", "CKV_AWS_184", "CKV_AWS_190", "CKV_AWS_203"),
        **_ENCRYPTION,
    },
    why="Datasets and checkpoints lie here unpacked. Who may use the key may read them all.",
    remedy="""
aws.fsx.LustreFileSystem(name, kms_key_id=key.arn, deployment_type="PERSISTENT_2", ...)
""",
)
def file_system_key(file_system: Resource, graph: Graph) -> Iterator[Finding]:
    key = file_system["kmsKeyId"]
    if key.raw in (None, ""):
        return  # another rule's finding
    if _scratch(file_system) and "kmsKeyId" not in file_system.property_dependencies:
        return  # the key that AWS reports there is its own, by nature
    yield from own_key(key, file_system, graph)


@resource_rule(
    "efs-encrypted",
    title="An EFS file system is encrypted",
    severity=Severity.HIGH,
    applies=_EFS,
    controls={"FSBP": ("EFS.1",), "Checkov": ("CKV_AWS_42",), "Trivy": ("AWS-0037",), **_ENCRYPTION},
    why="EFS encrypts only what was made encrypted: later the data has to be copied to another file system.",
    remedy="""
aws.efs.FileSystem(name, encrypted=True, kms_key_id=key.arn)
""",
)
def efs_encrypted(file_system: Resource) -> Iterator[Finding]:
    switch = file_system["encrypted"]
    if not switch.flag():
        yield violation("the file system is not encrypted", switch)


@resource_rule(
    "fsx-tags-on-backups",
    title="Backups of a file system have its tags",
    severity=Severity.LOW,
    applies=_TAG_COPIERS,
    controls={"FSBP": ("FSx.1", "FSx.2"), "NIST 800-53": ("CM-8", "AC-16"), "ISO 27001": ("A.5.9", "A.5.13")},
    why="A backup without a data class and an owner falls out of every rule and of every permission that goes by tags.",
    remedy="""
aws.fsx.LustreFileSystem(name, copy_tags_to_backups=True, ...)
""",
)
def tags_on_backups(file_system: Resource) -> Iterator[Finding]:
    if _scratch(file_system):
        return
    switch = file_system["copyTagsToBackups"]
    if not switch.flag():
        yield violation("tags are not copied to backups", switch)


@stack_rule(
    "efs-backed-up",
    title="An EFS file system is backed up",
    severity=Severity.MEDIUM,
    applies=_EFS,
    controls={"FSBP": ("EFS.2",), **_BACKUP},
    why="What people keep there exists nowhere else, and one wrong command deletes it on every node at once.",
    remedy="""
aws.efs.BackupPolicy(name, file_system_id=file_system.id, backup_policy={"status": "ENABLED"})
""",
)
def efs_backed_up(file_system: Resource, graph: Graph) -> Iterator[Finding]:
    found = graph.attached(file_system, _EFS_BACKUPS, "fileSystemId")
    states = [policy["backupPolicy"]["status"] for policy in found.certain]
    taken = backed_up(file_system, graph)
    if taken or any(state.raw == "ENABLED" for state in states):
        return
    for state in states:
        state.text()
    if taken is None or found.possible:
        yield unverified("whether it is backed up is not known yet")
    else:
        yield violation("it has no backup policy that is on, and is in no backup plan")


@stack_rule(
    "fsx-lasting-copy",
    title="What is written to a persistent file system is backed up, or exported to a bucket",
    severity=Severity.HIGH,
    applies=_LUSTRE,
    controls={"AWS Config": ("fsx-resources-protected-by-backup-plan",), **_BACKUP},
    why=(
        "A file system lies in one zone, and a wrong replacement deletes it. "
        "AWS Backup takes none that is linked to a bucket: there the automatic export is the copy."
    ),
    remedy="""
aws.fsx.DataRepositoryAssociation(name, file_system_id=file_system.id, file_system_path="/runs",
    data_repository_path="s3://bucket/runs/", s3={"auto_export_policy": {"events": ["NEW", "CHANGED", "DELETED"]}})
aws.backup.Selection(name, plan_id=plan.id, iam_role_arn=role.arn, resources=[file_system.arn])   # if it is not linked
""",
)
def lasting_copy(file_system: Resource, graph: Graph) -> Iterator[Finding]:
    if _scratch(file_system) or _automatic_backups(file_system):
        return
    links = graph.attached(file_system, _LINKS, "fileSystemId")
    exported = [_exports(link) for link in links.certain]
    taken = backed_up(file_system, graph)
    if True in exported or (taken and not links.certain):
        return
    if links.certain and taken:
        yield violation("AWS Backup takes no file system that is linked to a bucket, and nothing is exported there")
    elif None in exported or taken is None or links.possible:
        yield unverified("whether it is backed up, or exported to a bucket, is not known yet")
    elif links.certain:
        yield violation(f"{links.certain[0].name} only reads from its bucket: nothing is exported there")
    else:
        yield violation("it is in no backup plan, has no automatic backups, and is linked to no bucket")


def _automatic_backups(file_system: Resource) -> bool:
    days = file_system["automaticBackupRetentionDays"]
    if is_providers_choice(file_system, "automaticBackupRetentionDays"):
        return False
    return bool(number(days))


def _exports(link: Resource) -> bool | None:
    """Whether new and changed files go to the bucket by themselves."""
    s3 = link["s3"]
    if s3.raw is UNKNOWN:
        return None if "s3" in link.property_dependencies else False
    policy = s3["autoExportPolicy"]
    events = policy["events"] if policy.known else policy
    if events.raw is UNKNOWN:
        return None
    found = [one.raw for one in events.items()]
    return None if UNKNOWN in found else all(kind in found for kind in ("NEW", "CHANGED"))


@stack_rule(
    "fsx-logs-failed-copies",
    title="A file system that copies to and from a bucket logs what failed",
    severity=Severity.MEDIUM,
    applies=_LUSTRE,
    controls={
        "FSx for Lustre user guide": ("Logging with Amazon CloudWatch Logs",),
        "NIST 800-53": ("AU-12", "CP-9"),
        "ISO 27001": ("A.8.15", "A.8.13"),
    },
    why="A file that could not be exported stands in this log alone: the checkpoint looks saved, and is in no bucket.",
    remedy="""
aws.fsx.LustreFileSystem(name, log_configuration={"level": "WARN_ERROR", "destination": group.arn}, ...)
""",
)
def logs_failed_copies(file_system: Resource, graph: Graph) -> Iterator[Finding]:
    links = graph.attached(file_system, _LINKS, "fileSystemId")
    if not links.certain and not links.possible:
        return
    config = file_system["logConfiguration"]
    if is_providers_choice(file_system, "logConfiguration"):
        # An output that nobody set is unknown at first, and computed from nothing.
        faults = [violation("no log is asked for", config)]
    else:
        level = config["level"]
        # Warnings are about files that were left out, errors about ones that failed: both are missing copies.
        faults = [] if level.text() == "WARN_ERROR" else [violation("warnings and errors are not both logged", level)]
    if faults and not links.certain:
        yield unverified(f"whether {links.possible[0].name} links it to a bucket is not known yet")
    else:
        yield from faults
