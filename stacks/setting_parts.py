"""The settings that have parts of their own: groups of nodes, the file system, teams, access, what it may cost.

Each model is frozen and knows only itself; what depends on several settings stands in setting_checks.py.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Literal

from pydantic import Field, field_validator

from trainyard.modules.private_bucket import LONGEST_LOCK_DAYS, LockMode
from trainyard.stacks.setting_errors import shortly
from trainyard.stacks.setting_schedule import EXAMPLE
from trainyard.stacks.setting_values import (
    BackupSchedule,
    Block,
    CpuType,
    EndpointServices,
    GpuType,
    Moment,
    Name,
    Part,
    Principal,
    Version,
    refused,
)

Capacity = Literal["on-demand", "spot", "reservation", "capacity-block"]
PodSecurity = Literal["baseline", "restricted"]


MOST_OF_A_TEAM = 1_000_000
"""Of CPUs, GPUs or GiB: a quota above is a slip of the keyboard."""


NODES_CALL = ("autoscaling", "ec2", "ecr.api", "ecr.dkr", "eks", "eks-auth", "fsx", "kms", "logs", "sqs", "sts")
"""What the nodes and the platform's own pods call. Source: EKS user guide, "Deploy private clusters with limited
internet access"; fsx and kms for the drivers of volumes, sqs for the trainer, autoscaling for the autoscaler."""


class ExistingNetworkSettings(Part):
    """A VPC that is there already."""

    vpc_id: str = Field(pattern=r"^vpc-[0-9a-f]{8,17}$", description="The VPC", examples=["vpc-0123456789abcdef0"])
    private_subnet_ids_by_zone: dict[str, Annotated[str, Field(pattern=r"^subnet-[0-9a-f]{8,17}$")]] = Field(
        description="A private subnet for each zone of availability_zones",
        examples=[{"us-east-1a": "subnet-0123456789abcdef0"}],
    )


class NetworkSettings(Part):
    """How the private subnets reach what they need."""

    nat: Literal["none", "single", "per-zone"] = Field(
        default="none", description="Gateways to the internet; none keeps the subnets without a way out"
    )
    interface_endpoints: EndpointServices = Field(
        default=NODES_CALL,
        description="AWS services reached inside the VPC; without NAT, what nodes call is among them",
        examples=[["ecr.api", "ecr.dkr", "sts"]],
    )
    existing: ExistingNetworkSettings | None = Field(
        default=None, description="A VPC that is there already, used instead of a new one"
    )
    reserved_cidrs: tuple[Block, ...] = Field(
        default=(), description="Blocks of peered networks and VPNs, which must stay free", examples=[["10.0.0.0/12"]]
    )


class KubernetesSettings(Part):
    """The cluster: its version and who can reach it."""

    version: Version = Field(
        default="1.35",
        pattern=r"^1\.[0-9]{2}$",
        description="Kubernetes version of cluster and nodes",
        examples=["1.35"],
    )
    public_access_cidrs: tuple[Block, ...] = Field(
        default=(),
        description="Public blocks that reach the API; empty: it has no public side",
        examples=[["<the office's public address>/32"]],
    )
    private_access_cidrs: tuple[Block, ...] = Field(
        default=(), description="Blocks of VPNs and peered networks that reach the API", examples=[["10.0.0.0/16"]]
    )
    service_cidr: Block = Field(
        default=ipaddress.IPv4Network("172.20.0.0/16"), description="Addresses of Kubernetes services"
    )
    deletion_protection: bool = Field(default=True, strict=True, description="Refuse to delete the cluster")


class AccessSettings(Part):
    """People, by role. A name without `arn:` is a permission set of IAM Identity Center."""

    deployers: tuple[Principal, ...] = Field(
        default=(),
        description=(
            "Who runs this program beside the administrators, such as a pipeline's role, by role ARN or permission "
            "set; they administer the cluster too"
        ),
        examples=[["arn:aws:iam::123456789012:role/trainyard-prod-us-ci-deploy"]],
    )
    administrators: tuple[Principal, ...] = Field(
        default=(), description="Who administers the cluster, by role ARN or permission set", examples=[["Platform"]]
    )
    viewers: tuple[Principal, ...] = Field(
        default=(), description="Who sees everything but secrets, by role ARN or permission set", examples=[["Audit"]]
    )
    break_glass_principals: tuple[str, ...] = Field(
        default=(),
        description="IAM users with a second factor who may take the emergency role; its use raises an alarm",
        examples=[["arn:aws:iam::123456789012:user/break-glass-1"]],
    )

    @field_validator("break_glass_principals")
    @classmethod
    def _are_arns(cls, arns: tuple[str, ...]) -> tuple[str, ...]:
        for arn in arns:
            if not re.fullmatch(r"arn:aws[a-z-]*:iam::[0-9]{12}:user/[0-9A-Za-z+=,.@_/-]+", arn):
                raise refused(
                    f"{shortly([arn])} is no ARN of an IAM user, such as arn:aws:iam::123456789012:user/break-glass-1: "
                    "a role's session does not show that a second factor was used."
                )
        return arns


class GpuGroupSettings(Part):
    """A group of GPU nodes of one type."""

    name: Name = Field(description="Name of the group", examples=["p5"])
    instance_type: GpuType = Field(description="EC2 type with GPUs", examples=["p5.48xlarge"])
    zones: tuple[str, ...] = Field(
        min_length=1, description="Zones of availability_zones that it stands in", examples=[["us-east-1a"]]
    )
    capacity: Capacity = Field(default="on-demand", description="How the instances are bought")
    reservation_id: str | None = Field(
        default=None,
        pattern=r"^cr-[0-9a-f]{8,17}$",
        description="Capacity reservation or Capacity Block",
        examples=["cr-0123456789abcdef0"],
    )
    starts_at: Moment | None = Field(
        default=None, description="When the Capacity Block starts", examples=["2031-01-15T11:30:00Z"]
    )
    ends_at: Moment | None = Field(
        default=None, description="When the Capacity Block ends", examples=["2031-01-29T11:30:00Z"]
    )
    minimum_nodes: int = Field(default=0, strict=True, ge=0, le=450, description="Nodes that are always there")
    maximum_nodes: int = Field(strict=True, ge=1, le=450, description="Nodes it may grow to", examples=[4])
    placement: Literal["cluster", "none"] | None = Field(
        default=None, description="Close together or not; left out, close together where that is possible and pays"
    )
    root_volume_gib: int = Field(default=200, strict=True, ge=100, le=16384, description="Size of a node's root volume")
    release_version: str | None = Field(
        default=None,
        description="AMI release; left out, the newest when the group is made",
        examples=["1.35.0-20260129"],
    )
    image_cache_snapshot_id: str | None = Field(
        default=None,
        pattern=r"^snap-[0-9a-f]{8,17}$",
        description="EBS snapshot with images already unpacked",
        examples=["snap-0123456789abcdef0"],
    )


class CpuGroupSettings(Part):
    """A group of CPU nodes, for everything that is not training."""

    name: Name = Field(description="Name of the group", examples=["system"])
    instance_types: tuple[CpuType, ...] = Field(
        default=("m7i.xlarge", "m6i.xlarge"),
        min_length=1,
        description="EC2 types of like size",
        examples=[["m7i.xlarge"]],
    )
    zones: tuple[str, ...] = Field(default=(), description="Zones it stands in; left out, all")
    minimum_nodes: int = Field(default=2, strict=True, ge=0, le=450, description="Nodes that are always there")
    maximum_nodes: int = Field(default=6, strict=True, ge=1, le=450, description="Nodes it may grow to")


MOST_STORAGE_GIB = 2_147_483_647
"""Source: FSx API, CreateFileSystem, StorageCapacity, in the service model of botocore 1.44.5."""


class LustreSettings(Part):
    """The shared file system."""

    storage_gib: int = Field(
        strict=True,
        ge=1200,
        le=MOST_STORAGE_GIB,
        description="Size: 1200 or a multiple of 2400, with EFA of what its throughput asks for",
        examples=[4800],
    )
    throughput_mbps_per_tib: Literal[125, 250, 500, 1000] = Field(
        default=250, description="Throughput that comes with each TiB, in MB/s"
    )
    efa: bool = Field(default=False, strict=True, description="Reach it over EFA; only when it is made")
    zone: str = Field(description="Zone it stands in, best the GPUs' own", examples=["us-east-1a"])
    linked: bool = Field(
        default=True,
        strict=True,
        description="Show the data sets and runs of the buckets in it, as /datasets and /runs",
    )
    backup_retention_days: int = Field(
        default=0, strict=True, ge=0, le=90, description="Days a daily backup is kept; a linked file system has none"
    )


class CheckpointSettings(Part):
    """Where training saves."""

    location: Literal["bucket", "lustre", "none"] = Field(
        default="bucket", description="Where checkpoints go; none loses a run with its node"
    )


class TeamSettings(Part):
    """A team: its namespace, its quota, its own prefixes in the buckets."""

    name: Name = Field(description="Name of the team, and of its namespace", examples=["vision"])
    gpu_quota: int = Field(
        strict=True,
        ge=0,
        le=MOST_OF_A_TEAM,
        description=(
            "GPUs its pods may ask for together, at most what all groups grow to; a ceiling and no share, so that the "
            "teams' quotas may add up to more, and pods then wait for each other"
        ),
        examples=[16],
    )
    cpu_quota: int | None = Field(
        default=None,
        strict=True,
        ge=1,
        le=MOST_OF_A_TEAM,
        description=(
            "CPUs its pods may ask for together, at most what all groups grow to, a ceiling likewise; left out, 64 and "
            "24 for each GPU"
        ),
    )
    memory_gib: int | None = Field(
        default=None,
        strict=True,
        ge=1,
        le=MOST_OF_A_TEAM,
        description=(
            "Memory its pods may ask for together, in GiB, at most what all groups grow to, a ceiling likewise; left "
            "out, 256 and 256 for each GPU"
        ),
    )
    people: tuple[Principal, ...] = Field(
        default=(), description="Who works in its namespace, by role ARN or permission set", examples=[["Vision"]]
    )
    pod_security: PodSecurity = Field(default="restricted", description="Pod Security level of its namespace")

    @property
    def cpus(self) -> int:
        """The quota: by default what the largest GPU nodes bring, and some for work without GPUs."""
        return self.cpu_quota or 64 + 24 * self.gpu_quota

    @property
    def memory(self) -> int:
        """In GiB, likewise."""
        return self.memory_gib or 256 + 256 * self.gpu_quota


class ScratchSettings(Part):
    """io2 volumes for jobs of a single node."""

    iops_per_gib: int = Field(default=50, strict=True, ge=1, le=1000, description="Operations a second for each GiB")


class ImageSettings(Part):
    """What is built and copied into the account's registry."""

    build: bool = Field(default=True, strict=True, description="A project that builds the training image")
    mirror: bool = Field(default=True, strict=True, description="Copies of the images of others, for closed subnets")


class BudgetSettings(Part):
    """What a month may cost, and who is told."""

    monthly_limit_usd: float = Field(
        strict=True, gt=0, le=1_000_000_000, description="What a month may cost, in US dollars", examples=[50000]
    )
    notify: tuple[Annotated[str, Field(pattern=r"^[^@\s]+@[^@\s]+\.[^@\s]+$")], ...] = Field(
        default=(), description="Addresses that get mail", examples=[["ml@example.com"]]
    )
    idle_hours: int = Field(
        default=2, strict=True, ge=1, le=24, description="Hours without work until a node is told of"
    )


class RetentionLockSettings(Part):
    """What is written can't be deleted for some days: S3 Object Lock on data sets and artifacts, AWS Backup's vault
    lock. Checkpoints can be locked one by one, and are not by default."""

    mode: LockMode = Field(
        default="governance",
        description="governance: administrators can lift it; compliance: NOBODY can, AWS included, before the days end",
    )
    days: int = Field(
        default=30, strict=True, ge=1, le=LONGEST_LOCK_DAYS, description="Days in which nothing that was written goes"
    )


class BackupSettings(Part):
    """The backup plan of the shared file system."""

    schedule: BackupSchedule = Field(
        default=EXAMPLE,
        description="When, in UTC, as AWS writes it: minute, hour, day, month, weekday and year, an hour apart or more",
        examples=[EXAMPLE],
    )
    retention_days: int = Field(default=35, strict=True, ge=1, le=3650, description="Days a backup is kept")
