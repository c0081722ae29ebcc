"""The cluster autoscaler: it makes nodes for pods that wait, from zero, and takes away those that nobody uses.

    ClusterAutoscaler(
        "platform",
        ClusterAutoscalerArgs(
            cluster_name=cluster.name,
            cluster_arn=cluster.arn,
            region="us-east-1",
            image=images["cluster-autoscaler"],
        ),
        pulumi.ResourceOptions(providers=[aws_provider, kubernetes_provider]),
    )

It finds the Auto Scaling groups by the tags that EKS puts on those of managed node groups, and may change no others.
How a node of an empty group would look it reads from tags that `gpu_group` and `cpu_group` put there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pulumi
import pulumi_aws as aws
import pulumi_kubernetes as kubernetes

from trainyard.modules.account import Account
from trainyard.modules.node_labels import CPU_NODES
from trainyard.modules.policy_document import Statement, policy_document

SERVICE_ACCOUNT = "cluster-autoscaler"

_ENABLED_TAG = "k8s.io/cluster-autoscaler/enabled"
_UNPRIVILEGED_USER = 65532

_READ = ["get", "list", "watch"]
_CLUSTER_RULES: list[Any] = [
    {
        "api_groups": [""],
        "resources": [
            *("namespaces", "nodes", "pods", "services", "replicationcontrollers"),
            *("persistentvolumeclaims", "persistentvolumes"),
        ],
        "verbs": _READ,
    },
    {"api_groups": [""], "resources": ["nodes"], "verbs": ["update", "patch"]},
    {"api_groups": [""], "resources": ["pods/eviction"], "verbs": ["create"]},
    {"api_groups": [""], "resources": ["pods/status"], "verbs": ["update"]},
    {"api_groups": [""], "resources": ["events"], "verbs": ["create", "patch"]},
    {"api_groups": ["apps"], "resources": ["daemonsets", "replicasets", "statefulsets"], "verbs": _READ},
    {"api_groups": ["batch"], "resources": ["jobs"], "verbs": _READ},
    {"api_groups": ["policy"], "resources": ["poddisruptionbudgets"], "verbs": _READ},
    {
        "api_groups": ["storage.k8s.io"],
        "resources": ["csidrivers", "csinodes", "csistoragecapacities", "storageclasses", "volumeattachments"],
        "verbs": _READ,
    },
    {
        "api_groups": ["resource.k8s.io"],
        "resources": ["deviceclasses", "resourceclaims", "resourceslices"],
        "verbs": _READ,
    },
]
_OWN_RULES: list[Any] = [
    {"api_groups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["create"]},
    {
        "api_groups": ["coordination.k8s.io"],
        "resources": ["leases"],
        "resource_names": ["cluster-autoscaler"],
        "verbs": ["get", "update"],
    },
    {"api_groups": [""], "resources": ["configmaps"], "verbs": ["create", "list", "watch"]},
    {
        "api_groups": [""],
        "resources": ["configmaps"],
        "resource_names": ["cluster-autoscaler-status"],
        "verbs": ["get", "update", "delete"],
    },
]
"""In its own namespace. Source of both lists: kubernetes/autoscaler, cluster-autoscaler/cloudprovider/aws/examples,
cluster-autoscaler-autodiscover.yaml, less what only older versions or other expanders need, and the objects its
scheduler has asked for since Kubernetes 1.33, read 2026-11."""


@dataclass(frozen=True)
class ClusterAutoscalerArgs:
    """Which cluster, and how it is scaled.

    Attributes:
        cluster_name: the EKS cluster.
        cluster_arn: the same.
        region: its region.
        image: reference of the autoscaler, of the cluster's own minor version.
        namespace: made here, for it alone.
        idle_minutes: how long a node may do nothing before it goes.
        provision_minutes: how long a node may take to join. One with EFA takes up to half an hour.
        pod_security_version: of the level's rules.
        tags: added to the provider's default tags.
        labels: of everything in Kubernetes.
    """

    cluster_name: pulumi.Input[str]
    cluster_arn: pulumi.Input[str]
    region: str
    image: pulumi.Input[str]
    namespace: str = "cluster-autoscaler"
    idle_minutes: int = 10
    provision_minutes: int = 30
    pod_security_version: str = "v1.35"
    tags: Mapping[str, pulumi.Input[str]] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.idle_minutes < 1 or self.provision_minutes < 5:
            raise ValueError(
                f"idle_minutes is {self.idle_minutes} and provision_minutes {self.provision_minutes}; "
                "at least 1 and at least 5"
            )


class ClusterAutoscaler(pulumi.ComponentResource):
    """IAM role and pod identity; namespace, account, roles, network rule and Deployment."""

    role_arn: pulumi.Output[str]
    namespace: pulumi.Output[str]

    def __init__(self, name: str, args: ClusterAutoscalerArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("trainyard:cluster_autoscaler:ClusterAutoscaler", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        namespace = kubernetes.core.v1.Namespace(
            name,
            metadata={
                "name": args.namespace,
                "labels": {
                    **args.labels,
                    "pod-security.kubernetes.io/enforce": "restricted",
                    "pod-security.kubernetes.io/enforce-version": args.pod_security_version,
                },
            },
            opts=child,
        )
        self.namespace = namespace.metadata.name
        self._labels = {**args.labels, "app.kubernetes.io/name": "cluster-autoscaler"}
        identity = self._identity(name, args)
        account = self._kubernetes_roles(name)
        self._close_network(name)
        self._deployment(name, args, account, identity)
        self.register_outputs({"role_arn": self.role_arn, "namespace": self.namespace})

    def _identity(self, name: str, args: ClusterAutoscalerArgs) -> aws.eks.PodIdentityAssociation:
        child = pulumi.ResourceOptions(parent=self)
        account = Account.of(self)
        role = aws.iam.Role(
            f"{name}-autoscaler",
            description=f"Cluster autoscaler of {name}",
            assume_role_policy=policy_document(
                [
                    {
                        "Effect": "Allow",
                        "Principal": {"Service": "pods.eks.amazonaws.com"},
                        "Action": ["sts:AssumeRole", "sts:TagSession"],
                        "Condition": {
                            "StringEquals": {
                                "aws:SourceAccount": account.id,
                                "aws:RequestTag/eks-cluster-arn": args.cluster_arn,
                                "aws:RequestTag/kubernetes-namespace": args.namespace,
                                "aws:RequestTag/kubernetes-service-account": SERVICE_ACCOUNT,
                            }
                        },
                    }
                ]
            ),
            tags=args.tags,
            opts=child,
        )
        aws.iam.RolePolicy(
            f"{name}-autoscaler",
            role=role.name,
            policy=pulumi.Output.from_input(args.cluster_name).apply(
                lambda cluster: policy_document(autoscaling_statements(cluster, account))
            ),
            opts=child,
        )
        self.role_arn = role.arn
        return aws.eks.PodIdentityAssociation(
            f"{name}-autoscaler",
            cluster_name=args.cluster_name,
            namespace=args.namespace,
            service_account=SERVICE_ACCOUNT,
            role_arn=role.arn,
            tags=args.tags,
            opts=child,
        )

    def _metadata(self, object_name: str) -> Any:
        return {"name": object_name, "namespace": self.namespace, "labels": self._labels}

    def _kubernetes_roles(self, name: str) -> kubernetes.core.v1.ServiceAccount:
        child = pulumi.ResourceOptions(parent=self)
        account = kubernetes.core.v1.ServiceAccount(
            name, metadata=self._metadata(SERVICE_ACCOUNT), automount_service_account_token=False, opts=child
        )
        subject: Any = {"kind": "ServiceAccount", "name": account.metadata.name, "namespace": self.namespace}
        whole = kubernetes.rbac.v1.ClusterRole(
            name,
            metadata={"name": "trainyard-cluster-autoscaler", "labels": self._labels},
            rules=_CLUSTER_RULES,
            opts=child,
        )
        kubernetes.rbac.v1.ClusterRoleBinding(
            name,
            metadata={"name": "trainyard-cluster-autoscaler", "labels": self._labels},
            role_ref={"api_group": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": whole.metadata.name},
            subjects=[subject],
            opts=child,
        )
        own = kubernetes.rbac.v1.Role(name, metadata=self._metadata("cluster-autoscaler"), rules=_OWN_RULES, opts=child)
        kubernetes.rbac.v1.RoleBinding(
            name,
            metadata=self._metadata("cluster-autoscaler"),
            role_ref={"api_group": "rbac.authorization.k8s.io", "kind": "Role", "name": own.metadata.name},
            subjects=[subject],
            opts=child,
        )
        return account

    def _close_network(self, name: str) -> None:
        """Nobody calls it; it calls the cluster, AWS and the agent that has its credentials."""
        kubernetes.networking.v1.NetworkPolicy(
            name,
            metadata=self._metadata("cluster-autoscaler"),
            spec={"pod_selector": {}, "policy_types": ["Ingress"]},
            opts=pulumi.ResourceOptions(parent=self),
        )

    def _deployment(
        self,
        name: str,
        args: ClusterAutoscalerArgs,
        account: kubernetes.core.v1.ServiceAccount,
        identity: aws.eks.PodIdentityAssociation,
    ) -> None:
        flags = [
            "--cloud-provider=aws",
            pulumi.Output.concat(
                f"--node-group-auto-discovery=asg:tag={_ENABLED_TAG},k8s.io/cluster-autoscaler/", args.cluster_name
            ),
            # Its status and its lease.
            pulumi.Output.concat("--namespace=", self.namespace),
            # The group that the pods fill best, so that a job of one GPU starts no node of eight.
            "--expander=least-waste",
            "--balance-similar-node-groups",
            # An emptyDir on every training pod must not keep idle nodes; a pod that matters says so itself.
            "--skip-nodes-with-local-storage=false",
            "--skip-nodes-with-system-pods=false",
            "--ignore-daemonsets-utilization",
            f"--scale-down-unneeded-time={args.idle_minutes}m",
            f"--max-node-provision-time={args.provision_minutes}m",
            "--v=2",
        ]
        pod: Any = {
            "service_account_name": account.metadata.name,
            "automount_service_account_token": True,
            "enable_service_links": False,
            "priority_class_name": "system-cluster-critical",
            "node_selector": dict(CPU_NODES),
            "security_context": {
                "run_as_non_root": True,
                "run_as_user": _UNPRIVILEGED_USER,
                "run_as_group": _UNPRIVILEGED_USER,
                "seccomp_profile": {"type": "RuntimeDefault"},
            },
            "containers": [
                {
                    "name": "cluster-autoscaler",
                    "image": args.image,
                    "command": ["./cluster-autoscaler"],
                    "args": flags,
                    "env": [{"name": "AWS_REGION", "value": args.region}],
                    "ports": [{"name": "http", "container_port": 8085}],
                    "liveness_probe": {
                        "http_get": {"path": "/health-check", "port": 8085},
                        "initial_delay_seconds": 60,
                        "period_seconds": 30,
                    },
                    "resources": {
                        "requests": {"cpu": "100m", "memory": "600Mi"},
                        "limits": {"cpu": "1", "memory": "600Mi"},
                    },
                    "security_context": {
                        "allow_privilege_escalation": False,
                        "read_only_root_filesystem": True,
                        "capabilities": {"drop": ["ALL"]},
                    },
                }
            ],
        }
        kubernetes.apps.v1.Deployment(
            name,
            metadata={
                **self._metadata("cluster-autoscaler"),
                # The next step of an update does not wait for its pods: the first node may still be on its way.
                "annotations": {"pulumi.com/skipAwait": "true"},
            },
            spec={
                "replicas": 1,
                # Two at once would contend for the lease, and the new one would wait for the old.
                "strategy": {"type": "Recreate"},
                "selector": {"match_labels": {"app.kubernetes.io/name": "cluster-autoscaler"}},
                "template": {"metadata": {"labels": self._labels}, "spec": pod},
            },
            # A pod that starts before the association stands has no credentials until it is started anew.
            opts=pulumi.ResourceOptions(parent=self, depends_on=[identity]),
        )


def autoscaling_statements(cluster_name: str, account: Account) -> list[Statement]:
    """What the autoscaler may do in AWS: look at what it scales, change only what EKS made and tagged for it.

    Which actions take a resource: service authorisation reference, "Amazon EC2 Auto Scaling", "Amazon EC2" and "Amazon
    EKS". That EKS calls the groups of its node groups `eks-…`: policy AWSServiceRoleForAmazonEKSNodegroup.
    """
    return [
        {
            "Sid": "LookAround",
            "Effect": "Allow",
            "Action": [
                "autoscaling:DescribeAutoScalingGroups",
                "autoscaling:DescribeAutoScalingInstances",
                "autoscaling:DescribeLaunchConfigurations",
                "autoscaling:DescribeScalingActivities",
                "autoscaling:DescribeTags",
                "ec2:DescribeImages",
                "ec2:DescribeInstanceTypes",
                "ec2:DescribeLaunchTemplateVersions",
                "ec2:GetInstanceTypesFromInstanceRequirements",
            ],
            # None of these takes a resource.
            "Resource": "*",
        },
        {
            "Sid": "LookAtOwnNodeGroups",
            "Effect": "Allow",
            "Action": "eks:DescribeNodegroup",
            "Resource": account.arn("eks", f"nodegroup/{cluster_name}/*"),
        },
        {
            "Sid": "ScaleOwnGroups",
            "Effect": "Allow",
            "Action": ["autoscaling:SetDesiredCapacity", "autoscaling:TerminateInstanceInAutoScalingGroup"],
            "Resource": account.arn("autoscaling", "autoScalingGroup:*:autoScalingGroupName/eks-*"),
            "Condition": {
                "StringEquals": {
                    f"aws:ResourceTag/{_ENABLED_TAG}": "true",
                    f"aws:ResourceTag/k8s.io/cluster-autoscaler/{cluster_name}": "owned",
                }
            },
        },
    ]
