"""Which layer of the platform a component belongs to, as the program in `stacks/` builds them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Layer:
    """A band of the picture."""

    title: str
    says: str
    colour: str


LAYERS: Mapping[str, Layer] = {
    "workloads": Layer("Workloads", "what stands in Kubernetes before the first job", "#6d5bd0"),
    "cluster": Layer("Cluster", "EKS, its nodes, the shared file system", "#b3541e"),
    "data": Layer("Data", "network, keys, buckets, images: long-lived and protected", "#18724a"),
    "": Layer("Other", "components of other programs, and what is in none", "#56647a"),
}
"""From top to bottom: each stands on those below it."""

LAYER_OF: Mapping[str, str] = {
    **dict.fromkeys(
        (
            "trainyard:existing_network:ExistingNetwork",
            "trainyard:image_build:ImageBuild",
            "trainyard:image_mirror:ImageMirror",
            "trainyard:image_repository:ImageRepository",
            "trainyard:interruption_queue:InterruptionQueue",
            "trainyard:keys:CustomerKey",
            "trainyard:keys:Keys",
            "trainyard:network:Network",
            "trainyard:object_store:ObjectStore",
            "trainyard:private_bucket:PrivateBucket",
            "trainyard:training_role:TrainingRole",
        ),
        "data",
    ),
    **dict.fromkeys(
        (
            "trainyard:addons:Addons",
            "trainyard:backup:Backup",
            "trainyard:break_glass:BreakGlassRole",
            "trainyard:budget:Budget",
            "trainyard:cluster:Cluster",
            "trainyard:cpu_group:CpuGroup",
            "trainyard:gpu_group:GpuGroup",
            "trainyard:lustre:Lustre",
        ),
        "cluster",
    ),
    **dict.fromkeys(
        (
            "trainyard:cluster_autoscaler:ClusterAutoscaler",
            "trainyard:cluster_viewers:ClusterViewers",
            "trainyard:device_plugins:DevicePlugins",
            "trainyard:job_templates:JobTemplates",
            "trainyard:pod_identity:PodIdentity",
            "trainyard:scratch:Scratch",
            "trainyard:shared_volumes:SharedVolumes",
            "trainyard:team_namespace:TeamNamespace",
        ),
        "workloads",
    ),
}
"""By component type, module by module."""

TITLE_OF: Mapping[str, str] = {
    "trainyard:addons:Addons": "Add-ons",
    "trainyard:break_glass:BreakGlassRole": "Break glass",
    "trainyard:job_templates:JobTemplates": "Templates",
    "trainyard:shared_volumes:SharedVolumes": "Volumes",
    "trainyard:team_namespace:TeamNamespace": "Team",
}
"""Where what the type is called would be too long, or not what people say."""
