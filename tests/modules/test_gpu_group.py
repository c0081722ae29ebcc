"""A GPU group's interfaces, placement, capacity, disks and life, as AWS gets to see them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from mocked_pulumi import ACCOUNT, REGION, Deployment, Registered, run

from trainyard.modules.gpu_group import CapacityBlock, GpuGroup, GpuGroupArgs, OnDemand, Reservation, Spot

KEY = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/compute"
RESERVATION = "cr-0123456789abcdef0"
AHEAD = datetime.now(UTC).replace(microsecond=0) + timedelta(days=30)
BLOCK = CapacityBlock(RESERVATION, AHEAD, AHEAD + timedelta(days=2), nodes=4)
ARGS = GpuGroupArgs(
    cluster_name="yard",
    cluster_security_group_id="sg-cluster",
    vpc_id="vpc-1",
    node_role_arn=f"arn:aws:iam::{ACCOUNT}:role/nodes",
    instance_type="p5.48xlarge",
    subnet_ids=["subnet-a"],
    kubernetes_version="1.35",
    disk_key_arn=KEY,
    maximum_nodes=4,
    release_version="1.35.0-20260129",
    tags={"owner": "ml"},
)


def _deploy(**changes: Any) -> Deployment:
    return run(lambda: GpuGroup("yard-p5", replace(ARGS, **changes)))


@pytest.fixture(scope="module")
def deployment() -> Deployment:
    return _deploy()


def _template(deployment: Deployment) -> dict[str, Any]:
    return dict(deployment.one("aws:ec2/launchTemplate:LaunchTemplate").inputs)


def _group(deployment: Deployment) -> dict[str, Any]:
    return dict(deployment.one("aws:eks/nodeGroup:NodeGroup").inputs)


def _tags(deployment: Deployment) -> dict[str, str]:
    made = (one.inputs["tag"] for one in deployment.of_type("aws:autoscaling/tag:Tag"))
    return {tag["key"].removeprefix("k8s.io/cluster-autoscaler/node-template/"): tag["value"] for tag in made}


@pytest.mark.parametrize(
    ("instance_type", "cards"),
    [
        ("p4d.24xlarge", {0: ["interface", "efa-only"], **{card: ["efa-only"] for card in range(1, 4)}}),
        ("p5.48xlarge", {0: ["interface", "efa-only"], **{card: ["efa-only"] for card in range(1, 32)}}),
        ("p6-b300.48xlarge", {0: ["interface"], **{card: ["efa-only"] for card in range(1, 17)}}),
        ("g6.xlarge", {0: ["interface"]}),
    ],
)
def test_each_card_has_its_interfaces(instance_type: str, cards: dict[int, list[str]]) -> None:
    found: dict[int, dict[int, str]] = {}
    for interface in _template(_deploy(instance_type=instance_type))["networkInterfaces"]:
        found.setdefault(interface["networkCardIndex"], {})[interface["deviceIndex"]] = interface["interfaceType"]
    assert {card: [devices[index] for index in range(len(devices))] for card, devices in found.items()} == cards


def test_every_interface_is_in_both_groups_and_none_has_a_public_address(deployment: Deployment) -> None:
    efa = deployment.one("aws:ec2/securityGroup:SecurityGroup")
    for interface in _template(deployment)["networkInterfaces"]:
        assert interface["securityGroups"] == ["sg-cluster", _id(deployment, efa)]
        # EC2 refuses the very question where there are several interfaces.
        assert "associatePublicIpAddress" not in interface
    (alone,) = _template(_deploy(instance_type="g6.xlarge"))["networkInterfaces"]
    assert alone["associatePublicIpAddress"] == "false"
    assert alone["securityGroups"] == ["sg-cluster"]


def _id(deployment: Deployment, group: Registered) -> str:
    rule = deployment.one("aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule").inputs
    assert group.urn in deployment.one("aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule").dependencies
    return rule["securityGroupId"]


def test_the_efa_group_is_open_to_itself_both_ways_and_to_nobody_else(deployment: Deployment) -> None:
    for direction in ("Ingress", "Egress"):
        rule = deployment.one(f"aws:vpc/securityGroup{direction}Rule:SecurityGroup{direction}Rule").inputs
        assert rule["ipProtocol"] == "-1"
        assert rule["referencedSecurityGroupId"] == rule["securityGroupId"]
        assert "cidrIpv4" not in rule
    assert _deploy(instance_type="g6.xlarge").of_type("aws:ec2/securityGroup:SecurityGroup") == []


@pytest.mark.parametrize(
    ("changes", "together"),
    [
        ({}, True),
        ({"placement": "none"}, False),
        ({"capacity": Spot()}, False),
        ({"capacity": Spot(), "placement": "cluster"}, True),
        ({"capacity": Reservation(RESERVATION)}, False),
        ({"capacity": Reservation(RESERVATION), "placement": "cluster"}, True),
        ({"capacity": BLOCK}, False),
        ({"instance_type": "g6.xlarge"}, False),
        ({"instance_type": "g6.xlarge", "subnet_ids": ["subnet-a", "subnet-b"]}, False),
        ({"capacity": Spot(), "subnet_ids": ["subnet-a", "subnet-b"]}, False),
    ],
)
def test_instances_stand_close_together_where_that_helps_and_works(changes: dict[str, Any], together: bool) -> None:
    made = _deploy(**changes)
    groups = made.of_type("aws:ec2/placementGroup:PlacementGroup")
    assert [group.inputs["strategy"] for group in groups] == (["cluster"] if together else [])
    placed = _template(made).get("placement")
    assert placed == ({"groupName": groups[0].outputs["name"]} if together else None)


def test_a_capacity_block_names_its_market_its_reservation_and_its_type() -> None:
    made = _deploy(capacity=BLOCK)
    template = _template(made)
    assert template["instanceMarketOptions"] == {"marketType": "capacity-block"}
    assert template["capacityReservationSpecification"]["capacityReservationTarget"] == {
        "capacityReservationId": RESERVATION
    }
    assert template["instanceType"] == "p5.48xlarge"
    group = _group(made)
    assert group["capacityType"] == "CAPACITY_BLOCK"
    assert group["scalingConfig"] == {"minSize": 0, "maxSize": 4, "desiredSize": 0}
    assert "instanceTypes" not in group


def test_a_capacity_block_grows_at_its_start_and_is_empty_before_its_end() -> None:
    made = _deploy(capacity=BLOCK)
    actions = {
        one.inputs["scheduledActionName"]: one.inputs for one in made.of_type("aws:autoscaling/schedule:Schedule")
    }
    start, drain = actions["start"], actions["drain"]
    assert start["startTime"] == AHEAD.strftime("%Y-%m-%dT%H:%M:%SZ")
    assert (start["minSize"], start["maxSize"], start["desiredCapacity"]) == (0, 4, 4)
    assert (drain["minSize"], drain["maxSize"], drain["desiredCapacity"]) == (0, 0, 0)
    assert datetime.fromisoformat(drain["startTime"]) < BLOCK.ends_at - timedelta(minutes=30)


@pytest.mark.parametrize(
    ("capacity", "word", "target"),
    [(OnDemand(), "ON_DEMAND", None), (Spot(), "SPOT", None), (Reservation(RESERVATION), "ON_DEMAND", RESERVATION)],
)
def test_other_capacity_names_no_market(capacity: Any, word: str, target: str | None) -> None:
    made = _deploy(capacity=capacity)
    assert _group(made)["capacityType"] == word
    template = _template(made)
    assert "instanceMarketOptions" not in template
    reserved = template.get("capacityReservationSpecification", {}).get("capacityReservationTarget", {})
    assert reserved.get("capacityReservationId") == target
    assert made.of_type("aws:autoscaling/schedule:Schedule") == []


def test_nodes_take_gpu_pods_only_and_say_what_they_are(deployment: Deployment) -> None:
    group = _group(deployment)
    assert group["taints"] == [{"key": "nvidia.com/gpu", "value": "true", "effect": "NO_SCHEDULE"}]
    assert group["labels"] == {
        "trainyard.dev/pool": "gpu",
        "trainyard.dev/group": "yard-p5",
        "trainyard.dev/instance-type": "p5.48xlarge",
    }
    assert group["amiType"] == "AL2023_x86_64_NVIDIA"
    assert group["nodeRepairConfig"] == {"enabled": True}


def test_an_empty_group_can_be_found_by_what_a_training_pod_asks_for(deployment: Deployment) -> None:
    assert _tags(deployment) == {
        "label/trainyard.dev/pool": "gpu",
        "label/trainyard.dev/group": "yard-p5",
        "label/trainyard.dev/instance-type": "p5.48xlarge",
        "taint/nvidia.com/gpu": "true:NoSchedule",
        "resources/nvidia.com/gpu": "8",
        "resources/vpc.amazonaws.com/efa": "32",
        "resources/hugepages-2Mi": "10256Mi",
    }
    assert "resources/vpc.amazonaws.com/efa" not in _tags(_deploy(instance_type="g6.xlarge"))


def test_a_change_of_image_or_template_takes_no_job_with_it(deployment: Deployment) -> None:
    group = _group(deployment)
    assert group["forceUpdateVersion"] is False
    assert group["updateConfig"] == {"maxUnavailable": 1, "updateStrategy": "MINIMAL"}
    assert (group["version"], group["releaseVersion"]) == ("1.35", "1.35.0-20260129")


def test_a_retiring_group_takes_nothing_new() -> None:
    made = _deploy(retiring=True, group="p5")
    assert {"key": "trainyard.dev/retiring", "value": "true", "effect": "NO_SCHEDULE"} in _group(made)["taints"]
    assert _tags(made)["taint/trainyard.dev/retiring"] == "true:NoSchedule"
    assert _group(made)["labels"]["trainyard.dev/group"] == "p5"


def test_disks_are_encrypted_fast_and_gone_with_the_node(deployment: Deployment) -> None:
    (root,) = _template(deployment)["blockDeviceMappings"]
    assert root["deviceName"] == "/dev/xvda"
    assert root["ebs"] == {
        "volumeType": "gp3",
        "volumeSize": 200,
        "throughput": 1000,
        "iops": 4000,
        "encrypted": "true",
        "kmsKeyId": KEY,
        "deleteOnTermination": "true",
    }
    options = _template(deployment)["metadataOptions"]
    assert (options["httpTokens"], options["httpPutResponseHopLimit"]) == ("required", 1)


def test_an_image_cache_is_a_second_volume_filled_ahead_of_the_first_read() -> None:
    made = _template(_deploy(image_cache_snapshot_id="snap-1"))
    cache = made["blockDeviceMappings"][1]
    assert (cache["deviceName"], cache["ebs"]["snapshotId"]) == ("/dev/xvdb", "snap-1")
    assert (cache["ebs"]["encrypted"], cache["ebs"]["kmsKeyId"]) == ("true", KEY)
    assert cache["ebs"]["volumeInitializationRate"] == 300
    assert made["userData"] != _template(_deploy())["userData"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"instance_type": "m7i.large"}, "has no GPU"),
        ({"instance_type": "p9.48xlarge"}, "p9.48xlarge"),
        ({"minimum_nodes": 5}, "not below it"),
        ({"maximum_nodes": 0}, "1 or more"),
        ({"root_volume_gib": 50}, "100 or more"),
        ({"retiring": True, "minimum_nodes": 1}, "minimum_nodes=0"),
        ({"subnet_ids": []}, "is empty"),
        ({"subnet_ids": ["subnet-a", "subnet-b"]}, "a group for each zone"),
        ({"subnet_ids": ["a", "b"], "placement": "cluster", "capacity": Spot()}, "lies in one zone"),
        ({"subnet_ids": ["a", "b"], "capacity": Reservation(RESERVATION)}, "reserved capacity lies in one zone"),
        ({"subnet_ids": ["a", "b"], "capacity": BLOCK}, "reserved capacity lies in one zone"),
        ({"capacity": BLOCK, "placement": "cluster"}, "brings its own placement"),
        ({"capacity": BLOCK, "minimum_nodes": 1}, "nothing to launch"),
        ({"capacity": BLOCK, "maximum_nodes": 8}, "4 instances"),
    ],
)
def test_wrong_arguments_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(ARGS, **changes)
