"""Looking up a VPC and a subnet by id, in the emulated account."""

from __future__ import annotations

import pytest

from trainyard.local.aws.errors import ProviderError
from trainyard.local.aws.invokes import invoke

VPC, SUBNET = "aws:ec2/getVpc:getVpc", "aws:ec2/getSubnet:getSubnet"
REGION = "eu-west-1"


@pytest.fixture(scope="module")
def made(aws) -> dict[str, str]:
    ec2 = aws("ec2", REGION)
    vpc = ec2.create_vpc(CidrBlock="172.20.0.0/16")["Vpc"]["VpcId"]
    ec2.create_tags(Resources=[vpc], Tags=[{"Key": "owner", "Value": "network-team"}])
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="172.20.1.0/24", AvailabilityZone=f"{REGION}b")["Subnet"]
    return {"vpc": vpc, "subnet": subnet["SubnetId"]}


def test_a_vpc_is_found_by_id(account, made) -> None:
    found = invoke(account, REGION, VPC, {"id": made["vpc"]})
    assert (found["id"], found["cidrBlock"], found["default"]) == (made["vpc"], "172.20.0.0/16", False)
    assert (found["enableDnsSupport"], found["enableDnsHostnames"]) == (True, False)
    assert found["tags"] == {"owner": "network-team"}
    assert found["mainRouteTableId"].startswith("rtb-")
    assert found["arn"] == f"arn:aws:ec2:{REGION}:{account.id}:vpc/{made['vpc']}"


def test_a_subnet_is_found_by_id(account, made) -> None:
    found = invoke(account, REGION, SUBNET, {"id": made["subnet"]})
    assert (found["vpcId"], found["availabilityZone"]) == (made["vpc"], f"{REGION}b")
    assert found["mapPublicIpOnLaunch"] is False


@pytest.mark.parametrize(("token", "kind"), [(VPC, "vpc"), (SUBNET, "subnet")])
def test_what_is_not_there_or_in_another_region_is_an_error(account, made, token: str, kind: str) -> None:
    with pytest.raises(ProviderError, match="NotFound"):
        invoke(account, REGION, token, {"id": f"{kind}-0123456789abcdef0"})
    with pytest.raises(ProviderError, match="NotFound"):
        invoke(account, "us-west-2", token, {"id": made[kind]})


def test_a_search_by_anything_else_is_refused_rather_than_guessed(account) -> None:
    with pytest.raises(ProviderError, match="not for filters"):
        invoke(account, REGION, VPC, {"id": "vpc-1", "filters": [{"name": "tag:a", "values": ["b"]}]})
    with pytest.raises(ProviderError, match="no id"):
        invoke(account, REGION, SUBNET, {})
