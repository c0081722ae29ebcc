"""Bucket policies in moto, which denies though a Deny's condition does not hold: TLS-only buckets refuse everyone.

Evaluated here are the statements of the bucket's policy with the request's own headers; who asks is the account's root.
Identity policies are not enforced. The emulated account talks plain HTTP on loopback, which stands for TLS.
"""

from __future__ import annotations

import logging
from typing import Any

from flask import has_request_context
from flask import request as http_request
from moto.iam.access_control import PermissionResult
from moto.s3.models import FakeBucket
from moto.s3.responses import S3Response

from trainyard.local.aws.moto_adapter.expectations import require_mentions, require_parameters, wrap
from trainyard.local.aws.resource_policy import Request, UnsupportedPolicyError, evaluate

_log = logging.getLogger(__name__)

_HEADER_CONDITIONS = (
    "x-amz-acl",
    "x-amz-server-side-encryption",
    "x-amz-server-side-encryption-aws-kms-key-id",
    "x-amz-server-side-encryption-customer-algorithm",
)
_ACTIONS = {"s3:HeadObject": "s3:GetObject", "s3:PostObject": "s3:PutObject"}
"""moto makes the action of the HTTP method; IAM knows no such actions."""


def require_expected() -> None:
    """What this module relies on."""
    require_parameters(FakeBucket.get_permission, "action", "resource")
    require_mentions(FakeBucket.get_permission, "self.policy", "PermissionResult")
    require_mentions(S3Response._key_response, "bucket.get_permission(", "PermissionResult.DENIED")


def install() -> None:
    """Mend the decision."""
    wrap(FakeBucket, "get_permission", lambda _: _permission)


def _permission(bucket: Any, action: str, resource: str) -> Any:
    if bucket.policy is None:
        return PermissionResult.NEUTRAL
    account = bucket.account_id
    context = {
        "aws:SecureTransport": "true",
        "s3:TlsVersion": "1.3",
        "aws:PrincipalAccount": account,
        "aws:PrincipalArn": f"arn:{bucket.partition}:iam::{account}:root",
        "aws:PrincipalIsAWSService": "false",
        **_header_conditions(),
    }
    asked = Request(context["aws:PrincipalArn"], _ACTIONS.get(action, action), resource, context)
    try:
        decision = evaluate(bucket.policy.decode(), asked)
    except UnsupportedPolicyError as unsupported:
        _log.warning("%s %s refused: %s", action, resource, unsupported)
        return PermissionResult.DENIED
    if decision.denied:
        _log.warning("%s %s refused: %s", action, resource, decision.reason)
        return PermissionResult.DENIED
    return PermissionResult.PERMITTED if decision.allowed else PermissionResult.NEUTRAL


def _header_conditions() -> dict[str, str]:
    if not has_request_context():
        return {}
    headers = http_request.headers
    return {f"s3:{name}": headers[name] for name in _HEADER_CONDITIONS if name in headers}
