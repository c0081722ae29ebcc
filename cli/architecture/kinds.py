"""How each kind of resource is drawn: its name for people, its family, what it belongs to and what tells it apart."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from trainyard.policies.iam import documents
from trainyard.policies.values import UnverifiedError, Value

Props = Mapping[str, Any]


@dataclass(frozen=True)
class Family:
    """Resources that share a colour and an icon. `icon` is SVG path data in a square of 20."""

    title: str
    colour: str
    icon: str


# In the order in which cards and the legend show them.
FAMILIES: Mapping[str, Family] = {
    "network": Family("Network", "#6d5bd0", "M10 3v4M10 7H4v4M10 7h6v4M2 11h4v4H2zM8 11h4v4H8zM14 11h4v4h-4zM10 7v4"),
    "compute": Family("Compute", "#d9702b", "M5 5h10v10H5zM8 8h4v4H8zM7 2v3M13 2v3M7 15v3M13 15v3M2 7h3M2 13h3M15 7h3"),
    "storage": Family("Storage", "#1f8a5b", "M4 6c0-4 12-4 12 0s-12 4-12 0v8c0 4 12 4 12 0V6M4 10c0 4 12 4 12 0"),
    "messages": Family("Messages", "#c2418f", "M3 5h14v10H3zM3 5l7 6 7-6"),
    "records": Family("Records", "#2b7bb9", "M5 2h7l4 4v12H5zM12 2v4h4M8 10h5M8 13h5"),
    "keys": Family("Keys", "#b7791f", "M9.5 10a3.5 3.5 0 1 1-7 0 3.5 3.5 0 0 1 7 0zM9.5 10H18v3M14 10v3"),
    "identity": Family("Identity", "#c0392b", "M10 2l7 3v5c0 4-3 7-7 8-4-1-7-4-7-8V5zM7 10l2 2 4-4"),
    "kubernetes": Family("Kubernetes", "#3263b5", "M10 2l7 3.5v7.5L10 18l-7-5V5.5zM10 6v8M6.5 8l7 4M13.5 8l-7 4"),
    "other": Family("Other", "#64748b", "M10 2l7 4v8l-7 4-7-4V6zM3 6l7 4 7-4M10 10v8"),
}

# Pulumi modules of AWS by family, for kinds that have no row of their own below.
_MODULES: Mapping[str, str] = {
    **dict.fromkeys(("vpc", "lb", "route53", "networkfirewall", "directconnect"), "network"),
    **dict.fromkeys(("s3", "fsx", "efs", "ebs", "ecr", "rds", "dynamodb", "backup"), "storage"),
    **dict.fromkeys(("kms", "secretsmanager", "acm"), "keys"),
    **dict.fromkeys(("iam", "organizations", "ssoadmin"), "identity"),
    **dict.fromkeys(("sqs", "sns", "scheduler", "pipes"), "messages"),
    **dict.fromkeys(("cloudwatch", "cloudtrail", "cfg", "budgets", "guardduty"), "records"),
    **dict.fromkeys(("ec2", "eks", "autoscaling", "batch", "ecs", "lambda", "sagemaker"), "compute"),
}


@dataclass(frozen=True)
class Kind:
    """A kind of resource.

    `part_of` is the input that names the resource it is a part of: such a resource is drawn as a small label on that
    one's card. `leads_to` is the input of such a part that names where it leads, which the label then says.
    `tells` gives what tells this one from its like, `encrypted` which key it is under: "own", "aws" or "".
    `card`: important enough for a card of its own; the others are counted in their component.
    """

    title: str
    family: str
    part_of: str = ""
    leads_to: str = ""
    tells: Callable[[Props], str] = lambda _: ""
    encrypted: Callable[[Props], str] = lambda _: ""
    card: bool = False

    @property
    def many(self) -> str:
        """The title in the plural, as it stands after a number."""
        title = self.title
        if title in ("way in", "way out"):
            return title.replace("way", "ways")
        return f"{title[:-1]}ies" if title.endswith("y") else f"{title}es" if title.endswith("s") else f"{title}s"


def _text(props: Props, *names: str) -> str:
    """The first of the properties that is a text or a number."""
    return next((str(props[name]) for name in names if isinstance(props.get(name), str | int | float)), "")


def _list(props: Props, name: str) -> list[Any]:
    found = props.get(name)
    return found if isinstance(found, list) else []


def _of(*names: str) -> Callable[[Props], str]:
    return lambda props: _text(props, *names)


def _both(first: str, second: str) -> Callable[[Props], str]:
    return lambda props: " · ".join(part for part in (_text(props, first), _text(props, second)) if part)


def _days(name: str, what: str) -> Callable[[Props], str]:
    return lambda props: f"{what} {float(props[name]):g} days" if isinstance(props.get(name), int | float) else ""


def _own_key(name: str) -> Callable[[Props], str]:
    return lambda props: "own" if props.get(name) else ""


def _repository_key(props: Props) -> str:
    settings = [one for one in _list(props, "encryptionConfigurations") if isinstance(one, Mapping)]
    return "own" if any(one.get("kmsKey") for one in settings) else "aws"


def _data_class(props: Props) -> str:
    """What the provider's default tags say of the data."""
    tags = props.get("tagsAll") or props.get("tags")
    found = tags.get("data-class") if isinstance(tags, Mapping) else None
    return f"{found} data" if isinstance(found, str) else _text(props, "bucket")


def _queue_key(props: Props) -> str:
    return "own" if props.get("kmsMasterKeyId") else "aws" if props.get("sqsManagedSseEnabled") else ""


def _bucket_key(props: Props) -> str:
    rules = [rule for rule in _list(props, "rules") if isinstance(rule, Mapping)]
    defaults = [rule.get("applyServerSideEncryptionByDefault") for rule in rules]
    keys = [_text(default, "kmsMasterKeyId") for default in defaults if isinstance(default, Mapping)]
    if not keys:
        return ""
    return "own" if all(key and "alias/aws/" not in key for key in keys) else "aws"


def _bucket_key_title(props: Props) -> str:
    return {"own": "KMS", "aws": "AWS key"}.get(_bucket_key(props), "encryption")


def _event(props: Props) -> str:
    """What an EventBridge rule waits for, by the first of its detail types."""
    try:
        return str(json.loads(props["eventPattern"])["detail-type"][0])
    except (KeyError, IndexError, TypeError, ValueError):
        return _text(props, "scheduleExpression", "description")


def _image(props: Props) -> str:
    """Of a workload's first container, without the registry."""
    value: Any = props
    for step in ("spec", "template", "spec", "containers"):
        value = value.get(step) if isinstance(value, Mapping) else None
    first = value[0] if isinstance(value, list) and value else None
    image = first.get("image") if isinstance(first, Mapping) else None
    return image.rpartition("/")[2].partition("@")[0] if isinstance(image, str) else ""


def _service(props: Props) -> str:
    return _text(props, "serviceName").rpartition("amazonaws.")[2]


def _transport(service: str) -> Callable[[Props], str]:
    """Whether a policy refuses plain HTTP, as the policy pack judges it."""

    def title(props: Props) -> str:
        try:
            found = documents.statements(Value(props.get("policy")))
        except UnverifiedError:
            return "policy"
        return "TLS only" if any(documents.denies_plain_transport(one, service) for one in found) else "policy"

    return title


def _all_true(title: str, otherwise: str, *names: str) -> Callable[[Props], str]:
    return lambda props: title if all(props.get(name) is True for name in names) else otherwise


def _equal(title: str, otherwise: str, wanted: str, outer: str, name: str) -> Callable[[Props], str]:
    def choose(props: Props) -> str:
        inner = props.get(outer)
        return title if isinstance(inner, Mapping) and inner.get(name) == wanted else otherwise

    return choose


def _default_group(props: Props) -> str:
    return "default group" if _list(props, "ingress") or _list(props, "egress") else "default group closed"


# Where a part's label depends on its properties: it must not promise what they don't say.
PART_TITLES: Mapping[str, Callable[[Props], str]] = {
    "aws:ec2/defaultSecurityGroup:DefaultSecurityGroup": _default_group,
    "aws:kms/alias:Alias": lambda props: _text(props, "name") or "alias",
    "aws:s3/bucketOwnershipControls:BucketOwnershipControls": _equal(
        "owner enforced", "ownership", "BucketOwnerEnforced", "rule", "objectOwnership"
    ),
    "aws:s3/bucketPolicy:BucketPolicy": _transport("s3"),
    "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock": _all_true(
        "not public",
        "public access block",
        "blockPublicAcls",
        "blockPublicPolicy",
        "ignorePublicAcls",
        "restrictPublicBuckets",
    ),
    "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration": _bucket_key_title,
    "aws:s3/bucketVersioning:BucketVersioning": _equal(
        "versioned", "versioning off", "Enabled", "versioningConfiguration", "status"
    ),
    "aws:sqs/queuePolicy:QueuePolicy": _transport("sqs"),
}

KINDS: Mapping[str, Kind] = {
    "kubernetes:apps/v1:DaemonSet": Kind("Daemon set", "kubernetes", tells=_image, card=True),
    "kubernetes:apps/v1:Deployment": Kind("Deployment", "kubernetes", tells=_image, card=True),
    "kubernetes:storage.k8s.io/v1:StorageClass": Kind(
        "Storage class", "kubernetes", tells=_of("provisioner"), card=True
    ),
    "aws:cloudwatch/eventRule:EventRule": Kind("Event rule", "messages", tells=_event),
    "aws:cloudwatch/eventTarget:EventTarget": Kind("target", "messages", part_of="rule", leads_to="arn"),
    "aws:cloudwatch/logGroup:LogGroup": Kind(
        "Log group", "records", tells=_days("retentionInDays", "kept"), encrypted=_own_key("kmsKeyId")
    ),
    "aws:ec2/defaultSecurityGroup:DefaultSecurityGroup": Kind("default group", "network", part_of="vpcId"),
    "aws:ec2/flowLog:FlowLog": Kind("flow logs", "records", part_of="vpcId"),
    "aws:ec2/routeTable:RouteTable": Kind("Route table", "network"),
    "aws:ec2/routeTableAssociation:RouteTableAssociation": Kind("route table", "network", part_of="subnetId"),
    "aws:ec2/securityGroup:SecurityGroup": Kind("Security group", "network", tells=_of("description")),
    "aws:ec2/subnet:Subnet": Kind("Subnet", "network", tells=_both("cidrBlock", "availabilityZone"), card=True),
    "aws:ec2/vpc:Vpc": Kind("VPC", "network", tells=_of("cidrBlock"), card=True),
    "aws:ec2/vpcEndpoint:VpcEndpoint": Kind("VPC endpoint", "network", tells=_service),
    "aws:eks/accessEntry:AccessEntry": Kind("access entry", "identity"),
    "aws:eks/accessPolicyAssociation:AccessPolicyAssociation": Kind("access policy", "identity"),
    "aws:eks/addon:Addon": Kind("add-on", "compute"),
    "aws:eks/cluster:Cluster": Kind(
        "EKS cluster", "compute", tells=_of("version"), encrypted=_own_key("encryptionConfig"), card=True
    ),
    "aws:eks/nodeGroup:NodeGroup": Kind("Node group", "compute", tells=_of("capacityType")),
    "aws:fsx/dataRepositoryAssociation:DataRepositoryAssociation": Kind("S3 link", "storage"),
    "aws:fsx/lustreFileSystem:LustreFileSystem": Kind(
        "Lustre file system", "storage", tells=_of("deploymentType"), encrypted=_own_key("kmsKeyId"), card=True
    ),
    "aws:iam/instanceProfile:InstanceProfile": Kind("instance profile", "identity", part_of="role"),
    "aws:iam/policy:Policy": Kind("IAM policy", "identity", tells=_of("description", "name")),
    "aws:iam/role:Role": Kind("IAM role", "identity", tells=_of("description", "name")),
    "aws:iam/rolePolicy:RolePolicy": Kind("policy", "identity", part_of="role"),
    "aws:iam/rolePolicyAttachment:RolePolicyAttachment": Kind("attached policy", "identity", part_of="role"),
    "aws:backup/vault:Vault": Kind("Backup vault", "storage", encrypted=_own_key("kmsKeyArn"), card=True),
    "aws:codebuild/project:Project": Kind(
        "Build project", "compute", tells=_of("description"), encrypted=_own_key("encryptionKey"), card=True
    ),
    "aws:ecr/lifecyclePolicy:LifecyclePolicy": Kind("lifecycle", "storage", part_of="repository"),
    "aws:ecr/repository:Repository": Kind(
        "Image repository", "storage", tells=_of("name"), encrypted=_repository_key, card=True
    ),
    "aws:kms/alias:Alias": Kind("alias", "keys", part_of="targetKeyId"),
    "aws:kms/key:Key": Kind("KMS key", "keys", tells=_of("description"), card=True),
    "aws:s3/bucket:Bucket": Kind("S3 bucket", "storage", tells=_data_class, card=True),
    "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration": Kind("lifecycle", "storage", part_of="bucket"),
    "aws:s3/bucketLogging:BucketLogging": Kind("access logs", "storage", part_of="bucket"),
    "aws:s3/bucketNotification:BucketNotification": Kind("notifications", "storage", part_of="bucket"),
    "aws:s3/bucketObjectLockConfiguration:BucketObjectLockConfiguration": Kind(
        "object lock", "storage", part_of="bucket"
    ),
    "aws:s3/bucketOwnershipControls:BucketOwnershipControls": Kind("ownership", "storage", part_of="bucket"),
    "aws:s3/bucketPolicy:BucketPolicy": Kind("policy", "storage", part_of="bucket"),
    "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock": Kind("public access block", "storage", part_of="bucket"),
    "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration": Kind(
        "encryption", "storage", part_of="bucket", encrypted=_bucket_key
    ),
    "aws:s3/bucketVersioning:BucketVersioning": Kind("versioning", "storage", part_of="bucket"),
    "aws:sqs/queue:Queue": Kind("SQS queue", "messages", tells=_of("name"), encrypted=_queue_key, card=True),
    "aws:sqs/queuePolicy:QueuePolicy": Kind("policy", "messages", part_of="queueUrl"),
    "aws:sqs/redriveAllowPolicy:RedriveAllowPolicy": Kind("redrive", "messages", part_of="queueUrl"),
    "aws:sns/topic:Topic": Kind("Topic", "messages", encrypted=_own_key("kmsMasterKeyId"), card=True),
    "aws:sns/topicPolicy:TopicPolicy": Kind("policy", "messages", part_of="arn"),
    "aws:sns/topicSubscription:TopicSubscription": Kind("subscription", "messages", part_of="topic"),
    "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule": Kind("way out", "network", part_of="securityGroupId"),
    "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule": Kind("way in", "network", part_of="securityGroupId"),
}


def kind_of(resource_type: str) -> Kind:
    """The row of a type; one made from its token where there is none."""
    if resource_type in KINDS:
        return KINDS[resource_type]
    package, _, rest = resource_type.partition(":")
    module = re.split("[/:]", rest, maxsplit=1)[0]
    family = "kubernetes" if package == "kubernetes" else _MODULES.get(module, "other") if package == "aws" else "other"
    return Kind(spaced(resource_type.rpartition(":")[2]), family, tells=_of("cidrBlock", "name", "description"))


_ACRONYMS = frozenset({"api", "cpu", "ecr", "efa", "eks", "gpu", "iam", "kms", "s3", "sns", "sqs", "vpc"})


def spaced(name: str) -> str:
    """`InterruptionQueue` and `gpu_nodes` as a person writes them: `Interruption queue`, `GPU nodes`."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name.replace("_", " ")).split()
    text = " ".join(word.upper() if word.lower() in _ACRONYMS else word.lower() for word in words)
    return text[:1].upper() + text[1:]
