"""Data sources that look a network up by its id."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trainyard.local.aws.account import Account, partition_of
from trainyard.local.aws.errors import AwsError, ProviderError


def vpc(account: Account, region: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """`getVpc` by id."""
    found = _one(account, region, "getVpc", arguments, "describe_vpcs", "VpcIds", "Vpcs")
    dns = {
        f"enableDns{switch}": account.call(
            "ec2", region, "describe_vpc_attribute", {"VpcId": found["VpcId"], "Attribute": f"enableDns{switch}"}
        )[f"EnableDns{switch}"]["Value"]
        for switch in ("Hostnames", "Support")
    }
    main = account.call(
        "ec2",
        region,
        "describe_route_tables",
        {
            "Filters": [
                {"Name": "vpc-id", "Values": [found["VpcId"]]},
                {"Name": "association.main", "Values": ["true"]},
            ]
        },
    )["RouteTables"]
    return {
        **_common(account, region, found, "vpc", found["VpcId"]),
        **dns,
        "cidrBlock": found["CidrBlock"],
        "cidrBlockAssociations": [
            {
                "associationId": one["AssociationId"],
                "cidrBlock": one["CidrBlock"],
                "state": one["CidrBlockState"]["State"],
            }
            for one in found.get("CidrBlockAssociationSet") or ()
        ],
        "default": bool(found.get("IsDefault")),
        "dhcpOptionsId": found.get("DhcpOptionsId", ""),
        "instanceTenancy": found.get("InstanceTenancy", "default"),
        "ipv6AssociationId": "",
        "ipv6CidrBlock": "",
        "mainRouteTableId": main[0]["RouteTableId"] if main else "",
    }


def subnet(account: Account, region: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """`getSubnet` by id."""
    found = _one(account, region, "getSubnet", arguments, "describe_subnets", "SubnetIds", "Subnets")
    return {
        **_common(account, region, found, "subnet", found["SubnetId"]),
        "assignIpv6AddressOnCreation": bool(found.get("AssignIpv6AddressOnCreation")),
        "availabilityZone": found["AvailabilityZone"],
        "availabilityZoneId": found.get("AvailabilityZoneId", ""),
        "availableIpAddressCount": found.get("AvailableIpAddressCount", 0),
        "cidrBlock": found["CidrBlock"],
        "defaultForAz": bool(found.get("DefaultForAz")),
        "mapPublicIpOnLaunch": bool(found.get("MapPublicIpOnLaunch")),
        "vpcId": found["VpcId"],
    }


def _one(
    account: Account,
    region: str,
    function: str,
    arguments: Mapping[str, Any],
    operation: str,
    parameter: str,
    answer: str,
) -> Mapping[str, Any]:
    """What AWS says about the id asked for, under the name of its list in the answer."""
    others = sorted(name for name, value in arguments.items() if value and name not in ("id", "region"))
    if others or not arguments.get("id"):
        raise ProviderError(f"{function} is emulated for id and region alone, not for {', '.join(others) or 'no id'}")
    try:
        return account.call("ec2", region, operation, {parameter: [arguments["id"]]})[answer][0]
    except AwsError as error:
        raise ProviderError(f"{function}: {error}") from None


def _common(account: Account, region: str, found: Mapping[str, Any], kind: str, identifier: str) -> dict[str, Any]:
    owner = found.get("OwnerId") or account.id
    return {
        "id": identifier,
        "region": region,
        "arn": f"arn:{partition_of(region)}:ec2:{region}:{owner}:{kind}/{identifier}",
        "ownerId": owner,
        "state": found.get("State", "available"),
        "tags": {tag["Key"]: tag["Value"] for tag in found.get("Tags") or ()},
    }
