"""A VPC of somebody else's is looked at before it is used."""

from __future__ import annotations

from typing import Any

import mocked_pulumi
import pulumi
import pytest
from mocked_pulumi import Deployment, run

from trainyard.modules.existing_network import ExistingNetwork, ExistingNetworkArgs

VPC = "vpc-0a1b2c3d4e5f60718"
FIRST, SECOND = "subnet-0aaaaaaaaaaaaaaaa", "subnet-0bbbbbbbbbbbbbbbb"
BY_ZONE = {"us-east-1a": FIRST, "us-east-1b": SECOND}


@pytest.fixture
def account(monkeypatch) -> dict[str, dict[str, Any]]:
    """The subnets that AWS knows, by id; a test changes what it wants to find."""
    subnets: dict[str, dict[str, Any]] = {
        subnet: {"id": subnet, "vpcId": VPC, "availabilityZone": zone, "mapPublicIpOnLaunch": False}
        for zone, subnet in BY_ZONE.items()
    }
    others = mocked_pulumi.AwsMocks.call

    def call(self, args):
        if args.token == "aws:ec2/getVpc:getVpc":
            return {"id": args.args["id"], "cidrBlock": "172.20.0.0/16"}, []
        if args.token == "aws:ec2/getSubnet:getSubnet":
            return subnets[args.args["id"]], []
        return others(self, args)

    monkeypatch.setattr(mocked_pulumi.AwsMocks, "call", call)
    return subnets


def _found(by_zone: dict[str, str] = BY_ZONE) -> Deployment:
    def program() -> None:
        network = ExistingNetwork("theirs", ExistingNetworkArgs(VPC, by_zone))
        for name in ("vpc_id", "cidr_block", "private_subnet_ids", "private_subnet_ids_by_zone"):
            pulumi.export(name, getattr(network, name))

    return run(program)


def test_it_has_the_outputs_of_a_network_of_our_own_and_makes_nothing(account) -> None:
    found = _found()
    assert found.outputs == {
        "vpc_id": VPC,
        "cidr_block": "172.20.0.0/16",
        "private_subnet_ids": [FIRST, SECOND],
        "private_subnet_ids_by_zone": BY_ZONE,
    }
    assert [resource.type for resource in found.resources] == ["trainyard:existing_network:ExistingNetwork"]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"vpcId": "vpc-0other"}, f"{SECOND} is in vpc-0other"),
        ({"availabilityZone": "us-east-1f"}, "us-east-1f, but stands for us-east-1b"),
        ({"mapPublicIpOnLaunch": True}, "name a private subnet for us-east-1b"),
    ],
)
def test_a_subnet_that_is_not_what_it_should_be_is_refused(account, changed: dict[str, Any], message: str) -> None:
    account[SECOND].update(changed)
    with pytest.raises(Exception, match=message):
        _found()


@pytest.mark.parametrize(
    ("vpc_id", "by_zone", "message"),
    [
        ("10.0.0.0/16", BY_ZONE, "id of a VPC"),
        (VPC, {}, "empty"),
        (VPC, {"us-east-1a": "10.0.0.0/24"}, "id of a subnet"),
        (VPC, {"us-east-1a": FIRST, "us-east-1b": FIRST}, "twice"),
    ],
)
def test_wrong_arguments_are_refused(vpc_id: str, by_zone: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ExistingNetworkArgs(vpc_id, by_zone)
