"""EC2: internet and NAT gateways, elastic addresses and routes of their own, as `ec2.py` takes them in."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from typing import Any

from trainyard.local.aws.calls import Call, Derive, Do, Read
from trainyard.local.aws.context import Context
from trainyard.local.aws.errors import AwsError
from trainyard.local.aws.fields import ID, Fact, pascal
from trainyard.local.aws.row import Row
from trainyard.local.aws.tags import ec2_tags

_NO_OUTPOST = "there is no Outpost"
_REGIONAL = "regional NAT gateways are not emulated; give subnetId"
_MORE_ADDRESSES = "a NAT gateway with more than one address is not emulated"


def _attach(context: Context) -> None:
    """A gateway serves one network; another takes its place."""
    wanted, actual = context.wanted.get("vpcId"), context.actual.get("vpcId")
    if actual and actual != wanted:
        context.call("detach_internet_gateway", InternetGatewayId=context.id, VpcId=actual)
    if wanted and wanted != actual:
        context.call("attach_internet_gateway", InternetGatewayId=context.id, VpcId=wanted)


def _detach(context: Context) -> None:
    if context.actual.get("vpcId"):
        context.call("detach_internet_gateway", InternetGatewayId=context.id, VpcId=context.actual["vpcId"])


def _internet_gateway() -> Row:
    same = {"InternetGatewayId": ID}
    gone = ("InvalidInternetGatewayID.NotFound",)
    return Row(
        "aws:ec2/internetGateway:InternetGateway",
        service="ec2",
        id="InternetGateway.InternetGatewayId",
        create=Call("create_internet_gateway"),
        read=(
            Read(
                "describe_internet_gateways",
                {"InternetGatewayIds": [ID]},
                {"Attachments": [{"VpcId": "vpcId"}], "OwnerId": "ownerId"},
                path="InternetGateways[0]",
                gone=gone,
            ),
        ),
        settings=(Do(_attach, on=("vpcId",)),),
        delete=(Do(_detach), Call("delete_internet_gateway", same, ignore=gone)),
        tags=ec2_tags("internet-gateway"),
        computed=("vpcId",),
        outputs={"arn": "arn:{partition}:ec2:{region}:{account}:internet-gateway/{id}"},
    )


def _elastic_ip() -> Row:
    return Row(
        "aws:ec2/eip:Eip",
        service="ec2",
        cloudformation="AWS::EC2::EIP",
        id="AllocationId",
        create=Call("allocate_address", pascal("address", "domain", "networkBorderGroup")),
        read=(
            Read(
                "describe_addresses",
                {"AllocationIds": [ID]},
                {
                    **pascal("allocationId", "associationId", "domain", "networkBorderGroup"),
                    "PrivateIpAddress": "privateIp",
                    "PublicIp": "publicIp",
                    "PublicIpv4Pool": "publicIpv4Pool",
                },
                path="Addresses[0]",
                gone=("InvalidAllocationID.NotFound", "InvalidAddress.NotFound"),
            ),
        ),
        delete=(Call("release_address", {"AllocationId": ID}, ignore=("InvalidAllocationID.NotFound",)),),
        tags=ec2_tags("elastic-ip"),
        defaults={"domain": "vpc"},
        computed=("networkBorderGroup", "publicIpv4Pool"),
        replace_on=("address", "domain", "networkBorderGroup"),
        outputs={"arn": "arn:{partition}:ec2:{region}:{account}:elastic-ip/{id}"},
        not_emulated={
            **dict.fromkeys(
                ("instance", "networkInterface", "associateWithPrivateIp"),
                "addresses are for NAT gateways, which take them by allocationId",
            ),
            **dict.fromkeys(("customerOwnedIpv4Pool", "carrierIp", "customerOwnedIp"), _NO_OUTPOST),
            "ipamPoolId": "IP address management is not emulated",
            **dict.fromkeys(("privateDns", "publicDns", "ptrRecord"), "the emulated account has no DNS"),
        },
    )


def _nat_gateway_kind(inputs: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    kind = inputs.get("connectivityType")
    if kind == "public" and not inputs.get("allocationId"):
        yield "allocationId", "is missing: a public NAT gateway needs an elastic address (aws.ec2.Eip)"
    if kind == "private" and inputs.get("allocationId"):
        yield "allocationId", "cannot stand at a private NAT gateway, which has no public address"
    if not inputs.get("subnetId"):
        yield "subnetId", "is missing; regional NAT gateways are not emulated"


def _nat_gateway() -> Row:
    return Row(
        "aws:ec2/natGateway:NatGateway",
        service="ec2",
        cloudformation="AWS::EC2::NatGateway",
        id="NatGateway.NatGatewayId",
        create=Call(
            "create_nat_gateway",
            {**pascal("allocationId", "connectivityType", "subnetId"), "PrivateIpAddress": "privateIp"},
        ),
        read=(
            Read(
                "describe_nat_gateways",
                {"NatGatewayIds": [ID]},
                {
                    **pascal("connectivityType", "subnetId", "vpcId"),
                    "NatGatewayAddresses": [
                        {
                            "AllocationId": "allocationId",
                            "AssociationId": "associationId",
                            "NetworkInterfaceId": "networkInterfaceId",
                            "PrivateIp": "privateIp",
                            "PublicIp": "publicIp",
                        }
                    ],
                },
                path="NatGateways[?State != 'deleted'] | [0]",
                gone=("NatGatewayNotFound",),
            ),
        ),
        delete=(Call("delete_nat_gateway", {"NatGatewayId": ID}, ignore=("NatGatewayNotFound",)),),
        tags=ec2_tags("natgateway"),
        defaults={"connectivityType": "public"},
        computed=("privateIp", "vpcId"),
        replace_on=("allocationId", "connectivityType", "privateIp", "subnetId"),
        constraints=(_nat_gateway_kind,),
        not_emulated={
            **dict.fromkeys(
                (
                    "availabilityMode",
                    "availabilityZoneAddresses",
                    "autoProvisionZones",
                    "autoScalingIps",
                    "regionalNatGatewayAddresses",
                    "regionalNatGatewayAutoMode",
                    "routeTableId",
                ),
                _REGIONAL,
            ),
            **dict.fromkeys(
                ("secondaryAllocationIds", "secondaryPrivateIpAddressCount", "secondaryPrivateIpAddresses"),
                _MORE_ADDRESSES,
            ),
        },
        notes=("the network needs an attached internet gateway first, as in AWS: make the NAT gateway depend on it",),
    )


_DESTINATIONS = {"destinationCidrBlock": "DestinationCidrBlock", "destinationPrefixListId": "DestinationPrefixListId"}
_TARGETS = {
    "egressOnlyGatewayId": "EgressOnlyInternetGatewayId",
    "gatewayId": "GatewayId",
    "natGatewayId": "NatGatewayId",
    "networkInterfaceId": "NetworkInterfaceId",
    "transitGatewayId": "TransitGatewayId",
    "vpcEndpointId": "VpcEndpointId",
    "vpcPeeringConnectionId": "VpcPeeringConnectionId",
}
_ROUTE = {theirs: ours for ours, theirs in {**_DESTINATIONS, **_TARGETS}.items()}
_TABLE = {"RouteTableId": Fact("routeTableId")}


def _route_id(facts: Mapping[str, Any]) -> str:
    """As the official provider makes it: the table and a checksum of the destination."""
    destination = facts.get("destinationCidrBlock") or facts.get("destinationPrefixListId") or ""
    return f"r-{facts['routeTableId']}{zlib.crc32(destination.encode())}"


def _route(context: Context, observed: Mapping[str, Any]) -> Mapping[str, Any] | None:
    del observed
    facts = context.facts
    try:
        table = context.call("describe_route_tables", RouteTableIds=[facts["routeTableId"]])["RouteTables"][0]
    except AwsError as error:
        if error.code == "InvalidRouteTableID.NotFound":
            return None
        raise
    for route in table["Routes"]:
        if all(route.get(theirs) == facts.get(ours) for ours, theirs in _DESTINATIONS.items()):
            told = {ours: route[theirs] for theirs, ours in _ROUTE.items() if route.get(theirs)}
            state = {"origin": route.get("Origin"), "state": route.get("State")}
            return {"routeTableId": table["RouteTableId"], **told, **state}
    return None


def _own_route() -> Row:
    destination = {theirs: Fact(ours) for ours, theirs in _DESTINATIONS.items()}
    return Row(
        "aws:ec2/route:Route",
        service="ec2",
        cloudformation="AWS::EC2::Route",
        id=_route_id,
        import_ids=("{routeTableId}_{destinationCidrBlock}",),
        create=Call("create_route", {"RouteTableId": "routeTableId", **_ROUTE}),
        update=(Call("replace_route", {**_TABLE, **destination, **{t: o for o, t in _TARGETS.items()}}),),
        read=(Derive(_route, ("routeTableId", *_DESTINATIONS, *_TARGETS, "origin", "state")),),
        delete=(Call("delete_route", {**_TABLE, **destination}, ignore=("InvalidRoute.NotFound",)),),
        replace_on=("routeTableId", *_DESTINATIONS),
        exactly_one=(tuple(_DESTINATIONS), tuple(_TARGETS)),
        computed=("networkInterfaceId",),
        not_emulated={
            "destinationIpv6CidrBlock": "the rehearsal's networks are IPv4 only",
            **dict.fromkeys(
                ("carrierGatewayId", "coreNetworkArn", "localGatewayId", "odbNetworkArn"),
                "this kind of gateway is not emulated",
            ),
            **dict.fromkeys(("instanceId", "instanceOwnerId"), "routes to instances are not emulated"),
        },
    )


ROWS = (_internet_gateway(), _elastic_ip(), _nat_gateway(), _own_route())
