"""The resource types that the provider emulates: one row each, a module per service."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from functools import cache

from trainyard.local.aws.errors import ProviderError
from trainyard.local.aws.row import Row

_MODULES = (
    "autoscaling",
    "backup",
    "budgets",
    "cloudwatch",
    "codebuild",
    "ebs",
    "ec2",
    "ecr",
    "eks",
    "events",
    "fsx",
    "iam",
    "kms",
    "logs",
    "s3",
    "sns",
    "sqs",
    "ssm",
    "vpc",
)
_FILE_OF = {"cloudwatch/event": "events", "cloudwatch/log": "logs"}
"""Where the file is not called as the SDK's module is."""


class UnsupportedTypeError(ProviderError):
    """No row for this type."""


@cache
def rows() -> Mapping[str, Row]:
    """Every row by its token."""
    found: dict[str, Row] = {}
    for name in _MODULES:
        for row in importlib.import_module(f"{__name__}.{name}").ROWS:
            if row.token in found:
                raise ValueError(f"two rows for {row.token}")
            found[row.token] = row
    return found


def row_for(token: str) -> Row:
    """The row of a type; `UnsupportedTypeError` names the file to add it in."""
    row = rows().get(token)
    if row is None:
        raise UnsupportedTypeError(
            f"the resource type {token} is not emulated: add a row for it in {file_for(token)}. "
            "`python -m trainyard.local.aws.rows` lists those that are"
        )
    return row


def file_for(token: str) -> str:
    """The file that the row of a type belongs in."""
    module = token.split(":")[1] if token.count(":") == 2 else token
    file = next((file for start, file in _FILE_OF.items() if module.startswith(start)), module.split("/")[0])
    return f"trainyard/local/aws/rows/{file}.py"
