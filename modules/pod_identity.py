"""Lets the pods of one service account take one IAM role.

    PodIdentity(
        "vision",
        PodIdentityArgs(cluster_name=cluster.name, namespace="vision", service_account="trainer", role_arn=role.arn),
        pulumi.ResourceOptions(provider=provider),
    )

The role's own trust decides too: `training_role.PodIdentityTrust` names the same namespace and service account.
Neither namespace nor service account has to exist yet. Pods that were started before keep what they had.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import pulumi
import pulumi_aws as aws

_KUBERNETES_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")


@dataclass(frozen=True)
class PodIdentityArgs:
    """Whose pods take which role.

    Attributes:
        cluster_name: the EKS cluster, which has the add-on `eks-pod-identity-agent`.
        namespace: the pods' Kubernetes namespace.
        service_account: their service account; one role for each.
        role_arn: a role of this account that trusts `pods.eks.amazonaws.com` with AssumeRole and TagSession.
        tags: added to the provider's default tags.
    """

    cluster_name: pulumi.Input[str]
    namespace: str
    service_account: str
    role_arn: pulumi.Input[str]
    tags: Mapping[str, pulumi.Input[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for what, name in (("namespace", self.namespace), ("service_account", self.service_account)):
            if not _KUBERNETES_NAME.fullmatch(name):
                raise ValueError(
                    f"{what} is {name!r}; a Kubernetes name has lower-case letters, digits and hyphens, no wildcard"
                )


class PodIdentity(pulumi.ComponentResource):
    """One EKS pod identity association."""

    association_id: pulumi.Output[str]

    def __init__(self, name: str, args: PodIdentityArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("trainyard:pod_identity:PodIdentity", name, None, opts)
        association = aws.eks.PodIdentityAssociation(
            f"{name}-{args.service_account}",
            cluster_name=args.cluster_name,
            namespace=args.namespace,
            service_account=args.service_account,
            role_arn=args.role_arn,
            tags=args.tags,
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.association_id = association.association_id
        self.register_outputs({"association_id": self.association_id})
