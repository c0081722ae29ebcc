"""The network: private, recorded, and open to S3 only."""

from __future__ import annotations

import ipaddress
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from iam_evaluation import Request, allows
from mocked_pulumi import ACCOUNT, REGION, Deployment, run

from trainyard.modules.network import Network, NetworkArgs, private_subnet_blocks

ZONES = ["us-east-1a", "us-east-1b", "us-east-1c"]
KEY = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/logs"


@pytest.fixture(scope="module")
def network() -> Deployment:
    args = NetworkArgs(
        cidr_block="10.64.0.0/16",
        availability_zones=ZONES,
        logs_key_arn=KEY,
        flow_log_retention_days=90,
        readable_bucket_arns=["arn:aws:s3:::commoncrawl"],
        tags={"owner": "ml"},
    )
    return run(lambda: Network("yard", args))


def test_each_zone_has_a_private_subnet_with_a_route_table_of_its_own(network: Deployment) -> None:
    subnets = network.of_type("aws:ec2/subnet:Subnet")
    assert all(subnet.inputs["mapPublicIpOnLaunch"] is False for subnet in subnets)
    blocks = {subnet.inputs["availabilityZone"]: subnet.inputs["cidrBlock"] for subnet in subnets}
    assert blocks == dict(zip(ZONES, ["10.64.0.0/19", "10.64.32.0/19", "10.64.64.0/19"], strict=True))
    joined = {
        (association.inputs["subnetId"], association.inputs["routeTableId"])
        for association in network.of_type("aws:ec2/routeTableAssociation:RouteTableAssociation")
    }
    assert len({subnet for subnet, _ in joined}) == len({table for _, table in joined}) == 3


def test_nothing_leads_out(network: Deployment) -> None:
    kinds = {resource.type for resource in network.resources}
    assert not [kind for kind in kinds if "Gateway" in kind or "Eip" in kind or kind.endswith(":Route")]
    assert all(not table.inputs.get("routes") for table in network.of_type("aws:ec2/routeTable:RouteTable"))


def test_dns_works_inside(network: Deployment) -> None:
    vpc = network.one("aws:ec2/vpc:Vpc").inputs
    assert vpc["enableDnsSupport"] is True
    assert vpc["enableDnsHostnames"] is True


def test_the_default_group_has_no_rules(network: Deployment) -> None:
    group = network.one("aws:ec2/defaultSecurityGroup:DefaultSecurityGroup").inputs
    assert group["ingress"] == group["egress"] == []


def _through_endpoint(network: Deployment, action: str, resource: str, caller: str, owner: str) -> bool:
    policy = network.one("aws:ec2/vpcEndpoint:VpcEndpoint").inputs["policy"]
    context = {"aws:PrincipalAccount": caller, "aws:ResourceAccount": owner}
    return allows(policy, Request(action, resource, f"arn:aws:iam::{caller}:role/r", context))


def test_the_s3_endpoint_serves_every_route_table(network: Deployment) -> None:
    endpoint = network.one("aws:ec2/vpcEndpoint:VpcEndpoint").inputs
    assert endpoint["serviceName"] == f"com.amazonaws.{REGION}.s3"
    assert endpoint["vpcEndpointType"] == "Gateway"
    assert len(endpoint["routeTableIds"]) == 3


def test_the_s3_endpoint_lets_the_account_to_its_own_buckets_and_nothing_out(network: Deployment) -> None:
    stranger, own = "999999999999", "arn:aws:s3:::yard-data/model"
    assert _through_endpoint(network, "s3:PutObject", own, ACCOUNT, ACCOUNT)
    assert not _through_endpoint(network, "s3:PutObject", "arn:aws:s3:::theirs/model", ACCOUNT, stranger)
    assert not _through_endpoint(network, "s3:PutObject", "arn:aws:s3:::theirs/model", stranger, stranger)
    assert not _through_endpoint(network, "s3:GetObject", own, stranger, ACCOUNT)


def test_the_s3_endpoint_lets_image_layers_and_named_buckets_be_read(network: Deployment) -> None:
    layer = f"arn:aws:s3:::prod-{REGION}-starport-layer-bucket/layer"
    assert _through_endpoint(network, "s3:GetObject", layer, "aws", "aws")
    assert not _through_endpoint(network, "s3:PutObject", layer, ACCOUNT, "aws")
    page = "arn:aws:s3:::commoncrawl/page"
    assert _through_endpoint(network, "s3:GetObject", page, ACCOUNT, "crawler")
    assert not _through_endpoint(network, "s3:PutObject", page, ACCOUNT, "crawler")
    assert not _through_endpoint(network, "s3:GetObject", page, "999999999999", "crawler")


def test_flow_logs_record_all_traffic_into_an_encrypted_group(network: Deployment) -> None:
    group = network.one("aws:cloudwatch/logGroup:LogGroup")
    assert (group.inputs["kmsKeyId"], group.inputs["retentionInDays"]) == (KEY, 90)
    flow_log = network.one("aws:ec2/flowLog:FlowLog")
    assert flow_log.inputs["trafficType"] == "ALL"
    assert flow_log.inputs["logDestination"] == group.outputs["arn"]
    permission = network.one("aws:iam/rolePolicy:RolePolicy")
    assert permission.urn in flow_log.dependencies, "a flow log made before its role may write is refused"


def test_only_this_accounts_flow_logs_take_the_role_and_only_to_write_the_group(network: Deployment) -> None:
    trust = network.one("aws:iam/role:Role").inputs["assumeRolePolicy"]

    def taking(service: str, account: str) -> Request:
        arn = f"arn:aws:ec2:{REGION}:{account}:vpc-flow-log/fl-1"
        return Request(
            "sts:AssumeRole", principal=service, context={"aws:SourceAccount": account, "aws:SourceArn": arn}
        )

    assert allows(trust, taking("vpc-flow-logs.amazonaws.com", ACCOUNT))
    assert not allows(trust, taking("vpc-flow-logs.amazonaws.com", "999999999999"))
    assert not allows(trust, taking("ec2.amazonaws.com", ACCOUNT))

    policy = network.one("aws:iam/rolePolicy:RolePolicy").inputs["policy"]
    group = network.one("aws:cloudwatch/logGroup:LogGroup").outputs["arn"]
    assert allows(policy, Request("logs:PutLogEvents", f"{group}:log-stream:eni-1"))
    assert allows(policy, Request("logs:CreateLogStream", f"{group}:log-stream:eni-1"))
    assert not allows(policy, Request("logs:PutLogEvents", f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:other:*"))
    assert not allows(policy, Request("logs:DeleteLogGroup", group))
    assert all("*" not in action for action in json.loads(policy)["Statement"][0]["Action"])


def test_it_stands_alone_with_no_key_and_the_providers_tags() -> None:
    alone = run(lambda: Network("alone", NetworkArgs("192.168.0.0/20", ["us-east-1a"])))
    assert "kmsKeyId" not in alone.one("aws:cloudwatch/logGroup:LogGroup").inputs
    assert len(alone.of_type("aws:ec2/subnet:Subnet")) == 1


def test_every_child_belongs_to_the_component(network: Deployment) -> None:
    component = network.one("trainyard:network:Network")
    for resource in network.resources:
        if resource is not component:
            assert resource.parent == component.urn
            assert resource.name.startswith("yard-")


@given(
    prefix=st.integers(16, 25),
    zones=st.integers(1, 6),
    address=st.integers(0, 2**24 - 1),
)
def test_subnets_lie_apart_within_the_vpc_and_stay_where_they_are(prefix: int, zones: int, address: int) -> None:
    vpc = ipaddress.IPv4Network((ipaddress.IPv4Address("10.0.0.0") + address, prefix), strict=False)
    blocks = [ipaddress.IPv4Network(block) for block in private_subnet_blocks(str(vpc), zones)]
    assert len(blocks) == zones
    assert all(block.subnet_of(vpc) and block.prefixlen <= 28 for block in blocks)
    assert not any(a.overlaps(b) for a in blocks for b in blocks if a is not b)
    with_one_more = private_subnet_blocks(str(vpc), min(zones + 1, 6))
    assert [str(block) for block in blocks] == with_one_more[:zones]


@pytest.mark.parametrize(
    ("cidr_block", "zones", "message"),
    [
        ("10.0.0.0/15", ZONES, "/16 to /25"),
        ("10.0.0.0/26", ZONES, "/16 to /25"),
        ("10.0.0.1/16", ZONES, "host bits"),
        ("10.0.0.0/16", [], "1 to 6"),
        ("10.0.0.0/16", [f"us-east-1{letter}" for letter in "abcdefg"], "1 to 6"),
        ("10.0.0.0/16", ["us-east-1a", "us-east-1a"], "twice"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_made(cidr_block: str, zones: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        NetworkArgs(cidr_block, zones)
