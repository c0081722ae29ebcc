"""VPC endpoints in moto: interface endpoints as AWS makes them, and what AWS refuses.

An interface endpoint has an interface per subnet in the endpoint's groups, at most one subnet per zone, and private DNS
only where the network resolves names and no other endpoint of the service has it (VPC user guide, "Interface VPC
endpoints" and "Private DNS").
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models.vpcs import VPCBackend, VPCEndPoint
from moto.ec2.responses.vpcs import VPCs
from moto.ec2.utils import random_private_ip

from trainyard.local.aws.moto_adapter.expectations import require_mentions, require_parameters, wrap

_KEPT = {"IpAddressType": "ip_address_type", "DnsOptions": "dns_options"}


def require_expected() -> None:
    """What this module relies on."""
    require_parameters(VPCBackend.create_vpc_endpoint, "self", "endpoint_type", "subnet_ids", "security_group_ids")
    require_mentions(VPCBackend.create_vpc_endpoint, "network_interface_ids", "self.create_network_interface")
    require_mentions(VPCs.create_vpc_endpoint, '"PrivateDnsEnabled", if_none=True', '"VpcEndpoint"')
    require_mentions(VPCs.modify_vpc_endpoint, '_get_param("VpcEndpointId")')
    require_mentions(VPCEndPoint.__init__, "self.network_interface_ids", "self.private_dns_enabled")


def install() -> None:
    """Mend creation and change of endpoints."""
    wrap(VPCs, "create_vpc_endpoint", _checked)
    wrap(VPCs, "modify_vpc_endpoint", _changing_everything)


def _checked(moto_create: Callable[..., Any]) -> Callable[..., Any]:
    def create_vpc_endpoint(response: Any) -> Any:
        backend = response.ec2_backend
        kind = response._get_param("VpcEndpointType") or "Gateway"
        vpc = backend.get_vpc(response._get_param("VpcId"))
        service = response._get_param("ServiceName")
        _require_service(response, service, kind)
        if kind == "Interface":
            _require_one_subnet_per_zone(backend, response._get_param("SubnetIds", []))
            if response._get_bool_param("PrivateDnsEnabled", if_none=True):
                _require_private_dns(backend, vpc, service)
        endpoint = moto_create(response).result["VpcEndpoint"]
        endpoint.ip_address_type = "ipv4"
        if kind == "Interface":
            endpoint.dns_options = {"DnsRecordIpType": "ipv4"}
            if not endpoint.security_group_ids:
                default = backend.get_security_group_from_name("default", vpc.id)
                endpoint.security_group_ids = [default.id]
            _place_interfaces(backend, endpoint)
        _keep(response, endpoint)
        return _answer(endpoint)

    return create_vpc_endpoint


def _changing_everything(moto_modify: Callable[..., Any]) -> Callable[..., Any]:
    def modify_vpc_endpoint(response: Any) -> Any:
        backend = response.ec2_backend
        endpoint = backend.describe_vpc_endpoints([response._get_param("VpcEndpointId")])[0]
        if endpoint.vpc_endpoint_type == "Interface":
            taken_away = response._get_param("RemoveSubnetIds", [])
            stay = [subnet for subnet in endpoint.subnet_ids if subnet not in taken_away]
            _require_one_subnet_per_zone(backend, [*stay, *response._get_param("AddSubnetIds", [])])
        private_dns = response._get_bool_param("PrivateDnsEnabled")
        if private_dns and not endpoint.private_dns_enabled:
            _require_private_dns(backend, backend.get_vpc(endpoint.vpc_id), endpoint.service_name)
        answer = moto_modify(response)
        if private_dns is not None and endpoint.vpc_endpoint_type == "Interface":
            endpoint.private_dns_enabled = private_dns
        if endpoint.vpc_endpoint_type == "Interface":
            _place_interfaces(backend, endpoint)
        _keep(response, endpoint)
        return answer

    return modify_vpc_endpoint


def _answer(endpoint: Any) -> Any:
    from moto.core.responses import ActionResult

    return ActionResult({"VpcEndpoint": endpoint})


def _keep(response: Any, endpoint: Any) -> None:
    for parameter, attribute in _KEPT.items():
        value = response._get_param(parameter)
        if value:
            setattr(endpoint, attribute, value)


def _place_interfaces(backend: Any, endpoint: Any) -> None:
    """One interface in each subnet, in the endpoint's groups; those in subnets it left are gone."""
    have = [backend.enis[interface] for interface in endpoint.network_interface_ids if interface in backend.enis]
    placed = {interface.subnet.id: interface for interface in have}
    for subnet, interface in placed.items():
        if subnet not in endpoint.subnet_ids:
            backend.enis.pop(interface.id)
    interfaces = []
    for subnet in endpoint.subnet_ids:
        interface = placed.get(subnet) or backend.create_network_interface(subnet, random_private_ip())
        groups = [backend.get_security_group_from_id(group) for group in endpoint.security_group_ids]
        if None in groups:
            raise EC2ClientError("InvalidGroup.NotFound", f"One of {endpoint.security_group_ids} does not exist")
        interface._group_set = groups
        interfaces.append(interface.id)
    endpoint.network_interface_ids = interfaces


def _require_service(response: Any, service: str, kind: str) -> None:
    backend, region = response.ec2_backend, response.region
    services = backend.describe_vpc_endpoint_services([service], [], 1000, None, region)["servicesDetails"]
    kinds = {entry["ServiceType"] for found in services for entry in found["ServiceType"]}
    if kind not in kinds:
        raise EC2ClientError("InvalidParameter", f"Endpoint type ({kind}) does not match service type ({kinds}).")


def _require_one_subnet_per_zone(backend: Any, subnet_ids: list[str]) -> None:
    zones: dict[str, str] = {}
    for subnet_id in dict.fromkeys(subnet_ids):
        zone = backend.get_subnet(subnet_id).availability_zone
        if zone in zones:
            raise EC2ClientError(
                "DuplicateSubnetsInSameZone",
                f"Found another VPC endpoint subnet in the availability zone of {subnet_id}",
            )
        zones[zone] = subnet_id


def _require_private_dns(backend: Any, vpc: Any, service: str) -> None:
    if not (vpc.enable_dns_support and vpc.enable_dns_hostnames):
        raise EC2ClientError(
            "InvalidParameter",
            "Enabling private DNS requires both enableDnsSupport and enableDnsHostnames VPC attributes set to true "
            f"for {vpc.id}",
        )
    for endpoint in backend.vpc_end_points.values():
        same = endpoint.vpc_id == vpc.id and endpoint.service_name == service and endpoint.state != "deleted"
        if same and endpoint.vpc_endpoint_type == "Interface" and endpoint.private_dns_enabled:
            raise EC2ClientError(
                "InvalidParameter",
                f"private-dns-enabled cannot be set because there is already a conflicting DNS domain for {service} "
                f"in the VPC {vpc.id}",
            )
