"""A CPU group's instances, disks and size."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from mocked_pulumi import ACCOUNT, REGION, Deployment, run

from trainyard.modules.cpu_group import CpuGroup, CpuGroupArgs

KEY = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/compute"
ARGS = CpuGroupArgs(
    cluster_name="yard",
    node_role_arn=f"arn:aws:iam::{ACCOUNT}:role/nodes",
    instance_types=["m7i.large", "m6i.large"],
    subnet_ids=["subnet-a", "subnet-b"],
    kubernetes_version="1.35",
    maximum_nodes=4,
    disk_key_arn=KEY,
    minimum_nodes=2,
    release_version="1.35.0-20260129",
    tags={"owner": "ml"},
)


@pytest.fixture(scope="module")
def deployment() -> Deployment:
    return run(lambda: CpuGroup("yard-system", ARGS))


def _group(deployment: Deployment) -> dict[str, Any]:
    return dict(deployment.one("aws:eks/nodeGroup:NodeGroup").inputs)


def test_the_group_is_as_asked(deployment: Deployment) -> None:
    group = _group(deployment)
    assert group["instanceTypes"] == ["m7i.large", "m6i.large"]
    assert group["subnetIds"] == ["subnet-a", "subnet-b"]
    assert group["amiType"] == "AL2023_x86_64_STANDARD"
    assert (group["version"], group["releaseVersion"]) == ("1.35", "1.35.0-20260129")
    assert group["scalingConfig"] == {"minSize": 2, "maxSize": 4, "desiredSize": 2}
    assert group["updateConfig"] == {"maxUnavailable": 1}
    assert group["nodeRepairConfig"] == {"enabled": True}
    assert group["labels"] == {"trainyard.dev/pool": "cpu", "trainyard.dev/group": "yard-system"}
    assert "taints" not in group


def test_disks_are_encrypted_and_metadata_takes_a_token(deployment: Deployment) -> None:
    template = deployment.one("aws:ec2/launchTemplate:LaunchTemplate")
    (mapping,) = template.inputs["blockDeviceMappings"]
    assert (mapping["deviceName"], mapping["ebs"]["encrypted"], mapping["ebs"]["kmsKeyId"]) == (
        "/dev/xvda",
        "true",
        KEY,
    )
    options = template.inputs["metadataOptions"]
    assert (options["httpTokens"], options["httpPutResponseHopLimit"]) == ("required", 1)
    assert options["instanceMetadataTags"] == "disabled"
    assert _group(deployment)["launchTemplate"]["version"] == "1"
    tagged = {one["resourceType"]: one["tags"] for one in template.inputs["tagSpecifications"]}
    assert tagged["instance"] == tagged["volume"] == {"owner": "ml", "Name": "yard-system"}


def test_the_autoscaler_knows_the_nodes_of_an_empty_group(deployment: Deployment) -> None:
    tags = {one.inputs["tag"]["key"]: one.inputs["tag"] for one in deployment.of_type("aws:autoscaling/tag:Tag")}
    label = tags["k8s.io/cluster-autoscaler/node-template/label/trainyard.dev/pool"]
    assert (label["value"], label["propagateAtLaunch"]) == ("cpu", False)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"instance_types": []}, "is empty"),
        ({"instance_types": ["m7g.large"]}, "Arm"),
        ({"instance_types": ["c7gn.large"]}, "Arm"),
        ({"minimum_nodes": 5}, "not below it"),
        ({"minimum_nodes": -1}, "0 or more"),
        ({"minimum_nodes": 0, "maximum_nodes": 0}, "1 or more"),
        ({"root_volume_gib": 8}, "20 or more"),
    ],
)
def test_wrong_arguments_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(ARGS, **changes)


def test_a_group_may_be_empty() -> None:
    made = run(lambda: CpuGroup("batch", replace(ARGS, minimum_nodes=0)))
    assert _group(made)["scalingConfig"] == {"minSize": 0, "maxSize": 4, "desiredSize": 0}
