"""Launch templates, placement groups, capacity reservations: what GPU nodes are launched with."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from aws_lifecycle import Lifecycle, Step
from aws_program import Program

from trainyard.local.aws.errors import RefusedError

TEMPLATE = "aws:ec2/launchTemplate:LaunchTemplate"
PLACEMENT = "aws:ec2/placementGroup:PlacementGroup"
RESERVATION = "aws:ec2/capacityReservation:CapacityReservation"
USER_DATA = base64.b64encode(b"MIME-Version: 1.0\n").decode()
PRIMARY = {"networkCardIndex": 0, "deviceIndex": 0, "interfaceType": "interface"}


def efa(card: int, device: int) -> dict[str, Any]:
    return {"networkCardIndex": card, "deviceIndex": device, "interfaceType": "efa-only"}


def gpu_template(r: Any, **more: Any) -> dict[str, Any]:
    groups = [r["group"].id]
    interfaces = [PRIMARY, efa(0, 1), *(efa(card, 0) for card in range(1, 4))]
    return {
        "instanceType": "p4d.24xlarge",
        "updateDefaultVersion": True,
        "networkInterfaces": [{**it, "securityGroups": groups, "deleteOnTermination": "true"} for it in interfaces],
        "metadataOptions": {"httpTokens": "required", "httpPutResponseHopLimit": 1, "httpEndpoint": "enabled"},
        "blockDeviceMappings": [
            {
                "deviceName": "/dev/xvda",
                "ebs": {
                    "volumeSize": 200,
                    "volumeType": "gp3",
                    "iops": 6000,
                    "throughput": 500,
                    "encrypted": "true",
                    "kmsKeyId": r["key"]["arn"],
                    "deleteOnTermination": "true",
                },
            }
        ],
        "placement": {"groupName": r["together"].id},
        "monitoring": {"enabled": True},
        "tagSpecifications": [
            {"resourceType": "instance", "tags": {"Name": "gpu", "team": "vision"}},
            {"resourceType": "volume", "tags": {"Name": "gpu"}},
        ],
        "userData": USER_DATA,
        **more,
    }


class TestLife(Lifecycle):
    steps = {  # noqa: RUF012
        "vpc": Step("aws:ec2/vpc:Vpc", lambda _: {"cidrBlock": "10.0.0.0/16"}),
        "group": Step("aws:ec2/securityGroup:SecurityGroup", lambda r: {"vpcId": r["vpc"].id}),
        "key": Step("aws:kms/key:Key", lambda _: {"deletionWindowInDays": 7}),
        "together": Step(
            PLACEMENT, lambda _: {"strategy": "cluster"}, lambda _: {"strategy": "cluster", "tags": {"a": "b"}}
        ),
        "apart": Step(PLACEMENT, lambda _: {"strategy": "partition", "partitionCount": 3}),
        "reservation": Step(
            RESERVATION,
            lambda _: {
                "instanceType": "p4d.24xlarge",
                "instancePlatform": "Linux/UNIX",
                "availabilityZone": "us-east-1a",
                "instanceCount": 2,
                "instanceMatchCriteria": "targeted",
            },
            lambda _: {
                "instanceType": "p4d.24xlarge",
                "instancePlatform": "Linux/UNIX",
                "availabilityZone": "us-east-1a",
                "instanceCount": 3,
                "instanceMatchCriteria": "targeted",
                "endDateType": "limited",
                "endDate": "2027-05-31T23:59:59Z",
                "tags": {"a": "b"},
            },
        ),
        "plain": Step(
            TEMPLATE,
            lambda _: {"description": "plain", "ebsOptimized": "true"},
            lambda _: {"ebsOptimized": "true", "tags": {"a": "b"}},
        ),
        "gpus": Step(
            TEMPLATE,
            gpu_template,
            lambda r: gpu_template(r, description="more", instanceType="p4de.24xlarge", ebsOptimized="true"),
        ),
        "block": Step(
            TEMPLATE,
            lambda r: {
                "instanceType": "p5.48xlarge",
                "instanceMarketOptions": {"marketType": "capacity-block"},
                "capacityReservationSpecification": {
                    "capacityReservationTarget": {"capacityReservationId": r["reservation"].id}
                },
                "vpcSecurityGroupIds": [r["group"].id],
            },
        ),
    }


def test_a_change_makes_a_version_that_becomes_the_default(program: Program, aws):
    program.up(TEMPLATE, "t", instanceType="g5.12xlarge", updateDefaultVersion=True)
    template = program.up(TEMPLATE, "t", instanceType="g6.12xlarge", updateDefaultVersion=True)
    assert (template["latestVersion"], template["defaultVersion"]) == (2, 2)
    answer = aws("ec2").describe_launch_template_versions(LaunchTemplateId=template.id, Versions=["1", "$Default"])
    types = [it["LaunchTemplateData"]["InstanceType"] for it in answer["LaunchTemplateVersions"]]
    assert types == ["g5.12xlarge", "g6.12xlarge"]
    program.destroy("t")


@pytest.mark.parametrize(
    ("inputs", "reason"),
    [
        ({"networkInterfaces": [efa(0, 0)]}, "cannot be efa-only"),
        ({"networkInterfaces": [efa(0, 1)]}, "no primary network interface"),
        ({"networkInterfaces": [PRIMARY, PRIMARY]}, "the same network card and device"),
        (
            {"networkInterfaces": [{**PRIMARY, "associatePublicIpAddress": "true"}, efa(0, 1)]},
            "several network interfaces",
        ),
        ({"networkInterfaces": [PRIMARY], "vpcSecurityGroupIds": ["sg-1"]}, "given to each interface"),
        ({"instanceMarketOptions": {"marketType": "capacity-block"}}, "needs the Capacity Block"),
        ({"blockDeviceMappings": [{"deviceName": "/dev/xvda", "ebs": {"kmsKeyId": "k"}}]}, "not encrypted"),
        ({"userData": "#!/bin/sh"}, "not base64"),
        ({"userData": base64.b64encode(b"a" * 16385).decode()}, "16385 bytes"),
    ],
)
def test_what_ec2_refuses_is_refused(program: Program, inputs: dict[str, Any], reason: str):
    with pytest.raises(RefusedError, match=reason):
        program.up(TEMPLATE, "bad", **inputs)


def test_capacity_is_reserved_only_where_the_type_is_offered(program: Program):
    from trainyard.local.aws.errors import AwsError

    inputs = {"instancePlatform": "Linux/UNIX", "instanceCount": 1}
    with pytest.raises(AwsError, match=r"p5\.48xlarge is not offered in me-central-1a"):
        program.up(
            RESERVATION,
            "r",
            region="me-central-1",
            availabilityZone="me-central-1a",
            instanceType="p5.48xlarge",
            **inputs,
        )


def test_a_reservation_can_stand_for_a_capacity_block(aws):
    ec2 = aws("ec2", "us-east-2")
    made = ec2.create_capacity_reservation(
        InstanceType="p5.48xlarge",
        InstancePlatform="Linux/UNIX",
        AvailabilityZone="us-east-2a",
        InstanceCount=2,
        TagSpecifications=[
            {
                "ResourceType": "capacity-reservation",
                "Tags": [{"Key": "trainyard:emulated-capacity-block", "Value": "true"}],
            }
        ],
    )["CapacityReservation"]["CapacityReservationId"]
    (found,) = ec2.describe_capacity_reservations(CapacityReservationIds=[made])["CapacityReservations"]
    assert (found["ReservationType"], found["State"], found["TotalInstanceCount"]) == ("capacity-block", "active", 2)
