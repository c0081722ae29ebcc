"""The workloads layer: what stands in the cluster before the first job. Jobs themselves are submitted, not held here:
an update would wait for one that runs for a week."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
import pulumi_aws as aws
import pulumi_kubernetes as kubernetes

from trainyard.modules.pod_identity import PodIdentity, PodIdentityArgs
from trainyard.stacks.cluster import ClusterLayer
from trainyard.stacks.data import TRAINER, DataLayer
from trainyard.stacks.settings import Settings


@dataclass(frozen=True)
class WorkloadsLayer:
    """What whoever submits a job has to know. Each field is also the stack output of that name."""

    team_namespaces: pulumi.Output[list[str]]


def workloads(
    settings: Settings, data: DataLayer, cluster: ClusterLayer, aws_provider: aws.Provider
) -> WorkloadsLayer:
    """Declare the workloads layer of one environment on its cluster."""
    name = settings.name
    in_aws = pulumi.ResourceOptions(provider=aws_provider)
    in_cluster = pulumi.ResourceOptions(
        provider=kubernetes.Provider("kubernetes", kubeconfig=cluster.kubeconfig, enable_server_side_apply=True)
    )
    for team in settings.teams:
        kubernetes.core.v1.Namespace(f"{name}-{team.name}", metadata={"name": team.name}, opts=in_cluster)
        PodIdentity(
            f"{name}-{team.name}",
            PodIdentityArgs(cluster.cluster_name, team.name, TRAINER, data.training_role_arns[team.name]),
            in_aws,
        )
    return WorkloadsLayer(team_namespaces=pulumi.Output.from_input([team.name for team in settings.teams]))
