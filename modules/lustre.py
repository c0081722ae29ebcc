"""FSx for Lustre: the shared file system that feeds the GPUs, linked to S3 or backed up.

    lustre = Lustre(
        "platform",
        LustreArgs(
            vpc_id=network.vpc_id,
            subnet_id=network.private_subnet_ids_by_zone["us-east-1a"],
            client_security_group_ids=[cluster.security_group_id],
            key_arn=keys.data.arn,
            storage_gib=4800,
            throughput_mbps_per_tib=250,
            links=[LustreLink("/datasets", store.datasets.bucket_name)],
            backup_retention_days=0,
        ),
        pulumi.ResourceOptions(provider=provider),
    )

The file system stands in one zone, that of the nodes which mount it: reading from another zone costs time and money.

AWS backs up no file system that is linked to S3, by FSx or by AWS Backup. With links, S3 is the lasting copy; without,
the backups are. `LustreArgs` refuses the mixture, which AWS would refuse after half an hour.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Literal, TypeAlias, get_args

import pulumi
import pulumi_aws as aws

from trainyard.modules.lustre_security import LustreSecurity

Throughput: TypeAlias = Literal[125, 250, 500, 1000]

SMALLEST_GIB, STEP_GIB = 1200, 2400
"""PERSISTENT_2 on SSD takes 1200 GiB or a multiple of 2400. Source: FSx API, CreateFileSystem, StorageCapacity,
in the service model of botocore 1.44.5."""

EFA_STEP_GIB: Mapping[int, int] = {125: 38_400, 250: 19_200, 500: 9_600, 1000: 4_800}
"""Smallest size and step with EFA, by MB/s per TiB. Source: FSx for Lustre user guide, "Increasing storage capacity",
read 2026-11."""

MOST_LINKS = 8
LONGEST_RETENTION_DAYS = 90
EVENTS = ("NEW", "CHANGED", "DELETED")


@dataclass(frozen=True)
class LustreLink:
    """A folder of the file system that shows what stands in a bucket under a prefix.

    Attributes:
        path: absolute path of the folder, such as `/datasets`.
        bucket_name: a bucket of the same region.
        prefix: beginning of the keys, ending in `/`; empty for the whole bucket.
        exports: write to S3 what changes in the folder, deletions too. S3's changes always show in the folder.
    """

    path: str
    bucket_name: pulumi.Input[str]
    prefix: str = ""
    exports: bool = False

    def __post_init__(self) -> None:
        if not re.fullmatch(r"(/[\w.-]+)+", self.path):
            raise ValueError(f"path is {self.path!r}; it is absolute and has no slash at its end, such as '/datasets'")
        if self.prefix and (not self.prefix.endswith("/") or self.prefix.startswith("/")):
            raise ValueError(f"prefix is {self.prefix!r}; it is empty or ends in a slash, such as 'imagenet/'")

    @property
    def label(self) -> str:
        return self.path.strip("/").replace("/", "-")


@dataclass(frozen=True)
class LustreArgs:
    """Where the file system stands, how large and fast it is, who mounts it, and what outlives it.

    Attributes:
        vpc_id: the VPC of `subnet_id`.
        subnet_id: one private subnet, in the zone of the nodes that mount it.
        client_security_group_ids: groups of the nodes that mount it; Lustre's ports are opened on both sides.
        key_arn: KMS key of everything on its disks.
        storage_gib: 1200 or a multiple of 2400; with EFA a multiple of `EFA_STEP_GIB`. It can grow, never shrink.
        throughput_mbps_per_tib: 125, 250, 500 or 1000 MB/s for each TiB. With EFA it can't change afterwards.
        efa: clients with EFA reach it past the kernel (and GPUs directly). Only at creation.
        efa_security_group_ids_by_name: EFA groups of all nodes that reach it over EFA, needed with `efa`; all traffic
            is opened both ways. The names go into those of the rules, so that one group can leave without the others'
            rules being made anew, which EC2 refuses as duplicates.
        links: up to 8 folders that show S3 buckets. File systems with links have no backups.
        backup_retention_days: 1 to 90, how long automatic backups are kept; 0 for none.
        maintenance: weekly time in UTC for AWS's patches, `day:HH:MM`, Monday is 1. Mounts hang for minutes then.
        logs_key_arn: KMS key of the log of failed imports and exports. None: a key that AWS owns.
        log_retention_days: a number of days that CloudWatch Logs offers.
        root_squash: `uid:gid` that root on a client becomes, such as `65534:65534`. None: root is root.
        protected: refuse to delete the file system, and keep it when it leaves the program.
        tags: added to the provider's default tags; backups carry them too.
    """

    vpc_id: pulumi.Input[str]
    subnet_id: pulumi.Input[str]
    client_security_group_ids: Sequence[pulumi.Input[str]]
    key_arn: pulumi.Input[str]
    storage_gib: int
    throughput_mbps_per_tib: Throughput
    efa: bool = False
    efa_security_group_ids_by_name: Mapping[str, pulumi.Input[str]] = field(default_factory=dict)
    links: Sequence[LustreLink] = ()
    backup_retention_days: int = 7
    maintenance: str = "7:03:00"
    logs_key_arn: pulumi.Input[str] | None = None
    log_retention_days: int = 365
    root_squash: str | None = None
    protected: bool = True
    tags: Mapping[str, pulumi.Input[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._check_size()
        self._check_links()
        if not self.client_security_group_ids:
            raise ValueError("client_security_group_ids is empty: nobody could mount the file system")
        if self.efa != bool(self.efa_security_group_ids_by_name):
            raise ValueError("efa and efa_security_group_ids_by_name go together: give both or neither")
        if not re.fullmatch(r"[1-7]:([01]\d|2[0-3]):[0-5]\d", self.maintenance):
            raise ValueError(
                f"maintenance is {self.maintenance!r}; it is day:HH:MM with days 1 to 7, such as '7:03:00'"
            )
        if self.root_squash is not None and not re.fullmatch(r"\d{1,10}:\d{1,10}", self.root_squash):
            raise ValueError(f"root_squash is {self.root_squash!r}; it is uid:gid, such as '65534:65534'")

    def _check_size(self) -> None:
        if self.throughput_mbps_per_tib not in get_args(Throughput):
            offered = ", ".join(map(str, get_args(Throughput)))
            raise ValueError(f"throughput_mbps_per_tib is {self.throughput_mbps_per_tib}; it may be {offered}")
        if self.efa:
            step = EFA_STEP_GIB[self.throughput_mbps_per_tib]
            if self.storage_gib <= 0 or self.storage_gib % step:
                raise ValueError(
                    f"storage_gib is {self.storage_gib}; with EFA at {self.throughput_mbps_per_tib} MB/s per TiB "
                    f"it may be {step}, {2 * step}, {3 * step} …"
                )
        elif self.storage_gib != SMALLEST_GIB and (self.storage_gib <= 0 or self.storage_gib % STEP_GIB):
            raise ValueError(f"storage_gib is {self.storage_gib}; it may be 1200, 2400, 4800, 7200 …")

    def _check_links(self) -> None:
        if not 0 <= self.backup_retention_days <= LONGEST_RETENTION_DAYS:
            raise ValueError(f"backup_retention_days is {self.backup_retention_days}; it may be 0 to 90")
        if self.links and self.backup_retention_days:
            raise ValueError("FSx makes no backups of a file system with links: set backup_retention_days to 0")
        if len(self.links) > MOST_LINKS:
            raise ValueError(f"{len(self.links)} links; a file system has at most {MOST_LINKS}")
        paths = [PurePosixPath(link.path) for link in self.links]
        for index, path in enumerate(paths):
            for other in paths[:index]:
                if path.is_relative_to(other) or other.is_relative_to(path):
                    raise ValueError(f"the links {other} and {path} overlap; a folder shows one place in S3")


class Lustre(pulumi.ComponentResource):
    """The file system, its security group and log, and a data repository association for each link."""

    file_system_id: pulumi.Output[str]
    arn: pulumi.Output[str]
    dns_name: pulumi.Output[str]
    mount_name: pulumi.Output[str]
    security_group_id: pulumi.Output[str]

    def __init__(self, name: str, args: LustreArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("trainyard:lustre:Lustre", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        security = LustreSecurity.of(self, name, args.vpc_id, args.client_security_group_ids, args.tags)
        if args.efa_security_group_ids_by_name:
            security.open_to_efa(args.efa_security_group_ids_by_name)
        log = aws.cloudwatch.LogGroup(
            f"{name}-lustre",
            # FSx writes only to groups of this beginning.
            name=f"/aws/fsx/{name}",
            kms_key_id=args.logs_key_arn,
            retention_in_days=args.log_retention_days,
            # Paths of files, never what stands in them.
            tags={**args.tags, "data-class": "internal"},
            opts=child,
        )
        file_system = aws.fsx.LustreFileSystem(
            f"{name}-lustre",
            subnet_ids=args.subnet_id,
            security_group_ids=[security.group.id],
            deployment_type="PERSISTENT_2",
            storage_type="SSD",
            file_system_type_version="2.15",
            storage_capacity=args.storage_gib,
            per_unit_storage_throughput=args.throughput_mbps_per_tib,
            data_compression_type="LZ4",
            efa_enabled=args.efa,
            metadata_configuration=aws.fsx.LustreFileSystemMetadataConfigurationArgs(mode="AUTOMATIC"),
            kms_key_id=args.key_arn,
            automatic_backup_retention_days=args.backup_retention_days,
            copy_tags_to_backups=True,
            skip_final_backup=not args.protected or bool(args.links),
            weekly_maintenance_start_time=args.maintenance,
            log_configuration=aws.fsx.LustreFileSystemLogConfigurationArgs(level="WARN_ERROR", destination=log.arn),
            root_squash_configuration=(
                aws.fsx.LustreFileSystemRootSquashConfigurationArgs(root_squash=args.root_squash)
                if args.root_squash is not None
                else None
            ),
            tags={**args.tags, "Name": f"{name}-lustre"},
            opts=pulumi.ResourceOptions(
                parent=self,
                protect=args.protected,
                retain_on_delete=args.protected,
                # FSx tries the group's rules when it makes a file system with EFA.
                depends_on=security.rules,
            ),
        )
        for link in args.links:
            self._link(name, link, file_system, args.tags)

        self.file_system_id = file_system.id
        self.arn = file_system.arn
        self.dns_name = file_system.dns_name
        self.mount_name = file_system.mount_name
        self.security_group_id = security.group.id
        self.register_outputs(
            {
                "file_system_id": self.file_system_id,
                "arn": self.arn,
                "dns_name": self.dns_name,
                "mount_name": self.mount_name,
                "security_group_id": self.security_group_id,
            }
        )

    def _link(
        self,
        name: str,
        link: LustreLink,
        file_system: aws.fsx.LustreFileSystem,
        tags: Mapping[str, pulumi.Input[str]],
    ) -> None:
        imports = aws.fsx.DataRepositoryAssociationS3AutoImportPolicyArgs(events=EVENTS)
        exports = aws.fsx.DataRepositoryAssociationS3AutoExportPolicyArgs(events=EVENTS)
        aws.fsx.DataRepositoryAssociation(
            f"{name}-{link.label}",
            file_system_id=file_system.id,
            file_system_path=link.path,
            data_repository_path=pulumi.Output.concat("s3://", link.bucket_name, f"/{link.prefix}"),
            # Shows what is there already; the content follows when it is read.
            batch_import_meta_data_on_create=True,
            delete_data_in_filesystem=False,
            s3=aws.fsx.DataRepositoryAssociationS3Args(
                auto_import_policy=imports, auto_export_policy=exports if link.exports else None
            ),
            tags=tags,
            opts=pulumi.ResourceOptions(parent=self),
        )
