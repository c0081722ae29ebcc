"""EKS add-ons with pinned versions, each that calls AWS under a role of its own.

    agents = Addons(
        "platform-node",
        AddonsArgs(cluster_name=cluster.name, kubernetes_version="1.35", names=NODE_ADDONS),
        in_aws,
    )
    cpu = CpuGroup(…, pulumi.ResourceOptions(provider=provider, depends_on=[agents]))
    Addons(
        "platform",
        AddonsArgs(cluster_name=cluster.name, kubernetes_version="1.35", names=CONTROLLER_ADDONS),
        pulumi.ResourceOptions(provider=provider, depends_on=[cpu]),
    )

Twice, because a node group and the add-ons wait for each other: a node is not ready before the CNI runs on it, and
EKS waits for an add-on whose pods find no node. `NODE_ADDONS` run on every node and need none to be there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import pulumi
import pulumi_aws as aws

from trainyard.modules.account import Account
from trainyard.modules.node_labels import CPU_NODES
from trainyard.modules.policy_document import Statement, policy_document

NODE_ADDONS = ("eks-pod-identity-agent", "vpc-cni", "kube-proxy")
CONTROLLER_ADDONS = (
    "coredns",
    "aws-ebs-csi-driver",
    "aws-fsx-csi-driver",
    "aws-mountpoint-s3-csi-driver",
    "eks-node-monitoring-agent",
)
ALL_ADDONS = NODE_ADDONS + CONTROLLER_ADDONS

ADDON_VERSIONS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "1.34": MappingProxyType(
            {
                "eks-pod-identity-agent": "v1.3.10-eksbuild.2",
                "vpc-cni": "v1.21.1-eksbuild.7",
                "kube-proxy": "v1.34.6-eksbuild.13",
                "coredns": "v1.13.2-eksbuild.11",
                "aws-ebs-csi-driver": "v1.54.0-eksbuild.1",
                "aws-fsx-csi-driver": "v1.8.0-eksbuild.1",
                "aws-mountpoint-s3-csi-driver": "v2.6.0-eksbuild.1",
                "eks-node-monitoring-agent": "v1.4.2-eksbuild.1",
            }
        ),
        "1.35": MappingProxyType(
            {
                "eks-pod-identity-agent": "v1.3.10-eksbuild.3",
                "vpc-cni": "v1.21.1-eksbuild.7",
                "kube-proxy": "v1.35.3-eksbuild.13",
                "coredns": "v1.14.3-eksbuild.3",
                "aws-ebs-csi-driver": "v1.59.0-eksbuild.1",
                "aws-fsx-csi-driver": "v1.9.0-eksbuild.1",
                "aws-mountpoint-s3-csi-driver": "v2.6.0-eksbuild.1",
                "eks-node-monitoring-agent": "v1.6.4-eksbuild.1",
            }
        ),
    }
)
"""Builds by Kubernetes version, read 2026-11 in stored copies of 2026.

vpc-cni, kube-proxy and coredns: EKS user guide, "Assign IPs to Pods with the Amazon VPC CNI", "Manage kube-proxy" and
"Manage CoreDNS", tables of latest versions. The others: public programs that run them on that version (secondary); not
seen there are the FSx driver on 1.34 (seen on 1.33) and the S3 driver on 1.34 (seen on 1.35). What EKS has today:
`trainyard doctor`, or `aws eks describe-addon-versions --kubernetes-version 1.35`."""

_SERVICE_ACCOUNTS = MappingProxyType(
    {
        "vpc-cni": "aws-node",
        "aws-ebs-csi-driver": "ebs-csi-controller-sa",
        "aws-fsx-csi-driver": "fsx-csi-controller-sa",
        "aws-mountpoint-s3-csi-driver": "s3-csi-driver-sa",
    }
)
_MANAGED_POLICIES = MappingProxyType(
    {"vpc-cni": "AmazonEKS_CNI_Policy", "aws-ebs-csi-driver": "AmazonEBSCSIDriverPolicyV2"}
)
"""V2 limits the driver to volumes with its own tags. Source: AWS managed policy reference, AmazonEBSCSIDriverPolicyV2,
whose ARN has no `service-role/`; AmazonEKS_CNI_Policy of the same reference."""

# GPU nodes are tainted; what mounts a pod's volumes has to run there as well.
_EVERYWHERE = [{"operator": "Exists"}]


@dataclass(frozen=True)
class AddonsArgs:
    """Which add-ons a cluster has, in which versions, and what they reach in AWS.

    Attributes:
        cluster_name: the EKS cluster.
        kubernetes_version: its version, a row of `ADDON_VERSIONS`.
        names: which of `ALL_ADDONS`.
        versions: other builds than the table's, by add-on.
        prefix_delegation: give nodes blocks of 16 addresses instead of single ones: more pods a node, more addresses
            held in reserve. A GPU node runs one training pod and a handful of agents, so the default is off.
        volume_key_arn: KMS key under which the EBS driver may make volumes. None: only keys that AWS manages.
        readable_bucket_arns: what the S3 driver itself may read. Empty: it has no role, and each volume is read with
            the role of the pod that mounts it (`authenticationSource: pod`), which keeps teams apart.
        bucket_key_arn: KMS key of those buckets.
        tags: added to the provider's default tags.
    """

    cluster_name: pulumi.Input[str]
    kubernetes_version: str
    names: Sequence[str] = ALL_ADDONS
    versions: Mapping[str, str] = field(default_factory=dict)
    prefix_delegation: bool = False
    volume_key_arn: pulumi.Input[str] | None = None
    readable_bucket_arns: Sequence[pulumi.Input[str]] = ()
    bucket_key_arn: pulumi.Input[str] | None = None
    tags: Mapping[str, pulumi.Input[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.kubernetes_version not in ADDON_VERSIONS:
            raise ValueError(
                f"kubernetes_version is {self.kubernetes_version!r}; add-on versions are known for "
                f"{', '.join(ADDON_VERSIONS)}"
            )
        for what, names in (("names", self.names), ("versions", self.versions)):
            if unknown := sorted(set(names) - set(ALL_ADDONS)):
                raise ValueError(f"{what} has {', '.join(unknown)}; it may have {', '.join(ALL_ADDONS)}")
        if self.readable_bucket_arns and self.bucket_key_arn is None:
            raise ValueError("readable_bucket_arns without bucket_key_arn: the driver could not decrypt what it reads")


class Addons(pulumi.ComponentResource):
    """The add-ons by name, with their roles where they call AWS."""

    versions: dict[str, pulumi.Output[str]]

    def __init__(self, name: str, args: AddonsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("trainyard:addons:Addons", name, None, opts)
        account = Account.of(self)
        table = {**ADDON_VERSIONS[args.kubernetes_version], **args.versions}
        made: dict[str, aws.eks.Addon] = {}
        for addon in sorted(args.names, key=ALL_ADDONS.index):
            role, permissions = self._role(name, addon, args, account)
            configuration = addon_configuration(addon, args)
            agent = made.get("eks-pod-identity-agent")
            made[addon] = aws.eks.Addon(
                f"{name}-{addon}",
                cluster_name=args.cluster_name,
                addon_name=addon,
                addon_version=table[addon],
                configuration_values=json.dumps(configuration, sort_keys=True) if configuration else None,
                pod_identity_associations=[
                    aws.eks.AddonPodIdentityAssociationArgs(role_arn=role.arn, service_account=_SERVICE_ACCOUNTS[addon])
                ]
                if role
                else None,
                # What the program says holds, whoever changed it by hand.
                resolve_conflicts_on_create="OVERWRITE",
                resolve_conflicts_on_update="OVERWRITE",
                tags=args.tags,
                opts=pulumi.ResourceOptions(
                    parent=self, depends_on=[*permissions, *([agent] if agent is not None else [])]
                ),
            )
        self.versions = {addon: resource.addon_version for addon, resource in made.items()}
        self.register_outputs({"versions": self.versions})

    def _role(
        self, name: str, addon: str, args: AddonsArgs, account: Account
    ) -> tuple[aws.iam.Role | None, list[pulumi.Resource]]:
        """The add-on's role and what it may do, or nothing where it does not call AWS."""
        managed = _MANAGED_POLICIES.get(addon)
        statements = addon_statements(addon, args, account)
        if managed is None and not statements:
            return None, []
        child = pulumi.ResourceOptions(parent=self)
        role = aws.iam.Role(
            f"{name}-{addon}",
            description=f"Add-on {addon} of {name}",
            assume_role_policy=policy_document([_trust(addon, args.cluster_name, account)]),
            tags=args.tags,
            opts=child,
        )
        permissions: list[pulumi.Resource] = []
        if managed is not None:
            permissions.append(
                aws.iam.RolePolicyAttachment(
                    f"{name}-{addon}",
                    role=role.name,
                    policy_arn=pulumi.Output.concat("arn:", account.partition, f":iam::aws:policy/{managed}"),
                    opts=child,
                )
            )
        if statements:
            permissions.append(
                aws.iam.RolePolicy(f"{name}-{addon}", role=role.name, policy=policy_document(statements), opts=child)
            )
        return role, permissions


def addon_configuration(addon: str, args: AddonsArgs) -> dict[str, Any]:
    """The add-on's `configurationValues`; empty where its defaults are right."""
    match addon:
        case "vpc-cni":
            return {
                # Without it NetworkPolicy objects are accepted and enforced by nobody.
                "enableNetworkPolicy": "true",
                "env": {"ENABLE_PREFIX_DELEGATION": "true", "WARM_PREFIX_TARGET": "1"}
                if args.prefix_delegation
                # The default holds a whole interface in reserve: 50 addresses on a large instance.
                else {"WARM_IP_TARGET": "4", "MINIMUM_IP_TARGET": "8"},
            }
        case "coredns":
            return {"nodeSelector": dict(CPU_NODES)}
        case "aws-ebs-csi-driver":
            return {"controller": {"nodeSelector": dict(CPU_NODES)}, "node": {"tolerateAllTaints": True}}
        case "aws-fsx-csi-driver":
            return {"controller": {"nodeSelector": dict(CPU_NODES)}, "node": {"tolerations": _EVERYWHERE}}
        case "aws-mountpoint-s3-csi-driver":
            return {"node": {"tolerateAllTaints": True}}
        case _:
            return {}


def addon_statements(addon: str, args: AddonsArgs, account: Account) -> list[Statement]:
    """What an add-on may do beyond the policy that AWS manages for it."""
    match addon:
        case "aws-ebs-csi-driver" if args.volume_key_arn is not None:
            through_ec2 = {"kms:ViaService": account.service_host("ec2")}
            return [
                {
                    "Sid": "EncryptVolumes",
                    "Effect": "Allow",
                    "Action": [
                        "kms:Decrypt",
                        "kms:DescribeKey",
                        "kms:GenerateDataKeyWithoutPlaintext",
                        "kms:ReEncryptFrom",
                        "kms:ReEncryptTo",
                    ],
                    "Resource": args.volume_key_arn,
                    "Condition": {"StringEquals": through_ec2},
                },
                {
                    "Sid": "HandTheKeyToVolumes",
                    "Effect": "Allow",
                    "Action": "kms:CreateGrant",
                    "Resource": args.volume_key_arn,
                    "Condition": {"StringEquals": through_ec2, "Bool": {"kms:GrantIsForAWSResource": "true"}},
                },
            ]
        case "aws-fsx-csi-driver":
            # File systems are made by the program; the driver only has to find them.
            return [
                {
                    "Sid": "FindFileSystems",
                    "Effect": "Allow",
                    "Action": "fsx:DescribeFileSystems",
                    "Resource": account.arn("fsx", "file-system/*"),
                }
            ]
        case "aws-mountpoint-s3-csi-driver" if args.readable_bucket_arns:
            return [
                {
                    "Sid": "List",
                    "Effect": "Allow",
                    "Action": "s3:ListBucket",
                    "Resource": list(args.readable_bucket_arns),
                },
                {
                    "Sid": "Read",
                    "Effect": "Allow",
                    "Action": "s3:GetObject",
                    "Resource": [pulumi.Output.concat(arn, "/*") for arn in args.readable_bucket_arns],
                },
                {
                    "Sid": "Decrypt",
                    "Effect": "Allow",
                    "Action": "kms:Decrypt",
                    "Resource": args.bucket_key_arn,
                    "Condition": {"StringEquals": {"kms:ViaService": account.service_host("s3")}},
                },
            ]
        case _:
            return []


def _trust(addon: str, cluster_name: pulumi.Input[str], account: Account) -> Statement:
    return {
        "Effect": "Allow",
        "Principal": {"Service": "pods.eks.amazonaws.com"},
        "Action": ["sts:AssumeRole", "sts:TagSession"],
        "Condition": {
            "StringEquals": {
                "aws:SourceAccount": account.id,
                "aws:RequestTag/eks-cluster-name": cluster_name,
                "aws:RequestTag/kubernetes-namespace": "kube-system",
                "aws:RequestTag/kubernetes-service-account": _SERVICE_ACCOUNTS[addon],
            }
        },
    }
