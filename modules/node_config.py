"""What the nodes of every group have in common: user data, disks, metadata service, and tags for the autoscaler.

user_data(local_disks=8, image_cache=False)     base64, for a launch template of an AL2023 node group
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence

import pulumi
import pulumi_aws as aws

ROOT_DEVICE, IMAGE_CACHE_DEVICE = "/dev/xvda", "/dev/xvdb"

_BOUNDARY = "==NODE=="
_TEMPLATE_TAG = "k8s.io/cluster-autoscaler/node-template"

# nodeadm starts containerd only after cloud-init has run this. A cache that cannot be mounted is no reason to lose the
# node: images are then pulled as usual, so the script reports and goes on.
_MOUNT_IMAGE_CACHE = f"""\
#!/bin/bash
mkdir -p /var/lib/containerd
if mount -t xfs -o noatime {IMAGE_CACHE_DEVICE} /var/lib/containerd; then
    echo '{IMAGE_CACHE_DEVICE} /var/lib/containerd xfs defaults,noatime,nofail 0 2' >> /etc/fstab
else
    echo 'image cache {IMAGE_CACHE_DEVICE} cannot be mounted; images will be pulled' >&2
fi
"""


def user_data(*, local_disks: int, image_cache: bool) -> str | None:
    """MIME user data in base64 for an AL2023 node, to which EKS adds the cluster's own part; None where none is needed.

    With `local_disks` (their number) the NVMe disks become one RAID0 array that holds containers' writable layers, pod
    logs, emptyDir volumes and images. With `image_cache` the images are on the second volume instead, and nodeadm is
    told to leave that directory alone: it would mount the empty array over it. Source: nodeadm, API reference,
    LocalStorageOptions (strategy RAID0; disabledMounts Containerd or PodLogs), read 2026-11.
    """
    parts: list[tuple[str, str]] = []
    if local_disks:
        kept = "\n      disabledMounts: [Containerd]" if image_cache else ""
        parts.append(
            (
                "application/node.eks.aws",
                "apiVersion: node.eks.aws/v1alpha1\n"
                "kind: NodeConfig\n"
                "spec:\n"
                "  instance:\n"
                "    localStorage:\n"
                f"      strategy: RAID0{kept}\n",
            )
        )
    if image_cache:
        parts.append(('text/x-shellscript; charset="us-ascii"', _MOUNT_IMAGE_CACHE))
    if not parts:
        return None
    lines = ["MIME-Version: 1.0", f'Content-Type: multipart/mixed; boundary="{_BOUNDARY}"', ""]
    for kind, body in parts:
        lines += [f"--{_BOUNDARY}", f"Content-Type: {kind}", "", body]
    lines += [f"--{_BOUNDARY}--", ""]
    return base64.b64encode("\n".join(lines).encode()).decode()


def metadata_options() -> aws.ec2.LaunchTemplateMetadataOptionsArgs:
    """Metadata by session token only, and not for pods: one hop ends at the node.

    Instance tags stay out of the metadata. With them in, EC2 takes no tag key that has a slash, and the tags that EKS
    puts on its instances have one: no instance would start (terraform-aws-eks #1785).
    """
    return aws.ec2.LaunchTemplateMetadataOptionsArgs(
        http_endpoint="enabled",
        http_tokens="required",
        http_put_response_hop_limit=1,
        instance_metadata_tags="disabled",
    )


def volume(
    device: str,
    key_arn: pulumi.Input[str],
    *,
    size_gib: int | None,
    throughput_mibps: int,
    iops: int,
    snapshot_id: pulumi.Input[str] | None = None,
) -> aws.ec2.LaunchTemplateBlockDeviceMappingArgs:
    """An encrypted gp3 volume that goes with its instance; from a snapshot, filled ahead of the first read."""
    return aws.ec2.LaunchTemplateBlockDeviceMappingArgs(
        device_name=device,
        ebs=aws.ec2.LaunchTemplateBlockDeviceMappingEbsArgs(
            volume_type="gp3",
            volume_size=size_gib,
            throughput=throughput_mibps,
            iops=iops,
            encrypted="true",
            kms_key_id=key_arn,
            snapshot_id=snapshot_id,
            volume_initialization_rate=300 if snapshot_id is not None else None,
            delete_on_termination="true",
        ),
    )


def tag_specifications(
    name: str, tags: Mapping[str, pulumi.Input[str]]
) -> list[aws.ec2.LaunchTemplateTagSpecificationArgs]:
    """Tags for what the launch template makes: neither it nor the provider's default tags reach instances by itself."""
    return [
        aws.ec2.LaunchTemplateTagSpecificationArgs(resource_type=kind, tags={**tags, "Name": name})
        for kind in ("instance", "volume", "network-interface")
    ]


def autoscaling_group_name(group: aws.eks.NodeGroup) -> pulumi.Output[str]:
    """The Auto Scaling group that EKS made for a managed node group."""
    return group.resources.apply(_first_group)


def _first_group(made: Sequence[aws.eks.outputs.NodeGroupResource]) -> str:
    groups = made[0].autoscaling_groups if made else None
    if not groups or groups[0].name is None:
        raise RuntimeError("EKS made the node group without an Auto Scaling group; look at the group's health in EKS")
    return groups[0].name


def node_template_tags(
    *, labels: Mapping[str, str], taints: Mapping[str, str], resources: Mapping[str, str]
) -> dict[str, str]:
    """What tells the cluster autoscaler how a node of an empty group will look.

    Without them it finds no group for a pending pod until a first node exists. Source: cluster-autoscaler, README of
    the AWS cloud provider, "Auto-Discovery Setup".

    Args:
        labels: of the nodes.
        taints: key to `value:Effect`, such as `true:NoSchedule`.
        resources: that a device plugin announces later, such as `nvidia.com/gpu`.
    """
    return {
        **{f"{_TEMPLATE_TAG}/label/{key}": value for key, value in labels.items()},
        **{f"{_TEMPLATE_TAG}/taint/{key}": value for key, value in taints.items()},
        **{f"{_TEMPLATE_TAG}/resources/{key}": value for key, value in resources.items()},
    }


def tag_auto_scaling_group(
    name: str, auto_scaling_group: pulumi.Input[str], tags: Mapping[str, str], opts: pulumi.ResourceOptions
) -> None:
    """Put `tags` on the group itself, not on its instances: keys with a slash trouble those."""
    for key, value in tags.items():
        aws.autoscaling.Tag(
            f"{name}-{key.removeprefix(_TEMPLATE_TAG + '/').replace('/', '-')}",
            autoscaling_group_name=auto_scaling_group,
            tag=aws.autoscaling.TagTagArgs(key=key, value=value, propagate_at_launch=False),
            opts=opts,
        )
