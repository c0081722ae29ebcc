"""What people who look after a cluster see beyond its namespaces: nodes, volumes, storage classes; never a secret.

    ClusterViewers("platform", ClusterViewersArgs(group="trainyard:viewers"), pulumi.ResourceOptions(provider=kube))

EKS's access policy AmazonEKSViewPolicy shows what is in namespaces, except for secrets, and nothing that is in none;
AmazonEKSAdminViewPolicy shows everything, secrets too. An access entry with the first and with this group lies between.
"""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
import pulumi_kubernetes as kubernetes

SEEN = {
    "": ("namespaces", "nodes", "persistentvolumes"),
    "apiextensions.k8s.io": ("customresourcedefinitions",),
    "metrics.k8s.io": ("nodes", "pods"),
    "scheduling.k8s.io": ("priorityclasses",),
    "storage.k8s.io": ("csidrivers", "csinodes", "storageclasses", "volumeattachments"),
}
"""Kinds that lie in no namespace, by API group. None of them holds a secret's content."""


@dataclass(frozen=True)
class ClusterViewersArgs:
    """Who may look.

    Attributes:
        group: the Kubernetes group that the viewers' access entries name.
    """

    group: str

    def __post_init__(self) -> None:
        if not self.group or self.group.startswith("system:"):
            raise ValueError(f"group is {self.group!r}; EKS takes no group that begins with system:")


class ClusterViewers(pulumi.ComponentResource):
    """A ClusterRole to look, and its binding to the group."""

    def __init__(self, name: str, args: ClusterViewersArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("trainyard:cluster_viewers:ClusterViewers", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        role = kubernetes.rbac.v1.ClusterRole(
            name,
            metadata={"name": f"{args.group}:cluster"},
            rules=[
                kubernetes.rbac.v1.PolicyRuleArgs(
                    api_groups=[group], resources=list(kinds), verbs=["get", "list", "watch"]
                )
                for group, kinds in SEEN.items()
            ],
            opts=child,
        )
        kubernetes.rbac.v1.ClusterRoleBinding(
            name,
            metadata={"name": f"{args.group}:cluster"},
            role_ref=kubernetes.rbac.v1.RoleRefArgs(
                api_group="rbac.authorization.k8s.io",
                kind="ClusterRole",
                name=role.metadata.apply(lambda metadata: metadata.name or ""),
            ),
            subjects=[
                kubernetes.rbac.v1.SubjectArgs(api_group="rbac.authorization.k8s.io", kind="Group", name=args.group)
            ],
            opts=child,
        )
        self.register_outputs({})
