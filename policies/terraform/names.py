"""Terraform's spelling of a name and Pulumi's, where nothing else is agreed."""

from __future__ import annotations

import re


def camel(name: str) -> str:
    """`kms_key_id` -> `kmsKeyId`."""
    first, *others = name.split("_")
    return first + "".join(part[:1].upper() + part[1:] for part in others)


def snake(name: str) -> str:
    """`kmsKeyId` -> `kms_key_id`, `hostPID` -> `host_pid`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()
