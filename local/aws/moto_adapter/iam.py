"""Service-linked roles in moto's IAM, under the names that AWS gives them; clients of OpenID Connect providers; AWS's
own policies, read when they are asked for."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from moto.core.exceptions import ServiceException
from moto.core.responses import EmptyResult
from moto.iam.models import SERVICE_NAME_CONVERSION, IAMBackend, OpenIDConnectProvider
from moto.iam.responses import IamResponse

from trainyard.local.aws.moto_adapter.expectations import add, require_mentions, require_parameters, wrap

_NAMES = {
    "eks": "AmazonEKS",
    "eks-nodegroup": "AmazonEKSNodegroup",
    "fsx": "AmazonFSx",
    "spot": "EC2Spot",
    "spotfleet": "EC2SpotFleet",
}
"""Source: AmazonEKS and AmazonFSx as public IAM policies name them (secondary, looked up 2026-11); the others
from memory of the EKS and EC2 user guides, unverified."""

_KEPT = "_policies_read"


class _IamError(ServiceException):
    """A class of its own: moto asks the module of an exception which service it belongs to."""


def require_expected() -> None:
    """What this module relies on."""
    require_parameters(IAMBackend.create_service_linked_role, "self", "service_name", "description", "suffix")
    require_mentions(OpenIDConnectProvider.__init__, "self.client_id_list")
    require_mentions(IAMBackend.__init__, "self.managed_policies = self._init_managed_policies()")
    require_mentions(IAMBackend.create_service_linked_role, "SERVICE_NAME_CONVERSION.get(service, service)")


def install() -> None:
    """Name roles and refuse a second one; let clients come and go; put off what is read at the start."""
    SERVICE_NAME_CONVERSION.update(_NAMES)
    wrap(IAMBackend, "create_service_linked_role", _once)
    add(IamResponse, "add_client_id_to_open_id_connect_provider", _add_client)
    add(IamResponse, "remove_client_id_from_open_id_connect_provider", _remove_client)
    wrap(IAMBackend, "_init_aws_policies", _when_asked_for)


def _when_asked_for(moto_reads: Callable[..., list[Any]]) -> Callable[..., list[Any]]:
    """Every request looks for its key in the accounts of all six partitions, and so makes them. What AWS itself keeps
    there, 1,500 policies, is read for the one that a program works in."""
    reading = threading.RLock()

    def kept(backend: Any) -> dict[str, Any]:
        with reading:
            if _KEPT not in vars(backend):
                vars(backend)[_KEPT] = {policy.arn: policy for policy in moto_reads(backend)}
            return vars(backend)[_KEPT]

    def begin(backend: Any, _: dict[str, Any]) -> None:
        vars(backend).pop(_KEPT, None)

    IAMBackend.managed_policies = property(kept, begin)  # ty: ignore[invalid-attribute-access]
    return lambda _: []


def _once(moto_create: Callable[..., Any]) -> Callable[..., Any]:
    def create_service_linked_role(backend: Any, service_name: str, description: str, suffix: str) -> Any:
        path = f"/aws-service-role/{service_name}/"
        for role in backend.roles.values():
            if role.path == path and (not suffix or role.name.endswith(f"_{suffix}")):
                raise _IamError(
                    "InvalidInput", f"Service role name {role.name} has been taken in this account, please try again."
                )
        return moto_create(backend, service_name, description, suffix)

    return create_service_linked_role


def _add_client(response: Any) -> EmptyResult:
    provider, client = _provider(response)
    if client not in provider.client_id_list:
        provider.client_id_list.append(client)
    return EmptyResult()


def _remove_client(response: Any) -> EmptyResult:
    provider, client = _provider(response)
    if client in provider.client_id_list:
        provider.client_id_list.remove(client)
    return EmptyResult()


def _provider(response: Any) -> tuple[Any, str]:
    arn = response._get_param("OpenIDConnectProviderArn")
    return response.backend.get_open_id_connect_provider(arn), response._get_param("ClientID")
