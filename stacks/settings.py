"""An environment's settings: what stands in stacks/environments/, checked before any resource is made.

Every wrong setting is reported, each with its key, what it was and what may stand there instead.
"""

from __future__ import annotations

import difflib
import ipaddress
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args, get_origin

import pulumi
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, ValidationInfo, field_validator
from pydantic_core import ErrorDetails, PydanticCustomError

from trainyard.stacks.regions import REGIONS

DataClass = Literal["public", "internal", "personal", "health", "financial", "government"]

# What CloudWatch Logs offers (PutRetentionPolicy), from a month on.
LogRetentionDays = Literal[30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653]

LARGEST_VPC_PREFIX, SMALLEST_VPC_PREFIX = 16, 20
PRIVATE_BLOCKS = tuple(
    ipaddress.IPv4Network(block) for block in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10")
)
FEWEST_ZONES, MOST_ZONES = 2, 6

EMPTY = ("", "[]", [], None)
"""What Pulumi.yaml has for a setting without a default."""

_ENVIRONMENT = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
LONGEST_ENVIRONMENT = 16
_TAG_VALUE = re.compile(r"[\w .:/=+@-]{1,256}")


def _from_json(value: Any) -> Any:
    """Pulumi hands lists and numbers over as text."""
    if isinstance(value, str):
        try:
            return json.loads(value)
        except json.JSONDecodeError:
            return value
    return value


def _refused(message: str) -> PydanticCustomError:
    # Braces would be taken as places for values.
    return PydanticCustomError("setting", "{message}", {"message": message})


class Settings(BaseModel):
    """One environment. Frozen; the key of a setting in Pulumi is `trainyard:` and the name of its field."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    environment: str = Field(
        description="Name of the environment, which begins the name of everything in it",
        examples=["research", "prod-us"],
    )
    region: str = Field(description="AWS region that everything stands in", examples=["us-east-1"])
    availability_zones: Annotated[tuple[str, ...], BeforeValidator(_from_json)] = Field(
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
    protect_data: Annotated[bool, BeforeValidator(_from_json)] = Field(
        default=True, strict=True, description="Refuse to delete buckets and keys"
    )
    key_deletion_window_days: Annotated[int, BeforeValidator(_from_json)] = Field(
        default=30, strict=True, ge=7, le=30, description="Days in which a deleted key can still be had back"
    )
    log_retention_days: Annotated[LogRetentionDays, BeforeValidator(_from_json)] = Field(
        default=365, description="Days that flow logs and access logs are kept"
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

    @field_validator("environment")
    @classmethod
    def _environment_can_begin_names(cls, value: str) -> str:
        if not _ENVIRONMENT.fullmatch(value) or len(value) > LONGEST_ENVIRONMENT:
            raise _refused(
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
            raise _refused(f"No such AWS region. {guess}There are {_listed(REGIONS)}.")
        return value

    @field_validator("availability_zones")
    @classmethod
    def _zones_belong_to_the_region(cls, zones: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if not FEWEST_ZONES <= len(zones) <= MOST_ZONES:
            raise _refused(
                f"It lists {FEWEST_ZONES} to {MOST_ZONES} zones, not {len(zones)}; EKS needs two, the VPC holds six."
            )
        if len(set(zones)) < len(zones):
            raise _refused("It names a zone twice.")
        region = info.data.get("region")
        if region is not None:
            strange = [zone for zone in zones if not re.fullmatch(re.escape(region) + "[a-z]", zone)]
            if strange:
                raise _refused(
                    f"No zone of {region}: {_listed(strange)}. Its zones are called {region}a, {region}b and so on."
                )
        return zones

    @field_validator("vpc_cidr", mode="before")
    @classmethod
    def _block_is_one(cls, value: Any) -> ipaddress.IPv4Network:
        try:
            block = ipaddress.IPv4Network(value, strict=False)
        except (ValueError, TypeError):
            raise _refused("It is an IPv4 block such as 10.64.0.0/16.") from None
        if isinstance(value, str) and "/" in value and str(block.network_address) != value.partition("/")[0].strip():
            raise _refused(f"The address is not the first of its block; {block} would be.")
        return block

    @field_validator("vpc_cidr")
    @classmethod
    def _block_is_private_and_large_enough(cls, block: ipaddress.IPv4Network) -> ipaddress.IPv4Network:
        if not LARGEST_VPC_PREFIX <= block.prefixlen <= SMALLEST_VPC_PREFIX:
            raise _refused(
                f"Its length may be /{LARGEST_VPC_PREFIX}, the largest VPC that AWS makes, to /{SMALLEST_VPC_PREFIX}, "
                "which leaves 507 addresses to each private subnet."
            )
        if not any(block.subnet_of(private) for private in PRIVATE_BLOCKS):
            raise _refused(f"It is not private: it must lie within {_listed(map(str, PRIVATE_BLOCKS), 'or')}.")
        return block

    @field_validator("owner", "cost_centre")
    @classmethod
    def _can_be_a_tag(cls, value: str) -> str:
        if not _TAG_VALUE.fullmatch(value) or value != value.strip():
            raise _refused(
                "It becomes the value of a tag: 1 to 256 letters, digits, spaces inside and . : / = + - @ _, such as "
                "platform-team."
            )
        return value


@dataclass(frozen=True)
class Problem:
    """One wrong setting: its full key, and what is wrong and may stand there instead, in whole sentences."""

    key: str
    message: str

    def __str__(self) -> str:
        return f"{self.key}: {self.message}"


class SettingsError(pulumi.RunError):
    """Settings that no platform can be made from. Being a `RunError`, Pulumi shows its text and no traceback."""

    def __init__(self, stack: str, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        what = "A setting" if len(self.problems) == 1 else f"{len(self.problems)} settings"
        verb = "is" if len(self.problems) == 1 else "are"
        lines = "\n".join(f"  {problem}" for problem in self.problems)
        super().__init__(f"{what} of the stack {stack} {verb} wrong, so nothing was made or changed:\n{lines}")


def parse_settings(values: Mapping[str, Any], *, namespace: str, stack: str) -> Settings:
    """The settings that `values` hold, by key without the namespace.

    Values may be text, as Pulumi hands them to a program, or already of their type, as in a stack's YAML file. An empty
    one counts as missing.

    Raises:
        SettingsError: names every setting that is missing, wrong or unknown.
    """
    given = {key: value for key, value in values.items() if value not in EMPTY}
    try:
        return Settings.model_validate(given)
    except ValidationError as invalid:
        # A list can be wrong in several places; it is one setting all the same.
        first_errors: dict[str, ErrorDetails] = {}
        for error in invalid.errors(include_url=False):
            first_errors.setdefault(str(error["loc"][0]), error)
        raise SettingsError(
            stack,
            [
                Problem(f"{namespace}:{name}", f"{_what_it_was(given.get(name), error)}{_expectation(name, error)}")
                for name, error in first_errors.items()
            ],
        ) from None


def _what_it_was(value: Any, error: ErrorDetails) -> str:
    """What stands there now; nothing for a key that is missing or that nobody knows."""
    if error["type"] in ("missing", "extra_forbidden"):
        return ""
    # As it stands in the file, but in quotation marks where it could not be seen without.
    plain = isinstance(value, str) and value and value == value.strip()
    return f"{value if plain else json.dumps(value, default=str)} won't do. "


def _expectation(name: str, error: ErrorDetails) -> str:
    """What may stand there, in whole sentences."""
    match error["type"]:
        case "setting":
            return error["msg"]
        case "extra_forbidden":
            near = difflib.get_close_matches(name, Settings.model_fields, n=1)
            guess = f"Did you mean {near[0]}? " if near else ""
            return f"There is no such setting. {guess}There are {_listed(sorted(Settings.model_fields))}."
        case "missing":
            return f"It is missing. {_meaning(name)}"
    if choices := _choices(name):
        return f"It may be {_listed(choices, 'or')}."
    if bounds := _bounds(name):
        return f"It may be a whole number from {bounds[0]} to {bounds[1]}."
    if Settings.model_fields[name].annotation is bool:
        return "It may be true or false."
    return f"It is not of the right kind. {_meaning(name)}"


def _meaning(name: str) -> str:
    """What a setting is for, with a value that would do."""
    field = Settings.model_fields[name]
    examples = field.examples or _choices(name)[:1]
    such_as = (
        f", such as {examples[0] if isinstance(examples[0], str) else json.dumps(examples[0])}" if examples else ""
    )
    return f"{field.description}{such_as}."


def _choices(name: str) -> list[str]:
    annotation = Settings.model_fields[name].annotation
    return [str(choice) for choice in get_args(annotation)] if get_origin(annotation) is Literal else []


def _bounds(name: str) -> tuple[int, int] | None:
    limits: dict[str, int] = {}
    for constraint in Settings.model_fields[name].metadata:
        limits |= {side: getattr(constraint, side) for side in ("ge", "le") if hasattr(constraint, side)}
    return (limits["ge"], limits["le"]) if limits else None


def _listed(names: Iterable[str], conjunction: str = "and") -> str:
    """`a, b and c`."""
    *most, last = names
    return f"{', '.join(most)} {conjunction} {last}" if most else last
