"""Kinds of values that settings share: blocks, names, moments, instance types, endpoint services.

Each refuses what it is not in words for the person who wrote the setting.
"""

from __future__ import annotations

import difflib
import ipaddress
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from trainyard.modules.instance_types import INSTANCE_TYPES
from trainyard.stacks.endpoint_services import ENDPOINT_SERVICES, near
from trainyard.stacks.setting_errors import MOST_NAMED, listed, shortly
from trainyard.stacks.setting_schedule import ScheduleError, backup_schedule


def refused(message: str) -> PydanticCustomError:
    """An error whose text is for the person who wrote the setting."""
    # Braces would be taken as places for values.
    return PydanticCustomError("setting", "{message}", {"message": message})


def from_json(value: Any) -> Any:
    """Pulumi hands lists, objects and numbers over as text."""
    if isinstance(value, str):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


def _block(value: Any) -> ipaddress.IPv4Network:
    if isinstance(value, ipaddress.IPv4Network):
        return value
    # ipaddress would take a number for an address.
    if not isinstance(value, str):
        raise refused("It is an IPv4 block such as 10.64.0.0/16.")
    try:
        return ipaddress.IPv4Network(value, strict=True)
    except ValueError:
        pass
    try:
        meant = ipaddress.IPv4Network(value, strict=False)
    except ValueError:
        raise refused("It is an IPv4 block such as 10.64.0.0/16.") from None
    raise refused(f"The address is not the first of its block; {meant} would be.")


Block = Annotated[ipaddress.IPv4Network, BeforeValidator(_block)]
Name = Annotated[
    str,
    Field(pattern=r"^[a-z]([a-z0-9-]{0,18}[a-z0-9])?$"),
]
"""Names of groups and teams stand in names of resources and in labels."""

Principal = Annotated[
    str,
    Field(pattern=r"^(arn:aws[a-z-]*:iam::[0-9]{12}:role/[0-9A-Za-z+=,.@_/-]+|[0-9A-Za-z+=,.@_-]{1,32})$"),
]
"""People: the ARN of a role, or the name of a permission set of IAM Identity Center."""


def _moment(value: Any) -> datetime:
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise refused("It is a time such as 2031-01-15T11:30:00Z.") from None
    if not isinstance(value, datetime):
        raise refused("It is a time such as 2031-01-15T11:30:00Z.")
    if value.tzinfo is None:
        raise refused("It has no time zone; write 2031-01-15T11:30:00Z.")
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise refused("It is a time such as 2031-01-15T11:30:00Z.") from None


Moment = Annotated[datetime, BeforeValidator(_moment)]


def _version(value: Any) -> Any:
    if isinstance(value, float):
        raise refused(f'YAML takes it for a number; write it in quotation marks: "{value}".')
    return value


Version = Annotated[str, BeforeValidator(_version)]


class Part(BaseModel):
    """Frozen, and without keys that nobody knows."""

    model_config = ConfigDict(frozen=True, extra="forbid")


WITH_GPUS = tuple(kind.name for kind in INSTANCE_TYPES.values() if kind.gpus)
WITHOUT_GPUS = tuple(kind.name for kind in INSTANCE_TYPES.values() if not kind.gpus)


def _gpu_type(name: Any) -> Any:
    if name in WITHOUT_GPUS:
        raise refused(f"It has no GPU. With GPUs there are {listed(WITH_GPUS)}.")
    return _one_of(name, WITH_GPUS)


def _cpu_type(name: Any) -> Any:
    if name in WITH_GPUS:
        raise refused(f"{name} has GPUs and belongs under gpu_groups; m7i.xlarge would do here.")
    return _one_of(name, WITHOUT_GPUS)


def _one_of(name: Any, there: Sequence[str]) -> str:
    if not isinstance(name, str) or name not in there:
        like = difflib.get_close_matches(name, there, n=3) if isinstance(name, str) else []
        guess = f"Did you mean {listed(like, 'or')}? " if like else ""
        raise refused(f"No row in modules/instance_types.py. {guess}There are {listed(there)}.")
    return name


GpuType = Annotated[str, BeforeValidator(_gpu_type)]
CpuType = Annotated[str, BeforeValidator(_cpu_type)]


def _services(names: tuple[str, ...]) -> tuple[str, ...]:
    wrong = [name for name in dict.fromkeys(names) if name == "s3" or name not in ENDPOINT_SERVICES]
    if wrong:
        raise refused(" ".join(_about_endpoint(name) for name in wrong[:MOST_NAMED]))
    return names


def _about_endpoint(name: str) -> str:
    """What is wrong with the name of an endpoint service."""
    if name == "s3" or name.endswith(".s3"):
        return "S3 is reached through a gateway endpoint, which the network has anyway; leave it out."
    meant = near(name)
    whole = " What is written here is the end of an endpoint's name." if name.startswith("com.") else ""
    if meant:
        return f"There is no service {shortly([name])}.{whole} Did you mean {listed(meant, 'or')}?"
    return (
        f"There is no service {shortly([name])}. aws ec2 describe-vpc-endpoint-services lists them; one that is "
        "new belongs into stacks/endpoint_services.py."
    )


EndpointServices = Annotated[
    tuple[Annotated[str, Field(json_schema_extra={"pattern": r"^[a-z0-9]+([.-][a-z0-9]+)*$"})], ...],
    AfterValidator(_services),
]


def _schedule(expression: str) -> str:
    try:
        backup_schedule(expression)
    except ScheduleError as wrong:
        raise refused(str(wrong)) from None
    return expression


BackupSchedule = Annotated[str, Field(json_schema_extra={"pattern": r"^cron\(.+\)$"}), AfterValidator(_schedule)]
