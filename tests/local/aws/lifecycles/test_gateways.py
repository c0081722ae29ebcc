"""Gateways, addresses, routes and endpoints: their whole life, and what AWS refuses."""

from __future__ import annotations

import json

import pytest
from aws_lifecycle import Lifecycle, Step
from aws_program import DEFAULT_TAGS, CheckFailedError, Program

from trainyard.local.aws.account import Account
from trainyard.local.aws.errors import AwsError
from trainyard.local.aws.provider import Configuration, Provider

VPC, SUBNET = "aws:ec2/vpc:Vpc", "aws:ec2/subnet:Subnet"
GATEWAY, NAT = "aws:ec2/internetGateway:InternetGateway", "aws:ec2/natGateway:NatGateway"
EIP, ROUTE, TABLE = "aws:ec2/eip:Eip", "aws:ec2/route:Route", "aws:ec2/routeTable:RouteTable"
ENDPOINT, GROUP = "aws:ec2/vpcEndpoint:VpcEndpoint", "aws:ec2/securityGroup:SecurityGroup"
NETWORK = {"cidrBlock": "10.0.0.0/16", "enableDnsHostnames": True, "enableDnsSupport": True}
POLICY = {"Effect": "Allow", "Principal": "*", "Action": "kms:*", "Resource": "*"}


class TestLife(Lifecycle):
    region = "me-central-1"
    steps = {  # noqa: RUF012
        "vpc": Step(VPC, lambda _: NETWORK),
        "other": Step(VPC, lambda _: {"cidrBlock": "10.9.0.0/16"}),
        "public": Step(
            SUBNET,
            lambda r: {"vpcId": r["vpc"].id, "cidrBlock": "10.0.0.0/24", "availabilityZone": "me-central-1a"},
        ),
        "private": Step(
            SUBNET,
            lambda r: {"vpcId": r["vpc"].id, "cidrBlock": "10.0.1.0/24", "availabilityZone": "me-central-1b"},
        ),
        "group": Step(GROUP, lambda r: {"vpcId": r["vpc"].id}),
        "group-2": Step(GROUP, lambda r: {"vpcId": r["vpc"].id}),
        "gateway": Step(
            GATEWAY, lambda r: {"vpcId": r["vpc"].id}, lambda r: {"vpcId": r["vpc"].id, "tags": {"a": "b"}}
        ),
        "loose-gateway": Step(GATEWAY, lambda r: {"vpcId": r["other"].id}),
        "address": Step(
            EIP,
            lambda _: {"domain": "vpc"},
            lambda _: {"domain": "vpc", "tags": {"a": "b"}},
            by_others=frozenset({"associationId", "privateIp"}),
        ),
        "nat": Step(
            NAT,
            lambda r: {"allocationId": r["address"].id, "subnetId": r["public"].id},
            lambda r: {"allocationId": r["address"].id, "subnetId": r["public"].id, "tags": {"a": "b"}},
        ),
        "table": Step(TABLE, lambda r: {"vpcId": r["vpc"].id}, by_others=frozenset({"routes"})),
        "route": Step(
            ROUTE,
            lambda r: {
                "routeTableId": r["table"].id,
                "destinationCidrBlock": "0.0.0.0/0",
                "natGatewayId": r["nat"].id,
            },
            lambda r: {
                "routeTableId": r["table"].id,
                "destinationCidrBlock": "0.0.0.0/0",
                "gatewayId": r["gateway"].id,
            },
            import_id=lambda r: f"{r['routeTableId']}_{r['destinationCidrBlock']}",
        ),
        "s3": Step(
            ENDPOINT,
            lambda r: {
                "vpcId": r["vpc"].id,
                "serviceName": "com.amazonaws.me-central-1.s3",
                "routeTableIds": [r["table"].id],
            },
        ),
        "kms": Step(
            ENDPOINT,
            lambda r: {
                "vpcId": r["vpc"].id,
                "serviceName": "com.amazonaws.me-central-1.kms",
                "vpcEndpointType": "Interface",
                "subnetIds": [r["public"].id],
                "securityGroupIds": [r["group"].id],
                "privateDnsEnabled": True,
            },
            lambda r: {
                "vpcId": r["vpc"].id,
                "serviceName": "com.amazonaws.me-central-1.kms",
                "vpcEndpointType": "Interface",
                "subnetIds": [r["public"].id, r["private"].id],
                "securityGroupIds": [r["group-2"].id],
                "privateDnsEnabled": False,
                "ipAddressType": "ipv4",
                "policy": json.dumps({"Version": "2012-10-17", "Statement": [POLICY]}),
                "tags": {"a": "b"},
            },
        ),
    }

    def test_an_interface_endpoint_has_an_interface_in_each_subnet_and_dns_names(self, stack: Program):
        endpoint = stack.resources["kms"]
        assert len(endpoint["networkInterfaceIds"]) == 1
        assert endpoint["dnsEntries"][0]["dnsName"].startswith(endpoint.id)

    def test_the_nat_gateway_has_the_address(self, stack: Program):
        assert stack.resources["nat"]["publicIp"] == stack.resources["address"]["publicIp"]

    @pytest.mark.parametrize(
        ("name", "code"),
        [
            ("gateway", "mapped public address"),
            ("address", "InvalidIPAddress.InUse"),
            ("group", "DependencyViolation"),
            ("public", "DependencyViolation"),
            ("vpc", "DependencyViolation"),
        ],
    )
    def test_what_is_in_use_cannot_be_deleted(self, stack: Program, name: str, code: str):
        with pytest.raises(AwsError, match=code):
            stack.destroy(name)

    def test_a_second_endpoint_with_private_dns_is_refused(self, stack: Program):
        inputs = self.steps["kms"].first(stack.resources)
        with pytest.raises(AwsError, match="conflicting DNS domain"):
            stack.up(ENDPOINT, "kms-2", **inputs)

    def test_two_subnets_of_one_zone_are_refused(self, stack: Program):
        again = stack.up(
            SUBNET,
            "again",
            vpcId=stack.resources["vpc"].id,
            cidrBlock="10.0.9.0/24",
            availabilityZone="me-central-1a",
        )
        subnets = [stack.resources["public"].id, again.id]
        inputs = self.steps["kms"].first(stack.resources)
        with pytest.raises(AwsError, match="DuplicateSubnetsInSameZone"):
            stack.up(ENDPOINT, "zones", **{**inputs, "subnetIds": subnets, "privateDnsEnabled": False})
        stack.destroy("again")

    def test_a_second_route_to_the_same_place_is_refused(self, stack: Program):
        with pytest.raises(AwsError, match="RouteAlreadyExists"):
            stack.up(ROUTE, "route-2", **self.steps["route"].first(stack.resources))


@pytest.fixture
def uae(account: Account) -> Program:
    return Program(Provider(Configuration("me-central-1", DEFAULT_TAGS), account))


def test_private_dns_needs_a_network_that_resolves_names(uae: Program):
    vpc = uae.up(VPC, "vpc", cidrBlock="10.0.0.0/16")
    subnet = uae.up(SUBNET, "subnet", vpcId=vpc.id, cidrBlock="10.0.0.0/24")
    endpoint = {"vpcId": vpc.id, "vpcEndpointType": "Interface", "subnetIds": [subnet.id]}
    with pytest.raises(AwsError, match="enableDnsHostnames"):
        uae.up(ENDPOINT, "kms", **endpoint, serviceName="com.amazonaws.me-central-1.kms", privateDnsEnabled=True)
    with pytest.raises(AwsError, match="InvalidServiceName"):
        uae.up(ENDPOINT, "none", **endpoint, serviceName="com.amazonaws.me-central-1.no-such-service")
    uae.destroy_all()


def test_a_public_nat_gateway_needs_a_way_out(uae: Program):
    vpc = uae.up(VPC, "vpc", cidrBlock="10.0.0.0/16")
    subnet = uae.up(SUBNET, "subnet", vpcId=vpc.id, cidrBlock="10.0.0.0/24")
    address = uae.up(EIP, "address")
    with pytest.raises(AwsError, match=r"Gateway\.NotAttached"):
        uae.up(NAT, "nat", allocationId=address.id, subnetId=subnet.id)
    with pytest.raises(CheckFailedError, match="needs an elastic address"):
        uae.up(NAT, "nat", subnetId=subnet.id)
    private = uae.up(NAT, "private", subnetId=subnet.id, connectivityType="private")
    assert "publicIp" not in private.outputs
    uae.destroy_all()


def test_a_gateway_leaves_its_network_before_it_goes(uae: Program):
    vpc = uae.up(VPC, "vpc", cidrBlock="10.0.0.0/16")
    other = uae.up(VPC, "other", cidrBlock="10.1.0.0/16")
    gateway = uae.up(GATEWAY, "gateway", vpcId=vpc.id)
    moved = uae.up(GATEWAY, "gateway", vpcId=other.id)
    assert moved.id == gateway.id
    uae.destroy("vpc")
    with pytest.raises(AwsError, match="DependencyViolation"):
        uae.destroy("other")
    uae.destroy("gateway")
    uae.destroy("other")
