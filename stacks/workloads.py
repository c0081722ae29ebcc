"""The workloads layer: what stands in the cluster before the first job. Jobs themselves are submitted, not held here:
an update would wait for one that runs for a week."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
import pulumi_aws as aws
import pulumi_kubernetes as kubernetes

from trainyard.modules.cluster_autoscaler import ClusterAutoscaler, ClusterAutoscalerArgs
from trainyard.modules.cluster_viewers import ClusterViewers, ClusterViewersArgs
from trainyard.modules.device_plugins import DevicePlugins, DevicePluginsArgs
from trainyard.modules.job_manifest import ClaimMount
from trainyard.modules.job_templates import JobGroup, JobTemplates, JobTemplatesArgs
from trainyard.modules.pod_identity import PodIdentity, PodIdentityArgs
from trainyard.modules.scratch import Scratch, ScratchArgs
from trainyard.modules.shared_volumes import LUSTRE, BucketVolume, LustreVolume, SharedVolumes, SharedVolumesArgs
from trainyard.modules.team_namespace import TeamNamespace, TeamNamespaceArgs
from trainyard.stacks.cluster import VIEWERS_GROUP, ClusterLayer, people_group
from trainyard.stacks.data import RUN_PREFIX, TRAINER, DataLayer
from trainyard.stacks.settings import Settings, TeamSettings

DATASETS = "datasets"
"""Name of the claim, in every team's namespace, that shows the datasets bucket."""


SHARED = "/shared"
"""Where pods see the file system."""


@dataclass(frozen=True)
class WorkloadsLayer:
    """What whoever submits a job has to know. Each field is also the stack output of that name."""

    team_namespaces: pulumi.Output[list[str]]
    job_templates: pulumi.Output[dict[str, dict[str, str]]]
    """Names of ConfigMaps, by team and GPU group."""


def workloads(settings: Settings, data: DataLayer, cluster: ClusterLayer, aws_provider: aws.Provider) -> WorkloadsLayer:
    """Declare the workloads layer of one environment on its cluster."""
    name = settings.name
    kubernetes_provider = kubernetes.Provider(
        "kubernetes",
        kubeconfig=cluster.kubeconfig,
        enable_server_side_apply=True,
        # Otherwise a ConfigMap whose data change is deleted and made anew, and who submits a job meanwhile finds none.
        enable_config_map_mutable=True,
    )
    in_cluster = pulumi.ResourceOptions(provider=kubernetes_provider)
    pod_security_version = f"v{settings.kubernetes.version}"

    DevicePlugins(
        name,
        DevicePluginsArgs(
            nvidia_image=data.third_party_images["nvidia-device-plugin"],
            efa_image=data.third_party_images["efa-device-plugin"],
            pod_security_version=pod_security_version,
        ),
        in_cluster,
    )
    ClusterAutoscaler(
        name,
        ClusterAutoscalerArgs(
            cluster_name=cluster.cluster_name,
            cluster_arn=cluster.cluster_arn,
            region=settings.region,
            image=data.third_party_images["cluster-autoscaler"],
            pod_security_version=pod_security_version,
        ),
        pulumi.ResourceOptions(providers=[aws_provider, kubernetes_provider]),
    )
    if settings.access.viewers:
        ClusterViewers(name, ClusterViewersArgs(VIEWERS_GROUP), in_cluster)
    if settings.scratch is not None:
        Scratch(
            name,
            ScratchArgs(
                key_arn=data.compute_key_arn, iops_per_gib=settings.scratch.iops_per_gib, volume_tags=settings.tags
            ),
            in_cluster,
        )

    templates = {}
    for team in settings.teams:
        namespace = TeamNamespace(
            f"{name}-{team.name}",
            TeamNamespaceArgs(
                team=team.name,
                gpu_quota=team.gpu_quota,
                cpu_quota=team.cpus,
                memory_gib=team.memory,
                vpc_cidr=data.vpc_cidr,
                pod_security=team.pod_security,
                pod_security_version=pod_security_version,
                service_account=TRAINER,
                people_group=people_group(team),
            ),
            in_cluster,
        )
        PodIdentity(
            f"{name}-{team.name}",
            PodIdentityArgs(
                cluster_name=cluster.cluster_name,
                namespace=team.name,
                service_account=TRAINER,
                role_arn=data.training_role_arns[team.name],
            ),
            pulumi.ResourceOptions(provider=aws_provider),
        )
        volumes = _volumes(settings, team, namespace, data, cluster, in_cluster)
        if settings.gpu_groups:
            templates[team.name] = _job_templates(settings, team, namespace, data, volumes, in_cluster)
    return WorkloadsLayer(
        team_namespaces=pulumi.Output.from_input([team.name for team in settings.teams]),
        job_templates=pulumi.Output.all(**{team: pulumi.Output.all(**names) for team, names in templates.items()}),
    )


def _volumes(
    settings: Settings,
    team: TeamSettings,
    namespace: TeamNamespace,
    data: DataLayer,
    cluster: ClusterLayer,
    in_cluster: pulumi.ResourceOptions,
) -> SharedVolumes:
    """What the team's pods can mount: the data sets, and the file system where there is one."""
    lustre = None
    if settings.lustre is not None:
        lustre = LustreVolume(
            file_system_id=cluster.lustre["id"],
            dns_name=cluster.lustre["dns_name"],
            mount_name=cluster.lustre["mount_name"],
            storage_gib=settings.lustre.storage_gib,
        )
    return SharedVolumes(
        f"{settings.name}-{team.name}",
        SharedVolumesArgs(
            namespace=namespace.namespace,
            lustre=lustre,
            buckets=[BucketVolume(DATASETS, data.datasets_bucket, settings.region)],
        ),
        in_cluster,
    )


def _job_templates(
    settings: Settings,
    team: TeamSettings,
    namespace: TeamNamespace,
    data: DataLayer,
    volumes: SharedVolumes,
    in_cluster: pulumi.ResourceOptions,
) -> dict[str, pulumi.Output[str]]:
    """A template for each GPU group, and beside it where a job reads and writes."""
    claims = [ClaimMount(DATASETS, "/datasets")]
    if settings.lustre is not None:
        claims.append(ClaimMount(LUSTRE, SHARED, read_only=False))
    made = JobTemplates(
        f"{settings.name}-{team.name}",
        JobTemplatesArgs(
            namespace=namespace.namespace,
            groups=[
                JobGroup(
                    name=group.name,
                    instance_type=group.instance_type,
                    maximum_nodes=group.maximum_nodes,
                    spot=group.capacity == "spot",
                    ends_at=group.ends_at,
                )
                for group in settings.gpu_groups
            ],
            service_account=TRAINER,
            claims=claims,
            facts={
                "image": data.trainer_repository_url,
                "datasets": pulumi.Output.concat("s3://", data.datasets_bucket),
                "checkpoints": _checkpoints(settings, team, data),
                "artifacts": pulumi.Output.concat("s3://", data.artifacts_bucket, f"/{RUN_PREFIX}{team.name}"),
                "interruption-queue": data.interruption_queue_url,
                "region": settings.region,
            },
        ),
        pulumi.ResourceOptions(provider=in_cluster.provider, depends_on=[volumes]),
    )
    return made.config_map_names


def _checkpoints(settings: Settings, team: TeamSettings, data: DataLayer) -> pulumi.Input[str]:
    """Where a team's jobs save, as the trainer's `checkpoint.uri` takes it."""
    match settings.checkpoints.location:
        case "lustre":
            return f"{SHARED}/{RUN_PREFIX}{team.name}"
        case "none":
            return "/scratch/checkpoints"
        case _:
            return pulumi.Output.concat("s3://", data.checkpoints_bucket, f"/{RUN_PREFIX}{team.name}")
