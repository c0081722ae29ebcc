"""Data sources about networks that a program did not make: `aws.ec2.get_vpc`, `get_subnets` and the like.

Like the official provider they refuse to guess: none or several matches are an error, except where the plural is asked
for. The results have the properties that programs use; others are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from trainyard.local.aws.account import Account, partition_of
from trainyard.local.aws.errors import AwsError, ProviderError

Arguments = Mapping[str, Any]


def vpc(account: Account, region: str, arguments: Arguments) -> dict[str, Any]:
    """`getVpc`."""
    named = {"cidr": arguments.get("cidrBlock"), "state": arguments.get("state")}
    if arguments.get("default"):
        named["is-default"] = "true"
    found = _one(account, region, "describe_vpcs", "Vpcs", "VpcIds", arguments, named, "VPC")
    identity = found["VpcId"]

    def attribute(name: str) -> bool:
        request = {"VpcId": identity, "Attribute": name[0].lower() + name[1:]}
        return account.call("ec2", region, "describe_vpc_attribute", request)[name]["Value"]

    tables = account.call(
        "ec2",
        region,
        "describe_route_tables",
        {"Filters": [_filter("vpc-id", identity), _filter("association.main", "true")]},
    )["RouteTables"]
    return {
        "id": identity,
        "arn": _arn(account, region, "vpc", identity),
        "cidrBlock": found["CidrBlock"],
        "cidrBlockAssociations": [
            {
                "associationId": entry["AssociationId"],
                "cidrBlock": entry["CidrBlock"],
                "state": entry["CidrBlockState"]["State"],
            }
            for entry in found.get("CidrBlockAssociationSet") or ()
        ],
        "default": found["IsDefault"],
        "dhcpOptionsId": found.get("DhcpOptionsId") or "default",
        "enableDnsHostnames": attribute("EnableDnsHostnames"),
        "enableDnsSupport": attribute("EnableDnsSupport"),
        "enableNetworkAddressUsageMetrics": attribute("EnableNetworkAddressUsageMetrics"),
        "instanceTenancy": found["InstanceTenancy"],
        "ipv6AssociationId": "",
        "ipv6CidrBlock": "",
        "mainRouteTableId": tables[0]["RouteTableId"] if tables else "",
        "ownerId": found.get("OwnerId") or account.id,
        "state": found["State"],
        "tags": _tags(found),
    }


def subnet(account: Account, region: str, arguments: Arguments) -> dict[str, Any]:
    """`getSubnet`."""
    named = {
        "availability-zone": arguments.get("availabilityZone"),
        "availability-zone-id": arguments.get("availabilityZoneId"),
        "cidr-block": arguments.get("cidrBlock"),
        "state": arguments.get("state"),
        "vpc-id": arguments.get("vpcId"),
    }
    found = _one(account, region, "describe_subnets", "Subnets", "SubnetIds", arguments, named, "subnet")
    return {
        "id": found["SubnetId"],
        "arn": found["SubnetArn"],
        "assignIpv6AddressOnCreation": found["AssignIpv6AddressOnCreation"],
        "availabilityZone": found["AvailabilityZone"],
        "availabilityZoneId": found["AvailabilityZoneId"],
        "availableIpAddressCount": found["AvailableIpAddressCount"],
        "cidrBlock": found["CidrBlock"],
        "defaultForAz": found["DefaultForAz"],
        "ipv6Native": found.get("Ipv6Native", False),
        "mapPublicIpOnLaunch": found["MapPublicIpOnLaunch"],
        "ownerId": found["OwnerId"],
        "state": found["State"],
        "tags": _tags(found),
        "vpcId": found["VpcId"],
    }


def subnets(account: Account, region: str, arguments: Arguments) -> dict[str, Any]:
    """`getSubnets`: the IDs of those that match, none being no error."""
    found = _all(account, region, "describe_subnets", "Subnets", {"Filters": _filters(arguments, {})})
    return {"id": region, "ids": sorted(entry["SubnetId"] for entry in found), "tags": arguments.get("tags") or {}}


def route_table(account: Account, region: str, arguments: Arguments) -> dict[str, Any]:
    """`getRouteTable`."""
    named = {
        "association.gateway-id": arguments.get("gatewayId"),
        "association.subnet-id": arguments.get("subnetId"),
        "vpc-id": arguments.get("vpcId"),
    }
    asked = {**arguments, "id": arguments.get("routeTableId")}
    found = _one(account, region, "describe_route_tables", "RouteTables", "RouteTableIds", asked, named, "route table")
    return {
        "id": found["RouteTableId"],
        "routeTableId": found["RouteTableId"],
        "arn": _arn(account, region, "route-table", found["RouteTableId"]),
        "associations": [
            {
                "gatewayId": entry.get("GatewayId") or "",
                "main": entry["Main"],
                "routeTableAssociationId": entry["RouteTableAssociationId"],
                "routeTableId": entry["RouteTableId"],
                "subnetId": entry.get("SubnetId") or "",
            }
            for entry in found["Associations"]
        ],
        "ownerId": found.get("OwnerId") or account.id,
        "routes": [
            {
                "cidrBlock": entry.get("DestinationCidrBlock") or "",
                "gatewayId": entry.get("GatewayId") or "",
                "natGatewayId": entry.get("NatGatewayId") or "",
            }
            for entry in found["Routes"]
            if entry.get("GatewayId") != "local" and not (entry.get("GatewayId") or "").startswith("vpce-")
        ],
        "tags": _tags(found),
        "vpcId": found["VpcId"],
    }


def route_tables(account: Account, region: str, arguments: Arguments) -> dict[str, Any]:
    """`getRouteTables`: the IDs of those that match, none being no error."""
    filters = _filters(arguments, {"vpc-id": arguments.get("vpcId")})
    found = _all(account, region, "describe_route_tables", "RouteTables", {"Filters": filters})
    return {"id": region, "ids": sorted(entry["RouteTableId"] for entry in found), "tags": arguments.get("tags") or {}}


def vpc_endpoint(account: Account, region: str, arguments: Arguments) -> dict[str, Any]:
    """`getVpcEndpoint`."""
    named = {
        "service-name": arguments.get("serviceName"),
        "vpc-endpoint-state": arguments.get("state") or "available",
        "vpc-id": arguments.get("vpcId"),
    }
    found = _one(
        account, region, "describe_vpc_endpoints", "VpcEndpoints", "VpcEndpointIds", arguments, named, "VPC endpoint"
    )
    return {
        "id": found["VpcEndpointId"],
        "arn": _arn(account, region, "vpc-endpoint", found["VpcEndpointId"]),
        "dnsEntries": [
            {"dnsName": entry["DnsName"], "hostedZoneId": entry.get("HostedZoneId") or ""}
            for entry in found.get("DnsEntries") or ()
        ],
        "networkInterfaceIds": found.get("NetworkInterfaceIds") or [],
        "ownerId": found.get("OwnerId") or account.id,
        "policy": found.get("PolicyDocument") or "",
        "privateDnsEnabled": bool(found.get("PrivateDnsEnabled")),
        "routeTableIds": found.get("RouteTableIds") or [],
        "securityGroupIds": [group["GroupId"] for group in found.get("Groups") or ()],
        "serviceName": found["ServiceName"],
        "state": found["State"],
        "subnetIds": found.get("SubnetIds") or [],
        "tags": _tags(found),
        "vpcEndpointType": found["VpcEndpointType"],
        "vpcId": found["VpcId"],
    }


def _one(
    account: Account,
    region: str,
    operation: str,
    items: str,
    ids: str,
    arguments: Arguments,
    named: Mapping[str, Any],
    kind: str,
) -> dict[str, Any]:
    request: dict[str, Any] = {"Filters": _filters(arguments, named)}
    if arguments.get("id"):
        request[ids] = [arguments["id"]]
    try:
        found = _all(account, region, operation, items, request)
    except AwsError as error:
        if "NotFound" not in error.code:
            raise
        found = []
    if not found:
        raise ProviderError(f"no matching {kind} found in {region}: {_asked(arguments)}")
    if len(found) > 1:
        raise ProviderError(f"{len(found)} matches for the {kind} in {region}: {_asked(arguments)}; say more")
    return found[0]


def _all(account: Account, region: str, operation: str, items: str, request: Mapping[str, Any]) -> list[dict[str, Any]]:
    asked = {name: value for name, value in request.items() if value}
    return account.call("ec2", region, operation, asked, all_pages=True)[items]


def _filters(arguments: Arguments, named: Mapping[str, Any]) -> list[dict[str, Any]]:
    filters = [_filter(name, value) for name, value in named.items() if value]
    filters += [_filter(f"tag:{key}", value) for key, value in (arguments.get("tags") or {}).items()]
    return filters + [_filter(entry["name"], *entry["values"]) for entry in arguments.get("filters") or ()]


def _filter(name: str, *values: str) -> dict[str, Any]:
    return {"Name": name, "Values": list(values)}


def _tags(described: Mapping[str, Any]) -> dict[str, str]:
    pairs: Sequence[Mapping[str, str]] = described.get("Tags") or ()
    return {pair["Key"]: pair["Value"] for pair in pairs}


def _arn(account: Account, region: str, kind: str, identity: str) -> str:
    return f"arn:{partition_of(region)}:ec2:{region}:{account.id}:{kind}/{identity}"


def _asked(arguments: Arguments) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in sorted(arguments.items()) if name != "region") or "anything"


LOOKUPS: dict[str, Callable[[Account, str, Arguments], dict[str, Any]]] = {
    "aws:ec2/getRouteTable:getRouteTable": route_table,
    "aws:ec2/getRouteTables:getRouteTables": route_tables,
    "aws:ec2/getSubnet:getSubnet": subnet,
    "aws:ec2/getSubnets:getSubnets": subnets,
    "aws:ec2/getVpc:getVpc": vpc,
    "aws:ec2/getVpcEndpoint:getVpcEndpoint": vpc_endpoint,
}
