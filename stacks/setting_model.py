"""One environment, as its settings describe it: each by itself right. What has to hold between them: setting_checks."""

from __future__ import annotations

import difflib
import ipaddress
import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator

from trainyard.stacks.countries import COUNTRIES, near
from trainyard.stacks.regions import REGIONS
from trainyard.stacks.setting_errors import listed, shortly
from trainyard.stacks.setting_network_checks import LARGEST_VPC_PREFIX, PRIVATE_BLOCKS, SMALLEST_VPC_PREFIX
from trainyard.stacks.setting_parts import (
    AccessSettings,
    BackupSettings,
    BudgetSettings,
    CheckpointSettings,
    CpuGroupSettings,
    GpuGroupSettings,
    ImageSettings,
    KubernetesSettings,
    LustreSettings,
    NetworkSettings,
    RetentionLockSettings,
    ScratchSettings,
    TeamSettings,
)
from trainyard.stacks.setting_values import from_json, refused

Layer = Literal["all", "data", "cluster", "workloads"]
LAYERS = ("data", "cluster", "workloads")
"""Each stands on those before it."""

DataClass = Literal["public", "internal", "personal", "health", "financial", "government"]
LOCKED_CLASSES = frozenset({"health", "financial", "government"})
"""Classes of data whose law or supervisor asks for records as they were: locked where nothing else is said."""

# What CloudWatch Logs offers (PutRetentionPolicy), from a month on.
LogRetentionDays = Literal[30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653]

FEWEST_ZONES, MOST_ZONES = 2, 6

_ENVIRONMENT = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
LONGEST_ENVIRONMENT = 16
_TAG_VALUE = re.compile(r"[\w .:/=+@-]{1,256}")


class Settings(BaseModel):
    """One environment. Frozen; the key of a setting in Pulumi is `trainyard:` and the name of its field."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    environment: str = Field(
        description="Name of the environment, which begins the name of everything in it",
        examples=["research", "prod-us"],
    )
    region: str = Field(description="AWS region that everything stands in", examples=["us-east-1"])
    availability_zones: Annotated[tuple[str, ...], BeforeValidator(from_json)] = Field(
        description="Zones with a private subnet each, in order; a new one goes to the end",
        examples=[["us-east-1a", "us-east-1b"]],
    )
    vpc_cidr: ipaddress.IPv4Network = Field(description="Private IPv4 block of the VPC", examples=["10.64.0.0/16"])
    owner: str = Field(
        description="Team or address that answers for the environment, put on every resource",
        examples=["platform-team"],
    )
    cost_centre: str = Field(description="Where its cost is booked, put on every resource", examples=["research-2026"])
    data_class: DataClass = Field(description="Most sensitive class of data that is trained on, put on every resource")
    protect_data: Annotated[bool, BeforeValidator(from_json)] = Field(
        default=True, strict=True, description="Refuse to delete buckets and keys"
    )
    key_deletion_window_days: Annotated[int, BeforeValidator(from_json)] = Field(
        default=30, strict=True, ge=7, le=30, description="Days in which a deleted key can still be had back"
    )
    log_retention_days: Annotated[LogRetentionDays, BeforeValidator(from_json)] = Field(
        default=365, description="Days that flow logs and access logs are kept"
    )
    retention_lock: Annotated[RetentionLockSettings | None, BeforeValidator(from_json)] = Field(
        default=None,
        description=(
            "Keep what is written from being deleted; left out, health, financial and government data are kept by the "
            "lock's defaults and other data not"
        ),
        examples=[{"mode": "governance", "days": 30}],
    )

    account_id: str | None = Field(
        default=None,
        pattern=r"^[0-9]{12}$",
        description="The only AWS account that this environment may be put into",
        examples=["123456789012"],
    )
    layers: Annotated[bool, BeforeValidator(from_json)] = Field(
        default=False, strict=True, description="Split the environment into a stack for each layer"
    )
    layer: Layer = Field(default="all", description="The layer that this stack holds, of a split environment")
    jurisdiction: str | None = Field(
        default=None,
        json_schema_extra={"pattern": "^[A-Z]{2}$"},
        description="Country whose law binds the data, by its ISO code; left out, the region's",
        examples=["AE"],
    )
    transfer_basis: str | None = Field(
        default=None,
        pattern=r"\S",
        description="Documented basis on which data leave their jurisdiction",
        examples=["SCC 2026-014, approved by the data office"],
    )
    network: Annotated[NetworkSettings, BeforeValidator(from_json)] = Field(
        default=NetworkSettings(), description="Endpoints, ways out, and an existing VPC"
    )
    kubernetes: Annotated[KubernetesSettings, BeforeValidator(from_json)] = Field(
        description="Version of the cluster and who reaches it", examples=[{"private_access_cidrs": ["10.0.0.0/16"]}]
    )
    access: Annotated[AccessSettings, BeforeValidator(from_json)] = Field(
        default=AccessSettings(), description="People, by role"
    )
    gpu_groups: Annotated[tuple[GpuGroupSettings, ...], BeforeValidator(from_json)] = Field(
        default=(), description="Groups of GPU nodes"
    )
    cpu_groups: Annotated[tuple[CpuGroupSettings, ...], BeforeValidator(from_json)] = Field(
        default=(CpuGroupSettings(name="system"),), min_length=1, description="Groups of CPU nodes; at least one"
    )
    lustre: Annotated[LustreSettings | None, BeforeValidator(from_json)] = Field(
        default=None, description="The shared file system; left out, there is none"
    )
    checkpoints: Annotated[CheckpointSettings, BeforeValidator(from_json)] = Field(
        default=CheckpointSettings(), description="Where training saves"
    )
    teams: Annotated[tuple[TeamSettings, ...], BeforeValidator(from_json)] = Field(
        min_length=1, description="Teams; at least one", examples=[[{"name": "vision", "gpu_quota": 8}]]
    )
    scratch: Annotated[ScratchSettings | None, BeforeValidator(from_json)] = Field(
        default=None, description="io2 volumes for jobs of one node; left out, there are none"
    )
    images: Annotated[ImageSettings, BeforeValidator(from_json)] = Field(
        default=ImageSettings(), description="What is built and copied into the account's registry"
    )
    budget: Annotated[BudgetSettings, BeforeValidator(from_json)] = Field(
        description="What a month may cost, and who is told", examples=[{"monthly_limit_usd": 50000}]
    )
    backups: Annotated[BackupSettings | None, BeforeValidator(from_json)] = Field(
        default=None, description="Backup plan of artifacts and file system; left out, there is none"
    )

    @property
    def name(self) -> str:
        """What the names of the environment's resources begin with."""
        return f"trainyard-{self.environment}"

    @property
    def tags(self) -> dict[str, str]:
        """What stands on every resource that takes tags."""
        return {
            "environment": self.environment,
            "owner": self.owner,
            "cost-centre": self.cost_centre,
            "data-class": self.data_class,
            "managed-by": "pulumi",
        }

    @property
    def lock(self) -> RetentionLockSettings | None:
        """The retention lock that holds: the one asked for, or what the data class asks for."""
        if self.retention_lock is None and self.data_class in LOCKED_CLASSES:
            return RetentionLockSettings()
        return self.retention_lock

    @property
    def stack_layers(self) -> tuple[str, ...]:
        """The layers that have a stack of their own; none where one stack holds them all."""
        return LAYERS if self.layers else ()

    def holds(self, layer: str) -> bool:
        """Whether this stack holds `layer`."""
        return self.layer in ("all", layer)

    @field_validator("environment")
    @classmethod
    def _environment_can_begin_names(cls, value: str) -> str:
        if not _ENVIRONMENT.fullmatch(value) or len(value) > LONGEST_ENVIRONMENT:
            raise refused(
                f"It is a name of at most {LONGEST_ENVIRONMENT} small letters, digits and single hyphens, beginning "
                "with a letter, because names of buckets are made from it; such as research or prod-us."
            )
        return value

    @field_validator("region")
    @classmethod
    def _region_exists(cls, value: str) -> str:
        if value not in REGIONS:
            near = difflib.get_close_matches(value, REGIONS, n=1)
            guess = f"Did you mean {near[0]}? " if near else ""
            raise refused(f"No such AWS region. {guess}There are {listed(REGIONS)}.")
        return value

    @field_validator("jurisdiction")
    @classmethod
    def _country_exists(cls, value: str | None) -> str | None:
        if value is not None and value not in COUNTRIES:
            meant = [f"{code} ({COUNTRIES[code]})" for code in near(value)]
            guess = f"Did you mean {listed(meant, 'or')}? " if meant else ""
            regions = sorted({region.country for region in REGIONS.values()})
            raise refused(
                f"No country has that code. {guess}It is one of ISO 3166-1, of two capitals; AWS's regions are in "
                f"{listed(regions)}."
            )
        return value

    @field_validator("availability_zones")
    @classmethod
    def _zones_belong_to_the_region(cls, zones: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if not FEWEST_ZONES <= len(zones) <= MOST_ZONES:
            raise refused(
                f"It lists {FEWEST_ZONES} to {MOST_ZONES} zones, not {len(zones)}; EKS needs two, the VPC holds six."
            )
        if len(set(zones)) < len(zones):
            raise refused("It names a zone twice.")
        region = info.data.get("region")
        if region is not None:
            strange = [zone for zone in zones if not re.fullmatch(re.escape(region) + "[a-z]", zone)]
            if strange:
                raise refused(
                    f"No zone of {region}: {shortly(strange)}. Its zones are called {region}a, {region}b and so on."
                )
        return zones

    @field_validator("vpc_cidr", mode="before")
    @classmethod
    def _block_is_one(cls, value: Any) -> ipaddress.IPv4Network:
        # ipaddress would take a number for an address.
        if not isinstance(value, str | ipaddress.IPv4Network):
            raise refused("It is an IPv4 block such as 10.64.0.0/16.")
        try:
            block = ipaddress.IPv4Network(value, strict=False)
        except (ValueError, TypeError):
            raise refused("It is an IPv4 block such as 10.64.0.0/16.") from None
        if isinstance(value, str) and "/" in value and str(block.network_address) != value.partition("/")[0].strip():
            raise refused(f"The address is not the first of its block; {block} would be.")
        return block

    @field_validator("vpc_cidr")
    @classmethod
    def _block_is_private_and_large_enough(cls, block: ipaddress.IPv4Network) -> ipaddress.IPv4Network:
        if not LARGEST_VPC_PREFIX <= block.prefixlen <= SMALLEST_VPC_PREFIX:
            raise refused(
                f"Its length may be /{LARGEST_VPC_PREFIX}, the largest VPC that AWS makes, to /{SMALLEST_VPC_PREFIX}, "
                "which leaves 507 addresses to each private subnet."
            )
        if not any(block.subnet_of(private) for private in PRIVATE_BLOCKS):
            raise refused(f"It is not private: it must lie within {listed(map(str, PRIVATE_BLOCKS), 'or')}.")
        return block

    @field_validator("owner", "cost_centre")
    @classmethod
    def _can_be_a_tag(cls, value: str) -> str:
        if not _TAG_VALUE.fullmatch(value) or value != value.strip():
            raise refused(
                "It becomes the value of a tag: 1 to 256 letters, digits, spaces inside and . : / = + - @ _, such as "
                "platform-team."
            )
        return value
