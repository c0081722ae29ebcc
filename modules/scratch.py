"""A storage class on fast EBS volumes, for jobs of one node whose working files must outlive a pod.

    scratch = Scratch(
        "platform",
        ScratchArgs(key_arn=keys.compute.arn, iops_per_gib=50, volume_tags={"owner": "ml", "data-class": "internal"}),
        pulumi.ResourceOptions(provider=kubernetes_provider),
    )
    scratch.storage_class_name      # for a claim's storageClassName

What need not outlive the pod goes to `/scratch` of a job template instead: an emptyDir on the RAID0 array of the node's
own NVMe disks, which is faster and costs nothing more, and is gone with the pod.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pulumi
import pulumi_kubernetes as kubernetes

MOST_IOPS_PER_GIB = 1000
"""Of io2 Block Express. Source: EBS user guide, "Provisioned IOPS SSD volumes", read 2026-11."""


@dataclass(frozen=True)
class ScratchArgs:
    """What a volume of the class is.

    Attributes:
        key_arn: KMS key of the volumes; the EBS driver must be allowed to use it (`addons.AddonsArgs.volume_key_arn`).
        iops_per_gib: operations a second for each GiB, 1 to 1000. They are paid for as long as the volume exists.
        storage_class_name: its name.
        volume_tags: of the volumes, for the provider's default tags don't reach what the driver makes.
        labels: of the class.
    """

    key_arn: pulumi.Input[str]
    iops_per_gib: int = 50
    storage_class_name: str = "scratch-io2"
    volume_tags: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 1 <= self.iops_per_gib <= MOST_IOPS_PER_GIB:
            raise ValueError(f"iops_per_gib is {self.iops_per_gib}; io2 has 1 to {MOST_IOPS_PER_GIB}")
        for key, value in self.volume_tags.items():
            if "=" in key or not key or not value:
                raise ValueError(f"the volume tag {key!r} is {value!r}; neither is empty, and a key has no '='")


class Scratch(pulumi.ComponentResource):
    """One StorageClass."""

    storage_class_name: pulumi.Output[str]

    def __init__(self, name: str, args: ScratchArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("trainyard:scratch:Scratch", name, None, opts)
        tags = {
            f"tagSpecification_{number}": f"{key}={value}"
            for number, (key, value) in enumerate(sorted(args.volume_tags.items()), start=1)
        }
        made = kubernetes.storage.v1.StorageClass(
            name,
            metadata={"name": args.storage_class_name, "labels": dict(args.labels)},
            provisioner="ebs.csi.aws.com",
            parameters={
                "type": "io2",
                "iopsPerGB": str(args.iops_per_gib),
                "encrypted": "true",
                "kmsKeyId": args.key_arn,
                "csi.storage.k8s.io/fstype": "xfs",
                **tags,
            },
            # In the zone of the node that the pod got, and not before it has one.
            volume_binding_mode="WaitForFirstConsumer",
            reclaim_policy="Delete",
            allow_volume_expansion=True,
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.storage_class_name = made.metadata.name
        self.register_outputs({"storage_class_name": self.storage_class_name})
