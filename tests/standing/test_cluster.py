"""The cluster layer as it stands: the control plane, who may enter, groups of nodes, the file system."""

from __future__ import annotations

import base64
from datetime import UTC, datetime

import pytest

from trainyard.modules.addons import CONTROLLER_ADDONS, NODE_ADDONS
from trainyard.modules.gpu_capacity import CapacityBlock, scheduled_sizes
from trainyard.modules.gpu_group import GPU_TAINT
from trainyard.modules.instance_types import INSTANCE_TYPES, network_interfaces

CAPACITY = {"on-demand": "ON_DEMAND", "reservation": "ON_DEMAND", "spot": "SPOT", "capacity-block": "CAPACITY_BLOCK"}


@pytest.fixture
def eks(client):
    return client("eks")


@pytest.fixture
def cluster(eks, outputs):
    return eks.describe_cluster(name=outputs["cluster_name"])["cluster"]


@pytest.fixture
def gpu_groups(eks, outputs) -> dict[str, dict]:
    """Node groups by the name they have in the settings."""
    by_scaling_group = {name: group for group, name in outputs["gpu_auto_scaling_groups"].items()}
    found = {}
    for name in _pages(eks, "list_nodegroups", "nodegroups", clusterName=outputs["cluster_name"]):
        group = eks.describe_nodegroup(clusterName=outputs["cluster_name"], nodegroupName=name)["nodegroup"]
        scaling_group = group["resources"]["autoScalingGroups"][0]["name"]
        if scaling_group in by_scaling_group:
            found[by_scaling_group[scaling_group]] = group
    return found


def _pages(client, operation: str, key: str, **arguments) -> list:
    return [one for page in client.get_paginator(operation).paginate(**arguments) for one in page[key]]


def test_the_api_server_answers_only_where_the_settings_say(cluster, settings):
    access = cluster["resourcesVpcConfig"]
    assert cluster["status"] == "ACTIVE"
    assert access["endpointPrivateAccess"]
    assert access["endpointPublicAccess"] == bool(settings.kubernetes.public_access_cidrs)
    if access["endpointPublicAccess"]:
        assert sorted(access["publicAccessCidrs"]) == sorted(map(str, settings.kubernetes.public_access_cidrs))


def test_the_control_plane_logs_everything(cluster):
    on = {kind for one in cluster["logging"]["clusterLogging"] if one["enabled"] for kind in one["types"]}
    assert on == {"api", "audit", "authenticator", "controllerManager", "scheduler"}


def test_secrets_are_encrypted_with_the_platforms_own_key(cluster, outputs):
    assert cluster["encryptionConfig"] == [
        {"resources": ["secrets"], "provider": {"keyArn": outputs["secrets_key_arn"]}}
    ]


def test_only_access_entries_let_anybody_in(cluster):
    assert cluster["accessConfig"]["authenticationMode"] == "API"


def test_the_cluster_has_the_settings_version_and_protection(cluster, settings):
    assert cluster["version"] == settings.kubernetes.version
    assert cluster["deletionProtection"] == settings.kubernetes.deletion_protection


def test_every_addon_is_active(eks, outputs):
    names = _pages(eks, "list_addons", "addons", clusterName=outputs["cluster_name"])
    assert {*NODE_ADDONS, *CONTROLLER_ADDONS} <= set(names)
    states = {
        name: eks.describe_addon(clusterName=outputs["cluster_name"], addonName=name)["addon"]["status"]
        for name in names
    }
    assert states == dict.fromkeys(names, "ACTIVE")


def test_administrators_and_viewers_have_their_policy_and_no_more(eks, outputs, settings):
    entries = _pages(eks, "list_access_entries", "accessEntries", clusterName=outputs["cluster_name"])
    granted = {
        entry: {
            one["policyArn"].rpartition("/")[2]
            for one in _pages(
                eks,
                "list_associated_access_policies",
                "associatedAccessPolicies",
                clusterName=outputs["cluster_name"],
                principalArn=entry,
            )
        }
        for entry in entries
    }

    def of(principal: str) -> set[str]:
        mark = principal if principal.startswith("arn:") else f"/AWSReservedSSO_{principal}_"
        (entry,) = [one for one in granted if one == mark or (mark in one and not principal.startswith("arn:"))]
        return granted[entry]

    for principal in settings.access.administrators:
        assert of(principal) == {"AmazonEKSClusterAdminPolicy"}
    for principal in settings.access.viewers:
        assert of(principal) == {"AmazonEKSViewPolicy"}


def test_every_gpu_group_stands_with_its_capacity_sizes_and_taint(gpu_groups, settings, outputs):
    assert set(gpu_groups) == {group.name for group in settings.gpu_groups}
    for group in settings.gpu_groups:
        found = gpu_groups[group.name]
        assert found["status"] == "ACTIVE"
        assert found["capacityType"] == CAPACITY[group.capacity]
        sizes = found["scalingConfig"]
        assert (sizes["minSize"], sizes["maxSize"]) == (group.minimum_nodes, group.maximum_nodes)
        assert {"key": GPU_TAINT[0], "value": GPU_TAINT[1], "effect": "NO_SCHEDULE"} in found["taints"]
        assert found["labels"]["trainyard.dev/instance-type"] == group.instance_type
        assert found["subnets"] == [outputs["private_subnet_ids_by_zone"][zone] for zone in group.zones]


def test_gpu_nodes_have_every_efa_interface_of_their_type(client, gpu_groups, settings):
    for group in settings.gpu_groups:
        data = _template(client, gpu_groups[group.name])
        asked = {
            (one.get("NetworkCardIndex", 0), one["DeviceIndex"], one.get("InterfaceType", "interface"))
            for one in data["NetworkInterfaces"]
        }
        kind = INSTANCE_TYPES[group.instance_type]
        assert asked == {(one.card, one.device, one.kind) for one in network_interfaces(kind)}, group.name
        assert sum(kind == "efa-only" for *_, kind in asked) <= kind.efa_interfaces
        assert not any(one.get("AssociatePublicIpAddress") for one in data["NetworkInterfaces"])


def test_disks_are_encrypted_and_the_metadata_service_wants_a_token(client, gpu_groups, outputs):
    for name, group in gpu_groups.items():
        data = _template(client, group)
        assert data["MetadataOptions"]["HttpTokens"] == "required", name
        assert data["MetadataOptions"]["HttpPutResponseHopLimit"] == 1, f"pods of {name} would reach it"
        for device in data["BlockDeviceMappings"]:
            assert device["Ebs"]["Encrypted"] is True
            assert device["Ebs"]["KmsKeyId"] == outputs["compute_key_arn"]


def test_placement_groups_keep_nodes_close(client, gpu_groups):
    ec2 = client("ec2")
    for group in gpu_groups.values():
        placement = _template(client, group).get("Placement", {}).get("GroupName")
        if placement:
            (found,) = ec2.describe_placement_groups(GroupNames=[placement])["PlacementGroups"]
            assert (found["State"], found["Strategy"]) == ("available", "cluster")


def test_on_demand_groups_with_rdma_in_one_zone_have_a_placement_group(client, gpu_groups, settings):
    for group in settings.gpu_groups:
        close = group.capacity == "on-demand" and INSTANCE_TYPES[group.instance_type].rdma
        if close and group.placement != "none":
            assert _template(client, gpu_groups[group.name])["Placement"]["GroupName"], group.name


def test_capacity_blocks_are_launched_from_their_reservation(client, gpu_groups, settings):
    for group in settings.gpu_groups:
        if group.capacity == "capacity-block":
            data = _template(client, gpu_groups[group.name])
            assert data["InstanceMarketOptions"]["MarketType"] == "capacity-block"
            target = data["CapacityReservationSpecification"]["CapacityReservationTarget"]
            assert target["CapacityReservationId"] == group.reservation_id


def test_a_capacity_block_group_grows_and_is_drained_on_time(client, outputs, settings):
    """Of the two sizes those that lie ahead: Auto Scaling forgets an action that has run."""
    scaling = client("autoscaling")
    for group in settings.gpu_groups:
        if group.capacity != "capacity-block":
            continue
        block = CapacityBlock(group.reservation_id, group.starts_at, group.ends_at, group.maximum_nodes)
        found = scaling.describe_scheduled_actions(AutoScalingGroupName=outputs["gpu_auto_scaling_groups"][group.name])
        sizes = {(one["StartTime"], one["DesiredCapacity"]) for one in found["ScheduledUpdateGroupActions"]}
        assert {(one.at.astimezone(UTC), one.nodes) for one in scheduled_sizes(block, datetime.now(UTC))} <= sizes


def test_local_disks_become_one_array_that_holds_what_pods_write(client, gpu_groups, settings):
    for group in settings.gpu_groups:
        said = base64.b64decode(_template(client, gpu_groups[group.name]).get("UserData", "")).decode()
        disks = INSTANCE_TYPES[group.instance_type].nvme_disks
        assert ("strategy: RAID0" in said) == bool(disks), group.name


def test_nodes_that_fail_are_replaced(gpu_groups):
    assert {name: one.get("nodeRepairConfig", {}).get("enabled") for name, one in gpu_groups.items()} == dict.fromkeys(
        gpu_groups, True
    )


def _template(client, group: dict) -> dict:
    asked = group["launchTemplate"]
    found = client("ec2").describe_launch_template_versions(LaunchTemplateId=asked["id"], Versions=[asked["version"]])
    return found["LaunchTemplateVersions"][0]["LaunchTemplateData"]


def test_the_file_system_is_persistent_and_encrypted_with_the_platforms_own_key(client, outputs, settings):
    if settings.lustre is None:
        pytest.skip("the environment has no file system")
    (found,) = client("fsx").describe_file_systems(FileSystemIds=[outputs["lustre"]["id"]])["FileSystems"]
    assert found["Lifecycle"] == "AVAILABLE"
    assert found["KmsKeyId"] == outputs["data_key_arn"]
    assert found["StorageCapacity"] == settings.lustre.storage_gib
    lustre = found["LustreConfiguration"]
    assert lustre["DeploymentType"] == "PERSISTENT_2"
    assert lustre["PerUnitStorageThroughput"] == settings.lustre.throughput_mbps_per_tib
    assert lustre.get("EfaEnabled", False) == settings.lustre.efa
