"""EC2: networks; with security groups and flow logs, which have files of their own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from trainyard.local.aws.calls import Call, Derive, Do, Read
from trainyard.local.aws.context import Context
from trainyard.local.aws.fields import (
    ID,
    Const,
    Each,
    pascal,
)
from trainyard.local.aws.row import Row
from trainyard.local.aws.rows import (
    ec2_capacity,
    ec2_flow_logs,
    ec2_gateways,
    ec2_launch_templates,
    ec2_security_groups,
    ec2_vpc_endpoints,
)
from trainyard.local.aws.tags import ec2_tags

_NO_IPV6 = "the rehearsal's networks are IPv4 only"
_NO_IPAM = "IP address management is not emulated"
_NO_OUTPOST = "there is no Outpost"


def _filters(**values: Any) -> list[dict[str, Any]]:
    """EC2's filters: `_filters(vpc_id=ID)`."""
    return [{"Name": Const(name.replace("_", "-")), "Values": [value]} for name, value in values.items()]


def _vpc_attribute(property_: str) -> Read:
    name = property_[0].upper() + property_[1:]
    return Read("describe_vpc_attribute", {"VpcId": ID, "Attribute": Const(property_)}, {name: {"Value": property_}})


def _set_attribute(operation: str, id_parameter: str, name: str, property_: str) -> Call:
    return Call(operation, {id_parameter: ID, name: {"Value": property_}})


def _vpc() -> Row:
    attributes = ("enableDnsSupport", "enableDnsHostnames", "enableNetworkAddressUsageMetrics")
    in_vpc = {"Filters": [*_filters(vpc_id=ID)]}
    return Row(
        "aws:ec2/vpc:Vpc",
        service="ec2",
        cloudformation="AWS::EC2::VPC",
        id="Vpc.VpcId",
        create=Call("create_vpc", pascal("cidrBlock", "instanceTenancy")),
        read=(
            Read(
                "describe_vpcs",
                {"VpcIds": [ID]},
                pascal("cidrBlock", "dhcpOptionsId", "instanceTenancy", "ownerId"),
                path="Vpcs[0]",
                gone=("InvalidVpcID.NotFound",),
            ),
            *(_vpc_attribute(name) for name in attributes),
            Read(
                "describe_security_groups",
                {"Filters": _filters(vpc_id=ID, group_name=Const("default"))},
                {"GroupId": "defaultSecurityGroupId"},
                path="SecurityGroups[0]",
            ),
            Read(
                "describe_network_acls",
                {"Filters": _filters(vpc_id=ID, default=Const("true"))},
                {"NetworkAclId": "defaultNetworkAclId"},
                path="NetworkAcls[0]",
            ),
            Read(
                "describe_route_tables",
                in_vpc,
                {"RouteTableId": "mainRouteTableId", "Main": "defaultRouteTableId"},
                path="RouteTables[?Associations[?Main]].{RouteTableId: RouteTableId, Main: RouteTableId} | [0]",
            ),
        ),
        settings=tuple(
            _set_attribute("modify_vpc_attribute", "VpcId", name[0].upper() + name[1:], name) for name in attributes
        ),
        delete=(Call("delete_vpc", {"VpcId": ID}, ignore=("InvalidVpcID.NotFound",)),),
        tags=ec2_tags("vpc"),
        defaults={"enableDnsSupport": True, "instanceTenancy": "default"},
        computed=("cidrBlock", "enableDnsHostnames", "enableNetworkAddressUsageMetrics"),
        outputs={"arn": "arn:{partition}:ec2:{region}:{account}:vpc/{id}"},
        not_emulated={
            **dict.fromkeys(
                [
                    "assignGeneratedIpv6CidrBlock",
                    "ipv6CidrBlock",
                    "ipv6CidrBlockNetworkBorderGroup",
                    "ipv6NetmaskLength",
                    "ipv6AssociationId",
                ],
                _NO_IPV6,
            ),
            **dict.fromkeys(("ipv4IpamPoolId", "ipv4NetmaskLength", "ipv6IpamPoolId"), _NO_IPAM),
        },
    )


def _subnet() -> Row:
    attributes = {
        "AssignIpv6AddressOnCreation": "assignIpv6AddressOnCreation",
        "EnableDns64": "enableDns64",
        "MapPublicIpOnLaunch": "mapPublicIpOnLaunch",
    }
    on_launch = {
        "EnableResourceNameDnsARecord": "enableResourceNameDnsARecordOnLaunch",
        "EnableResourceNameDnsAAAARecord": "enableResourceNameDnsAaaaRecordOnLaunch",
    }
    return Row(
        "aws:ec2/subnet:Subnet",
        service="ec2",
        cloudformation="AWS::EC2::Subnet",
        id="Subnet.SubnetId",
        create=Call(
            "create_subnet", pascal("availabilityZone", "availabilityZoneId", "cidrBlock", "ipv6Native", "vpcId")
        ),
        read=(
            Read(
                "describe_subnets",
                {"SubnetIds": [ID]},
                {
                    **pascal("availabilityZone", "availabilityZoneId", "cidrBlock", "ipv6Native", "ownerId", "vpcId"),
                    **attributes,
                    "SubnetArn": "arn",
                    "PrivateDnsNameOptionsOnLaunch": {
                        **on_launch,
                        "HostnameType": "privateDnsHostnameTypeOnLaunch",
                    },
                },
                path="Subnets[0]",
                gone=("InvalidSubnetID.NotFound",),
            ),
        ),
        settings=(
            *(_set_attribute("modify_subnet_attribute", "SubnetId", name, prop) for name, prop in attributes.items()),
            *(
                _set_attribute("modify_subnet_attribute", "SubnetId", f"{name}OnLaunch", prop)
                for name, prop in on_launch.items()
            ),
            Call(
                "modify_subnet_attribute",
                {"SubnetId": ID, "PrivateDnsHostnameTypeOnLaunch": "privateDnsHostnameTypeOnLaunch"},
            ),
        ),
        delete=(Call("delete_subnet", {"SubnetId": ID}, ignore=("InvalidSubnetID.NotFound",)),),
        tags=ec2_tags("subnet"),
        defaults=dict.fromkeys(
            (
                "assignIpv6AddressOnCreation",
                "enableDns64",
                "enableResourceNameDnsARecordOnLaunch",
                "enableResourceNameDnsAaaaRecordOnLaunch",
                "ipv6Native",
                "mapPublicIpOnLaunch",
            ),
            False,
        ),
        computed=("availabilityZone", "availabilityZoneId", "cidrBlock", "privateDnsHostnameTypeOnLaunch"),
        conflicts=(("availabilityZone", "availabilityZoneId"),),
        not_emulated={
            **dict.fromkeys(("ipv6CidrBlock", "ipv6NetmaskLength", "ipv6CidrBlockAssociationId"), _NO_IPV6),
            **dict.fromkeys(("ipv4IpamPoolId", "ipv4NetmaskLength", "ipv6IpamPoolId"), _NO_IPAM),
            **dict.fromkeys(
                ("customerOwnedIpv4Pool", "enableLniAtDeviceIndex", "mapCustomerOwnedIpOnLaunch", "outpostArn"),
                _NO_OUTPOST,
            ),
        },
    )


_DESTINATIONS = {"cidrBlock": "DestinationCidrBlock", "destinationPrefixListId": "DestinationPrefixListId"}
_NEXT_HOPS = {
    "egressOnlyGatewayId": "EgressOnlyInternetGatewayId",
    "gatewayId": "GatewayId",
    "natGatewayId": "NatGatewayId",
    "networkInterfaceId": "NetworkInterfaceId",
    "transitGatewayId": "TransitGatewayId",
    "vpcEndpointId": "VpcEndpointId",
    "vpcPeeringConnectionId": "VpcPeeringConnectionId",
}
_ROUTE = {theirs: ours for ours, theirs in {**_DESTINATIONS, **_NEXT_HOPS}.items()}


def _own_routes(context: Context, observed: Mapping[str, Any]) -> Mapping[str, Any]:
    """The routes that a program makes: neither those inside the network nor those of gateway endpoints."""
    del context
    routes = []
    for route in observed.get("_routes") or ():
        target = route.get("GatewayId") or ""
        if target == "local" or target.startswith("vpce-"):
            continue
        routes.append({ours: route[theirs] for theirs, ours in _ROUTE.items() if route.get(theirs)})
    return {"routes": routes}


def _set_routes(context: Context) -> None:
    def by_destination(routes: Any) -> dict[str, Mapping[str, Any]]:
        return {route.get("cidrBlock") or route.get("destinationPrefixListId"): route for route in routes or ()}

    have, want = by_destination(context.actual.get("routes")), by_destination(context.wanted.get("routes"))
    for destination, route in have.items():
        if destination not in want:
            request = {theirs: route[ours] for ours, theirs in _DESTINATIONS.items() if route.get(ours)}
            context.call("delete_route", RouteTableId=context.id, **request)
    for destination, route in want.items():
        if have.get(destination) != route:
            request = {theirs: route[ours] for theirs, ours in _ROUTE.items() if route.get(ours)}
            operation = "replace_route" if destination in have else "create_route"
            context.call(operation, RouteTableId=context.id, **request)


def _only_known_routes(inputs: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    routes = inputs.get("routes")
    for index, route in enumerate(routes if isinstance(routes, list) else ()):
        for name in route if isinstance(route, Mapping) else ():
            if name not in _ROUTE.values():
                yield f"routes[{index}].{name}", "is not emulated"


def _route_table() -> Row:
    return Row(
        "aws:ec2/routeTable:RouteTable",
        service="ec2",
        cloudformation="AWS::EC2::RouteTable",
        id="RouteTable.RouteTableId",
        create=Call("create_route_table", pascal("vpcId")),
        read=(
            Read(
                "describe_route_tables",
                {"RouteTableIds": [ID]},
                {**pascal("ownerId", "vpcId"), "Routes": "_routes"},
                path="RouteTables[0]",
                gone=("InvalidRouteTableID.NotFound",),
            ),
            Derive(_own_routes, (Each("routes", _ROUTE, ordered=False),)),
        ),
        settings=(Do(_set_routes, on=("routes",)),),
        delete=(Call("delete_route_table", {"RouteTableId": ID}, ignore=("InvalidRouteTableID.NotFound",)),),
        tags=ec2_tags("route-table"),
        computed=("routes",),
        constraints=(_only_known_routes,),
        outputs={"arn": "arn:{partition}:ec2:{region}:{account}:route-table/{id}"},
        not_emulated={"propagatingVgws": "virtual private gateways are not emulated"},
    )


def _association(context: Context, observed: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The association of a subnet or gateway, whose ID changes when it is given another route table."""
    del observed
    facts = context.facts
    filters = {"association.subnet-id": facts.get("subnetId"), "association.gateway-id": facts.get("gatewayId")}
    if not any(filters.values()):
        filters = {"association.route-table-association-id": context.id}
    name, value = next((name, value) for name, value in filters.items() if value)
    for table in context.list_all("describe_route_tables", Filters=[{"Name": name, "Values": [value]}])["RouteTables"]:
        for association in table["Associations"]:
            if value in association.values():
                context.id = association["RouteTableAssociationId"]
                place = {"subnetId": association.get("SubnetId"), "gatewayId": association.get("GatewayId")}
                return {"routeTableId": table["RouteTableId"], **{key: there for key, there in place.items() if there}}
    return None


def _route_table_association() -> Row:
    return Row(
        "aws:ec2/routeTableAssociation:RouteTableAssociation",
        service="ec2",
        cloudformation="AWS::EC2::SubnetRouteTableAssociation",
        id="AssociationId",
        import_ids=("{subnetId}/{routeTableId}",),
        create=Call("associate_route_table", pascal("gatewayId", "routeTableId", "subnetId")),
        read=(Derive(_association, ("gatewayId", "routeTableId", "subnetId")),),
        update=(Call("replace_route_table_association", {"AssociationId": ID, "RouteTableId": "routeTableId"}),),
        delete=(Call("disassociate_route_table", {"AssociationId": ID}, ignore=("InvalidAssociationID.NotFound",)),),
        replace_on=("gatewayId", "subnetId"),
        in_place=("routeTableId",),
        exactly_one=(("subnetId", "gatewayId"),),
    )


ROWS = (
    _vpc(),
    _subnet(),
    _route_table(),
    _route_table_association(),
    *ec2_vpc_endpoints.ROWS,
    *ec2_gateways.ROWS,
    *ec2_security_groups.ROWS,
    *ec2_flow_logs.ROWS,
    *ec2_launch_templates.ROWS,
    *ec2_capacity.ROWS,
)
