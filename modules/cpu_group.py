"""A managed node group of CPU instances: for what keeps a cluster going, and for jobs that need no GPU.

    CpuGroup(
        "platform-system",
        CpuGroupArgs(
            cluster_name=cluster.name,
            node_role_arn=cluster.node_role_arn,
            instance_types=["m7i.large", "m6i.large"],
            subnet_ids=network.private_subnet_ids,
            kubernetes_version="1.35",
            minimum_nodes=2,
            maximum_nodes=4,
            disk_key_arn=keys.compute.arn,
        ),
        pulumi.ResourceOptions(provider=provider, depends_on=[agents]),
    )

One group of a cluster has to have a node at all times: CoreDNS and the controllers run there, and GPU nodes take
nothing but training pods.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pulumi
import pulumi_aws as aws

from trainyard.modules.node_config import (
    ROOT_DEVICE,
    autoscaling_group_name,
    metadata_options,
    node_template_tags,
    tag_auto_scaling_group,
    tag_specifications,
    volume,
)
from trainyard.modules.node_labels import CPU_NODES, GROUP_LABEL

AMI_TYPE = "AL2023_x86_64_STANDARD"
SMALLEST_ROOT_GIB = 20
# What gp3 gives without extra charge.
ROOT_THROUGHPUT_MIBPS, ROOT_IOPS = 125, 3000
_GRAVITON = re.compile(r"[a-z]+\d+g[a-z]*\.|a1\.")


@dataclass(frozen=True)
class CpuGroupArgs:
    """The group's instances, size and place.

    Attributes:
        cluster_name: the EKS cluster.
        node_role_arn: the nodes' IAM role.
        instance_types: x86 types of like size; EKS takes what there is, in this order.
        subnet_ids: private subnets, of one or several zones.
        kubernetes_version: the nodes' version, at most the cluster's.
        maximum_nodes: the most the autoscaler may make of it.
        disk_key_arn: KMS key of the root volumes, which must let Auto Scaling's service-linked role in.
        minimum_nodes: the fewest, and the number at the start; 0 only where another group keeps the controllers.
        release_version: AMI release, such as `1.35.0-20260129`. None: the newest when the group is made, never changed.
        root_volume_gib: 20 or more.
        group: value of the label `trainyard.dev/group`. None: the component's name.
        labels: further node labels.
        tags: added to the provider's default tags, and put on instances and volumes.
    """

    cluster_name: pulumi.Input[str]
    node_role_arn: pulumi.Input[str]
    instance_types: Sequence[str]
    subnet_ids: pulumi.Input[Sequence[pulumi.Input[str]]]
    kubernetes_version: str
    maximum_nodes: int
    disk_key_arn: pulumi.Input[str]
    minimum_nodes: int = 0
    release_version: str | None = None
    root_volume_gib: int = 50
    group: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, pulumi.Input[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.instance_types:
            raise ValueError("instance_types is empty; it names at least one type, such as m7i.large")
        for name in self.instance_types:
            if _GRAVITON.match(name):
                raise ValueError(
                    f"instance_types has {name}, an Arm type; this group's image is x86, such as m7i.large"
                )
        if not 0 <= self.minimum_nodes <= self.maximum_nodes or self.maximum_nodes < 1:
            raise ValueError(
                f"minimum_nodes is {self.minimum_nodes} and maximum_nodes {self.maximum_nodes}; "
                "the minimum is 0 or more, the maximum 1 or more and not below it"
            )
        if self.root_volume_gib < SMALLEST_ROOT_GIB:
            raise ValueError(f"root_volume_gib is {self.root_volume_gib}; the image needs {SMALLEST_ROOT_GIB} or more")


class CpuGroup(pulumi.ComponentResource):
    """Launch template and managed node group, with the tags that let it grow from zero."""

    node_group_name: pulumi.Output[str]
    auto_scaling_group_name: pulumi.Output[str]
    launch_template_id: pulumi.Output[str]

    def __init__(self, name: str, args: CpuGroupArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("trainyard:cpu_group:CpuGroup", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        template = aws.ec2.LaunchTemplate(
            f"{name}-nodes",
            description=f"CPU nodes of {name}",
            update_default_version=True,
            block_device_mappings=[
                volume(
                    ROOT_DEVICE,
                    args.disk_key_arn,
                    size_gib=args.root_volume_gib,
                    throughput_mibps=ROOT_THROUGHPUT_MIBPS,
                    iops=ROOT_IOPS,
                )
            ],
            metadata_options=metadata_options(),
            tag_specifications=tag_specifications(name, args.tags),
            tags=args.tags,
            opts=child,
        )
        labels = {**args.labels, **CPU_NODES, GROUP_LABEL: args.group or name}
        group = aws.eks.NodeGroup(
            f"{name}-nodes",
            cluster_name=args.cluster_name,
            node_role_arn=args.node_role_arn,
            subnet_ids=args.subnet_ids,
            ami_type=AMI_TYPE,
            instance_types=list(args.instance_types),
            capacity_type="ON_DEMAND",
            version=args.kubernetes_version,
            release_version=args.release_version,
            scaling_config=aws.eks.NodeGroupScalingConfigArgs(
                min_size=args.minimum_nodes, max_size=args.maximum_nodes, desired_size=args.minimum_nodes
            ),
            launch_template=aws.eks.NodeGroupLaunchTemplateArgs(
                id=template.id, version=template.latest_version.apply(str)
            ),
            update_config=aws.eks.NodeGroupUpdateConfigArgs(max_unavailable=1),
            node_repair_config=aws.eks.NodeGroupNodeRepairConfigArgs(enabled=True),
            labels=labels,
            tags=args.tags,
            opts=pulumi.ResourceOptions(parent=self, ignore_changes=["scalingConfig.desiredSize"]),
        )
        self.node_group_name = group.node_group_name
        self.auto_scaling_group_name = autoscaling_group_name(group)
        self.launch_template_id = template.id
        tag_auto_scaling_group(
            name,
            self.auto_scaling_group_name,
            node_template_tags(labels=labels, taints={}, resources={}),
            child,
        )
        self.register_outputs(
            {
                "node_group_name": self.node_group_name,
                "auto_scaling_group_name": self.auto_scaling_group_name,
                "launch_template_id": self.launch_template_id,
            }
        )
