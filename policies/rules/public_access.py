"""Nothing is open to the internet: buckets, resource policies, security groups, subnets."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_network

from trainyard.policies.aws import BUCKETS, split
from trainyard.policies.graph import Graph, Resource
from trainyard.policies.iam import documents
from trainyard.policies.rule import Finding, Severity, each, resource_rule, stack_rule, unverified, violation
from trainyard.policies.values import UnverifiedError, Value, shown

_ACLS = split("aws:s3/bucketAcl:BucketAcl")
_PUBLIC_ACLS = ("public-read", "public-read-write", "authenticated-read")
_PUBLIC_GROUPS = ("/groups/global/AllUsers", "/groups/global/AuthenticatedUsers")
_BLOCKS = ("blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets")

# Resources whose `policy` says who may use something from outside its account.
_POLICY_HOLDERS = frozenset(
    {
        "aws:backup/vaultPolicy:VaultPolicy",
        "aws:cloudwatch/eventBusPolicy:EventBusPolicy",
        "aws:dynamodb/resourcePolicy:ResourcePolicy",
        "aws:ecr/registryPolicy:RegistryPolicy",
        "aws:ecr/repositoryPolicy:RepositoryPolicy",
        "aws:kms/externalKey:ExternalKey",
        "aws:kms/key:Key",
        "aws:kms/keyPolicy:KeyPolicy",
        "aws:kms/replicaKey:ReplicaKey",
        "aws:s3/accessPoint:AccessPoint",
        "aws:s3/bucketPolicy:BucketPolicy",
        "aws:s3control/accessPointPolicy:AccessPointPolicy",
        "aws:secretsmanager/secret:Secret",
        "aws:secretsmanager/secretPolicy:SecretPolicy",
        "aws:sns/topic:Topic",
        "aws:sns/topicPolicy:TopicPolicy",
        "aws:sqs/queue:Queue",
        "aws:sqs/queuePolicy:QueuePolicy",
        *BUCKETS,
    }
)

_INGRESS = "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule"
_GROUP_RULE = "aws:ec2/securityGroupRule:SecurityGroupRule"
_EGRESS = "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule"
_DEFAULT_GROUP = "aws:ec2/defaultSecurityGroup:DefaultSecurityGroup"
_GROUPS = frozenset({"aws:ec2/securityGroup:SecurityGroup", _DEFAULT_GROUP})

# A public range this wide is the internet in all but name; 0.0.0.0/0 is easily written as two halves.
_INTERNET_PREFIX = {4: 7, 6: 15}

_ACCESS = {"NIST 800-53": ("AC-3", "AC-6", "SC-7"), "ISO 27001": ("A.5.15", "A.8.3")}
_NETWORK = {"NIST 800-53": ("SC-7", "AC-4"), "ISO 27001": ("A.8.20", "A.8.22")}


@stack_rule(
    "s3-public-access-block",
    title="A bucket blocks public access in all four ways",
    severity=Severity.CRITICAL,
    applies=BUCKETS,
    controls={
        "FSBP": ("S3.1", "S3.8"),
        "Checkov": ("CKV_AWS_53", "CKV_AWS_54", "CKV_AWS_55", "CKV_AWS_56", "CKV2_AWS_6"),
        "Trivy": ("AWS-0086", "AWS-0087", "AWS-0091", "AWS-0093"),
        **_ACCESS,
    },
    why="The block holds whatever a later policy or ACL says; it is what stands between a slip and a leak.",
    remedy="""
aws.s3.BucketPublicAccessBlock(f"{name}-public-access", bucket=bucket.id, block_public_acls=True,
    block_public_policy=True, ignore_public_acls=True, restrict_public_buckets=True)
""",
)
def public_access_block(bucket: Resource, graph: Graph) -> Iterator[Finding]:
    found = graph.attached(bucket, {"aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock"}, "bucket")
    if not found.certain:
        yield _missing("public access block", found.possible)

    def check(switch: Value) -> Iterator[Finding]:
        if not switch.flag():
            yield violation(f"{switch.path[-1]} is off", switch)

    yield from each([block[name] for block in found.certain for name in _BLOCKS], check)


@stack_rule(
    "s3-ownership-enforced",
    title="A bucket's objects belong to its owner, and ACLs are off",
    severity=Severity.MEDIUM,
    applies=BUCKETS,
    controls={"FSBP": ("S3.12",), "Checkov": ("CKV2_AWS_65",), **_ACCESS},
    why="With ACLs on, one object can be opened to the world past every bucket policy.",
    remedy="""
aws.s3.BucketOwnershipControls(f"{name}-ownership", bucket=bucket.id,
    rule={"object_ownership": "BucketOwnerEnforced"})
""",
)
def ownership_enforced(bucket: Resource, graph: Graph) -> Iterator[Finding]:
    found = graph.attached(bucket, {"aws:s3/bucketOwnershipControls:BucketOwnershipControls"}, "bucket")
    if not found.certain:
        yield _missing("ownership controls", found.possible)

    def check(ownership: Value) -> Iterator[Finding]:
        if (text := ownership.text()) != "BucketOwnerEnforced":
            yield violation(f"object ownership is {shown(text)}; it must be BucketOwnerEnforced", ownership)

    yield from each([controls["rule"]["objectOwnership"] for controls in found.certain], check)


@resource_rule(
    "s3-no-public-acl",
    title="No ACL opens a bucket or an object to everyone",
    severity=Severity.CRITICAL,
    applies=BUCKETS
    | _ACLS
    | {"aws:s3/bucketObject:BucketObject", "aws:s3/bucketObjectv2:BucketObjectv2", "aws:s3/objectCopy:ObjectCopy"},
    controls={"FSBP": ("S3.2", "S3.3"), "Checkov": ("CKV_AWS_20", "CKV_AWS_57"), "Trivy": ("AWS-0092",), **_ACCESS},
    why="A public ACL lets everyone, or everyone with any AWS account, read or overwrite what it covers.",
    remedy="""
aws.s3.BucketOwnershipControls(...)   # BucketOwnerEnforced, and no acl= and no BucketAcl at all
""",
)
def no_public_acl(resource: Resource) -> Iterator[Finding]:
    def check_acl(acl: Value) -> Iterator[Finding]:
        if (text := acl.text()) in _PUBLIC_ACLS:
            yield violation(f"the ACL {text!r} is public", acl)

    def check_grant(grant: Value) -> Iterator[Finding]:
        grantee = grant["grantee"] if grant["grantee"].present else grant
        uri = grantee["uri"].text() or ""
        if uri.endswith(_PUBLIC_GROUPS):
            yield violation(f"access is granted to {uri.rpartition('/')[2]}", grant)

    yield from each([resource["acl"]], check_acl)
    for grants in (resource["grants"], resource["accessControlPolicy"]["grants"]):
        yield from each(grants.items(), check_grant)


@resource_rule(
    "policy-no-public-principal",
    title="No policy of a bucket, queue, topic, key, secret or registry lets just anyone in",
    severity=Severity.CRITICAL,
    applies=_POLICY_HOLDERS,
    controls={
        "FSBP": ("S3.2", "S3.3", "SQS.3", "SNS.4", "KMS.5"),
        "Checkov": ("CKV_AWS_70", "CKV_AWS_33", "CKV_AWS_168", "CKV_AWS_169", "CKV_AWS_387"),
        **_ACCESS,
    },
    why='"Principal": "*" in an Allow means every AWS account there is, and for most actions everyone without one.',
    remedy="""
{"Effect": "Allow", "Principal": {"Service": "events.amazonaws.com"},      # name who, or pin "*" by a condition
 "Action": "sqs:SendMessage", "Resource": queue_arn, "Condition": {"ArnEquals": {"aws:SourceArn": rule_arn}}}
""",
)
def no_public_principal(holder: Resource) -> Iterator[Finding]:
    for statement in documents.statements(holder["policy"]):
        if statement.effect == "Allow" and statement.for_anyone and not statement.narrowed:
            who = "everyone but a few" if statement.not_principals else "anyone"
            yield violation(
                f"{statement.label} allows {shown(', '.join(statement.actions) or 'actions')} to {who}, "
                "and no condition ties the caller to an account, organisation, network or resource",
                holder["policy"],
            )


@resource_rule(
    "network-no-open-ingress",
    title="No security group lets the internet in",
    severity=Severity.CRITICAL,
    applies=_GROUPS | {_INGRESS, _GROUP_RULE},
    controls={
        "FSBP": ("EC2.18", "EC2.19"),
        "Checkov": ("CKV_AWS_24", "CKV_AWS_25", "CKV_AWS_260", "CKV_AWS_277"),
        "Trivy": ("AWS-0107",),
        **_NETWORK,
    },
    why="A port that is open to the internet is found and tried within minutes.",
    remedy="""
aws.vpc.SecurityGroupIngressRule(name, security_group_id=group.id, ip_protocol="tcp", from_port=443, to_port=443,
    referenced_security_group_id=clients.id)      # or cidr_ipv4=vpc.cidr_block
""",
)
def no_open_ingress(resource: Resource) -> Iterator[Finding]:
    if resource.type == _INGRESS:
        yield from each([resource["cidrIpv4"], resource["cidrIpv6"]], _open_range)
    elif resource.type == _GROUP_RULE:
        if resource["type"].text() == "ingress":
            yield from _open_blocks(resource["cidrBlocks"], resource["ipv6CidrBlocks"])
    else:
        yield from each(resource["ingress"].items(), lambda one: _open_blocks(one["cidrBlocks"], one["ipv6CidrBlocks"]))


def _open_blocks(*lists: Value) -> Iterator[Finding]:
    for blocks in lists:
        yield from each(blocks.items(), _open_range)


def _open_range(block: Value) -> Iterator[Finding]:
    text = block.text()
    if not text:
        return
    try:
        network = ip_network(text, strict=False)
    except ValueError:
        raise UnverifiedError(block, f"{shown(text)!r} is not an address range such as 10.0.0.0/16") from None
    if network.prefixlen <= _INTERNET_PREFIX[network.version] and not network.is_private:
        yield violation(f"{text} lets the internet in", block)


@resource_rule(
    "network-no-auto-public-ip",
    title="A subnet gives no public addresses to what starts in it",
    severity=Severity.HIGH,
    applies={"aws:ec2/subnet:Subnet", "aws:ec2/defaultSubnet:DefaultSubnet"},
    controls={"FSBP": ("EC2.15",), "Checkov": ("CKV_AWS_130",), "Trivy": ("AWS-0164",), **_NETWORK},
    why="An instance with a public address is one security group slip away from the internet.",
    remedy="""
aws.ec2.Subnet(name, vpc_id=vpc.id, cidr_block=block, map_public_ip_on_launch=False)
""",
)
def no_auto_public_ip(subnet: Resource) -> Iterator[Finding]:
    switch = subnet["mapPublicIpOnLaunch"]
    if switch.flag() or (subnet.type.endswith(":DefaultSubnet") and not switch.present):
        yield violation("instances in this subnet get public addresses", switch)


@resource_rule(
    "network-default-group-closed",
    title="A default security group that the program owns has no rules",
    severity=Severity.HIGH,
    applies={_DEFAULT_GROUP},
    controls={"FSBP": ("EC2.2",), "Checkov": ("CKV2_AWS_12",), **_NETWORK},
    why="Whatever is started without naming a group lands in this one.",
    remedy="""
aws.ec2.DefaultSecurityGroup(name, vpc_id=vpc.id)      # no ingress, no egress
""",
)
def default_group_closed(group: Resource) -> Iterator[Finding]:
    for name in ("ingress", "egress"):
        if count := len(group[name].items()):
            yield violation(f"the default group has {count} {name} rule{'s' if count > 1 else ''}", group[name])


@stack_rule(
    "network-default-group-owned",
    title="A VPC's default security group is taken over and stays without rules",
    severity=Severity.HIGH,
    applies={"aws:ec2/vpc:Vpc", "aws:ec2/defaultVpc:DefaultVpc"},
    controls={"FSBP": ("EC2.2",), "Checkov": ("CKV2_AWS_12",), **_NETWORK},
    why="AWS makes it with rules that let its members reach each other and everything reach out.",
    remedy="""
aws.ec2.DefaultSecurityGroup(f"{name}-default", vpc_id=vpc.id)      # takes its rules away
""",
)
def default_group_owned(vpc: Resource, graph: Graph) -> Iterator[Finding]:
    found = graph.attached(vpc, {_DEFAULT_GROUP}, "vpcId")
    if not found.certain:
        yield _missing("DefaultSecurityGroup", found.possible, "VPC")
    for group in found.certain:
        rules = graph.attached(group, {_INGRESS, _EGRESS, _GROUP_RULE}, "securityGroupId")
        for added in rules.certain:
            yield violation(f"{added.name} adds a rule to the default security group")
        for added in rules.possible:
            yield unverified(f"whether {added.name} adds a rule to the default security group is not known yet")


def _missing(part: str, possible: list[Resource], what: str = "bucket") -> Finding:
    if possible:
        names = " or ".join(resource.name for resource in possible[:3])
        return unverified(f"whether {names} is this {what}'s {part} is not known yet")
    return violation(f"the {what} has no {part}")
