"""EC2: endpoints of AWS services inside a network, as `ec2.py` takes them in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from trainyard.local.aws.calls import Call, Read
from trainyard.local.aws.fields import ID, Added, Const, Each, Fact, Json, Object, Prop, Removed, Values, pascal
from trainyard.local.aws.row import Row
from trainyard.local.aws.tags import ec2_tags


def _belongs_to_kind(inputs: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    kind = inputs.get("vpcEndpointType")
    others = {
        "Gateway": ("subnetIds", "securityGroupIds", "privateDnsEnabled", "dnsOptions"),
        "Interface": ("routeTableIds",),
    }
    for name in others.get(kind, ()) if isinstance(kind, str) else ():
        if inputs.get(name):
            yield name, f"has no meaning for an endpoint of type {kind}"
    if not inputs.get("serviceName"):
        yield "serviceName", "is missing; write com.amazonaws.<region>.<service>"


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
                "PrivateDnsEnabled": Prop("privateDnsEnabled", unset=False),
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
                {"Filters": [{"Name": Const("prefix-list-name"), "Values": [Fact("serviceName")]}]},
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
        constraints=(_belongs_to_kind,),
        outputs={"arn": "arn:{partition}:ec2:{region}:{account}:vpc-endpoint/{id}"},
        not_emulated={
            "autoAccept": "there is no other account to accept endpoints of",
            "resourceConfigurationArn": "VPC Lattice is not emulated",
            "serviceNetworkArn": "VPC Lattice is not emulated",
            "serviceRegion": "endpoints to other regions are not emulated",
            "subnetConfigurations": "the emulator chooses addresses itself",
        },
    )


ROWS = (_vpc_endpoint(),)
