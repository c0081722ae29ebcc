"""Data sources about networks that are there already."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from aws_program import DEFAULT_TAGS, Program

from trainyard.local.aws.account import Account
from trainyard.local.aws.errors import AwsError, ProviderError
from trainyard.local.aws.provider import Configuration, Provider


@pytest.fixture(scope="module")
def network(account: Account) -> Iterator[Program]:
    """A network in the UAE with two subnets, a route table and an endpoint."""
    program = Program(Provider(Configuration("me-central-1", DEFAULT_TAGS), account))
    vpc = program.up("aws:ec2/vpc:Vpc", "vpc", cidrBlock="10.77.0.0/16", tags={"Name": "ours"})
    for name, block, zone in (("a", "10.77.0.0/24", "me-central-1a"), ("b", "10.77.1.0/24", "me-central-1b")):
        subnet = {"vpcId": vpc.id, "cidrBlock": block, "availabilityZone": zone, "tags": {"tier": "private"}}
        program.up("aws:ec2/subnet:Subnet", name, **subnet)
    table = program.up("aws:ec2/routeTable:RouteTable", "table", vpcId=vpc.id)
    program.up(
        "aws:ec2/routeTableAssociation:RouteTableAssociation",
        "association",
        routeTableId=table.id,
        subnetId=program.resources["a"].id,
    )
    program.up(
        "aws:ec2/vpcEndpoint:VpcEndpoint",
        "s3",
        vpcId=vpc.id,
        serviceName="com.amazonaws.me-central-1.s3",
        routeTableIds=[table.id],
    )
    yield program
    program.destroy_all()


def look_up(network: Program, function: str, **arguments: Any) -> dict[str, Any]:
    return network.provider.invoke(f"aws:ec2/{function}:{function}", arguments)


def test_a_vpc_by_id_by_tags_and_by_filters(network: Program):
    identity = network.resources["vpc"].id
    for arguments in (
        {"id": identity},
        {"tags": {"Name": "ours"}},
        {"cidrBlock": "10.77.0.0/16"},
        {"filters": [{"name": "tag:Name", "values": ["ours"]}]},
    ):
        found = look_up(network, "getVpc", **arguments)
        assert (found["id"], found["cidrBlock"]) == (identity, "10.77.0.0/16")
    assert found["enableDnsSupport"] is True
    assert found["mainRouteTableId"].startswith("rtb-")


def test_none_and_several_matches_are_errors(network: Program):
    with pytest.raises(ProviderError, match="no matching VPC found in me-central-1"):
        look_up(network, "getVpc", id="vpc-00000000")
    with pytest.raises(ProviderError, match="2 matches for the subnet"):
        look_up(network, "getSubnet", vpcId=network.resources["vpc"].id)


def test_subnets_one_and_all(network: Program):
    one = look_up(network, "getSubnet", id=network.resources["b"].id)
    assert (one["availabilityZone"], one["vpcId"]) == ("me-central-1b", network.resources["vpc"].id)
    of_vpc = [{"name": "vpc-id", "values": [network.resources["vpc"].id]}]
    both = look_up(network, "getSubnets", filters=of_vpc, tags={"tier": "private"})
    assert set(both["ids"]) == {network.resources["a"].id, network.resources["b"].id}
    assert look_up(network, "getSubnets", tags={"tier": "none"})["ids"] == []


def test_route_tables_and_endpoints(network: Program):
    vpc, table = network.resources["vpc"].id, network.resources["table"].id
    found = look_up(network, "getRouteTable", subnetId=network.resources["a"].id)
    assert (found["id"], found["vpcId"]) == (table, vpc)
    assert table in look_up(network, "getRouteTables", vpcId=vpc)["ids"]
    endpoint = look_up(network, "getVpcEndpoint", vpcId=vpc, serviceName="com.amazonaws.me-central-1.s3")
    assert (endpoint["id"], endpoint["routeTableIds"]) == (network.resources["s3"].id, [table])


def test_a_parameter_of_ssm(network: Program, aws: Any):
    aws("ssm", "me-central-1").put_parameter(Name="/trainyard/ami", Value="ami-1", Type="String")
    token = "aws:ssm/getParameter:getParameter"
    assert network.provider.invoke(token, {"name": "/trainyard/ami"})["value"] == "ami-1"
    with pytest.raises(AwsError, match="ParameterNotFound"):
        network.provider.invoke(token, {"name": "/none"})
