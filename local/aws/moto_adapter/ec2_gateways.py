"""Gateways, addresses and deletions in EC2's network part of moto: what AWS refuses, and what goes with a gateway.

Refusals are those of the EC2 API reference: a public NAT gateway needs an attached internet gateway
(`Gateway.NotAttached`), an address in use is not released (`InvalidIPAddress.InUse`), and a subnet, security group or
internet gateway that something depends on is not taken away (`DependencyViolation`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from moto.ec2.exceptions import DependencyViolationError, EC2ClientError
from moto.ec2.models.elastic_ip_addresses import ElasticAddress, ElasticAddressBackend
from moto.ec2.models.elastic_network_interfaces import NetworkInterface
from moto.ec2.models.internet_gateways import InternetGatewayBackend
from moto.ec2.models.nat_gateways import NatGateway, NatGatewayBackend
from moto.ec2.models.security_groups import SecurityGroupBackend
from moto.ec2.models.subnets import SubnetBackend
from moto.ec2.responses.nat_gateways import NatGateways

from trainyard.local.aws.moto_adapter.expectations import require_mentions, require_parameters, wrap


def require_expected() -> None:
    """What this module relies on."""
    require_parameters(NatGatewayBackend.create_nat_gateway, "self", "subnet_id", "allocation_id", "connectivity_type")
    require_mentions(NatGateway.__init__, "self._eni", "self.private_ip", "self.state", "self.vpc_id")
    require_mentions(NatGatewayBackend.delete_nat_gateway, "self.nat_gateways", 'state = "deleted"')
    require_mentions(NatGateways.create_nat_gateway, '_get_param("SubnetId")', "connectivity_type")
    require_mentions(ElasticAddress.__init__, "self.association_id", "self.public_ip", "self.eni")
    require_parameters(ElasticAddressBackend.release_address, "self", "address", "allocation_id")
    require_parameters(InternetGatewayBackend.detach_internet_gateway, "self", "internet_gateway_id", "vpc_id")
    require_parameters(SecurityGroupBackend.delete_security_group, "self", "name", "group_id")
    require_parameters(SubnetBackend.delete_subnet, "self", "subnet_id")
    require_mentions(NetworkInterface.__init__, "self.subnet", "self.instance", "self._group_set")


def install() -> None:
    """Refuse what AWS refuses, and let a NAT gateway take its interface and address with it."""
    wrap(NatGatewayBackend, "create_nat_gateway", _with_internet_gateway)
    wrap(NatGatewayBackend, "delete_nat_gateway", _freeing_address)
    wrap(NatGateways, "create_nat_gateway", _asking_for_what_it_needs)
    wrap(ElasticAddress, "__init__", _with_place)
    wrap(ElasticAddressBackend, "release_address", _only_unused)
    wrap(InternetGatewayBackend, "detach_internet_gateway", _without_mapped_addresses)
    wrap(SecurityGroupBackend, "delete_security_group", _only_unattached)
    wrap(SubnetBackend, "delete_subnet", _only_vacant)


def _asking_for_what_it_needs(moto_create: Callable[..., Any]) -> Callable[..., Any]:
    def create_nat_gateway(response: Any) -> Any:
        kind = response._get_param("ConnectivityType") or "public"
        allocation = response._get_param("AllocationId")
        if kind == "public" and not allocation:
            raise EC2ClientError("MissingParameter", "The request must include the AllocationId parameter.")
        if kind == "private" and allocation:
            raise EC2ClientError("InvalidParameter", "A private NAT gateway does not take an AllocationId.")
        answer = moto_create(response)
        address = response._get_param("PrivateIpAddress")
        if address:
            answer.result["NatGateway"].address_set[0]["privateIp"] = address
        return answer

    return create_nat_gateway


def _with_internet_gateway(moto_create: Callable[..., Any]) -> Callable[..., Any]:
    def create_nat_gateway(
        backend: Any, subnet_id: str, allocation_id: str, tags: Any = None, connectivity_type: str | None = None
    ) -> Any:
        kind = connectivity_type or "public"
        vpc_id = backend.get_subnet(subnet_id).vpc_id
        if kind == "public" and not _internet_gateways(backend, vpc_id):
            raise EC2ClientError("Gateway.NotAttached", f"Network {vpc_id} has no Internet gateway attached")
        return moto_create(backend, subnet_id, allocation_id, tags, kind)

    return create_nat_gateway


def _freeing_address(moto_delete: Callable[..., Any]) -> Callable[..., Any]:
    def delete_nat_gateway(backend: Any, nat_gateway_id: str) -> Any:
        found = backend.nat_gateways.get(nat_gateway_id)
        if found is None:
            raise EC2ClientError("NatGatewayNotFound", f"NAT gateway {nat_gateway_id} was not found")
        if found.state != "deleted":
            for address in backend.addresses:
                if address.eni is found._eni:
                    backend.disassociate_address(address=address.public_ip)
            backend.enis.pop(found._eni.id, None)
        return moto_delete(backend, nat_gateway_id)

    return delete_nat_gateway


def _with_place(moto_init: Callable[..., None]) -> Callable[..., None]:
    def initialize(address: Any, ec2_backend: Any, *arguments: Any, **named: Any) -> None:
        moto_init(address, ec2_backend, *arguments, **named)
        address.network_border_group = ec2_backend.region_name
        address.public_ipv4_pool = "amazon"

    return initialize


def _only_unused(moto_release: Callable[..., None]) -> Callable[..., None]:
    def release_address(backend: Any, address: str | None = None, allocation_id: str | None = None) -> None:
        for found in backend.addresses:
            if (found.public_ip == address or found.allocation_id == allocation_id) and found.association_id:
                raise EC2ClientError("InvalidIPAddress.InUse", f"Address {found.public_ip} is in use.")
        moto_release(backend, address=address, allocation_id=allocation_id)

    return release_address


def _without_mapped_addresses(moto_detach: Callable[..., None]) -> Callable[..., None]:
    def detach_internet_gateway(backend: Any, internet_gateway_id: str, vpc_id: str) -> None:
        public = [
            gateway
            for gateway in backend.nat_gateways.values()
            if gateway.vpc_id == vpc_id and gateway.state != "deleted" and gateway.connectivity_type == "public"
        ]
        if public:
            raise DependencyViolationError(
                f"Network {vpc_id} has some mapped public address(es). Please unmap those public address(es) before "
                "detaching the gateway."
            )
        moto_detach(backend, internet_gateway_id, vpc_id)

    return detach_internet_gateway


def _only_unattached(moto_delete: Callable[..., None]) -> Callable[..., None]:
    def delete_security_group(backend: Any, name: str | None = None, group_id: str | None = None) -> None:
        for interface in _interfaces_in_use(backend):
            if group_id in [group.id for group in interface.group_set]:
                raise DependencyViolationError(f"resource {group_id} has a dependent object")
        moto_delete(backend, name=name, group_id=group_id)

    return delete_security_group


def _only_vacant(moto_delete: Callable[..., Any]) -> Callable[..., Any]:
    def delete_subnet(backend: Any, subnet_id: str) -> Any:
        if any(interface.subnet.id == subnet_id for interface in _interfaces_in_use(backend)):
            raise DependencyViolationError(f"The subnet '{subnet_id}' has dependencies and cannot be deleted.")
        return moto_delete(backend, subnet_id)

    return delete_subnet


def _internet_gateways(backend: Any, vpc_id: str) -> list[Any]:
    return [gateway for gateway in backend.internet_gateways.values() if gateway.vpc and gateway.vpc.id == vpc_id]


def _interfaces_in_use(backend: Any) -> list[Any]:
    """The interfaces that hold on to their subnet and groups: not those of instances that are gone."""
    return [
        interface
        for interface in list(backend.enis.values())
        if interface.instance is None or interface.instance._state.name not in ("terminated", "shutting-down")
    ]
