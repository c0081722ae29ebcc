"""The IAM role of a training job: its own prefixes, its keys through S3 and SQS, the interruption queue. No more.

    role = TrainingRole(
        "platform-vision",
        TrainingRoleArgs(
            trusts=[PodIdentityTrust(namespace="vision", service_account="trainer")],
            datasets_bucket_arn=store.datasets.arn,
            checkpoints_bucket_arn=store.checkpoints.arn,
            artifacts_bucket_arn=store.artifacts.arn,
            data_key_arn=keys.data.arn,
            queue_arn=queue.arn,
            queue_key_arn=keys.messages.arn,
            run_prefix="vision/",
        ),
        pulumi.ResourceOptions(provider=provider),
    )

Listing is limited to the same prefixes. A consequence in S3: asking for an object that does not exist answers 403, not
404, because telling absence takes the right to list, and a HEAD request has no prefix to judge by. Look with a list.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias, assert_never

import pulumi
import pulumi_aws as aws

from trainyard.modules.account import Account
from trainyard.modules.policy_document import Statement, policy_document


@dataclass(frozen=True)
class PodIdentityTrust:
    """Pods of one service account take the role through EKS Pod Identity.

    Attributes:
        namespace: the pods' Kubernetes namespace.
        service_account: their service account.
        cluster_arn: the only EKS cluster whose pods may. None: any of this account.
    """

    namespace: pulumi.Input[str]
    service_account: pulumi.Input[str]
    cluster_arn: pulumi.Input[str] | None = None


@dataclass(frozen=True)
class InstanceTrust:
    """EC2 instances take the role through an instance profile, which is made with it."""


@dataclass(frozen=True)
class PrincipalTrust:
    """Named IAM roles or users take the role, such as a Slurm head node's.

    Attributes:
        principal_arns: full ARNs; a wildcard is refused.
    """

    principal_arns: Sequence[pulumi.Input[str]]

    def __post_init__(self) -> None:
        if not self.principal_arns or any(isinstance(arn, str) and "*" in arn for arn in self.principal_arns):
            raise ValueError("principal_arns must name at least one principal, each by its full ARN without wildcards")


Trust: TypeAlias = PodIdentityTrust | InstanceTrust | PrincipalTrust


@dataclass(frozen=True)
class TrainingRoleArgs:
    """Who takes the role, and the buckets, queue and keys it works with.

    Attributes:
        trusts: who may take the role; at least one.
        datasets_bucket_arn: read under `dataset_prefixes`.
        checkpoints_bucket_arn: read, written and deleted under `run_prefix`.
        artifacts_bucket_arn: read and written under `run_prefix`, never deleted.
        data_key_arn: KMS key of the three buckets.
        queue_arn: the interruption queue.
        queue_key_arn: KMS key of the queue's messages.
        run_prefix: beginning of every key the role may write, ending in `/`.
        dataset_prefixes: beginnings of the keys it may read; the empty one is the whole bucket.
        permissions_boundary_arn: policy that bounds whatever else is ever attached to the role.
        tags: added to the provider's default tags.
    """

    trusts: Sequence[Trust]
    datasets_bucket_arn: pulumi.Input[str]
    checkpoints_bucket_arn: pulumi.Input[str]
    artifacts_bucket_arn: pulumi.Input[str]
    data_key_arn: pulumi.Input[str]
    queue_arn: pulumi.Input[str]
    queue_key_arn: pulumi.Input[str]
    run_prefix: str
    dataset_prefixes: Sequence[str] = ("",)
    permissions_boundary_arn: pulumi.Input[str] | None = None
    tags: Mapping[str, pulumi.Input[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.trusts:
            raise ValueError("trusts is empty: nobody could take the role")
        if not self.run_prefix.endswith("/") or self.run_prefix == "/":
            raise ValueError(f"run_prefix is {self.run_prefix!r}; it is a name followed by a slash, such as 'vision/'")
        for prefix in (self.run_prefix, *self.dataset_prefixes):
            if set(prefix) & set("*?$"):
                raise ValueError(
                    f"prefix {prefix!r} holds a character that means something else in an IAM policy: * ? $"
                )
        if not self.dataset_prefixes:
            raise ValueError("dataset_prefixes is empty: the role could read no data")


class TrainingRole(pulumi.ComponentResource):
    """The role, its one inline policy, and an instance profile where an `InstanceTrust` asks for one."""

    arn: pulumi.Output[str]
    role_name: pulumi.Output[str]
    instance_profile_name: pulumi.Output[str] | None

    def __init__(self, name: str, args: TrainingRoleArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("trainyard:training_role:TrainingRole", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        account = Account.of(self)
        role = aws.iam.Role(
            f"{name}-training",
            description=f"Training jobs of {name}",
            assume_role_policy=policy_document([trust_statement(trust, account) for trust in args.trusts]),
            permissions_boundary=args.permissions_boundary_arn,
            tags=args.tags,
            opts=child,
        )
        aws.iam.RolePolicy(
            f"{name}-training", role=role.name, policy=policy_document(training_statements(account, args)), opts=child
        )
        self.arn = role.arn
        self.role_name = role.name
        self.instance_profile_name = None
        if any(isinstance(trust, InstanceTrust) for trust in args.trusts):
            profile = aws.iam.InstanceProfile(f"{name}-training", role=role.name, tags=args.tags, opts=child)
            self.instance_profile_name = profile.name
        self.register_outputs(
            {"arn": self.arn, "role_name": self.role_name, "instance_profile_name": self.instance_profile_name}
        )


def trust_statement(trust: Trust, account: Account) -> Statement:
    """How the role's own policy says that `trust` may take it."""
    match trust:
        case PodIdentityTrust(namespace, service_account, cluster_arn):
            # Pod Identity sets these as session tags; without them any association in the account could take the role.
            session: dict[str, pulumi.Input[str]] = {
                "aws:SourceAccount": account.id,
                "aws:RequestTag/kubernetes-namespace": namespace,
                "aws:RequestTag/kubernetes-service-account": service_account,
            }
            if cluster_arn is not None:
                session["aws:RequestTag/eks-cluster-arn"] = cluster_arn
            return {
                "Effect": "Allow",
                "Principal": {"Service": "pods.eks.amazonaws.com"},
                "Action": ["sts:AssumeRole", "sts:TagSession"],
                "Condition": {"StringEquals": session},
            }
        case InstanceTrust():
            return {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}
        case PrincipalTrust(principal_arns):
            return {"Effect": "Allow", "Principal": {"AWS": list(principal_arns)}, "Action": "sts:AssumeRole"}
        case _:
            assert_never(trust)


def training_statements(account: Account, args: TrainingRoleArgs) -> list[Statement]:
    """Everything that a training job may do."""
    through_s3 = account.service_host("s3")
    return [
        _objects("ReadDatasets", ["s3:GetObject"], args.datasets_bucket_arn, args.dataset_prefixes),
        _listing("ListDatasets", args.datasets_bucket_arn, args.dataset_prefixes),
        _objects(
            "KeepCheckpoints",
            [
                "s3:GetObject",
                "s3:PutObject",
                "s3:DeleteObject",
                "s3:AbortMultipartUpload",
                "s3:ListMultipartUploadParts",
            ],
            args.checkpoints_bucket_arn,
            [args.run_prefix],
        ),
        _listing("ListCheckpoints", args.checkpoints_bucket_arn, [args.run_prefix]),
        _objects(
            "AddArtifacts",
            ["s3:GetObject", "s3:PutObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"],
            args.artifacts_bucket_arn,
            [args.run_prefix],
        ),
        _listing("ListArtifacts", args.artifacts_bucket_arn, [args.run_prefix]),
        _key(
            "DecryptDatasets", ["kms:Decrypt"], args.data_key_arn, through_s3, "s3", _anywhere(args.datasets_bucket_arn)
        ),
        _key(
            "EncryptRuns",
            # S3 decrypts the parts of an upload to put them together.
            ["kms:Decrypt", "kms:GenerateDataKey"],
            args.data_key_arn,
            through_s3,
            "s3",
            [*_anywhere(args.checkpoints_bucket_arn), *_anywhere(args.artifacts_bucket_arn)],
        ),
        {
            "Sid": "HearInterruptions",
            "Effect": "Allow",
            "Action": ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility"],
            "Resource": args.queue_arn,
        },
        _key(
            "DecryptInterruptions",
            ["kms:Decrypt"],
            args.queue_key_arn,
            account.service_host("sqs"),
            "sqs",
            [args.queue_arn],
        ),
    ]


def _objects(sid: str, actions: list[str], bucket_arn: pulumi.Input[str], prefixes: Sequence[str]) -> Statement:
    return {
        "Sid": sid,
        "Effect": "Allow",
        "Action": actions,
        "Resource": [pulumi.Output.concat(bucket_arn, f"/{prefix}*") for prefix in prefixes],
    }


def _listing(sid: str, bucket_arn: pulumi.Input[str], prefixes: Sequence[str]) -> Statement:
    statement: Statement = {"Sid": sid, "Effect": "Allow", "Action": "s3:ListBucket", "Resource": bucket_arn}
    if "" in prefixes:
        return statement
    return {**statement, "Condition": {"StringLike": {"s3:prefix": [f"{prefix}*" for prefix in prefixes]}}}


def _key(
    sid: str,
    actions: list[str],
    key_arn: pulumi.Input[str],
    through: pulumi.Output[str],
    service: str,
    what: Sequence[pulumi.Input[str]],
) -> Statement:
    """Use of a key through one service only, and only for `what` that service encrypts with it."""
    return {
        "Sid": sid,
        "Effect": "Allow",
        "Action": actions,
        "Resource": key_arn,
        "Condition": {
            "StringEquals": {"kms:ViaService": through},
            "ArnLike": {f"kms:EncryptionContext:aws:{service}:arn": list(what)},
        },
    }


def _anywhere(bucket_arn: pulumi.Input[str]) -> list[pulumi.Input[str]]:
    """The encryption contexts that S3 uses for a bucket: its own ARN under a bucket key, the object's without."""
    return [bucket_arn, pulumi.Output.concat(bucket_arn, "/*")]
