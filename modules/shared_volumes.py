"""File systems and buckets that exist already, as volumes of one team's namespace.

    volumes = SharedVolumes(
        "platform-vision",
        SharedVolumesArgs(
            namespace=team.namespace,
            lustre=LustreVolume(lustre.file_system_id, lustre.dns_name, lustre.mount_name, storage_gib=4800),
            buckets=[BucketVolume("datasets", store.datasets.bucket_name, region="us-east-1")],
        ),
        pulumi.ResourceOptions(provider=kubernetes_provider),
    )
    volumes.claim_names["datasets"]      # for a job's `ClaimMount`

Each volume is made for one claim and kept for it: no other namespace can take it. Deleting one deletes no data.

A bucket is read with the role of the pod that mounts it, so that the driver itself needs no right to any data. It is
read only: Mountpoint for S3 cannot rename on general-purpose buckets, and a checkpoint that relies on an atomic rename
would break there. Checkpoints go to the bucket by the trainer's own `s3://` or to Lustre.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pulumi
import pulumi_kubernetes as kubernetes

from trainyard.modules.job_pod import TRAINER_USER

LUSTRE = "lustre"
"""The claim of the file system."""

_ANY_SIZE = "1Ti"
"""A bucket has no size; Kubernetes wants one."""


@dataclass(frozen=True)
class LustreVolume:
    """An FSx for Lustre file system.

    Attributes:
        file_system_id: `fs-…`.
        dns_name: where it is reached.
        mount_name: its name there.
        storage_gib: its size; only shown, Lustre itself keeps no volume's bounds.
    """

    file_system_id: pulumi.Input[str]
    dns_name: pulumi.Input[str]
    mount_name: pulumi.Input[str]
    storage_gib: int

    def __post_init__(self) -> None:
        if self.storage_gib < 1200:
            raise ValueError(f"storage_gib is {self.storage_gib}; FSx for Lustre begins at 1200")


@dataclass(frozen=True)
class BucketVolume:
    """A bucket, or what lies under a prefix in it, to read.

    Attributes:
        name: of the claim.
        bucket_name: the bucket.
        region: the bucket's, which is the nodes' too.
        prefix: beginning of the keys, ending in `/`; the empty one is the whole bucket.
    """

    name: str
    bucket_name: pulumi.Input[str]
    region: str
    prefix: str = ""

    def __post_init__(self) -> None:
        if self.name == LUSTRE:
            raise ValueError(f"a bucket's claim is called {LUSTRE}, which is the file system's")
        if self.prefix and not self.prefix.endswith("/"):
            raise ValueError(f"prefix is {self.prefix!r}; it ends in a slash, such as 'imagenet/'")


@dataclass(frozen=True)
class SharedVolumesArgs:
    """What a team's pods can mount.

    Attributes:
        namespace: the team's.
        lustre: the file system, shared with all other teams that mount it.
        buckets: to read.
        labels: of volumes and claims.
    """

    namespace: pulumi.Input[str]
    lustre: LustreVolume | None = None
    buckets: Sequence[BucketVolume] = ()
    labels: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = [bucket.name for bucket in self.buckets]
        if len(set(names)) < len(names):
            raise ValueError(f"the buckets' claims are {', '.join(names)}; each name stands once")
        if self.lustre is None and not names:
            raise ValueError("there is neither a file system nor a bucket to mount")


class SharedVolumes(pulumi.ComponentResource):
    """A PersistentVolume and its claim for each."""

    claim_names: dict[str, pulumi.Output[str]]

    def __init__(self, name: str, args: SharedVolumesArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("trainyard:shared_volumes:SharedVolumes", name, None, opts)
        self._namespace = pulumi.Output.from_input(args.namespace)
        self._labels = dict(args.labels)
        self.claim_names = {}
        if args.lustre is not None:
            self._volume(
                name,
                LUSTRE,
                storage=f"{args.lustre.storage_gib}Gi",
                access_mode="ReadWriteMany",
                # Locks that hold across nodes, not only on one.
                mount_options=["flock"],
                source={
                    "driver": "fsx.csi.aws.com",
                    "volume_handle": args.lustre.file_system_id,
                    "volume_attributes": {"dnsname": args.lustre.dns_name, "mountname": args.lustre.mount_name},
                },
            )
        for bucket in args.buckets:
            options = ["read-only", f"region {bucket.region}", "allow-other"]
            options += [f"uid={TRAINER_USER}", f"gid={TRAINER_USER}"]
            self._volume(
                name,
                bucket.name,
                storage=_ANY_SIZE,
                access_mode="ReadOnlyMany",
                mount_options=[*options, *([f"prefix {bucket.prefix}"] if bucket.prefix else [])],
                source={
                    "driver": "s3.csi.aws.com",
                    # The driver tells volumes apart by it: two with one handle would be one mount.
                    "volume_handle": pulumi.Output.concat(self._namespace, "-", bucket.name),
                    "volume_attributes": {"bucketName": bucket.bucket_name, "authenticationSource": "pod"},
                },
            )
        self.register_outputs({"claim_names": self.claim_names})

    def _volume(
        self,
        name: str,
        what: str,
        *,
        storage: str,
        access_mode: str,
        mount_options: list[str],
        source: kubernetes.core.v1.CSIPersistentVolumeSourceArgsDict,
    ) -> None:
        child = pulumi.ResourceOptions(parent=self)
        volume = kubernetes.core.v1.PersistentVolume(
            f"{name}-{what}",
            metadata={"name": pulumi.Output.concat(self._namespace, "-", what), "labels": self._labels},
            spec={
                "capacity": {"storage": storage},
                "access_modes": [access_mode],
                "persistent_volume_reclaim_policy": "Retain",
                # None, so that no default class makes a volume of its own for the claim.
                "storage_class_name": "",
                "mount_options": mount_options,
                "claim_ref": {
                    "api_version": "v1",
                    "kind": "PersistentVolumeClaim",
                    "namespace": self._namespace,
                    "name": what,
                },
                "csi": source,
            },
            opts=child,
        )
        claim = kubernetes.core.v1.PersistentVolumeClaim(
            f"{name}-{what}",
            metadata={"name": what, "namespace": self._namespace, "labels": self._labels},
            spec={
                "access_modes": [access_mode],
                "storage_class_name": "",
                "volume_name": volume.metadata.name,
                "resources": {"requests": {"storage": storage}},
            },
            opts=child,
        )
        self.claim_names[what] = claim.metadata.name
