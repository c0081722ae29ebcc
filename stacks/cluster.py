"""The cluster layer: EKS, the groups of nodes, the shared file system, backups, the budget."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from trainyard.modules.addons import CONTROLLER_ADDONS, NODE_ADDONS, Addons, AddonsArgs
from trainyard.modules.backup import LEAST_CHANGEABLE_DAYS, Backup, BackupArgs, VaultLock
from trainyard.modules.break_glass import BreakGlassRole, BreakGlassRoleArgs
from trainyard.modules.budget import Budget, BudgetArgs, IdleGpuAlarm
from trainyard.modules.cluster import AccessGrant, Cluster, ClusterArgs, sso_role_arn
from trainyard.modules.cpu_group import CpuGroup, CpuGroupArgs
from trainyard.modules.gpu_group import Capacity, CapacityBlock, GpuGroup, GpuGroupArgs, OnDemand, Reservation, Spot
from trainyard.modules.instance_types import instance_type
from trainyard.modules.lustre import Lustre, LustreArgs, LustreLink
from trainyard.stacks.data import RUN_PREFIX, DataLayer
from trainyard.stacks.prices import hourly_usd
from trainyard.stacks.settings import GpuGroupSettings, Settings, TeamSettings


@dataclass(frozen=True)
class ClusterLayer:
    """What the workloads may know of the cluster. Each field is also the stack output of that name."""

    cluster_name: pulumi.Output[str]
    cluster_arn: pulumi.Output[str]
    cluster_endpoint: pulumi.Output[str]
    kubeconfig: pulumi.Output[str]
    """Without a secret in it: whoever uses it logs in as themselves, by `aws eks get-token`."""
    cluster_security_group_id: pulumi.Output[str]
    gpu_auto_scaling_groups: pulumi.Output[dict[str, str]]
    """By GPU group."""
    lustre: pulumi.Output[dict[str, str]]
    """`id`, `dns_name` and `mount_name`; empty where the environment has no file system."""


def cluster(settings: Settings, data: DataLayer, aws_provider: aws.Provider) -> ClusterLayer:
    """Declare the cluster layer of one environment on its data layer."""
    name = settings.name
    in_aws = pulumi.ResourceOptions(provider=aws_provider)
    subnets = data.private_subnet_ids_by_zone

    access = _people(settings, in_aws)
    if settings.access.break_glass_principals:
        break_glass = BreakGlassRole(
            name,
            BreakGlassRoleArgs(
                trusted_principal_arns=settings.access.break_glass_principals,
                topic_key_arn=data.messages_key_arn,
                email_addresses=settings.budget.notify,
                cluster_name=name,
            ),
            in_aws,
        )
        access.append(AccessGrant("break-glass", break_glass.role_arn, "AmazonEKSClusterAdminPolicy"))

    eks = Cluster(
        name,
        ClusterArgs(
            vpc_id=data.vpc_id,
            subnet_ids=data.private_subnet_ids,
            version=settings.kubernetes.version,
            secrets_key_arn=data.secrets_key_arn,
            logs_key_arn=data.logs_key_arn,
            log_retention_days=settings.log_retention_days,
            public_access_cidrs=[str(block) for block in settings.kubernetes.public_access_cidrs],
            private_access_cidrs=[str(block) for block in settings.kubernetes.private_access_cidrs],
            access=access,
            service_cidr=str(settings.kubernetes.service_cidr),
            deletion_protection=settings.kubernetes.deletion_protection,
        ),
        in_aws,
    )

    # No node becomes ready before it has the CNI, and no controller runs before there is a node.
    on_nodes = Addons(
        f"{name}-node",
        AddonsArgs(cluster_name=eks.name, kubernetes_version=settings.kubernetes.version, names=NODE_ADDONS),
        in_aws,
    )
    with_nodes = pulumi.ResourceOptions(provider=aws_provider, depends_on=[on_nodes])
    cpu_groups = [
        CpuGroup(
            f"{name}-{group.name}",
            CpuGroupArgs(
                cluster_name=eks.name,
                node_role_arn=eks.node_role_arn,
                instance_types=group.instance_types,
                subnet_ids=[subnets[zone] for zone in group.zones or settings.availability_zones],
                kubernetes_version=settings.kubernetes.version,
                minimum_nodes=group.minimum_nodes,
                maximum_nodes=group.maximum_nodes,
                disk_key_arn=data.compute_key_arn,
                group=group.name,
                tags=settings.tags,
            ),
            with_nodes,
        )
        for group in settings.cpu_groups
    ]
    Addons(
        name,
        AddonsArgs(
            cluster_name=eks.name,
            kubernetes_version=settings.kubernetes.version,
            names=CONTROLLER_ADDONS,
            volume_key_arn=data.compute_key_arn,
        ),
        pulumi.ResourceOptions(provider=aws_provider, depends_on=cpu_groups),
    )
    gpu_groups = {
        group.name: GpuGroup(
            f"{name}-{group.name}",
            GpuGroupArgs(
                cluster_name=eks.name,
                cluster_security_group_id=eks.security_group_id,
                vpc_id=data.vpc_id,
                node_role_arn=eks.node_role_arn,
                instance_type=group.instance_type,
                subnet_ids=[subnets[zone] for zone in group.zones],
                kubernetes_version=settings.kubernetes.version,
                release_version=group.release_version,
                minimum_nodes=group.minimum_nodes,
                maximum_nodes=group.maximum_nodes,
                capacity=_capacity(group),
                disk_key_arn=data.compute_key_arn,
                root_volume_gib=group.root_volume_gib,
                placement=group.placement,
                image_cache_snapshot_id=group.image_cache_snapshot_id,
                group=group.name,
                # Default tags do not reach what a launch template makes.
                tags=settings.tags,
            ),
            with_nodes,
        )
        for group in settings.gpu_groups
    }

    lustre = _lustre(settings, data, eks, gpu_groups, in_aws)
    if settings.backups is not None:
        # What a linked file system shows lies in the buckets, and AWS backs up no such file system.
        alone = [lustre.arn] if lustre is not None and settings.lustre and not settings.lustre.linked else []
        Backup(
            name,
            BackupArgs(
                key_arn=data.data_key_arn,
                resource_arns=[data.artifacts_bucket_arn, *alone],
                schedule=settings.backups.schedule,
                retention_days=settings.backups.retention_days,
                lock=_vault_lock(settings),
                protected=settings.protect_data,
            ),
            in_aws,
        )
    _budget(settings, data, gpu_groups, in_aws)
    return ClusterLayer(
        cluster_name=eks.name,
        cluster_arn=eks.arn,
        cluster_endpoint=eks.endpoint,
        kubeconfig=eks.kubeconfig,
        cluster_security_group_id=eks.security_group_id,
        gpu_auto_scaling_groups=pulumi.Output.all(
            **{group: made.auto_scaling_group_name for group, made in gpu_groups.items()}
        ),
        lustre=pulumi.Output.all(id=lustre.file_system_id, dns_name=lustre.dns_name, mount_name=lustre.mount_name)
        if lustre
        else pulumi.Output.from_input({}),
    )


VIEWERS_GROUP = "trainyard:viewers"
"""The Kubernetes group of those who look after the cluster without changing it; the workloads say what it sees."""


def people_group(team: TeamSettings) -> str:
    """The Kubernetes group of a team's people; the team's namespace says what it may do there."""
    return f"trainyard:{team.name}"


def _people(settings: Settings, in_aws: pulumi.ResourceOptions) -> list[AccessGrant]:
    """An entry for each role of single sign-on, named by its permission set or by its ARN."""
    invoke = _invoke(in_aws)

    def arn(principal: str) -> pulumi.Input[str]:
        return principal if principal.startswith("arn:") else sso_role_arn(principal, invoke)

    grants = [
        AccessGrant(principal.rpartition("/")[2], arn(principal), policy, kubernetes_groups=groups)
        for policy, principals, groups in (
            ("AmazonEKSClusterAdminPolicy", settings.access.deployers, ()),
            ("AmazonEKSClusterAdminPolicy", settings.access.administrators, ()),
            # Not AmazonEKSAdminViewPolicy: it shows secrets.
            ("AmazonEKSViewPolicy", settings.access.viewers, (VIEWERS_GROUP,)),
        )
        for principal in principals
    ]
    # One role may be in several teams, and a principal has one entry.
    teams: dict[str, list[str]] = {}
    for team in settings.teams:
        for principal in team.people:
            teams.setdefault(principal, []).append(people_group(team))
    return grants + [
        AccessGrant(principal.rpartition("/")[2], arn(principal), kubernetes_groups=groups)
        for principal, groups in teams.items()
    ]


def _invoke(in_aws: pulumi.ResourceOptions) -> pulumi.InvokeOptions:
    provider = in_aws.provider
    assert provider is not None
    return pulumi.InvokeOptions(provider=provider)


def _capacity(group: GpuGroupSettings) -> Capacity:
    match group.capacity:
        case "spot":
            return Spot()
        case "reservation":
            assert group.reservation_id is not None
            return Reservation(group.reservation_id)
        case "capacity-block":
            assert group.reservation_id is not None
            assert group.starts_at is not None  # setting_checks has seen to it
            assert group.ends_at is not None
            return CapacityBlock(group.reservation_id, group.starts_at, group.ends_at, group.maximum_nodes)
        case _:
            return OnDemand()


def _vault_lock(settings: Settings) -> VaultLock | None:
    if settings.lock is None:
        return None
    for_good = settings.lock.mode == "compliance"
    return VaultLock(settings.lock.days, changeable_for_days=LEAST_CHANGEABLE_DAYS if for_good else None)


def _lustre(
    settings: Settings,
    data: DataLayer,
    eks: Cluster,
    gpu_groups: dict[str, GpuGroup],
    in_aws: pulumi.ResourceOptions,
) -> Lustre | None:
    if settings.lustre is None:
        return None
    wanted = settings.lustre
    efa_groups = {
        name: group.efa_security_group_id
        for name, group in gpu_groups.items()
        if group.efa_security_group_id is not None
    }
    return Lustre(
        settings.name,
        LustreArgs(
            vpc_id=data.vpc_id,
            subnet_id=data.private_subnet_ids_by_zone[wanted.zone],
            client_security_group_ids=[eks.security_group_id],
            key_arn=data.data_key_arn,
            storage_gib=wanted.storage_gib,
            throughput_mbps_per_tib=wanted.throughput_mbps_per_tib,
            efa=wanted.efa,
            efa_security_group_ids_by_name=efa_groups if wanted.efa else {},
            links=[
                LustreLink("/datasets", data.datasets_bucket),
                LustreLink("/runs", data.checkpoints_bucket, RUN_PREFIX, exports=True),
            ]
            if wanted.linked
            else [],
            backup_retention_days=wanted.backup_retention_days,
            logs_key_arn=data.logs_key_arn,
            log_retention_days=settings.log_retention_days,
            protected=settings.protect_data,
        ),
        in_aws,
    )


def _budget(
    settings: Settings, data: DataLayer, gpu_groups: dict[str, GpuGroup], in_aws: pulumi.ResourceOptions
) -> None:
    Budget(
        settings.name,
        BudgetArgs(
            monthly_limit_usd=settings.budget.monthly_limit_usd,
            topic_key_arn=data.messages_key_arn,
            email_addresses=settings.budget.notify,
            environment=settings.environment,
            idle_alarms=[
                IdleGpuAlarm(
                    group=group.name,
                    auto_scaling_group_name=gpu_groups[group.name].auto_scaling_group_name,
                    hourly_usd=hourly_usd(group.instance_type, settings.region),
                    idle_hours=settings.budget.idle_hours,
                    # Agents alone keep a few tenths of one CPU busy, which is much of a small node.
                    idle_cpu_percent=max(3.0, 40 / instance_type(group.instance_type).vcpus),
                )
                for group in settings.gpu_groups
            ],
        ),
        in_aws,
    )
