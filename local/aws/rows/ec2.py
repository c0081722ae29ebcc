"""EC2: networks. Rules of security groups as resources of their own are in `vpc.py`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from trainyard.local.aws.calls import Call, Derive, Do, Read
from trainyard.local.aws.context import Context
from trainyard.local.aws.errors import AwsError
from trainyard.local.aws.fields import (
    ID,
    Added,
    Const,
    Each,
    Fact,
    Field,
    Json,
    Named,
    Object,
    Removed,
    Scope,
    Values,
    leaves,
    pascal,
)
from trainyard.local.aws.row import Name, Row
from trainyard.local.aws.rows.security_group_rules import Rules, describe_group, rules_from, set_rules
from trainyard.local.aws.tags import ec2_tags
from trainyard.local.aws.values import OMIT

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


def _vpc_endpoint() -> Row:
    settings = {
        "PolicyDocument": Json("policy"),
        "DnsOptions": Object("dnsOptions", pascal("dnsRecordIpType", "privateDnsOnlyForInboundResolverEndpoint")),
        **pascal("ipAddressType", "privateDnsEnabled"),
    }
    subnets, tables = Values("subnetIds"), Values("routeTableIds")
    return Row(
        "aws:ec2/vpcEndpoint:VpcEndpoint",
        service="ec2",
        cloudformation="AWS::EC2::VPCEndpoint",
        id="VpcEndpoint.VpcEndpointId",
        create=Call(
            "create_vpc_endpoint",
            {
                **settings,
                **pascal("serviceName", "vpcEndpointType", "vpcId"),
                "RouteTableIds": tables,
                "SubnetIds": subnets,
                "SecurityGroupIds": Values("securityGroupIds"),
            },
        ),
        read=(
            Read(
                "describe_vpc_endpoints",
                {"VpcEndpointIds": [ID]},
                {
                    **settings,
                    **pascal("ownerId", "requesterManaged", "serviceName", "state", "vpcEndpointType", "vpcId"),
                    "RouteTableIds": tables,
                    "SubnetIds": subnets,
                    "Groups": Values("securityGroupIds", key="GroupId"),
                    "NetworkInterfaceIds": Values("networkInterfaceIds"),
                    "DnsEntries": Each("dnsEntries", pascal("dnsName", "hostedZoneId")),
                },
                path="VpcEndpoints[?State != 'deleted'] | [0]",
                gone=("InvalidVpcEndpointId.NotFound",),
            ),
            Read(
                "describe_prefix_lists",
                {"Filters": _filters(prefix_list_name=Fact("serviceName"))},
                {"PrefixListId": "prefixListId", "Cidrs": Values("cidrBlocks")},
                path="PrefixLists[0]",
            ),
        ),
        update=(
            Call(
                "modify_vpc_endpoint",
                {
                    "VpcEndpointId": ID,
                    **settings,
                    "AddRouteTableIds": Added("routeTableIds"),
                    "RemoveRouteTableIds": Removed("routeTableIds"),
                    "AddSubnetIds": Added("subnetIds"),
                    "RemoveSubnetIds": Removed("subnetIds"),
                    "AddSecurityGroupIds": Added("securityGroupIds"),
                    "RemoveSecurityGroupIds": Removed("securityGroupIds"),
                },
            ),
        ),
        delete=(Call("delete_vpc_endpoints", {"VpcEndpointIds": [ID]}, failures="Unsuccessful[].Error"),),
        tags=ec2_tags("vpc-endpoint"),
        defaults={"vpcEndpointType": "Gateway"},
        computed=(
            "dnsOptions",
            "ipAddressType",
            "policy",
            "privateDnsEnabled",
            "routeTableIds",
            "securityGroupIds",
            "subnetIds",
        ),
        unchecked=("policy",),
        outputs={"arn": "arn:{partition}:ec2:{region}:{account}:vpc-endpoint/{id}"},
        not_emulated={
            "autoAccept": "there is no other account to accept endpoints of",
            "resourceConfigurationArn": "VPC Lattice is not emulated",
            "serviceNetworkArn": "VPC Lattice is not emulated",
            "serviceRegion": "endpoints to other regions are not emulated",
            "subnetConfigurations": "the emulator chooses addresses itself",
        },
    )


def _rules_of(context: Context, observed: Mapping[str, Any]) -> Mapping[str, Any]:
    del observed
    description = describe_group(context, context.id)
    return {"ingress": rules_from(description, "ingress"), "egress": rules_from(description, "egress")}


def _set_ingress(context: Context) -> None:
    set_rules(context, "ingress", context.wanted.get("ingress") or ())


def _set_egress(context: Context) -> None:
    set_rules(context, "egress", context.wanted.get("egress") or ())


def _make_group(context: Context) -> Any:
    """A new group without the rule that lets everything out, which the official provider takes away as well."""
    wanted = context.wanted
    place = {"VpcId": wanted["vpcId"]} if wanted.get("vpcId") else {}
    answer = context.call("create_security_group", GroupName=wanted["name"], Description=wanted["description"], **place)
    context.id = answer["GroupId"]
    set_rules(context, "egress", ())
    return answer


def _adopt_default_group(context: Context) -> Any:
    """The group that every network has, emptied; nothing is created."""
    vpc_id = context.wanted.get("vpcId")
    if not vpc_id:
        defaults = context.call("describe_vpcs", Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"]
        if not defaults:
            raise AwsError("ec2:DescribeVpcs", "DefaultVpcNotFound", "there is no default VPC; give vpcId")
        vpc_id = defaults[0]["VpcId"]
    filters = [{"Name": "vpc-id", "Values": [vpc_id]}, {"Name": "group-name", "Values": ["default"]}]
    group = context.call("describe_security_groups", Filters=filters)["SecurityGroups"][0]
    context.id = group["GroupId"]
    set_rules(context, "ingress", ())
    set_rules(context, "egress", ())
    return group


def _revoke_all(context: Context) -> None:
    if context.wanted.get("revokeRulesOnDelete"):
        set_rules(context, "ingress", ())
        set_rules(context, "egress", ())


def _security_group(token: str, **more: Any) -> Row:
    return Row(
        token,
        service="ec2",
        cloudformation="AWS::EC2::SecurityGroup",
        id="GroupId",
        read=(
            Read(
                "describe_security_groups",
                {"GroupIds": [ID]},
                {**pascal("description", "ownerId", "vpcId"), "GroupName": "name"},
                path="SecurityGroups[0]",
                gone=("InvalidGroup.NotFound", "InvalidGroupId.Malformed"),
            ),
            Derive(_rules_of, (Rules("ingress"), Rules("egress"))),
        ),
        settings=(Do(_set_ingress, on=("ingress",)), Do(_set_egress, on=("egress",))),
        tags=ec2_tags("security-group"),
        local=("revokeRulesOnDelete",),
        outputs={"arn": "arn:{partition}:ec2:{region}:{account}:security-group/{id}"},
        schema_names={"description": "GroupDescription", "name": "GroupName"},
        unchecked=("ingress", "egress"),
        **more,
    )


@dataclass(frozen=True)
class FirstOf(Field):
    """The first of several properties that is set, or what stands for it in `kinds`."""

    kinds: Mapping[str, str]
    told: bool = False

    def write(self, scope: Scope) -> Any:
        for property_, kind in self.kinds.items():
            if scope.values.get(property_):
                return kind if self.told else scope.values[property_]
        return OMIT

    def leaves(self) -> Iterator[Named]:
        for property_ in self.kinds:
            yield from leaves(property_)


_LOGGED = {"vpcId": "VPC", "subnetId": "Subnet", "eniId": "NetworkInterface"}
_LOGGED_PREFIXES = {"vpc-": "vpcId", "subnet-": "subnetId", "eni-": "eniId"}


def _logged(context: Context, observed: Mapping[str, Any]) -> Mapping[str, Any]:
    del context
    resource = observed.get("_resource") or ""
    return {property_: resource for prefix, property_ in _LOGGED_PREFIXES.items() if resource.startswith(prefix)}


def _needs_role(inputs: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    to_logs = inputs.get("logDestinationType") == "cloud-watch-logs"
    if to_logs and "iamRoleArn" not in inputs:
        yield "iamRoleArn", "is missing: flow logs go to CloudWatch Logs with a role"
    if to_logs and "destinationOptions" in inputs:
        yield "destinationOptions", "is for flow logs that go to S3"
    if "logDestination" not in inputs:
        yield "logDestination", "is missing: say where the flow logs go"


def _flow_log() -> Row:
    settings = {
        **pascal("logDestination", "logDestinationType", "logFormat", "maxAggregationInterval", "trafficType"),
        "DeliverLogsPermissionArn": "iamRoleArn",
        "DestinationOptions": Object(
            "destinationOptions", pascal("fileFormat", "hiveCompatiblePartitions", "perHourPartition")
        ),
    }
    return Row(
        "aws:ec2/flowLog:FlowLog",
        service="ec2",
        cloudformation="AWS::EC2::FlowLog",
        id="FlowLogIds[0]",
        create=Call(
            "create_flow_logs",
            {**settings, "ResourceIds": [FirstOf(_LOGGED)], "ResourceType": FirstOf(_LOGGED, told=True)},
            failures="Unsuccessful[].Error",
        ),
        read=(
            Read(
                "describe_flow_logs",
                {"FlowLogIds": [ID]},
                {**settings, "ResourceId": "_resource"},
                path="FlowLogs[0]",
                gone=("InvalidFlowLogId.NotFound",),
            ),
            Derive(_logged, tuple(_LOGGED)),
        ),
        delete=(
            Call(
                "delete_flow_logs",
                {"FlowLogIds": [ID]},
                ignore=("InvalidFlowLogId.NotFound",),
                failures="Unsuccessful[].Error",
            ),
        ),
        tags=ec2_tags("vpc-flow-log"),
        defaults={"logDestinationType": "cloud-watch-logs", "maxAggregationInterval": 600},
        computed=("logFormat", "destinationOptions"),
        replace_on=("iamRoleArn", *_LOGGED),
        exactly_one=(tuple(_LOGGED),),
        constraints=(_needs_role,),
        schema_names={"iamRoleArn": "DeliverLogsPermissionArn"},
        outputs={"arn": "arn:{partition}:ec2:{region}:{account}:vpc-flow-log/{id}"},
        not_emulated={
            "deliverCrossAccountRole": "the emulator has one account",
            "regionalNatGatewayId": "flow logs of gateways are not emulated",
            "tagFieldSpecifications": "tags in flow logs are not emulated",
            "transitGatewayAttachmentId": "transit gateways are not emulated",
            "transitGatewayId": "transit gateways are not emulated",
        },
        notes=("no traffic flows in the emulated account, so no flow log is ever written",),
    )


ROWS = (
    _vpc(),
    _subnet(),
    _route_table(),
    _route_table_association(),
    _vpc_endpoint(),
    _security_group(
        "aws:ec2/securityGroup:SecurityGroup",
        name=Name(),
        create=Do(_make_group),
        delete=(
            Do(_revoke_all),
            Call("delete_security_group", {"GroupId": ID}, ignore=("InvalidGroup.NotFound",)),
        ),
        defaults={"description": "Managed by Pulumi", "revokeRulesOnDelete": False},
        computed=("ingress", "egress", "vpcId"),
    ),
    _security_group(
        "aws:ec2/defaultSecurityGroup:DefaultSecurityGroup",
        create=Do(_adopt_default_group),
        defaults={"revokeRulesOnDelete": False},
        computed=("ingress", "egress", "vpcId"),
        not_emulated={"namePrefix": "the group's name is always default"},
        notes=("adopted and emptied at create, as the official provider does; deleting only forgets it",),
    ),
    _flow_log(),
)
