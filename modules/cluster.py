"""An EKS cluster with a private endpoint, its secrets under a key, every control-plane log kept, and people by name.

    cluster = Cluster(
        "platform",
        ClusterArgs(
            vpc_id=network.vpc_id,
            subnet_ids=network.private_subnet_ids,
            version="1.35",
            secrets_key_arn=keys.secrets.arn,
            logs_key_arn=keys.logs.arn,
            access=[AccessGrant("ml-engineers", role_arn, "AmazonEKSViewPolicy")],
        ),
        pulumi.ResourceOptions(provider=provider),
    )

The cluster comes without add-ons (`addons.Addons`) and without nodes (`cpu_group`, `gpu_group`). Its name in AWS is the
component's, because the log group has to exist under that name before EKS writes to it: EKS makes a missing one itself,
without key and kept for ever.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, get_args

import pulumi
import pulumi_aws as aws

from trainyard.modules.account import Account
from trainyard.modules.policy_document import policy_document

AccessPolicy: TypeAlias = Literal[
    "AmazonEKSClusterAdminPolicy",
    "AmazonEKSAdminPolicy",
    "AmazonEKSAdminViewPolicy",
    "AmazonEKSEditPolicy",
    "AmazonEKSViewPolicy",
]
"""What EKS grants ready-made. Source: EKS user guide, "Review access policy permissions", as its author had
it; a copy looked up in 2026-11 confirms AmazonEKSAdminPolicy and AmazonEKSClusterAdminPolicy."""

CONTROL_PLANE_LOGS = ("api", "audit", "authenticator", "controllerManager", "scheduler")
NODE_POLICIES = ("AmazonEKSWorkerNodePolicy", "AmazonEC2ContainerRegistryPullOnly")
"""What a node itself may do. What its pods may do goes by pod identity, the CNI's interfaces included."""

SMALLEST_SERVICE_PREFIX, LARGEST_SERVICE_PREFIX = 24, 12
WIDEST_CLIENT_PREFIX = 8
_PRIVATE = tuple(ipaddress.IPv4Network(block) for block in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"))


@dataclass(frozen=True)
class AccessGrant:
    """What one IAM principal may do in Kubernetes, by an EKS access entry.

    Attributes:
        name: names the resources, once per cluster.
        principal_arn: an IAM role's or user's ARN, of a single sign-on role with its whole path (`sso_role_arn`).
        policy: one of EKS's access policies. None: only what RBAC gives to `kubernetes_groups`.
        namespaces: the only namespaces in which the policy holds. Empty: in all, and for what has no namespace.
        kubernetes_groups: RBAC groups in which the principal is.
    """

    name: str
    principal_arn: pulumi.Input[str]
    policy: AccessPolicy | None = None
    namespaces: Sequence[str] = ()
    kubernetes_groups: Sequence[str] = ()

    def __post_init__(self) -> None:
        if self.policy is not None and self.policy not in get_args(AccessPolicy):
            raise ValueError(f"policy is {self.policy!r}; it may be one of {', '.join(get_args(AccessPolicy))}")
        if self.policy is None and not self.kubernetes_groups:
            raise ValueError(f"access {self.name!r} grants nothing: give it a policy or kubernetes_groups")
        if self.namespaces and self.policy in (None, "AmazonEKSClusterAdminPolicy"):
            raise ValueError(
                f"access {self.name!r} names namespaces, which {self.policy or 'no policy'} does not take; "
                "AmazonEKSAdminPolicy is the administrator of a namespace"
            )
        reserved = [group for group in self.kubernetes_groups if group.startswith("system:")]
        if reserved:
            raise ValueError(
                f"kubernetes_groups names {', '.join(reserved)}; EKS takes no group that begins with system:"
            )
        if isinstance(self.principal_arn, str) and (":iam::" not in self.principal_arn or "*" in self.principal_arn):
            raise ValueError(f"principal_arn is {self.principal_arn!r}; it is the full ARN of an IAM role or user")


@dataclass(frozen=True)
class ClusterArgs:
    """Where the cluster stands, who reaches it and who may do what in it.

    Attributes:
        vpc_id: the subnets' VPC, for those who read the program; EKS finds it by the subnets.
        subnet_ids: private subnets of at least two zones, where EKS puts its network interfaces.
        version: Kubernetes version, such as `1.35`. Only upwards, one minor version at a time.
        secrets_key_arn: KMS key of Kubernetes secrets. It can never be taken away or changed afterwards.
        logs_key_arn: KMS key of the control plane's log group, which must let CloudWatch Logs in.
        log_retention_days: a number of days that CloudWatch Logs offers.
        public_access_cidrs: public IPv4 blocks, /8 or smaller, that reach the endpoint. Empty: it has no public side.
        private_access_cidrs: blocks beyond the VPC's nodes (VPN, peered VPC) that reach the private endpoint.
        access: who may do what. The principal that makes the cluster is its administrator without being named; where
            it is named, it has what its grant says.
        service_cidr: addresses of Kubernetes services, a private block of /24 to /12. None: EKS chooses.
        deletion_protection: refuse to delete the cluster until this is switched off.
        tags: added to the provider's default tags.
    """

    vpc_id: pulumi.Input[str]
    subnet_ids: pulumi.Input[Sequence[pulumi.Input[str]]]
    version: str
    secrets_key_arn: pulumi.Input[str]
    logs_key_arn: pulumi.Input[str]
    log_retention_days: int = 365
    public_access_cidrs: Sequence[str] = ()
    private_access_cidrs: Sequence[str] = ()
    access: Sequence[AccessGrant] = ()
    service_cidr: str | None = None
    deletion_protection: bool = True
    tags: Mapping[str, pulumi.Input[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not re.fullmatch(r"1\.\d{2}", self.version):
            raise ValueError(f"version is {self.version!r}; it is a minor version of Kubernetes, such as '1.35'")
        for cidr in self.public_access_cidrs:
            if any(_block(cidr, "public_access_cidrs").overlaps(private) for private in _PRIVATE):
                raise ValueError(f"public_access_cidrs names {cidr}, which is private; use private_access_cidrs")
        for cidr in self.private_access_cidrs:
            _block(cidr, "private_access_cidrs")
        if self.service_cidr is not None:
            _check_service_cidr(self.service_cidr)
        names = [grant.name for grant in self.access]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"access names {', '.join(twice)} twice; each grant has a name of its own")


class Cluster(pulumi.ComponentResource):
    """The cluster, its log group, its role, the role of its nodes, and an access entry for each grant."""

    name: pulumi.Output[str]
    arn: pulumi.Output[str]
    version: pulumi.Output[str]
    endpoint: pulumi.Output[str]
    certificate_authority_data: pulumi.Output[str]
    security_group_id: pulumi.Output[str]
    kubeconfig: pulumi.Output[str]
    node_role_arn: pulumi.Output[str]
    node_role_name: pulumi.Output[str]

    def __init__(self, name: str, args: ClusterArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("trainyard:cluster:Cluster", name, None, opts)
        account = Account.of(self)
        child = pulumi.ResourceOptions(parent=self)

        logs = aws.cloudwatch.LogGroup(
            f"{name}-control-plane",
            name=f"/aws/eks/{name}/cluster",
            kms_key_id=args.logs_key_arn,
            retention_in_days=args.log_retention_days,
            # Who asked the API for what, never training data.
            tags={**args.tags, "data-class": "internal"},
            opts=child,
        )
        role, permission = self._cluster_role(name, args, account)
        cluster = aws.eks.Cluster(
            f"{name}-cluster",
            name=name,
            role_arn=role.arn,
            version=args.version,
            vpc_config=aws.eks.ClusterVpcConfigArgs(
                subnet_ids=args.subnet_ids,
                endpoint_private_access=True,
                endpoint_public_access=bool(args.public_access_cidrs),
                public_access_cidrs=list(args.public_access_cidrs) or None,
            ),
            access_config=aws.eks.ClusterAccessConfigArgs(
                authentication_mode="API",
                # EKS would make the creator an entry of its own, and refuse the one that a grant makes.
                bootstrap_cluster_creator_admin_permissions=pulumi.Output.all(
                    account.caller_arn, *(grant.principal_arn for grant in args.access)
                ).apply(lambda known: _is_unnamed(name, known[0], known[1:])),
            ),
            kubernetes_network_config=aws.eks.ClusterKubernetesNetworkConfigArgs(service_ipv4_cidr=args.service_cidr)
            if args.service_cidr
            else None,
            encryption_config=aws.eks.ClusterEncryptionConfigArgs(
                provider=aws.eks.ClusterEncryptionConfigProviderArgs(key_arn=args.secrets_key_arn),
                resources=["secrets"],
            ),
            enabled_cluster_log_types=list(CONTROL_PLANE_LOGS),
            # Extended support costs six times as much, and nobody notices the day it begins.
            upgrade_policy=aws.eks.ClusterUpgradePolicyArgs(support_type="STANDARD"),
            deletion_protection=args.deletion_protection,
            # The add-ons are this program's own, with versions and roles.
            bootstrap_self_managed_addons=False,
            tags=args.tags,
            opts=pulumi.ResourceOptions(
                parent=self,
                depends_on=[logs, permission],
                # It says who made the cluster. Another who runs an update must not make it anew.
                ignore_changes=["accessConfig.bootstrapClusterCreatorAdminPermissions"],
            ),
        )
        security_group_id = cluster.vpc_config.apply(lambda config: config.cluster_security_group_id or "")
        for cidr in args.private_access_cidrs:
            aws.vpc.SecurityGroupIngressRule(
                f"{name}-endpoint-{cidr.replace('/', '-')}",
                security_group_id=security_group_id,
                description=f"Kubernetes API for {cidr}",
                ip_protocol="tcp",
                from_port=443,
                to_port=443,
                cidr_ipv4=cidr,
                tags=args.tags,
                opts=child,
            )
        granted = [self._grant(name, grant, cluster, account, args.tags) for grant in args.access]
        nodes = self._node_role(name, args, account)

        self.name = cluster.name
        self.arn = cluster.arn
        self.version = cluster.version
        self.endpoint = cluster.endpoint
        self.certificate_authority_data = cluster.certificate_authority.apply(lambda authority: authority.data or "")
        self.security_group_id = security_group_id
        # After the grants: whoever uses it may be let in by one of them.
        self.kubeconfig = pulumi.Output.all(
            cluster.name, cluster.endpoint, self.certificate_authority_data, account.region, *granted
        ).apply(lambda known: kubeconfig(*known[:4]))
        self.node_role_arn = nodes.arn
        self.node_role_name = nodes.name
        self.register_outputs(
            {
                "name": self.name,
                "arn": self.arn,
                "endpoint": self.endpoint,
                "security_group_id": self.security_group_id,
                "kubeconfig": self.kubeconfig,
                "node_role_arn": self.node_role_arn,
            }
        )

    def _cluster_role(
        self, name: str, args: ClusterArgs, account: Account
    ) -> tuple[aws.iam.Role, aws.iam.RolePolicyAttachment]:
        role = aws.iam.Role(
            f"{name}-cluster",
            description=f"Control plane of {name}",
            assume_role_policy=policy_document(
                [
                    {
                        "Effect": "Allow",
                        "Principal": {"Service": "eks.amazonaws.com"},
                        "Action": "sts:AssumeRole",
                        "Condition": {
                            "StringEquals": {"aws:SourceAccount": account.id},
                            "ArnEquals": {"aws:SourceArn": account.arn("eks", f"cluster/{name}")},
                        },
                    }
                ]
            ),
            tags=args.tags,
            opts=pulumi.ResourceOptions(parent=self),
        )
        return role, self._attach(f"{name}-cluster", role, "AmazonEKSClusterPolicy", account)

    def _node_role(self, name: str, args: ClusterArgs, account: Account) -> aws.iam.Role:
        role = aws.iam.Role(
            f"{name}-nodes",
            description=f"Nodes of {name}: join the cluster and pull images",
            assume_role_policy=policy_document(
                [{"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}]
            ),
            tags=args.tags,
            opts=pulumi.ResourceOptions(parent=self),
        )
        for policy in NODE_POLICIES:
            self._attach(f"{name}-nodes-{policy}", role, policy, account)
        return role

    def _attach(self, name: str, role: aws.iam.Role, policy: str, account: Account) -> aws.iam.RolePolicyAttachment:
        return aws.iam.RolePolicyAttachment(
            name,
            role=role.name,
            policy_arn=pulumi.Output.concat("arn:", account.partition, f":iam::aws:policy/{policy}"),
            opts=pulumi.ResourceOptions(parent=self),
        )

    def _grant(
        self,
        name: str,
        grant: AccessGrant,
        cluster: aws.eks.Cluster,
        account: Account,
        tags: Mapping[str, pulumi.Input[str]],
    ) -> pulumi.Output[str]:
        """Resolves when the principal is let in."""
        entry = aws.eks.AccessEntry(
            f"{name}-{grant.name}",
            cluster_name=cluster.name,
            principal_arn=grant.principal_arn,
            type="STANDARD",
            kubernetes_groups=list(grant.kubernetes_groups),
            tags=tags,
            opts=pulumi.ResourceOptions(parent=self),
        )
        if grant.policy is None:
            return entry.id
        scope = aws.eks.AccessPolicyAssociationAccessScopeArgs
        association = aws.eks.AccessPolicyAssociation(
            f"{name}-{grant.name}",
            cluster_name=cluster.name,
            principal_arn=grant.principal_arn,
            policy_arn=pulumi.Output.concat(
                "arn:", account.partition, f":eks::aws:cluster-access-policy/{grant.policy}"
            ),
            access_scope=scope(type="namespace", namespaces=list(grant.namespaces))
            if grant.namespaces
            else scope(type="cluster"),
            opts=pulumi.ResourceOptions(parent=self, depends_on=[entry]),
        )
        return association.id


def kubeconfig(name: str, endpoint: str, certificate_authority_data: str, region: str) -> str:
    """A kubeconfig, as JSON, that asks the `aws` client for a token each time: no secret stands in it."""
    document: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {
                "name": name,
                "cluster": {"server": endpoint, "certificate-authority-data": certificate_authority_data},
            }
        ],
        "users": [
            {
                "name": name,
                "user": {
                    "exec": {
                        "apiVersion": "client.authentication.k8s.io/v1beta1",
                        "command": "aws",
                        "args": ["eks", "get-token", "--cluster-name", name, "--region", region, "--output", "json"],
                        "interactiveMode": "Never",
                    }
                },
            }
        ],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        "current-context": name,
    }
    return json.dumps(document)


def _is_unnamed(cluster: str, caller_arn: str, principal_arns: Sequence[str]) -> bool:
    """Whether no grant is for whoever runs the program. Without an entry of EKS's they could make a cluster and nothing
    in it, so they get one; but nobody who reads the program sees it."""
    if is_among(caller_arn, principal_arns):
        return False
    pulumi.log.warn(
        f"{caller_arn} is in no grant of {cluster}: where it makes the cluster, EKS lets it administer it all the same "
        "by an entry that stands in no program. Name its role before (in an environment: access.deployers); of a "
        "cluster that stands, import the entry, or take it away once another administrator is named"
    )
    return True


def is_among(caller_arn: str, principal_arns: Sequence[str]) -> bool:
    """Whether who calls is one of these users and roles. A session names its role without the path."""
    return _without_path(caller_arn) in {_without_path(arn) for arn in principal_arns}


def _without_path(arn: str) -> tuple[str, str, str]:
    """Account, kind and name of a user, a role, or the role behind a session."""
    account, _, resource = arn.partition("::")[2].partition(":")
    kind, *names = resource.split("/")
    return (account, "role", names[0]) if kind == "assumed-role" else (account, kind, names[-1] if names else "")


def sso_role_arn(permission_set: str, opts: pulumi.InvokeOptions | None = None) -> pulumi.Output[str]:
    """The ARN of the role that IAM Identity Center made in this account for a permission set.

    Its name ends in characters that nobody can know beforehand, so it is looked up.

    Raises (when the program runs):
        pulumi.RunError: where the permission set is assigned to nobody in this account, so that it has no role.
    """
    found = aws.iam.get_roles_output(
        name_regex=f"^AWSReservedSSO_{re.escape(permission_set)}_[0-9a-f]+$",
        path_prefix="/aws-reserved/sso.amazonaws.com/",
        opts=opts,
    )
    return found.arns.apply(lambda arns: _only_role(permission_set, arns))


def _only_role(permission_set: str, arns: Sequence[str]) -> str:
    if len(arns) != 1:
        raise pulumi.RunError(
            f"{len(arns)} roles of the permission set {permission_set!r} in this account: assign it to a group first, "
            "or name the role by its ARN"
        )
    return arns[0]


def _block(cidr: str, where: str) -> ipaddress.IPv4Network:
    try:
        block = ipaddress.IPv4Network(cidr)
    except ValueError as error:
        raise ValueError(f"{where} names {cidr!r}, which is no IPv4 block: {error}") from None
    if block.prefixlen < WIDEST_CLIENT_PREFIX:
        raise ValueError(f"{where} names {cidr}, which is half the internet or more; name your own blocks")
    return block


def _check_service_cidr(cidr: str) -> None:
    block = _block(cidr, "service_cidr")
    if not any(block.subnet_of(private) for private in _PRIVATE):
        raise ValueError(f"service_cidr is {cidr}; it lies in 10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16")
    if not LARGEST_SERVICE_PREFIX <= block.prefixlen <= SMALLEST_SERVICE_PREFIX:
        raise ValueError(
            f"service_cidr is {cidr}; its length may be /{LARGEST_SERVICE_PREFIX} to /{SMALLEST_SERVICE_PREFIX}"
        )
