"""Trainyard's changes to moto: the only package that touches moto's inside, a module per service.

`install` puts them in. What they rely on is checked first: where moto is no longer built as expected,
`MotoChangedError` says what to look at, and so does the contract test, rather than the emulation going wrong
silently.
"""

from __future__ import annotations

from typing import Any

from moto.backends import get_backend
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app

from trainyard.local.aws.moto_adapter import (
    autoscaling,
    backup,
    bucket_policy,
    budgets,
    codebuild,
    ec2,
    ec2_capacity,
    ec2_endpoints,
    ec2_gateways,
    ec2_launch_templates,
    ec2_security_groups,
    ec2_storage,
    ecr,
    eks,
    eks_scaling,
    events,
    fsx,
    iam,
    kms,
    logs,
    repeated,
    s3,
    service_quotas,
    sns,
    sqs,
    sts,
)
from trainyard.local.aws.moto_adapter.expectations import MotoChangedError, require_parameters

__all__ = ["MotoChangedError", "application", "install", "preload", "request_handler", "require_expected_moto"]

_SERVICES = (
    autoscaling,
    backup,
    bucket_policy,
    budgets,
    codebuild,
    ec2,
    ec2_capacity,
    ec2_endpoints,
    ec2_gateways,
    ec2_launch_templates,
    ec2_security_groups,
    ec2_storage,
    ecr,
    eks,
    eks_scaling,
    events,
    fsx,
    iam,
    kms,
    logs,
    repeated,
    s3,
    service_quotas,
    sns,
    sqs,
    sts,
)
_PRELOADED = (
    "sts",
    "ec2",
    "s3",
    "iam",
    "kms",
    "sqs",
    "events",
    "logs",
    "eks",
    "autoscaling",
    "backup",
    "budgets",
    "cloudwatch",
    "codebuild",
    "ecr",
    "fsx",
    "sns",
    "ssm",
)


def require_expected_moto() -> None:
    """Check everything the changes rely on; `MotoChangedError` names what is different."""
    require_parameters(create_backend_app, "service")
    for service in _SERVICES:
        service.require_expected()


def install() -> None:
    """Put the changes into moto."""
    require_expected_moto()
    for service in _SERVICES:
        service.install()


def application() -> Any:
    """The WSGI application that answers for all services."""
    return DomainDispatcherApplication(create_backend_app)


def request_handler() -> type[MotoRequestHandler]:
    """The request handler that goes with `application`."""
    return MotoRequestHandler


def preload() -> None:
    """Load the services that a stack uses, before requests come: threads that import at once get half a module."""
    for service in _PRELOADED:
        get_backend(service)  # ty: ignore[no-matching-overload]  (too many names to try each)
