"""Customer-managed KMS keys whose policies let in the AWS services that need them, and nobody else.

A platform has five keys, one per kind of reader: whoever may read training data is not thereby able to read the flow
logs, and a service named in one key's policy (CloudWatch Logs, EventBridge, Auto Scaling) has no way to the others.

    keys = Keys("platform", KeysArgs(), pulumi.ResourceOptions(provider=provider))
    ObjectStore("platform", ObjectStoreArgs(data_key_arn=keys.data.arn), …)

A module with needs of its own makes one more key and says who may use it:

    CustomerKey(
        "platform-flow-logs",
        CustomerKeyArgs(description="Flow logs", statements=[logs_may_encrypt]),
        pulumi.ResourceOptions(provider=provider),
    )

A statement is a function of the account, because most of them have to name it.

Service-linked roles are named in conditions and not as principals. KMS refuses a policy with a principal that does not
exist, and a new account has no Auto Scaling role before its first group, nor has FSx made its role before the first
link; and where such a role is deleted and made again, a principal would still mean the old one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import pulumi
import pulumi_aws as aws

from trainyard.modules.account import Account
from trainyard.modules.policy_document import Statement, policy_document

DELETION_WINDOW_DAYS = range(7, 31)


def account_administers(account: Account) -> Statement:
    """Leave the key to the account's IAM policies; without this a key can end up with no administrator at all."""
    return {
        "Sid": "AccountAdministers",
        "Effect": "Allow",
        "Principal": {"AWS": account.root_arn},
        "Action": "kms:*",
        "Resource": "*",
    }


def logs_may_encrypt(account: Account) -> Statement:
    """Let CloudWatch Logs use the key for log groups of this account and region."""
    return {
        "Sid": "LogsMayEncrypt",
        "Effect": "Allow",
        "Principal": {"Service": account.service_host("logs")},
        "Action": [
            "kms:Encrypt",
            "kms:Decrypt",
            "kms:ReEncryptFrom",
            "kms:ReEncryptTo",
            "kms:GenerateDataKey",
            "kms:GenerateDataKeyWithoutPlaintext",
        ],
        "Resource": "*",
        "Condition": {"ArnLike": {"kms:EncryptionContext:aws:logs:arn": account.arn("logs", "log-group:*")}},
    }


def events_may_send(account: Account) -> Statement:
    """Let EventBridge deliver this account's events to queues that are encrypted with the key.

    The condition names the account and not the rules: AWS documents that `aws:SourceArn` does not reach KMS from
    EventBridge for encrypted topics, and a key that refuses loses events silently. The queue's policy names the rules.
    """
    return {
        "Sid": "EventsMaySend",
        "Effect": "Allow",
        "Principal": {"Service": "events.amazonaws.com"},
        "Action": ["kms:Decrypt", "kms:GenerateDataKey"],
        "Resource": "*",
        "Condition": {"StringEquals": {"aws:SourceAccount": account.id}},
    }


def events_may_notify(account: Account) -> Statement:
    """Let EventBridge publish to this account's topics that are encrypted with the key.

    On the way to SNS it carries neither source account nor source ARN, so the topic itself is named: SNS gives KMS its
    ARN. Source: SNS developer guide, "Key management", which rules both keys out for EventBridge.
    """
    return {
        "Sid": "EventsMayNotify",
        "Effect": "Allow",
        "Principal": {"Service": "events.amazonaws.com"},
        "Action": ["kms:Decrypt", "kms:GenerateDataKey"],
        "Resource": "*",
        "Condition": {"ArnLike": {"kms:EncryptionContext:aws:sns:topicArn": account.arn("sns", "*")}},
    }


def alarms_may_publish(account: Account) -> Statement:
    """Let CloudWatch's alarms of this account publish to topics that are encrypted with the key."""
    return _publishing("AlarmsMayPublish", "cloudwatch.amazonaws.com", account)


def budgets_may_publish(account: Account) -> Statement:
    """Let this account's budgets publish to topics that are encrypted with the key."""
    return _publishing("BudgetsMayPublish", "budgets.amazonaws.com", account)


def _publishing(sid: str, service: str, account: Account) -> Statement:
    return {
        "Sid": sid,
        "Effect": "Allow",
        "Principal": {"Service": service},
        "Action": ["kms:Decrypt", "kms:GenerateDataKey"],
        "Resource": "*",
        "Condition": {"StringEquals": {"aws:SourceAccount": account.id}},
    }


def launching_may_use(account: Account) -> Statement:
    """Let Auto Scaling and EC2 Spot read and write the volumes of the instances that they start."""
    return {
        "Sid": "LaunchingMayUse",
        "Effect": "Allow",
        "Principal": "*",
        "Action": [
            "kms:Encrypt",
            "kms:Decrypt",
            "kms:ReEncryptFrom",
            "kms:ReEncryptTo",
            "kms:GenerateDataKey",
            "kms:GenerateDataKeyWithoutPlaintext",
            "kms:DescribeKey",
        ],
        "Resource": "*",
        "Condition": {
            "StringEquals": {"kms:CallerAccount": account.id},
            "ArnEquals": {"aws:PrincipalArn": _launching_roles(account)},
        },
    }


def launching_may_grant(account: Account) -> Statement:
    """Let them hand the key on to EBS, and to nothing that is no AWS resource.

    Without it instances start and end at once with `Client.InternalError`. A statement of its own because the condition
    is false for every other action.
    """
    return {
        "Sid": "LaunchingMayGrant",
        "Effect": "Allow",
        "Principal": "*",
        "Action": "kms:CreateGrant",
        "Resource": "*",
        "Condition": {
            "StringEquals": {"kms:CallerAccount": account.id},
            "ArnEquals": {"aws:PrincipalArn": _launching_roles(account)},
            "Bool": {"kms:GrantIsForAWSResource": "true"},
        },
    }


def _launching_roles(account: Account) -> list[pulumi.Output[str]]:
    return [
        account.service_role_arn("autoscaling.amazonaws.com", "AWSServiceRoleForAutoScaling"),
        account.service_role_arn("spot.amazonaws.com", "AWSServiceRoleForEC2Spot"),
    ]


def lustre_links_may_use(account: Account) -> Statement:
    """Let FSx read and write, through S3 only, the objects that a Lustre file system is linked to.

    FSx makes a role for each file system when the first link is made, so the role is known by its beginning.
    """
    return {
        "Sid": "LustreLinksMayUse",
        "Effect": "Allow",
        "Principal": "*",
        "Action": [
            "kms:Encrypt",
            "kms:Decrypt",
            "kms:ReEncryptFrom",
            "kms:ReEncryptTo",
            "kms:GenerateDataKey",
            "kms:GenerateDataKeyWithoutPlaintext",
            "kms:DescribeKey",
        ],
        "Resource": "*",
        "Condition": {
            "StringEquals": {"kms:CallerAccount": account.id, "kms:ViaService": account.service_host("s3")},
            "ArnLike": {
                "aws:PrincipalArn": account.service_role_arn(
                    "s3.data-source.lustre.fsx.amazonaws.com", "AWSServiceRoleForFSxS3Access_fs-*"
                )
            },
        },
    }


@dataclass(frozen=True)
class CustomerKeyArgs:
    """What a key is for and who may use it.

    Attributes:
        description: what is encrypted with it, for the person who finds it in the console.
        statements: what else stands in the key's policy, beside the account's own statement.
        deletion_window_days: 7 to 30, how long a deleted key can still be had back.
        protected: refuse to delete the key, and keep it when it leaves the program.
        tags: added to the provider's default tags.
    """

    description: str
    statements: Sequence[Callable[[Account], Statement]] = ()
    deletion_window_days: int = 30
    protected: bool = True
    tags: Mapping[str, pulumi.Input[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.deletion_window_days not in DELETION_WINDOW_DAYS:
            raise ValueError(f"deletion_window_days is {self.deletion_window_days}; KMS takes 7 to 30")


class CustomerKey(pulumi.ComponentResource):
    """A symmetric key, rotated every year, with the alias `alias/<name>`."""

    arn: pulumi.Output[str]
    alias_name: pulumi.Output[str]

    def __init__(self, name: str, args: CustomerKeyArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("trainyard:keys:CustomerKey", name, None, opts)
        account = Account.of(self)
        key = aws.kms.Key(
            f"{name}-key",
            description=args.description,
            enable_key_rotation=True,
            deletion_window_in_days=args.deletion_window_days,
            policy=policy_document(
                [account_administers(account), *(statement(account) for statement in args.statements)]
            ),
            tags=args.tags,
            opts=pulumi.ResourceOptions(parent=self, protect=args.protected, retain_on_delete=args.protected),
        )
        alias = aws.kms.Alias(
            f"{name}-alias",
            name=f"alias/{name}",
            target_key_id=key.key_id,
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.arn = key.arn
        self.alias_name = alias.name
        self.register_outputs({"arn": self.arn, "alias_name": self.alias_name})


@dataclass(frozen=True)
class KeysArgs:
    """How long and how firmly the platform's keys are kept.

    Attributes:
        deletion_window_days: 7 to 30, how long a deleted key can still be had back.
        protected: refuse to delete the keys, and keep them when they leave the program.
        tags: added to the provider's default tags.
    """

    deletion_window_days: int = 30
    protected: bool = True
    tags: Mapping[str, pulumi.Input[str]] = field(default_factory=dict)


class Keys(pulumi.ComponentResource):
    """The platform's keys: one for each kind of thing that different people and services may read.

    Attributes:
        data: buckets and file systems.
        messages: queues and topics.
        logs: log groups.
        compute: the nodes' volumes and the images they start.
        secrets: Kubernetes secrets.
    """

    data: CustomerKey
    messages: CustomerKey
    logs: CustomerKey
    compute: CustomerKey
    secrets: CustomerKey

    def __init__(self, name: str, args: KeysArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("trainyard:keys:Keys", name, None, opts)

        def key(purpose: str, description: str, *statements: Callable[[Account], Statement]) -> CustomerKey:
            return CustomerKey(
                f"{name}-{purpose}",
                CustomerKeyArgs(
                    description=description,
                    statements=statements,
                    deletion_window_days=args.deletion_window_days,
                    protected=args.protected,
                    tags=args.tags,
                ),
                pulumi.ResourceOptions(parent=self),
            )

        # Buckets need no statement: S3 asks KMS in the name of whoever reads or writes the object. FSx does so itself.
        self.data = key("data", f"Data sets, checkpoints and artifacts of {name}", lustre_links_may_use)
        self.messages = key(
            "messages",
            f"Queues and topics of {name}",
            events_may_send,
            events_may_notify,
            alarms_may_publish,
            budgets_may_publish,
        )
        self.logs = key("logs", f"Log groups of {name}", logs_may_encrypt)
        self.compute = key("compute", f"Volumes and images of {name}", launching_may_use, launching_may_grant)
        # Whoever makes the cluster gives EKS its grant, in the name of the account.
        self.secrets = key("secrets", f"Kubernetes secrets of {name}")
        self.register_outputs(
            {
                "data_key_arn": self.data.arn,
                "messages_key_arn": self.messages.arn,
                "logs_key_arn": self.logs.arn,
                "compute_key_arn": self.compute.arn,
                "secrets_key_arn": self.secrets.arn,
            }
        )
