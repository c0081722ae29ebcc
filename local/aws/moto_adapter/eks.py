"""EKS in moto, whose own knows neither access entries nor add-ons, updates nor upgrades: all of it is served from here.

The operations stand in modules of their own: `eks_clusters`, `eks_nodegroups`, `eks_access`, `eks_addons`. Each is a
function from the account's `Eks` and the request's parameters to the answer, both as in the API. moto parses and
writes what goes over the wire by the service's model. Everything is made at once: no status is ever CREATING.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import moto.eks.urls
from moto.core.responses import ActionResult, BaseResponse
from moto.core.routing import get_service_router
from moto.core.utils import camelcase_to_underscores
from moto.eks.models import EKSBackend, eks_backends
from moto.sts.models import sts_backends

from trainyard.local.aws.moto_adapter import eks_access, eks_addons, eks_clusters, eks_nodegroups, eks_tags
from trainyard.local.aws.moto_adapter.eks_state import Eks
from trainyard.local.aws.moto_adapter.expectations import MotoChangedError, require_mentions, require_parameters

_OPERATIONS: Mapping[str, Callable[[Eks, Mapping[str, Any]], dict[str, Any]]] = {
    name: operation
    for module in (eks_clusters, eks_nodegroups, eks_access, eks_addons, eks_tags)
    for name, operation in module.OPERATIONS.items()
}


def require_expected() -> None:
    """What this module relies on."""
    require_mentions(BaseResponse.setup_class, "self.automated_parameter_parsing", "self.parse_parameters(request)")
    require_mentions(BaseResponse.call_action, "except ServiceException", "self.serialized(response)")
    require_mentions(BaseResponse.parse_parameters, "self.params")
    require_parameters(get_service_router, "service_name")
    require_parameters(EKSBackend.__init__, "self", "region_name", "account_id")
    if not isinstance(moto.eks.urls.url_paths, dict):
        raise MotoChangedError("moto.eks.urls.url_paths is no dict")


def install() -> None:
    """Take the place of moto's EKS."""
    paths: dict[str, Any] = moto.eks.urls.url_paths
    paths.clear()
    paths["{0}/.*$"] = Responses.dispatch


class Responses(BaseResponse):
    """One request to EKS."""

    def __init__(self) -> None:
        super().__init__(service_name="eks")
        self.automated_parameter_parsing = True

    def get_region_from_url(self, request: Any, full_url: str) -> str:
        """Without the path, in which a role's ARN may look like a host: `sso.amazonaws.com` is part of one."""
        return super().get_region_from_url(request, full_url.partition("/clusters")[0])

    @property
    def eks(self) -> Eks:
        """The account's EKS in the request's region."""
        backend = eks_backends[self.current_account][self.region]
        sts = sts_backends[self.current_account][backend.partition]
        _, caller, _ = sts.get_caller_identity(self.get_access_key(), self.region)
        return Eks.of(backend, caller)


def _method(operation: Callable[[Eks, Mapping[str, Any]], dict[str, Any]]) -> Callable[[Responses], ActionResult]:
    def answer(response: Responses) -> ActionResult:
        return ActionResult(operation(response.eks, response.params or {}))

    return answer


for _name, _operation in _OPERATIONS.items():
    setattr(Responses, camelcase_to_underscores(_name), _method(_operation))
