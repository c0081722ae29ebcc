"""A team's namespace: what its pods may be, how much they may ask for, and whom they may talk to.

    TeamNamespace(
        "platform-vision",
        TeamNamespaceArgs(
            team="vision",
            gpu_quota=16,
            cpu_quota=512,
            memory_gib=4096,
            pod_security="restricted",
            vpc_cidr="10.64.0.0/16",
        ),
        pulumi.ResourceOptions(provider=kubernetes_provider),
    )

EFA goes past the node's kernel, and so past every NetworkPolicy: between GPU nodes it is the security group of the node
group that decides. A policy holds only where the CNI enforces it (add-on `vpc-cni` with `enableNetworkPolicy`).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import pulumi
import pulumi_kubernetes as kubernetes

from trainyard.modules.node_labels import HUGEPAGES_MIB

EFA_PER_GPU = 4
"""As p5.48xlarge has it, the most of any type in the table: 32 interfaces for 8 GPUs."""

POD_IDENTITY_AGENT = "169.254.170.23/32"
"""Where EKS Pod Identity hands out credentials on every node (EKS user guide, "EKS Pod Identity Agent")."""

_JOBS = ["get", "list", "watch", "create", "update", "patch", "delete"]
_READ = ["get", "list", "watch"]
PEOPLE_RULES: Any = (
    {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": _JOBS},
    {"apiGroups": [""], "resources": ["services"], "verbs": _JOBS},
    {"apiGroups": ["policy"], "resources": ["poddisruptionbudgets"], "verbs": _JOBS},
    {"apiGroups": [""], "resources": ["pods"], "verbs": [*_READ, "delete"]},
    {"apiGroups": [""], "resources": ["pods/log"], "verbs": ["get"]},
    {
        "apiGroups": [""],
        "resources": ["configmaps", "events", "limitranges", "persistentvolumeclaims", "resourcequotas"],
        "verbs": _READ,
    },
)
"""What a person of the team may do here: run jobs and see why they wait. Neither enter a pod nor read a secret: whoever
is in a pod has its IAM role."""

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_VERSION = re.compile(r"v1\.\d{1,2}")


@dataclass(frozen=True)
class TeamNamespaceArgs:
    """Who the team is and what it may have.

    Attributes:
        team: name of the team and of its namespace.
        gpu_quota: GPUs that its pods may request together.
        cpu_quota: CPUs likewise.
        memory_gib: memory likewise, requests and limits.
        vpc_cidr: where the interface endpoints of AWS stand.
        pod_security: what the namespace enforces; it warns about everything that is not `restricted`.
        pod_security_version: the Kubernetes version whose rules are meant: an upgrade changes nothing by itself.
        efa_quota: EFA interfaces together. None: what the GPUs may bring, 4 for each.
        pods: pods at a time.
        largest_pod_memory_gib: the most one pod may have.
        largest_claim_gib: the most one volume claim may ask for.
        https_cidrs: blocks outside the VPC that pods reach on port 443. The S3 gateway endpoint answers under public
            addresses, and a NetworkPolicy can't name its prefix list.
        service_account: whose pods take the team's IAM role.
        people_group: Kubernetes group of the team's people, named in an access entry of the cluster. None: `trainyard:`
            and the team's name.
        labels: further labels of the namespace.
    """

    team: str
    gpu_quota: int
    cpu_quota: int
    memory_gib: int
    vpc_cidr: pulumi.Input[str]
    pod_security: Literal["baseline", "restricted"] = "restricted"
    pod_security_version: str = "v1.35"
    efa_quota: int | None = None
    pods: int = 500
    largest_pod_memory_gib: int = 4096
    largest_claim_gib: int = 65536
    https_cidrs: Sequence[str] = ("0.0.0.0/0",)
    service_account: str = "trainer"
    people_group: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for what, name in (("team", self.team), ("service_account", self.service_account)):
            if not _LABEL.fullmatch(name):
                raise ValueError(f"{what} is {name!r}; it has lower-case letters, digits and hyphens, 63 at most")
        if self.team in ("default", "trainyard") or self.team.startswith("kube-"):
            raise ValueError(f"team is {self.team!r}, a namespace that belongs to the cluster; choose another name")
        if self.pod_security not in ("baseline", "restricted"):
            raise ValueError(f"pod_security is {self.pod_security!r}; baseline or restricted may stand there")
        if not _VERSION.fullmatch(self.pod_security_version):
            raise ValueError(f"pod_security_version is {self.pod_security_version!r}; it is a version such as v1.35")
        for what, count, least in (
            ("gpu_quota", self.gpu_quota, 0),
            ("efa_quota", self.efa_quota or 0, 0),
            ("cpu_quota", self.cpu_quota, 1),
            ("memory_gib", self.memory_gib, 1),
            ("pods", self.pods, 1),
            ("largest_pod_memory_gib", self.largest_pod_memory_gib, 1),
            ("largest_claim_gib", self.largest_claim_gib, 1),
        ):
            if count < least:
                raise ValueError(f"{what} is {count}; {least} or more may stand there")
        for block in self.https_cidrs:
            ipaddress.IPv4Network(block)


class TeamNamespace(pulumi.ComponentResource):
    """Namespace, ResourceQuota, LimitRange, NetworkPolicies, ServiceAccount, and the role of the team's people."""

    namespace: pulumi.Output[str]
    service_account: pulumi.Output[str]

    def __init__(self, name: str, args: TeamNamespaceArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("trainyard:team_namespace:TeamNamespace", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        namespace = kubernetes.core.v1.Namespace(
            name, metadata={"name": args.team, "labels": namespace_labels(args)}, opts=child
        )
        # By the namespace's output, so that nothing is asked for before it stands.
        self.namespace = namespace.metadata.apply(lambda metadata: str(metadata.name))
        quota = kubernetes.core.v1.ResourceQuota(
            f"{name}-quota", metadata=self._metadata("team"), spec=_any({"hard": quota_hard(args)}), opts=child
        )
        limits = kubernetes.core.v1.LimitRange(
            f"{name}-limits", metadata=self._metadata("team"), spec=_any({"limits": limit_range(args)}), opts=child
        )
        for policy, spec in network_policies(args).items():
            kubernetes.networking.v1.NetworkPolicy(
                f"{name}-{policy}", metadata=self._metadata(policy), spec=_any(spec), opts=child
            )
        account = kubernetes.core.v1.ServiceAccount(
            f"{name}-{args.service_account}",
            metadata=self._metadata(args.service_account),
            # Training talks to AWS, by Pod Identity's own token, and never to the Kubernetes API.
            automount_service_account_token=False,
            # Whoever waits for the account may start pods: the quota holds by then.
            opts=pulumi.ResourceOptions(parent=self, depends_on=[quota, limits]),
        )
        self._people(name, args)
        self.service_account = account.metadata.apply(lambda metadata: str(metadata.name))
        self.register_outputs({"namespace": self.namespace, "service_account": self.service_account})

    def _people(self, name: str, args: TeamNamespaceArgs) -> None:
        child = pulumi.ResourceOptions(parent=self)
        group = "rbac.authorization.k8s.io"
        role = kubernetes.rbac.v1.Role(
            f"{name}-people", metadata=self._metadata("people"), rules=list(PEOPLE_RULES), opts=child
        )
        kubernetes.rbac.v1.RoleBinding(
            f"{name}-people",
            metadata=self._metadata("people"),
            role_ref=_any({"apiGroup": group, "kind": "Role", "name": role.metadata.name}),
            subjects=[
                _any({"apiGroup": group, "kind": "Group", "name": args.people_group or f"trainyard:{args.team}"})
            ],
            opts=child,
        )

    def _metadata(self, name: str) -> Any:
        return {"name": name, "namespace": self.namespace}


def _any(value: Any) -> Any:
    """A Kubernetes object in the API's own spelling."""
    return value


def namespace_labels(args: TeamNamespaceArgs) -> dict[str, str]:
    """Labels of the namespace: the team, and the Pod Security levels."""
    levels = {"enforce": args.pod_security, "audit": "restricted", "warn": "restricted"}
    labels = {**args.labels, "trainyard.dev/team": args.team}
    for mode, level in levels.items():
        labels[f"pod-security.kubernetes.io/{mode}"] = level
        labels[f"pod-security.kubernetes.io/{mode}-version"] = args.pod_security_version
    return labels


def quota_hard(args: TeamNamespaceArgs) -> dict[str, str]:
    """What the team's pods may ask for together. CPU has no limit to give: throttling stalls a whole gang."""
    efa = EFA_PER_GPU * args.gpu_quota if args.efa_quota is None else args.efa_quota
    return {
        "requests.cpu": str(args.cpu_quota),
        "requests.memory": f"{args.memory_gib}Gi",
        "limits.memory": f"{args.memory_gib}Gi",
        "requests.nvidia.com/gpu": str(args.gpu_quota),
        "requests.vpc.amazonaws.com/efa": str(efa),
        # A pod with EFA has a node for itself, and a GPU at least.
        "requests.hugepages-2Mi": f"{args.gpu_quota * HUGEPAGES_MIB}Mi",
        "pods": str(args.pods),
        # Nothing of a training team listens to the outside.
        "services.loadbalancers": "0",
        "services.nodeports": "0",
    }


def limit_range(args: TeamNamespaceArgs) -> list[dict[str, Any]]:
    """Bounds of one object. No defaults: a job that does not say what it needs is refused, not guessed at."""
    return [
        # A bound for pods fills nothing in, as one for containers would; a pod without a memory limit is refused.
        {"type": "Pod", "max": {"memory": f"{args.largest_pod_memory_gib}Gi"}},
        # Memory that is asked for is kept: a neighbour's growth must not end a run of a week.
        {"type": "Container", "maxLimitRequestRatio": {"memory": "1"}},
        {"type": "PersistentVolumeClaim", "max": {"storage": f"{args.largest_claim_gib}Gi"}},
    ]


def network_policies(args: TeamNamespaceArgs) -> dict[str, dict[str, Any]]:
    """The team's network, by policy: nothing, and then what training needs."""
    everyone: dict[str, Any] = {"podSelector": {}}
    dns = {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}},
        "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}},
    }
    blocks: list[pulumi.Input[str]] = [args.vpc_cidr, *args.https_cidrs]
    return {
        "deny-all": {**everyone, "policyTypes": ["Ingress", "Egress"]},
        "allow-dns": {
            **everyone,
            "policyTypes": ["Egress"],
            "egress": [
                {"to": [dns], "ports": [{"protocol": protocol, "port": 53} for protocol in ("UDP", "TCP")]},
            ],
        },
        "allow-team": {
            **everyone,
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [{"from": [{"podSelector": {}}]}],
            "egress": [{"to": [{"podSelector": {}}]}],
        },
        "allow-aws": {
            **everyone,
            "policyTypes": ["Egress"],
            "egress": [
                {
                    "to": [{"ipBlock": {"cidr": block}} for block in blocks],
                    "ports": [{"protocol": "TCP", "port": 443}],
                },
                {
                    "to": [{"ipBlock": {"cidr": POD_IDENTITY_AGENT}}],
                    "ports": [{"protocol": "TCP", "port": 80}],
                },
            ],
        },
    }
