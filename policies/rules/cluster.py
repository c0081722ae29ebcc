"""The EKS control plane: who reaches it, who administers it, what it records and what it runs."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Network, IPv6Network, collapse_addresses, ip_network

from trainyard.policies.aws import own_key
from trainyard.policies.graph import Graph, Resource
from trainyard.policies.parts import is_providers_choice
from trainyard.policies.rule import Finding, Severity, each, resource_rule, stack_rule, unverified, violation
from trainyard.policies.values import UNKNOWN, UnverifiedError, Value, shown

CLUSTERS = frozenset({"aws:eks/cluster:Cluster"})
_LOG_TYPES = ("api", "audit", "authenticator", "controllerManager", "scheduler")

# All public ranges together: beyond this many addresses a list of ranges names nobody.
_MOST_ADDRESSES = 2**20

_REACH = {"NIST 800-53": ("SC-7", "AC-4"), "ISO 27001": ("A.8.20", "A.8.22")}
_ACCESS = {"NIST 800-53": ("AC-2", "AC-6"), "ISO 27001": ("A.5.15", "A.8.2")}


@resource_rule(
    "eks-endpoint-private",
    title="A cluster's API has an address inside the VPC",
    severity=Severity.HIGH,
    applies=CLUSTERS,
    controls={"CIS EKS": ("5.4.2",), **_REACH},
    why="Without it nodes and operators speak to the API over the internet, and the public address can't be closed.",
    remedy="""
vpc_config={"endpoint_private_access": True, "endpoint_public_access": False, ...}
""",
)
def endpoint_private(cluster: Resource) -> Iterator[Finding]:
    switch = cluster["vpcConfig"]["endpointPrivateAccess"]
    if not switch.flag():
        yield violation("the private endpoint is off", switch)


@resource_rule(
    "eks-endpoint-named-ranges",
    title="A cluster's public endpoint, where there is one, is for named address ranges",
    severity=Severity.CRITICAL,
    applies=CLUSTERS,
    controls={"CIS EKS": ("5.4.1",), "Checkov": ("CKV_AWS_38",), "Trivy": ("AWS-0041",), **_REACH},
    why="EKS opens the endpoint to everyone unless told otherwise; each flaw in the API server is then theirs to try.",
    remedy="""
vpc_config={"endpoint_public_access": True, "public_access_cidrs": ["203.0.113.0/24"], ...}   # or no public endpoint
""",
)
def endpoint_ranges(cluster: Resource) -> Iterator[Finding]:
    if not _public(cluster):
        return
    ranges = cluster["vpcConfig"]["publicAccessCidrs"]
    if not ranges.items():
        yield violation("the public endpoint is open to every address, which is EKS's default", ranges)
        return
    findings = list(each(ranges.items(), _range))
    yield from findings
    if not findings and _size(ranges) > _MOST_ADDRESSES:
        yield violation("together these ranges are the internet in parts", ranges)


def _public(cluster: Resource) -> bool:
    """Whether the cluster has a public endpoint; EKS makes one where nothing is said."""
    return cluster["vpcConfig"]["endpointPublicAccess"].flag() is not False


def _range(block: Value) -> Iterator[Finding]:
    network = _network(block)
    if network.version == 4 and network.num_addresses > _MOST_ADDRESSES:
        yield violation(f"{network} names nobody: it has {network.num_addresses:,} addresses", block)
    elif network.version == 6 and network.prefixlen < 32:
        yield violation(f"{network} names nobody: it is wider than a provider's own range", block)


def _size(ranges: Value) -> int:
    fours = [found for one in ranges.items() if isinstance(found := _network(one), IPv4Network)]
    return sum(one.num_addresses for one in collapse_addresses(fours))


def _network(block: Value) -> IPv4Network | IPv6Network:
    try:
        return ip_network(block.text() or "", strict=False)
    except ValueError:
        raise UnverifiedError(block, f"{shown(block.raw)!r} is not an address range such as 203.0.113.0/24") from None


@stack_rule(
    "eks-endpoint-off-internet",
    title="A cluster's API has no address on the internet",
    severity=Severity.MEDIUM,
    applies=CLUSTERS,
    controls={
        "FSBP": ("EKS.1",),
        "CIS EKS": ("5.4.2",),
        "Checkov": ("CKV_AWS_39",),
        "Trivy": ("AWS-0040",),
        **_REACH,
    },
    why="A list of ranges keeps most strangers out; an address that does not exist keeps out all of them.",
    remedy="""
vpc_config={"endpoint_public_access": False, "endpoint_private_access": True, ...}   # reached over a VPN
""",
    advice=True,
)
def endpoint_off_internet(cluster: Resource, _: Graph) -> Iterator[Finding]:
    if _public(cluster):
        yield violation("the public endpoint is on", cluster["vpcConfig"]["endpointPublicAccess"])


@stack_rule(
    "eks-secrets-own-key",
    title="Kubernetes secrets are encrypted with a key of the team's own",
    severity=Severity.HIGH,
    applies=CLUSTERS,
    controls={
        "FSBP": ("EKS.3",),
        "CIS EKS": ("5.3.1",),
        "Checkov": ("CKV_AWS_58",),
        "Trivy": ("AWS-0039",),
        "NIST 800-53": ("SC-28", "SC-12"),
        "ISO 27001": ("A.8.24",),
    },
    why="Tokens and passwords lie in the cluster's store. Only an own key shows who read them, and can be withdrawn.",
    remedy="""
encryption_config={"provider": {"key_arn": key.arn}, "resources": ["secrets"]}
""",
)
def secrets_own_key(cluster: Resource, graph: Graph) -> Iterator[Finding]:
    config = cluster["encryptionConfig"]
    if not config.present:
        yield violation("there is no encryption configuration, so secrets lie under a key of AWS's", config)
        return
    if config.raw is UNKNOWN:
        yield from own_key(config, cluster, graph)
        return
    kinds = config["resources"]
    if "secrets" not in [one.text() for one in kinds.items()]:
        yield violation('"secrets" is not among what is encrypted', kinds)
    yield from own_key(config["provider"]["keyArn"], cluster, graph)


@resource_rule(
    "eks-control-plane-logs",
    title="A cluster records all five kinds of control-plane log",
    severity=Severity.MEDIUM,
    applies=CLUSTERS,
    controls={
        "FSBP": ("EKS.8",),
        "CIS EKS": ("2.1.1",),
        "Checkov": ("CKV_AWS_37",),
        "Trivy": ("AWS-0038",),
        "NIST 800-53": ("AU-2", "AU-12"),
        "ISO 27001": ("A.8.15",),
    },
    why="Who asked the API for what is written in these logs alone, and EKS keeps none unless asked.",
    remedy="""
enabled_cluster_log_types=["api", "audit", "authenticator", "controllerManager", "scheduler"]
""",
)
def control_plane_logs(cluster: Resource) -> Iterator[Finding]:
    kinds = cluster["enabledClusterLogTypes"]
    found = [one.raw for one in kinds.items()]
    missing = [kind for kind in _LOG_TYPES if kind not in found]
    if missing and UNKNOWN in found:
        yield unverified(f"whether {', '.join(missing)} is recorded is not known yet", kinds)
    elif missing:
        yield violation(f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not recorded", kinds)


@resource_rule(
    "eks-access-entries",
    title="Who may use a cluster is said by access entries alone",
    severity=Severity.HIGH,
    applies=CLUSTERS,
    controls={"CIS EKS": ("4.1.7",), **_ACCESS},
    why=(
        "IAM and CloudTrail do not see the aws-auth ConfigMap: whoever may edit it may make anyone administrator. "
        "A cluster that leaves it cannot go back, and one that was made with it keeps it until told otherwise."
    ),
    remedy="""
access_config={"authentication_mode": "API"}
""",
)
def access_entries(cluster: Resource) -> Iterator[Finding]:
    mode = cluster["accessConfig"]["authenticationMode"]
    if (text := mode.text()) != "API":
        yield violation(f"the mode is {shown(text or 'not set, which means CONFIG_MAP')}; it must be API", mode)


@stack_rule(
    "eks-no-implicit-admin",
    title="Whoever makes a cluster does not become its administrator unasked",
    severity=Severity.MEDIUM,
    applies=CLUSTERS,
    controls={"CIS EKS": ("4.1.1",), **_ACCESS},
    why=(
        "EKS gives the maker an administrator's entry that stands in no program, so no review of one sees it. "
        "The role that deploys can be given an entry of its own, that can be read and taken away."
    ),
    remedy="""
access_config={"authentication_mode": "API", "bootstrap_cluster_creator_admin_permissions": False}
aws.eks.AccessEntry("deployer", cluster_name=cluster.name, principal_arn=deployer_role_arn)    # and its policy
""",
    # A first deployment from a workstation may need it; the entry can be removed afterwards.
    advice=True,
)
def no_implicit_admin(cluster: Resource, _: Graph) -> Iterator[Finding]:
    switch = cluster["accessConfig"]["bootstrapClusterCreatorAdminPermissions"]
    if switch.flag() is not False:
        yield violation("the maker becomes administrator" + ("" if switch.present else ", EKS's default"), switch)


@stack_rule(
    "eks-deletion-protection",
    title="A cluster cannot be deleted before its protection is taken off",
    severity=Severity.MEDIUM,
    applies=CLUSTERS,
    controls={"NIST 800-53": ("CP-9", "CM-3"), "ISO 27001": ("A.8.32", "A.5.29")},
    why="A replacement or a wrong destroy takes every job, volume claim and secret in the cluster with it.",
    remedy="""
deletion_protection=True       # on the aws.eks.Cluster
""",
    # A cluster for an afternoon may be right without.
    advice=True,
)
def deletion_protection(cluster: Resource, _: Graph) -> Iterator[Finding]:
    switch = cluster["deletionProtection"]
    if is_providers_choice(cluster, "deletionProtection"):
        raise UnverifiedError(switch, "whether the cluster is protected is not known yet")
    if not switch.flag():
        yield violation("deletion protection is off", switch)


@resource_rule(
    "eks-addon-version-pinned",
    title="An add-on names its version",
    severity=Severity.LOW,
    applies={"aws:eks/addon:Addon"},
    controls={"NIST 800-53": ("CM-2", "CM-3", "SI-7"), "ISO 27001": ("A.8.9", "A.8.32")},
    why="Without one, EKS takes what is the default on that day: two environments of one program then differ.",
    remedy="""
aws.eks.Addon(name, addon_name="vpc-cni", addon_version="v1.21.1-eksbuild.8", ...)
""",
)
def addon_version(addon: Resource) -> Iterator[Finding]:
    version = addon["addonVersion"]
    text = version.text()
    if not text:
        yield violation("no version is named, so EKS chooses one", version)
    elif text.lower() in ("latest", "default"):
        yield violation(f"{text!r} is another version tomorrow", version)
