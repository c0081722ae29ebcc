"""A role for the day when nobody can get in the usual way: taken with MFA, for an hour, and never unnoticed.

    role = BreakGlassRole(
        "platform",
        BreakGlassRoleArgs(
            trusted_principal_arns=["arn:aws:iam::123456789012:user/break-glass-1"],
            topic_key_arn=keys.messages.arn,
            email_addresses=["security@example.com"],
        ),
        pulumi.ResourceOptions(provider=provider),
    )
    AccessGrant("break-glass", role.role_arn, "AmazonEKSClusterAdminPolicy")

In AWS the role may do nothing but look the cluster up; what it may do in Kubernetes is said by the access entry.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pulumi
import pulumi_aws as aws

from trainyard.modules.account import Account
from trainyard.modules.policy_document import deny_plain_transport, policy_document

LONGEST_SESSION_SECONDS = 3600
"""The shortest that a role's maximum can be."""

MFA_VALID_SECONDS = 900


@dataclass(frozen=True)
class BreakGlassRoleArgs:
    """Who may take the role, and who hears of it.

    Attributes:
        trusted_principal_arns: IAM users with an MFA device, by full ARN. A single sign-on session carries no MFA
            mark and would be refused; it is also what is likely to be broken on that day.
        topic_key_arn: KMS key of the topic, whose policy lets EventBridge in, as `keys.Keys.messages` does.
        email_addresses: who is written to. Each has to confirm once.
        cluster_name: the only cluster that the role may look up. `*`: any of the account and region.
        tags: added to the provider's default tags.
    """

    trusted_principal_arns: Sequence[pulumi.Input[str]]
    topic_key_arn: pulumi.Input[str]
    email_addresses: Sequence[str]
    cluster_name: pulumi.Input[str] = "*"
    tags: Mapping[str, pulumi.Input[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.trusted_principal_arns or any(
            isinstance(arn, str) and ("*" in arn or arn.endswith(":root")) for arn in self.trusted_principal_arns
        ):
            raise ValueError(
                "trusted_principal_arns must name at least one principal, each by its full ARN: no wildcard, no account"
            )
        roles = [arn for arn in self.trusted_principal_arns if isinstance(arn, str) and ":user/" not in arn]
        if roles:
            raise ValueError(
                f"trusted_principal_arns names {', '.join(roles)}: only an IAM user's session shows that a second "
                "factor was used, as in arn:aws:iam::123456789012:user/break-glass-1"
            )
        if not self.email_addresses or any("@" not in address for address in self.email_addresses):
            raise ValueError("email_addresses must name at least one address: use of the role must not go unnoticed")


class BreakGlassRole(pulumi.ComponentResource):
    """The role, the rule that sees it taken, and the topic that tells people."""

    role_arn: pulumi.Output[str]
    role_name: pulumi.Output[str]
    topic_arn: pulumi.Output[str]

    def __init__(self, name: str, args: BreakGlassRoleArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("trainyard:break_glass:BreakGlassRole", name, None, opts)
        account = Account.of(self)
        child = pulumi.ResourceOptions(parent=self)
        role = aws.iam.Role(
            f"{name}-break-glass",
            description=f"Emergency access to {name}; every use raises an alarm",
            max_session_duration=LONGEST_SESSION_SECONDS,
            assume_role_policy=policy_document(
                [
                    {
                        "Effect": "Allow",
                        "Principal": {"AWS": list(args.trusted_principal_arns)},
                        "Action": "sts:AssumeRole",
                        "Condition": {
                            "Bool": {"aws:MultiFactorAuthPresent": "true"},
                            "NumericLessThan": {"aws:MultiFactorAuthAge": str(MFA_VALID_SECONDS)},
                            # STS answers in every region and the event appears where it was asked: only here is a
                            # rule that looks.
                            "StringEquals": {"aws:RequestedRegion": account.region},
                        },
                    }
                ]
            ),
            tags=args.tags,
            opts=child,
        )
        aws.iam.RolePolicy(
            f"{name}-break-glass",
            role=role.name,
            policy=policy_document(
                [
                    {
                        "Sid": "FindTheCluster",
                        "Effect": "Allow",
                        "Action": "eks:DescribeCluster",
                        "Resource": pulumi.Output.concat(account.arn("eks", "cluster/"), args.cluster_name),
                    }
                ]
            ),
            opts=child,
        )
        topic = self._alarm(name, args, role)

        self.role_arn = role.arn
        self.role_name = role.name
        self.topic_arn = topic.arn
        self.register_outputs({"role_arn": self.role_arn, "role_name": self.role_name, "topic_arn": self.topic_arn})

    def _alarm(self, name: str, args: BreakGlassRoleArgs, role: aws.iam.Role) -> aws.sns.Topic:
        child = pulumi.ResourceOptions(parent=self)
        # Who took the role and when, never training data.
        tags = {**args.tags, "data-class": "internal"}
        topic = aws.sns.Topic(
            f"{name}-break-glass",
            display_name=f"Emergency access to {name}",
            kms_master_key_id=args.topic_key_arn,
            tags=tags,
            opts=child,
        )
        rule = aws.cloudwatch.EventRule(
            f"{name}-break-glass",
            description=f"Somebody takes, or fails to take, the emergency role of {name}",
            event_pattern=role.arn.apply(break_glass_pattern),
            # Taking a role counts as reading, and by default EventBridge is not told of reads.
            state="ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS",
            tags=tags,
            opts=child,
        )
        policy = aws.sns.TopicPolicy(
            f"{name}-break-glass",
            arn=topic.arn,
            policy=policy_document(
                [
                    {
                        "Sid": "RuleMayPublish",
                        "Effect": "Allow",
                        "Principal": {"Service": "events.amazonaws.com"},
                        "Action": "sns:Publish",
                        # No condition: EventBridge carries none to SNS, and a topic that asks for one hears nothing.
                        # Source: EventBridge user guide, "Using resource-based policies", Amazon SNS permissions.
                        "Resource": topic.arn,
                    },
                    deny_plain_transport("sns:Publish", [topic.arn]),
                ]
            ),
            opts=child,
        )
        aws.cloudwatch.EventTarget(
            f"{name}-break-glass",
            rule=rule.name,
            arn=topic.arn,
            opts=pulumi.ResourceOptions(parent=self, depends_on=[policy]),
        )
        for address in args.email_addresses:
            aws.sns.TopicSubscription(
                f"{name}-break-glass-{address}", topic=topic.arn, protocol="email", endpoint=address, opts=child
            )
        return topic


def break_glass_pattern(role_arn: str) -> str:
    """The EventBridge pattern of CloudTrail's record that this role was taken or asked for."""
    return json.dumps(
        {
            "source": ["aws.sts"],
            "detail-type": ["AWS API Call via CloudTrail"],
            "detail": {
                "eventSource": ["sts.amazonaws.com"],
                "eventName": ["AssumeRole"],
                "requestParameters": {"roleArn": [role_arn]},
            },
        }
    )
