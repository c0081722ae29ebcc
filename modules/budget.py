"""Who hears of it when the platform costs more than it should: a monthly budget, and alarms for GPUs without work.

    budget = Budget(
        "platform",
        BudgetArgs(
            monthly_limit_usd=20_000,
            topic_key_arn=keys.messages.arn,
            email_addresses=["ml-platform@example.com"],
            environment="research",
            idle_alarms=[IdleGpuAlarm("p5", group.auto_scaling_group_name, hourly_usd=55.04)],
        ),
        pulumi.ResourceOptions(provider=provider),
    )

A budget sees cost hours late, the alarms within the hour. Neither stops anything.

**How idleness is told.** EC2 publishes no GPU figures by Auto Scaling group: `GPUPowerUtilization` exists for some
types, and for each instance and GPU only, which an alarm can't gather. What exists for every type and group, without
an agent, is `CPUUtilization`. A training process keeps at least one virtual CPU busy for each GPU, so a node whose CPUs
have done next to nothing for an hour has trained nothing. The reverse does not hold: a job that hangs in a busy loop,
or uses only the CPUs, looks like work. Where that matters, add an agent; the module's page names two.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pulumi
import pulumi_aws as aws

from trainyard.modules.account import Account
from trainyard.modules.policy_document import deny_plain_transport, policy_document

ENVIRONMENT_TAG = "environment"

PERIOD_SECONDS = 300
"""How often EC2 publishes without detailed monitoring."""

MOST_IDLE_HOURS = 24
"""An alarm with periods under an hour looks back a day at most. Source: CloudWatch API, PutMetricAlarm, Period."""

MOST_NOTIFICATIONS = 10
"""Of one budget. Source: AWS Budgets API, Notification."""


@dataclass(frozen=True)
class IdleGpuAlarm:
    """Tell when some node of a GPU group has had nothing to do.

    Attributes:
        group: the group's name, for people.
        auto_scaling_group_name: the Auto Scaling group of its nodes.
        hourly_usd: the list price of a node by the hour, on demand, for the message; None where nobody knows it.
        idle_hours: 1 to 24, for how long.
        idle_cpu_percent: what all CPUs of a node together do at most while it idles. The default is below one busy CPU
            for each of 8 GPUs on 192 CPUs (4 %); a node of 4 CPUs may need 10.
    """

    group: str
    auto_scaling_group_name: pulumi.Input[str]
    hourly_usd: float | None
    idle_hours: int = 1
    idle_cpu_percent: float = 3.0

    def __post_init__(self) -> None:
        if not 1 <= self.idle_hours <= MOST_IDLE_HOURS:
            raise ValueError(f"idle_hours is {self.idle_hours}; it may be 1 to {MOST_IDLE_HOURS}")
        if not 0 < self.idle_cpu_percent <= 100:
            raise ValueError(f"idle_cpu_percent is {self.idle_cpu_percent}; it is more than 0 and at most 100")
        if self.hourly_usd is not None and self.hourly_usd < 0:
            raise ValueError(f"hourly_usd is {self.hourly_usd}; it is 0 or more")


@dataclass(frozen=True)
class BudgetArgs:
    """How much may be spent, who is told, and which groups are watched.

    Attributes:
        monthly_limit_usd: what a calendar month may cost, before credits and refunds.
        topic_key_arn: KMS key of the topic, which must let CloudWatch and Budgets in, as `keys.Keys.messages` does.
        email_addresses: who gets mail; each has to confirm once.
        environment: count only what carries the tag `environment` with this value. None: the whole account.
        actual_percents: tell when so much of the limit is spent.
        forecast_percents: tell when AWS expects the month to end at so much of the limit.
        idle_alarms: the GPU groups to watch, by distinct names.
        tags: added to the provider's default tags.
    """

    monthly_limit_usd: float
    topic_key_arn: pulumi.Input[str]
    email_addresses: Sequence[str] = ()
    environment: str | None = None
    actual_percents: Sequence[float] = (50, 80, 100)
    forecast_percents: Sequence[float] = (100,)
    idle_alarms: Sequence[IdleGpuAlarm] = ()
    tags: Mapping[str, pulumi.Input[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not (math.isfinite(self.monthly_limit_usd) and self.monthly_limit_usd > 0):
            raise ValueError(f"monthly_limit_usd is {self.monthly_limit_usd}; it is more than 0")
        for address in self.email_addresses:
            if not re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s]+", address):
                raise ValueError(f"email_addresses holds {address!r}; it takes addresses such as 'ml@example.com'")
        if len(set(self.email_addresses)) < len(self.email_addresses):
            raise ValueError(f"email_addresses names an address twice: {', '.join(self.email_addresses)}")
        percents = [*self.actual_percents, *self.forecast_percents]
        if not 1 <= len(percents) <= MOST_NOTIFICATIONS:
            raise ValueError(f"{len(percents)} percentages; a budget tells at 1 to {MOST_NOTIFICATIONS} of them")
        if any(percent <= 0 for percent in percents):
            raise ValueError(f"percentages are more than 0; given are {', '.join(map(str, percents))}")
        groups = [alarm.group for alarm in self.idle_alarms]
        if len(set(groups)) < len(groups):
            raise ValueError(f"idle_alarms names a group twice: {', '.join(groups)}")


class Budget(pulumi.ComponentResource):
    """An encrypted topic with its mail subscriptions, the budget and the alarms that publish to it."""

    topic_arn: pulumi.Output[str]
    budget_name: pulumi.Output[str]
    alarm_arns: pulumi.Output[list[str]]

    def __init__(self, name: str, args: BudgetArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("trainyard:budget:Budget", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        # Amounts and names of groups, never training data.
        tags = {**args.tags, "data-class": "internal"}
        topic, permission = self._topic(name, args, tags)
        for address in args.email_addresses:
            aws.sns.TopicSubscription(
                f"{name}-{address}", topic=topic.arn, protocol="email", endpoint=address, opts=child
            )
        able_to_publish = pulumi.ResourceOptions(parent=self, depends_on=[permission])
        budget = aws.budgets.Budget(
            f"{name}-monthly",
            budget_type="COST",
            time_unit="MONTHLY",
            limit_amount=f"{args.monthly_limit_usd:.2f}",
            limit_unit="USD",
            cost_filters=_only(args.environment),
            # Credits and refunds would hide what the platform really uses.
            cost_types=aws.budgets.BudgetCostTypesArgs(include_credit=False, include_refund=False),
            notifications=[
                aws.budgets.BudgetNotificationArgs(
                    comparison_operator="GREATER_THAN",
                    notification_type=kind,
                    threshold=percent,
                    threshold_type="PERCENTAGE",
                    subscriber_sns_topic_arns=[topic.arn],
                )
                for kind, percents in (("ACTUAL", args.actual_percents), ("FORECASTED", args.forecast_percents))
                for percent in percents
            ],
            tags=tags,
            opts=able_to_publish,
        )
        alarms = [self._idle_alarm(name, alarm, topic.arn, tags, able_to_publish) for alarm in args.idle_alarms]

        self.topic_arn = topic.arn
        self.budget_name = budget.name
        self.alarm_arns = pulumi.Output.all(*(alarm.arn for alarm in alarms))
        self.register_outputs(
            {"topic_arn": self.topic_arn, "budget_name": self.budget_name, "alarm_arns": self.alarm_arns}
        )

    def _topic(
        self, name: str, args: BudgetArgs, tags: Mapping[str, pulumi.Input[str]]
    ) -> tuple[aws.sns.Topic, aws.sns.TopicPolicy]:
        account = Account.of(self)
        child = pulumi.ResourceOptions(parent=self)
        topic = aws.sns.Topic(f"{name}-cost", kms_master_key_id=args.topic_key_arn, tags=tags, opts=child)
        policy = aws.sns.TopicPolicy(
            f"{name}-cost",
            arn=topic.arn,
            policy=policy_document(
                [
                    {
                        "Sid": "BudgetsAndAlarmsMayPublish",
                        "Effect": "Allow",
                        "Principal": {"Service": ["budgets.amazonaws.com", "cloudwatch.amazonaws.com"]},
                        "Action": "sns:Publish",
                        "Resource": topic.arn,
                        "Condition": {"StringEquals": {"aws:SourceAccount": account.id}},
                    },
                    # SNS refuses a policy that names all its actions.
                    deny_plain_transport("sns:Publish", [topic.arn]),
                ]
            ),
            opts=child,
        )
        return topic, policy

    def _idle_alarm(
        self,
        name: str,
        alarm: IdleGpuAlarm,
        topic_arn: pulumi.Output[str],
        tags: Mapping[str, pulumi.Input[str]],
        opts: pulumi.ResourceOptions,
    ) -> aws.cloudwatch.MetricAlarm:
        periods = alarm.idle_hours * 3600 // PERIOD_SECONDS
        usd = alarm.hourly_usd
        cost = f" On demand it costs {usd:.2f} USD an hour (list price)." if usd is not None else ""
        return aws.cloudwatch.MetricAlarm(
            f"{name}-idle-{alarm.group}",
            alarm_description=(
                f"A node of the GPU group {alarm.group} of {name} has used less than {alarm.idle_cpu_percent:g} % "
                f"of its CPUs for {alarm.idle_hours} h.{cost}"
            ),
            namespace="AWS/EC2",
            metric_name="CPUUtilization",
            dimensions={"AutoScalingGroupName": alarm.auto_scaling_group_name},
            # The laziest node: the average would hide one idle node behind three that work.
            statistic="Minimum",
            period=PERIOD_SECONDS,
            evaluation_periods=periods,
            datapoints_to_alarm=periods,
            comparison_operator="LessThanThreshold",
            threshold=alarm.idle_cpu_percent,
            # A group without nodes publishes nothing, and costs nothing.
            treat_missing_data="notBreaching",
            alarm_actions=[topic_arn],
            tags=tags,
            opts=opts,
        )


def _only(environment: str | None) -> list[aws.budgets.BudgetCostFilterArgs] | None:
    if environment is None:
        return None
    # Budgets separates a tag's key from its value by a dollar sign.
    return [aws.budgets.BudgetCostFilterArgs(name="TagKeyValue", values=[f"user:{ENVIRONMENT_TAG}${environment}"])]
