"""IAM policy documents from plain statements, and the statements that several components share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import pulumi

Statement: TypeAlias = Mapping[str, Any]
"""One statement in IAM's own JSON form; any value in it may be a Pulumi output."""


def policy_document(statements: Sequence[Statement]) -> pulumi.Output[str]:
    """The policy that holds `statements`, as JSON text."""
    return pulumi.Output.json_dumps({"Version": "2012-10-17", "Statement": list(statements)})


def deny_plain_transport(action: str, resources: Sequence[pulumi.Input[str]]) -> Statement:
    """Refuse `action` to everybody who does not come over TLS."""
    return {
        "Sid": "DenyPlainTransport",
        "Effect": "Deny",
        "Principal": "*",
        "Action": action,
        "Resource": list(resources),
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }
