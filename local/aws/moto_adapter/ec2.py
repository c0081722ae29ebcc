"""EC2 in moto: properties that it drops or invents, and deletions that it lets through."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from moto.ec2.exceptions import DependencyViolationError
from moto.ec2.models.vpcs import VPCBackend
from moto.ec2.responses.flow_logs import FlowLogs
from moto.ec2.responses.vpcs import VPCs

from trainyard.local.aws.moto_adapter.expectations import require_mentions, require_parameters, wrap


def require_expected() -> None:
    """What this module relies on."""
    require_mentions(FlowLogs.create_flow_logs, '"FlowLogIds"', "ActionResult(result)", "self.ec2_backend")
    require_parameters(VPCBackend.create_vpc_endpoint, "self", "endpoint_type", "private_dns_enabled")
    require_mentions(VPCs.create_vpc_endpoint, '"PrivateDnsEnabled", if_none=True')
    require_parameters(VPCBackend.delete_vpc, "self", "vpc_id")


def install() -> None:
    """Mend flow logs, VPC endpoints and the deletion of VPCs."""
    wrap(FlowLogs, "create_flow_logs", _keeping_destination_options)
    wrap(VPCBackend, "create_vpc_endpoint", _without_private_dns_for_gateways)
    wrap(VPCBackend, "delete_vpc", _only_when_empty)


def _keeping_destination_options(moto_create: Callable[..., Any]) -> Callable[..., Any]:
    def create_flow_logs(response: Any) -> Any:
        answer = moto_create(response)
        options = response._get_param("DestinationOptions")
        for flow_log_id in answer.result["FlowLogIds"]:
            if options:
                response.ec2_backend.flow_logs[flow_log_id].destination_options = options
        return answer

    return create_flow_logs


def _without_private_dns_for_gateways(moto_create: Callable[..., Any]) -> Callable[..., Any]:
    def create_vpc_endpoint(backend: Any, *arguments: Any, **named: Any) -> Any:
        endpoint = moto_create(backend, *arguments, **named)
        if (endpoint.vpc_endpoint_type or "Gateway").lower() == "gateway":
            endpoint.private_dns_enabled = False
        return endpoint

    return create_vpc_endpoint


def _only_when_empty(moto_delete: Callable[..., Any]) -> Callable[..., Any]:
    def delete_vpc(backend: Any, vpc_id: str) -> Any:
        groups = [group for group in backend.groups.get(vpc_id, {}).values() if group.name != "default"]
        endpoints = [
            endpoint
            for endpoint in backend.vpc_end_points.values()
            if endpoint.vpc_id == vpc_id and endpoint.state != "deleted"
        ]
        gateways = [
            gateway for gateway in backend.internet_gateways.values() if gateway.vpc and gateway.vpc.id == vpc_id
        ]
        if groups or endpoints or gateways:
            raise DependencyViolationError(f"The vpc '{vpc_id}' has dependencies and cannot be deleted.")
        return moto_delete(backend, vpc_id)

    return delete_vpc
