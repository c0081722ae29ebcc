"""The launch template of GPU nodes: every network interface of the type, encrypted disks, and what is bought.

What each kind of capacity asks of a template: EKS user guide, "Create a managed node group with Capacity Blocks" and
"Customize managed nodes with launch templates".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pulumi
import pulumi_aws as aws

from trainyard.modules.gpu_capacity import Capacity, CapacityBlock, Reservation
from trainyard.modules.instance_types import InstanceType, network_interfaces
from trainyard.modules.node_config import (
    IMAGE_CACHE_DEVICE,
    ROOT_DEVICE,
    metadata_options,
    tag_specifications,
    user_data,
    volume,
)

# 10 GB images are pulled at this rate; gp3 takes a quarter MiB/s for each operation a second.
VOLUME_THROUGHPUT_MIBPS, VOLUME_IOPS = 1000, 4000


@dataclass(frozen=True)
class GpuNodes:
    """What one node of a group is made of.

    Attributes:
        kind: row of `instance_types`.
        capacity: how it is bought.
        security_group_ids: of all its interfaces.
        placement_group_name: None: none, or the capacity's own.
        disk_key_arn: KMS key of its volumes.
        root_volume_gib: of its root volume.
        image_cache_snapshot_id: EBS snapshot of a second volume with images. None: no such volume.
        tags: of the template, and of instances, volumes and interfaces.
    """

    kind: InstanceType
    capacity: Capacity
    security_group_ids: Sequence[pulumi.Input[str]]
    disk_key_arn: pulumi.Input[str]
    root_volume_gib: int
    placement_group_name: pulumi.Input[str] | None = None
    image_cache_snapshot_id: pulumi.Input[str] | None = None
    tags: Mapping[str, pulumi.Input[str]] = field(default_factory=dict)


def gpu_launch_template(name: str, nodes: GpuNodes, opts: pulumi.ResourceOptions) -> aws.ec2.LaunchTemplate:
    """The template of the node group `name`, for a node group that names its newest version."""
    kind, placement = nodes.kind, nodes.placement_group_name
    return aws.ec2.LaunchTemplate(
        f"{name}-nodes",
        description=f"{kind.name} nodes of {name}",
        update_default_version=True,
        # Here and not in the node group: a Capacity Block asks for it, and the interfaces fit this type alone.
        instance_type=kind.name,
        network_interfaces=_interfaces(nodes),
        placement=aws.ec2.LaunchTemplatePlacementArgs(group_name=placement) if placement is not None else None,
        instance_market_options=_market_options(nodes.capacity),
        capacity_reservation_specification=_reservation_target(nodes.capacity),
        block_device_mappings=_volumes(nodes),
        metadata_options=metadata_options(),
        user_data=user_data(local_disks=kind.nvme_disks, image_cache=nodes.image_cache_snapshot_id is not None),
        tag_specifications=tag_specifications(name, nodes.tags),
        tags=nodes.tags,
        opts=opts,
    )


def _interfaces(nodes: GpuNodes) -> list[aws.ec2.LaunchTemplateNetworkInterfaceArgs]:
    layout = network_interfaces(nodes.kind)
    return [
        aws.ec2.LaunchTemplateNetworkInterfaceArgs(
            network_card_index=interface.card,
            device_index=interface.device,
            interface_type=interface.kind,
            security_groups=list(nodes.security_group_ids),
            delete_on_termination="true",
            # EC2 takes the question only where there is one interface.
            associate_public_ip_address="false" if len(layout) == 1 else None,
        )
        for interface in layout
    ]


def _volumes(nodes: GpuNodes) -> list[aws.ec2.LaunchTemplateBlockDeviceMappingArgs]:
    root = volume(
        ROOT_DEVICE,
        nodes.disk_key_arn,
        size_gib=nodes.root_volume_gib,
        throughput_mibps=VOLUME_THROUGHPUT_MIBPS,
        iops=VOLUME_IOPS,
    )
    if nodes.image_cache_snapshot_id is None:
        return [root]
    cache = volume(
        IMAGE_CACHE_DEVICE,
        nodes.disk_key_arn,
        # As large as the snapshot.
        size_gib=None,
        throughput_mibps=VOLUME_THROUGHPUT_MIBPS,
        iops=VOLUME_IOPS,
        snapshot_id=nodes.image_cache_snapshot_id,
    )
    return [root, cache]


def _market_options(capacity: Capacity) -> aws.ec2.LaunchTemplateInstanceMarketOptionsArgs | None:
    """Only a Capacity Block names its market; EKS sets the Spot market itself and refuses a template that does."""
    if isinstance(capacity, CapacityBlock):
        return aws.ec2.LaunchTemplateInstanceMarketOptionsArgs(market_type="capacity-block")
    return None


def _reservation_target(
    capacity: Capacity,
) -> aws.ec2.LaunchTemplateCapacityReservationSpecificationArgs | None:
    """The reservation that the instances must come from."""
    if not isinstance(capacity, Reservation | CapacityBlock):
        return None
    return aws.ec2.LaunchTemplateCapacityReservationSpecificationArgs(
        capacity_reservation_target=aws.ec2.LaunchTemplateCapacityReservationSpecificationCapacityReservationTargetArgs(
            capacity_reservation_id=capacity.reservation_id
        )
    )
