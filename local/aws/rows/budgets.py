"""Budgets: limits of cost, and who is told before they are reached."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from trainyard.local.aws.calls import Call, Derive, Do, Read
from trainyard.local.aws.context import Context
from trainyard.local.aws.errors import AwsError
from trainyard.local.aws.fields import Each, Fact, Field, Filled, Named, Object, Prop, Scope, Values, pascal
from trainyard.local.aws.row import Name, Row
from trainyard.local.aws.tags import TagsField, tagged_by
from trainyard.local.aws.values import OMIT, sort_key

_GONE = ("NotFoundException",)
_MOMENT = "%Y-%m-%d_%H:%M"
_MOST_NOTIFICATIONS, _MOST_ADDRESSES = 10, 10
"""Per budget, and mail addresses per notification (Cost Management user guide, "Quotas and restrictions")."""
_ADDRESS = {"AccountId": Fact("account"), "BudgetName": Fact("name")}


class _Moment(Prop):
    """A time written as 2026-01-31_00:00."""

    def write(self, scope: Scope) -> Any:
        value = super().write(scope)
        return value if value is OMIT else datetime.strptime(value, _MOMENT).replace(tzinfo=UTC)

    def read(self, value: Any, into: dict[str, Any]) -> None:
        if isinstance(value, datetime):
            into[self.name] = value.astimezone(UTC).strftime(_MOMENT)


class _Amount(Prop):
    """An amount of money as text: 100 and 100.0 are the same."""

    def canonical(self, value: Any) -> Any:
        try:
            return float(value)
        except (TypeError, ValueError):
            return value


class _Filters(Named):
    """A list of names with values where AWS has a map of them."""

    def write(self, scope: Scope) -> Any:
        value = scope.values.get(self.name)
        return {entry["name"]: list(entry["values"]) for entry in value} if value else OMIT

    def read(self, value: Any, into: dict[str, Any]) -> None:
        if value:
            into[self.name] = [{"name": name, "values": sorted(values)} for name, values in sorted(value.items())]

    def canonical(self, value: Any) -> Any:
        return sorted(([entry["name"], sorted(entry["values"])] for entry in value or ()), key=sort_key)


_COST_TYPES = (
    "includeCredit",
    "includeDiscount",
    "includeOtherSubscription",
    "includeRecurring",
    "includeRefund",
    "includeSubscription",
    "includeSupport",
    "includeTax",
    "includeUpfront",
    "useAmortized",
    "useBlended",
)
_BUDGET: dict[str, Any] = {
    "BudgetName": "name",
    **pascal("budgetType", "timeUnit"),
    "BudgetLimit": {"Amount": _Amount("limitAmount"), "Unit": "limitUnit"},
    "CostFilters": _Filters("costFilters"),
    "CostTypes": Object("costTypes", pascal(*_COST_TYPES)),
    "TimePeriod": {"Start": _Moment("timePeriodStart"), "End": _Moment("timePeriodEnd")},
}
_NOTIFICATION: dict[str, Field | str] = {
    **pascal("comparisonOperator", "notificationType", "threshold", "thresholdType"),
    "Emails": Values("subscriberEmailAddresses"),
    "Topics": Values("subscriberSnsTopicArns"),
}
_SUBSCRIBERS = {"EMAIL": "subscriberEmailAddresses", "SNS": "subscriberSnsTopicArns"}
_DETAILS = ("comparisonOperator", "notificationType", "threshold", "thresholdType")


def _notifications(context: Context, observed: Mapping[str, Any]) -> Mapping[str, Any]:
    del observed
    address = {"AccountId": context.account.id, "BudgetName": context.id.split(":", 1)[-1]}
    found = []
    for details in context.list_all("describe_notifications_for_budget", **address).get("Notifications") or ():
        subscribers = context.call("describe_subscribers_for_notification", **address, Notification=details)
        told: dict[str, Any] = {name: details[name[0].upper() + name[1:]] for name in _DETAILS}
        for kind, name in _SUBSCRIBERS.items():
            told[name] = sorted(s["Address"] for s in subscribers["Subscribers"] if s["SubscriptionType"] == kind)
        found.append(told)
    return {"notifications": sorted(found, key=sort_key)}


def _set_notifications(context: Context) -> None:
    """All anew, as the official provider does it: a notification's only address is its own text."""
    address = {"AccountId": context.account.id, "BudgetName": context.wanted["name"]}
    for notification in context.actual.get("notifications") or ():
        context.call("delete_notification", **address, Notification=_details(notification))
    for notification in context.wanted.get("notifications") or ():
        subscribers = [
            {"SubscriptionType": kind, "Address": text}
            for kind, name in _SUBSCRIBERS.items()
            for text in notification.get(name) or ()
        ]
        context.call("create_notification", **address, Notification=_details(notification), Subscribers=subscribers)


def _details(notification: Mapping[str, Any]) -> dict[str, Any]:
    return {name[0].upper() + name[1:]: notification[name] for name in _DETAILS}


def _topics_exist(context: Context) -> None:
    """Budgets refuses a notification whose topic it cannot find."""
    for notification in context.wanted.get("notifications") or ():
        for topic in notification.get("subscriberSnsTopicArns") or ():
            region = topic.split(":")[3]
            try:
                context.account.call("sns", region, "get_topic_attributes", {"TopicArn": topic})
            except AwsError as error:
                raise AwsError("budgets:CreateNotification", "InvalidParameterException", str(error)) from None


def _within_quotas(inputs: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    notifications = inputs.get("notifications")
    if not isinstance(notifications, list):
        notifications = []
    if len(notifications) > _MOST_NOTIFICATIONS:
        yield "notifications", f"are {len(notifications)}; a budget has {_MOST_NOTIFICATIONS} at most"
    for index, notification in enumerate(notifications):
        if not isinstance(notification, Mapping):
            continue
        mails, topics = (notification.get(_SUBSCRIBERS[kind]) for kind in ("EMAIL", "SNS"))
        if mails is None and topics is None:
            yield f"notifications[{index}]", "tells nobody; give mail addresses or a topic"
        if isinstance(mails, list) and len(mails) > _MOST_ADDRESSES:
            yield f"notifications[{index}]", f"has {len(mails)} mail addresses; {_MOST_ADDRESSES} are the most"
        if isinstance(topics, list) and len(topics) > 1:
            yield f"notifications[{index}]", f"has {len(topics)} topics; one is the most"
    if inputs.get("limitAmount") is None:
        yield "limitAmount", "is missing"


def _identity(facts: Mapping[str, Any]) -> str:
    return f"{facts.get('accountId') or facts['account']}:{facts['name']}"


_OTHER_LIMITS = "only a fixed limit is emulated"
ROWS = (
    Row(
        "aws:budgets/budget:Budget",
        service="budgets",
        id=_identity,
        import_ids=("{accountId}:{name}",),
        name=Name(max_length=100),
        before=(_topics_exist,),
        create=Call("create_budget", {"AccountId": Fact("account"), "Budget": _BUDGET}),
        settings=(Do(_set_notifications, on=("notifications",)),),
        update=(Call("update_budget", {"AccountId": Fact("account"), "NewBudget": _BUDGET}),),
        read=(
            Read("describe_budget", _ADDRESS, _BUDGET, path="Budget", gone=_GONE),
            Derive(lambda context, _: {"accountId": context.account.id}, ("accountId",)),
            Derive(_notifications, (Each("notifications", _NOTIFICATION, ordered=False),)),
        ),
        delete=(Call("delete_budget", _ADDRESS, ignore=_GONE),),
        tags=tagged_by(
            "tag_resource",
            "untag_resource",
            {"ResourceARN": Filled("arn:{partition}:budgets::{account}:budget/{name}")},
            tags="ResourceTags",
            keys="ResourceTagKeys",
            pair=("Key", "Value"),
            create={"ResourceTags": TagsField(key="Key", value="Value")},
            listing=Read(
                "list_tags_for_resource",
                {"ResourceARN": Filled("arn:{partition}:budgets::{account}:budget/{name}")},
                {"ResourceTags": TagsField(key="Key", value="Value")},
            ),
        ),
        computed=("accountId", "costTypes", "costFilters", "limitUnit", "timePeriodStart", "timePeriodEnd"),
        replace_on=("accountId",),
        constraints=(_within_quotas,),
        outputs={"arn": "arn:{partition}:budgets::{account}:budget/{name}"},
        not_emulated={
            **dict.fromkeys(("autoAdjustData", "plannedLimits"), _OTHER_LIMITS),
            **dict.fromkeys(("filterExpression", "metrics"), "use costFilters and costTypes"),
            "billingViewArn": "billing views are not emulated",
        },
        notes=("nothing is spent, so nobody is told",),
    ),
)
