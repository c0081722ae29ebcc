"""The Auto Scaling group behind a node group, named as EKS names it; Auto Scaling starts no instance in it.

moto would start instances itself, of AMIs that it does not have. Here a group's sizes are numbers: what a schedule or
the cluster autoscaler sets can be read back, and no node follows from it.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

from moto.autoscaling.models import AutoScalingBackend, FakeAutoScalingGroup, autoscaling_backends
from moto.ec2.models import ec2_backends

from trainyard.local.aws.moto_adapter.eks_launch_template import Template
from trainyard.local.aws.moto_adapter.eks_state import Description, Eks
from trainyard.local.aws.moto_adapter.expectations import require_mentions, require_parameters, wrap


def require_expected() -> None:
    """What this module relies on."""
    require_parameters(
        AutoScalingBackend.create_auto_scaling_group, "self", "name", "launch_template", "vpc_zone_identifier", "tags"
    )
    require_parameters(AutoScalingBackend.delete_auto_scaling_group, "self", "group_name")
    require_parameters(FakeAutoScalingGroup.set_desired_capacity, "self", "new_capacity")
    require_mentions(FakeAutoScalingGroup.__init__, "self.max_size", "self.min_size", "self.ec2_launch_template")


def install() -> None:
    """Let the groups of EKS start nothing."""
    wrap(FakeAutoScalingGroup, "set_desired_capacity", _only_noted_for_eks)


def _only_noted_for_eks(moto_set: Callable[..., None]) -> Callable[..., None]:
    def set_desired_capacity(group: Any, new_capacity: int | None) -> None:
        if any(tag["Key"] == "eks:nodegroup-name" for tag in group.tags or ()):
            group.desired_capacity = group.min_size if new_capacity is None else new_capacity
        else:
            moto_set(group, new_capacity)

    return set_desired_capacity


def create(eks: Eks, nodegroup: Description, template: Template | None) -> str:
    """Make the Auto Scaling group of a node group, with the launch template that EKS makes for it; its name."""
    identity = str(uuid.uuid4())
    name = f"eks-{nodegroup['nodegroupName']}-{identity}"
    ec2 = ec2_backends[eks.account_id][eks.region]
    own = ec2.create_launch_template(f"eks-{identity}", "", _data(nodegroup, template), {})
    sizes = nodegroup["scalingConfig"]
    tags = {
        "eks:cluster-name": nodegroup["clusterName"],
        "eks:nodegroup-name": nodegroup["nodegroupName"],
        f"kubernetes.io/cluster/{nodegroup['clusterName']}": "owned",
        "k8s.io/cluster-autoscaler/enabled": "true",
        f"k8s.io/cluster-autoscaler/{nodegroup['clusterName']}": "owned",
    }
    autoscaling_backends[eks.account_id][eks.region].create_auto_scaling_group(
        name=name,
        availability_zones=[],
        desired_capacity=sizes["desiredSize"],
        max_size=sizes["maxSize"],
        min_size=sizes["minSize"],
        launch_config_name="",
        launch_template={"LaunchTemplateId": own.id, "Version": "$Latest"},
        vpc_zone_identifier=",".join(nodegroup["subnets"]),
        default_cooldown=None,
        health_check_period=15,
        health_check_type="EC2",
        load_balancers=[],
        target_group_arns=[],
        placement_group=None,
        termination_policies=["AllocationStrategy", "OldestLaunchTemplate", "OldestInstance"],
        tags=[
            {
                "Key": key,
                "Value": value,
                "PropagateAtLaunch": "true",
                "ResourceId": name,
                "ResourceType": "auto-scaling-group",
            }
            for key, value in tags.items()
        ],
        capacity_rebalance=nodegroup["capacityType"] == "SPOT",
    )
    return name


def sizes(eks: Eks, nodegroup: Description) -> Description:
    """The sizes as they are now: whoever scales, the autoscaler or a schedule, changes the Auto Scaling group."""
    group = _group(eks, nodegroup)
    return {"minSize": group.min_size, "maxSize": group.max_size, "desiredSize": group.desired_capacity}


def resize(eks: Eks, nodegroup: Description, sizes: Description) -> None:
    """Give the Auto Scaling group these sizes."""
    group = _group(eks, nodegroup)
    group.min_size, group.max_size = sizes["minSize"], sizes["maxSize"]
    group.desired_capacity = sizes["desiredSize"]


def use(eks: Eks, nodegroup: Description, template: Template) -> None:
    """Let the Auto Scaling group start from another version of the launch template."""
    own = _group(eks, nodegroup).ec2_launch_template
    own.create_version(_data(nodegroup, template), "")


def delete(eks: Eks, nodegroup: Description) -> None:
    """Delete the Auto Scaling group and what was made for it."""
    group = _group(eks, nodegroup)
    autoscaling_backends[eks.account_id][eks.region].delete_auto_scaling_group(group.name)
    ec2_backends[eks.account_id][eks.region].delete_launch_template(group.ec2_launch_template.name, None)


def _group(eks: Eks, nodegroup: Description) -> Any:
    name = nodegroup["resources"]["autoScalingGroups"][0]["name"]
    return autoscaling_backends[eks.account_id][eks.region].autoscaling_groups[name]


def _data(nodegroup: Description, template: Template | None) -> dict[str, Any]:
    data = dict(template.data) if template else {}
    return {"InstanceType": (nodegroup.get("instanceTypes") or [""])[0], **data}
