"""The queue that hears, before the training job does, that an instance is about to go.

EventBridge rules on the account's default bus send every warning that EC2 or AWS Health gives, about any instance of
the account in the region, to one encrypted queue. Trainers poll it for the ids of their own instances.

    queue = InterruptionQueue(
        "platform", InterruptionQueueArgs(key_arn=keys.messages.arn), pulumi.ResourceOptions(provider=provider)
    )

Several jobs poll the same queue, so a message is often received by one that it does not concern and put back. There is
therefore no redrive by receive count, which would take a warning away from the very job that still waits for it: what
nobody claims expires. The dead-letter queue holds what EventBridge could not deliver, that is, a broken key or policy.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import pulumi
import pulumi_aws as aws

from trainyard.modules.policy_document import Statement, deny_plain_transport, policy_document

EVENT_PATTERNS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        # Two minutes before.
        "spot-interruption": {
            "source": ["aws.ec2"],
            "detail-type": ["EC2 Spot Instance Interruption Warning"],
        },
        # Ahead of that warning, where AWS sees it coming.
        "rebalance": {
            "source": ["aws.ec2"],
            "detail-type": ["EC2 Instance Rebalance Recommendation"],
        },
        # Without any warning: somebody or something stopped it.
        "instance-state": {
            "source": ["aws.ec2"],
            "detail-type": ["EC2 Instance State-change Notification"],
            "detail": {"state": ["stopping", "stopped", "shutting-down", "terminated"]},
        },
        # Retirement or maintenance, days ahead.
        "scheduled-change": {
            "source": ["aws.health"],
            "detail-type": ["AWS Health Event"],
            "detail": {"service": ["EC2"], "eventTypeCategory": ["scheduledChange"]},
        },
        # Two minutes before, on capacity that its owner takes back.
        "capacity-reservation": {
            "source": ["aws.ec2"],
            "detail-type": [
                "EC2 Capacity Reservation Instance Interruption Warning",
                "EC2 Interruptible Capacity Reservation Instance Interruption Warning",
            ],
        },
        # Forty minutes before the block ends, ten before its instances begin to go. Names the reservation, no instance.
        "capacity-block": {
            "source": ["aws.ec2"],
            "detail-type": ["Capacity Block Reservation Expiration Warning"],
        },
    }
)
"""The rules' patterns, by name. Source: EC2 user guide, pages on spot interruptions and on monitoring capacity."""

UNDELIVERED_RETENTION_SECONDS = 14 * 24 * 3600
LONGEST_POLL_SECONDS = 20


@dataclass(frozen=True)
class InterruptionQueueArgs:
    """The queue's key and times.

    Attributes:
        key_arn: KMS key of the messages; its policy must let EventBridge in, as `keys.Keys.messages` does.
        message_retention_seconds: 60 to 3600, how long a warning is worth delivering.
        visibility_timeout_seconds: how long a received warning is hidden from the other jobs.
        tags: added to the provider's default tags.
    """

    key_arn: pulumi.Input[str]
    message_retention_seconds: int = 300
    visibility_timeout_seconds: int = 30
    tags: Mapping[str, pulumi.Input[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 60 <= self.message_retention_seconds <= 3600:
            raise ValueError(f"message_retention_seconds is {self.message_retention_seconds}; it may be 60 to 3600")


class InterruptionQueue(pulumi.ComponentResource):
    """EventBridge rules, the encrypted queue they send to, and a dead-letter queue for what does not arrive."""

    url: pulumi.Output[str]
    arn: pulumi.Output[str]
    dead_letter_url: pulumi.Output[str]
    dead_letter_arn: pulumi.Output[str]
    rule_names: pulumi.Output[list[str]]

    def __init__(self, name: str, args: InterruptionQueueArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("trainyard:interruption_queue:InterruptionQueue", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        # Instance ids and times, never training data.
        tags = {**args.tags, "data-class": "internal"}

        queue = aws.sqs.Queue(
            f"{name}-interruptions",
            kms_master_key_id=args.key_arn,
            message_retention_seconds=args.message_retention_seconds,
            visibility_timeout_seconds=args.visibility_timeout_seconds,
            receive_wait_time_seconds=LONGEST_POLL_SECONDS,
            tags=tags,
            opts=child,
        )
        undelivered = aws.sqs.Queue(
            f"{name}-undelivered",
            kms_master_key_id=args.key_arn,
            message_retention_seconds=UNDELIVERED_RETENTION_SECONDS,
            receive_wait_time_seconds=LONGEST_POLL_SECONDS,
            tags=tags,
            opts=child,
        )
        rules = {
            event: aws.cloudwatch.EventRule(
                f"{name}-{event}",
                description=f"{pattern['detail-type'][0]}, for {name}",
                event_pattern=json.dumps(pattern),
                tags=tags,
                opts=child,
            )
            for event, pattern in EVENT_PATTERNS.items()
        }
        rule_arns = [rule.arn for rule in rules.values()]
        policies = [
            aws.sqs.QueuePolicy(
                f"{name}-{purpose}",
                queue_url=target.url,
                policy=policy_document(queue_statements(target.arn, rule_arns)),
                opts=child,
            )
            for purpose, target in (("interruptions", queue), ("undelivered", undelivered))
        ]
        for event, rule in rules.items():
            aws.cloudwatch.EventTarget(
                f"{name}-{event}",
                rule=rule.name,
                arn=queue.arn,
                dead_letter_config=aws.cloudwatch.EventTargetDeadLetterConfigArgs(arn=undelivered.arn),
                retry_policy=aws.cloudwatch.EventTargetRetryPolicyArgs(
                    maximum_event_age_in_seconds=args.message_retention_seconds
                ),
                opts=pulumi.ResourceOptions(parent=self, depends_on=policies),
            )

        self.url = queue.url
        self.arn = queue.arn
        self.dead_letter_url = undelivered.url
        self.dead_letter_arn = undelivered.arn
        self.rule_names = pulumi.Output.all(*(rule.name for rule in rules.values()))
        self.register_outputs(
            {
                "url": self.url,
                "arn": self.arn,
                "dead_letter_url": self.dead_letter_url,
                "dead_letter_arn": self.dead_letter_arn,
                "rule_names": self.rule_names,
            }
        )


def queue_statements(queue_arn: pulumi.Input[str], rule_arns: list[pulumi.Output[str]]) -> list[Statement]:
    """Let exactly these rules send, and nobody speak to the queue in clear text."""
    return [
        {
            "Sid": "RulesMaySend",
            "Effect": "Allow",
            "Principal": {"Service": "events.amazonaws.com"},
            "Action": "sqs:SendMessage",
            "Resource": queue_arn,
            "Condition": {"ArnEquals": {"aws:SourceArn": rule_arns}},
        },
        deny_plain_transport("sqs:*", [queue_arn]),
    ]
