"""A managed node group of GPU instances: right network interfaces, one placement, from zero and back to zero.

    group = GpuGroup(
        "platform-p5",
        GpuGroupArgs(
            cluster_name=cluster.name,
            cluster_security_group_id=cluster.security_group_id,
            vpc_id=network.vpc_id,
            node_role_arn=cluster.node_role_arn,
            instance_type="p5.48xlarge",
            subnet_ids=[network.private_subnet_ids_by_zone["us-east-2b"]],
            kubernetes_version="1.35",
            capacity=CapacityBlock("cr-0123456789abcdef0", starts_at, ends_at, nodes=4),
            disk_key_arn=keys.compute.arn,
            maximum_nodes=4,
        ),
        pulumi.ResourceOptions(provider=provider),
    )

The instances are bought as `capacity` says (`gpu_capacity`). Interfaces, disks and GPUs of a type stand in the table of
`instance_types`; `gpu_launch_template` makes a template of them. How a change of image or version spares running jobs:
docs/modules/gpu_group.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal, assert_never

import pulumi
import pulumi_aws as aws

from trainyard.modules.gpu_capacity import (
    Capacity,
    CapacityBlock,
    OnDemand,
    Reservation,
    ScheduledSize,
    Spot,
    scheduled_sizes,
)
from trainyard.modules.gpu_launch_template import GpuNodes, gpu_launch_template
from trainyard.modules.instance_types import InstanceType, instance_type
from trainyard.modules.node_config import autoscaling_group_name, node_template_tags, tag_auto_scaling_group
from trainyard.modules.node_labels import (
    EFA_RESOURCE,
    GPU_RESOURCE,
    GPU_TAINT,
    GROUP_LABEL,
    HUGEPAGES_RESOURCE,
    INSTANCE_TYPE_LABEL,
    NODE_HUGEPAGES_MIB,
    POOL_LABEL,
    RETIRING_TAINT,
)

__all__ = ["Capacity", "CapacityBlock", "GpuGroup", "GpuGroupArgs", "OnDemand", "Reservation", "Spot"]

AMI_TYPE = "AL2023_x86_64_NVIDIA"
SMALLEST_ROOT_GIB = 100
"""The image has some 20 GB, a training image unpacked some 20 more, and one is pulled while the last is still there."""


@dataclass(frozen=True)
class GpuGroupArgs:
    """The group's instances, how they are had, and where they stand.

    Attributes:
        cluster_name: the EKS cluster.
        cluster_security_group_id: the group that EKS made for it; a launch template with interfaces has to name it.
        vpc_id: VPC of the subnets.
        node_role_arn: the nodes' IAM role.
        instance_type: a type with GPUs, from `instance_types`.
        subnet_ids: private subnets; one where the type has RDMA, a reservation or a placement group.
        kubernetes_version: the nodes' version, at most the cluster's.
        disk_key_arn: KMS key of the volumes, which must let Auto Scaling's service-linked role in.
        maximum_nodes: the most the autoscaler may make of it.
        minimum_nodes: the fewest, and the number at the start.
        capacity: how the instances are bought.
        release_version: AMI release, such as `1.35.0-20260129`. None: the newest when the group is made, never changed.
        root_volume_gib: 100 or more.
        placement: `cluster` puts the instances close together in one zone, `none` leaves it to EC2. None: by rule,
            close together where the type has EFA and is bought on demand in one zone.
        image_cache_snapshot_id: EBS snapshot of a filled `/var/lib/containerd`, given to each node as a second volume.
        node_repair: replace nodes whose GPUs or network have failed. Needs the add-on `eks-node-monitoring-agent`.
        group: value of the label `trainyard.dev/group`, which two generations of a group share. None: the component's
            name.
        retiring: start nothing new on the group's nodes; what runs there goes on.
        labels: further node labels.
        tags: added to the provider's default tags, and put on instances and volumes.
    """

    cluster_name: pulumi.Input[str]
    cluster_security_group_id: pulumi.Input[str]
    vpc_id: pulumi.Input[str]
    node_role_arn: pulumi.Input[str]
    instance_type: str
    subnet_ids: Sequence[pulumi.Input[str]]
    kubernetes_version: str
    disk_key_arn: pulumi.Input[str]
    maximum_nodes: int
    minimum_nodes: int = 0
    capacity: Capacity = field(default_factory=OnDemand)
    release_version: str | None = None
    root_volume_gib: int = 200
    placement: Literal["cluster", "none"] | None = None
    image_cache_snapshot_id: pulumi.Input[str] | None = None
    node_repair: bool = True
    group: str | None = None
    retiring: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, pulumi.Input[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        kind = instance_type(self.instance_type)
        if not kind.gpus:
            raise ValueError(f"instance_type is {kind.name}, which has no GPU; a CpuGroup is for it")
        if not 0 <= self.minimum_nodes <= self.maximum_nodes or self.maximum_nodes < 1:
            raise ValueError(
                f"minimum_nodes is {self.minimum_nodes} and maximum_nodes {self.maximum_nodes}; "
                "the minimum is 0 or more, the maximum 1 or more and not below it"
            )
        if self.root_volume_gib < SMALLEST_ROOT_GIB:
            raise ValueError(
                f"root_volume_gib is {self.root_volume_gib}; {SMALLEST_ROOT_GIB} or more hold the images of a GPU node"
            )
        if self.retiring and self.minimum_nodes:
            raise ValueError("a retiring group has minimum_nodes=0, or its last nodes would never go")
        self._check_subnets(kind)
        if isinstance(self.capacity, CapacityBlock):
            self._check_block(self.capacity)

    def _check_subnets(self, kind: InstanceType) -> None:
        if not self.subnet_ids:
            raise ValueError("subnet_ids is empty; it names at least one private subnet")
        if len(self.subnet_ids) == 1:
            return
        count = f"{len(self.subnet_ids)} subnets are given"
        if self.placement == "cluster":
            raise ValueError(f"{count}, but a cluster placement group lies in one zone: name one subnet")
        if isinstance(self.capacity, Reservation | CapacityBlock):
            raise ValueError(f"{count}, but reserved capacity lies in one zone: name that zone's subnet")
        if kind.rdma and not isinstance(self.capacity, Spot):
            raise ValueError(f"{count}, but {kind.name} trains over EFA within one zone: make a group for each zone")

    def _check_block(self, block: CapacityBlock) -> None:
        if self.placement == "cluster":
            raise ValueError("a Capacity Block brings its own placement, and a placement group makes it fail")
        if self.minimum_nodes:
            raise ValueError(
                "a Capacity Block's group has minimum_nodes=0: before it starts there is nothing to launch"
            )
        if self.maximum_nodes != block.nodes:
            raise ValueError(
                f"maximum_nodes is {self.maximum_nodes}, but the Capacity Block has {block.nodes} instances"
            )


class GpuGroup(pulumi.ComponentResource):
    """Launch template, managed node group, and what EFA, placement and schedule ask for."""

    node_group_name: pulumi.Output[str]
    auto_scaling_group_name: pulumi.Output[str]
    launch_template_id: pulumi.Output[str]
    efa_security_group_id: pulumi.Output[str] | None
    placement_group_name: pulumi.Output[str] | None

    def __init__(self, name: str, args: GpuGroupArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("trainyard:gpu_group:GpuGroup", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        kind = instance_type(args.instance_type)

        efa_group = self._efa_security_group(name, args) if kind.efa_interfaces else None
        placement = None
        if placed_together(args):
            placement = aws.ec2.PlacementGroup(f"{name}-nodes", strategy="cluster", tags=args.tags, opts=child)
        template = gpu_launch_template(
            name,
            GpuNodes(
                kind=kind,
                capacity=args.capacity,
                # EKS adds the cluster's own group only where the template names none.
                security_group_ids=[args.cluster_security_group_id, *([efa_group.id] if efa_group else [])],
                placement_group_name=placement.name if placement else None,
                disk_key_arn=args.disk_key_arn,
                root_volume_gib=args.root_volume_gib,
                image_cache_snapshot_id=args.image_cache_snapshot_id,
                tags=args.tags,
            ),
            child,
        )

        labels = {
            **args.labels,
            POOL_LABEL: "gpu",
            GROUP_LABEL: args.group or name,
            INSTANCE_TYPE_LABEL: kind.name,
        }
        taints = [GPU_TAINT, *([RETIRING_TAINT] if args.retiring else [])]
        group = aws.eks.NodeGroup(
            f"{name}-nodes",
            cluster_name=args.cluster_name,
            node_role_arn=args.node_role_arn,
            subnet_ids=list(args.subnet_ids),
            ami_type=AMI_TYPE,
            capacity_type=capacity_type(args.capacity),
            version=args.kubernetes_version,
            release_version=args.release_version,
            scaling_config=aws.eks.NodeGroupScalingConfigArgs(
                min_size=args.minimum_nodes, max_size=args.maximum_nodes, desired_size=args.minimum_nodes
            ),
            launch_template=aws.eks.NodeGroupLaunchTemplateArgs(
                id=template.id, version=template.latest_version.apply(str)
            ),
            # One node at a time, the old one gone before the new one starts: there is rarely a spare GPU instance.
            update_config=aws.eks.NodeGroupUpdateConfigArgs(max_unavailable=1, update_strategy="MINIMAL"),
            # A job that may not be evicted fails the update after 15 minutes instead of being ended by it.
            force_update_version=False,
            node_repair_config=aws.eks.NodeGroupNodeRepairConfigArgs(enabled=args.node_repair),
            labels=labels,
            taints=[aws.eks.NodeGroupTaintArgs(key=key, value=value, effect="NO_SCHEDULE") for key, value in taints],
            tags=args.tags,
            # The autoscaler and the schedule say how many nodes there are.
            opts=pulumi.ResourceOptions(parent=self, ignore_changes=["scalingConfig.desiredSize"]),
        )
        auto_scaling_group = autoscaling_group_name(group)
        tag_auto_scaling_group(
            name,
            auto_scaling_group,
            node_template_tags(
                labels=labels,
                taints={key: f"{value}:NoSchedule" for key, value in taints},
                resources=announced_resources(kind),
            ),
            child,
        )
        if isinstance(args.capacity, CapacityBlock):
            for size in scheduled_sizes(args.capacity, datetime.now(UTC)):
                _schedule(f"{name}-{size.action}", size, auto_scaling_group, child)

        self.node_group_name = group.node_group_name
        self.auto_scaling_group_name = auto_scaling_group
        self.launch_template_id = template.id
        self.efa_security_group_id = efa_group.id if efa_group else None
        self.placement_group_name = placement.name if placement else None
        self.register_outputs(
            {
                "node_group_name": self.node_group_name,
                "auto_scaling_group_name": self.auto_scaling_group_name,
                "launch_template_id": self.launch_template_id,
                "efa_security_group_id": self.efa_security_group_id,
                "placement_group_name": self.placement_group_name,
            }
        )

    def _efa_security_group(self, name: str, args: GpuGroupArgs) -> aws.ec2.SecurityGroup:
        """EFA talks past TCP ports, so everything within the group is open, both ways, and nothing else."""
        child = pulumi.ResourceOptions(parent=self)
        group = aws.ec2.SecurityGroup(
            f"{name}-efa",
            description=f"EFA between the GPU nodes of {name}",
            vpc_id=args.vpc_id,
            tags={**args.tags, "Name": f"{name}-efa"},
            opts=child,
        )
        aws.vpc.SecurityGroupIngressRule(
            f"{name}-efa",
            security_group_id=group.id,
            referenced_security_group_id=group.id,
            ip_protocol="-1",
            description="EFA from the group itself",
            tags=args.tags,
            opts=child,
        )
        # To the group by id: EFA does not take a rule to 0.0.0.0/0 for one to itself (aws-ofi-nccl #663).
        aws.vpc.SecurityGroupEgressRule(
            f"{name}-efa",
            security_group_id=group.id,
            referenced_security_group_id=group.id,
            ip_protocol="-1",
            description="EFA to the group itself",
            tags=args.tags,
            opts=child,
        )
        return group


def placed_together(args: GpuGroupArgs) -> bool:
    """Whether the group gets a cluster placement group: as asked, else for EFA types on demand in one zone.

    A reservation that was not made inside a placement group cannot be used from within one (terraform-aws-eks #3730),
    so for a reservation it has to be asked for.
    """
    if args.placement is not None:
        return args.placement == "cluster"
    efa = instance_type(args.instance_type).efa_interfaces > 0
    return efa and isinstance(args.capacity, OnDemand) and len(args.subnet_ids) == 1


def announced_resources(kind: InstanceType) -> dict[str, str]:
    """What the device plugins and the kernel of a node will offer, as Kubernetes quantities."""
    resources = {GPU_RESOURCE: str(kind.gpus)}
    if kind.efa_interfaces:
        resources[EFA_RESOURCE] = str(kind.efa_interfaces)
        resources[HUGEPAGES_RESOURCE] = f"{NODE_HUGEPAGES_MIB}Mi"
    return resources


def capacity_type(capacity: Capacity) -> str:
    """EKS's word for how the instances are bought."""
    match capacity:
        case OnDemand() | Reservation():
            return "ON_DEMAND"
        case Spot():
            return "SPOT"
        case CapacityBlock():
            return "CAPACITY_BLOCK"
        case _:
            assert_never(capacity)


def _schedule(
    name: str, size: ScheduledSize, auto_scaling_group: pulumi.Input[str], opts: pulumi.ResourceOptions
) -> None:
    aws.autoscaling.Schedule(
        name,
        scheduled_action_name=size.action,
        autoscaling_group_name=auto_scaling_group,
        start_time=size.at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        min_size=0,
        max_size=size.nodes,
        desired_capacity=size.nodes,
        opts=opts,
    )
