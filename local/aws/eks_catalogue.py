"""What the emulated EKS offers: Kubernetes versions, add-ons and access policies, each table with source and date.

    from trainyard.local.aws.eks_catalogue import default_addon_version, version_problem
    version_problem("1.19")                           -> "unsupported Kubernetes version 1.19; …"
    default_addon_version("kube-proxy", "1.35")       -> "v1.35.0-eksbuild.1"

EKS publishes add-on builds every few weeks. The tables hold the range that was seen, not every build: a version counts
as published when it is well formed and its minor version lies in that range.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date


@dataclass(frozen=True)
class KubernetesVersion:
    """A minor version of Kubernetes on EKS; the days on which its support ends."""

    version: str
    released: date
    standard_support_until: date
    extended_support_until: date
    platform_version: str
    node_release: str
    """The newest AMI release (`release_version` of a node group) that is known here."""


KUBERNETES_VERSIONS = {
    entry.version: entry
    for entry in (
        KubernetesVersion("1.32", date(2025, 1, 25), date(2026, 3, 23), date(2027, 3, 23), "eks.34", "1.32.9-20260120"),
        KubernetesVersion("1.33", date(2025, 5, 28), date(2026, 7, 29), date(2027, 7, 29), "eks.27", "1.33.5-20260120"),
        KubernetesVersion("1.34", date(2025, 10, 6), date(2026, 12, 2), date(2027, 12, 2), "eks.13", "1.34.2-20260120"),
        KubernetesVersion("1.35", date(2026, 1, 28), date(2027, 3, 27), date(2028, 3, 27), "eks.3", "1.35.0-20260129"),
    )
}
"""Source: endoflife.date/amazon-eks as of 2026-02 (secondary), as its author had it, not looked up again since.
The dates in node releases are examples of the form, not a list of AMIs."""

DEFAULT_KUBERNETES_VERSION = "1.35"


@dataclass(frozen=True)
class AddonRange:
    """The minor versions of an add-on that count as published, and the one that is installed by default."""

    oldest_minor: tuple[int, int]
    newest_minor: tuple[int, int]
    default: str
    service_account: str = ""
    """The service account that needs permissions in AWS, in `namespace`."""
    namespace: str = "kube-system"


ADDONS = {
    "vpc-cni": AddonRange((1, 18), (1, 22), "v1.21.1-eksbuild.1", "aws-node"),
    "coredns": AddonRange((1, 11), (1, 14), "v1.12.4-eksbuild.1"),
    "kube-proxy": AddonRange((1, 29), (1, 36), ""),
    "eks-pod-identity-agent": AddonRange((1, 3), (1, 4), "v1.3.10-eksbuild.1"),
    "aws-ebs-csi-driver": AddonRange((1, 35), (1, 60), "v1.54.0-eksbuild.1", "ebs-csi-controller-sa"),
    "aws-efs-csi-driver": AddonRange((2, 0), (2, 3), "v2.1.15-eksbuild.1", "efs-csi-controller-sa"),
    "aws-fsx-csi-driver": AddonRange((1, 5), (1, 9), "v1.8.0-eksbuild.1", "fsx-csi-controller-sa"),
    "aws-mountpoint-s3-csi-driver": AddonRange((1, 8), (2, 9), "v2.2.2-eksbuild.1", "s3-csi-driver-sa"),
    "eks-node-monitoring-agent": AddonRange((1, 0), (1, 9), "v1.4.3-eksbuild.1"),
    "amazon-cloudwatch-observability": AddonRange((2, 0), (4, 9), "v4.7.0-eksbuild.1", "cloudwatch-agent"),
    "metrics-server": AddonRange((0, 7), (0, 9), "v0.8.0-eksbuild.5"),
    "snapshot-controller": AddonRange((8, 0), (8, 9), "v8.3.0-eksbuild.1"),
}
"""From memory of the EKS user guide, "AWS add-ons", and of public Terraform code; unverified: the builds are examples
of the form."""

ACCESS_POLICIES = (
    "AmazonEKSAdminPolicy",
    "AmazonEKSAdminViewPolicy",
    "AmazonEKSAutoNodePolicy",
    "AmazonEKSBlockStorageClusterPolicy",
    "AmazonEKSBlockStoragePolicy",
    "AmazonEKSClusterAdminPolicy",
    "AmazonEKSComputeClusterPolicy",
    "AmazonEKSComputePolicy",
    "AmazonEKSEditPolicy",
    "AmazonEKSHybridPolicy",
    "AmazonEKSLoadBalancingClusterPolicy",
    "AmazonEKSLoadBalancingPolicy",
    "AmazonEKSNetworkingClusterPolicy",
    "AmazonEKSNetworkingPolicy",
    "AmazonEKSSecretReaderPolicy",
    "AmazonEKSViewPolicy",
)
"""From memory of the EKS user guide, "Review access policy permissions". Looked up in 2026-11: AmazonEKSAdminPolicy and
AmazonEKSClusterAdminPolicy (a copy of it), AmazonEKSSecretReaderPolicy (public Terraform code); the rest unverified."""

_FORM = re.compile(r"v(\d+)\.(\d+)\.\d+-eksbuild\.\d+\Z")


def minor_of(version: str) -> tuple[int, int]:
    """`(1, 35)` of "1.35"."""
    major, _, minor = version.partition(".")
    return int(major), int(minor)


def version_problem(version: str) -> str:
    """Why EKS makes no cluster of this version; empty if it does."""
    if version in KUBERNETES_VERSIONS:
        return ""
    return f"unsupported Kubernetes version {version}; supported are {', '.join(KUBERNETES_VERSIONS)}"


def default_addon_version(name: str, kubernetes_version: str) -> str:
    """The build of an add-on that EKS installs where the request names none."""
    return ADDONS[name].default or f"v{kubernetes_version}.0-eksbuild.1"


def addon_problem(name: str, addon_version: str, kubernetes_version: str) -> str:
    """Why EKS does not install this add-on in this version; empty if it does."""
    known = ADDONS.get(name)
    if known is None:
        return f"Addon {name} specified is not supported; known are {', '.join(sorted(ADDONS))}"
    form = _FORM.match(addon_version)
    minor = (int(form[1]), int(form[2])) if form else (-1, -1)
    newest = minor_of(kubernetes_version) if name == "kube-proxy" else known.newest_minor
    if not known.oldest_minor <= minor <= newest:
        return (
            f"Addon version {addon_version} specified is not supported for {name} on Kubernetes {kubernetes_version}; "
            f"the default is {default_addon_version(name, kubernetes_version)}"
        )
    return ""


def policy_arn(name: str, partition: str = "aws") -> str:
    """The ARN of an access policy."""
    return f"arn:{partition}:eks::aws:cluster-access-policy/{name}"
