"""Auto Scaling: schedules and tags of groups, which EKS makes for its node groups."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trainyard.local.aws.calls import Call, Derive, Do, Read
from trainyard.local.aws.context import Context
from trainyard.local.aws.fields import Fact, Object, pascal
from trainyard.local.aws.row import Row

_SIZES = ("minSize", "maxSize", "desiredCapacity")
_UNCHANGED = -1
"""What a program says to leave one of a group's sizes as it is."""
_ACTION = {"AutoScalingGroupName": Fact("autoscalingGroupName"), "ScheduledActionName": Fact("scheduledActionName")}


def _put_action(context: Context) -> None:
    """Set the schedule; a size of -1 is left out, as the official provider does."""
    wanted = context.wanted
    sizes: dict[str, Any] = {name: wanted.get(name) for name in _SIZES if wanted.get(name) not in (None, _UNCHANGED)}
    times: dict[str, Any] = {
        name: wanted[name] for name in ("startTime", "endTime", "recurrence", "timeZone") if wanted.get(name)
    }
    request: dict[str, Any] = {name[0].upper() + name[1:]: value for name, value in (sizes | times).items()}
    context.call(
        "put_scheduled_update_group_action",
        AutoScalingGroupName=wanted["autoscalingGroupName"],
        ScheduledActionName=wanted["scheduledActionName"],
        **request,
    )


def _with_unchanged_sizes(context: Context, observed: Mapping[str, Any]) -> Mapping[str, Any]:
    """-1 where AWS tells no size and the program says so."""
    del context
    return {name: observed.get(f"_{name}", _UNCHANGED) for name in _SIZES}


def _group_tag_id(facts: Mapping[str, Any]) -> str:
    return f"{facts['autoscalingGroupName']},{facts['tag']['key']}"


def _group_tag(context: Context, observed: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """A tag by the group's name and its key."""
    del observed
    group, _, key = context.id.partition(",")
    filters = [{"Name": "auto-scaling-group", "Values": [group]}, {"Name": "key", "Values": [key]}]
    for tag in context.list_all("describe_tags", Filters=filters)["Tags"]:
        if (tag["ResourceId"], tag["Key"]) == (group, key):
            found = {"key": key, "value": tag.get("Value") or "", "propagateAtLaunch": tag["PropagateAtLaunch"]}
            return {"autoscalingGroupName": group, "tag": found}
    return None


def _put_tag(context: Context) -> None:
    tag = context.wanted["tag"]
    context.call("create_or_update_tags", Tags=[_aws_tag(context, tag)])


def _aws_tag(context: Context, tag: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "ResourceId": context.facts["autoscalingGroupName"],
        "ResourceType": "auto-scaling-group",
        "Key": tag["key"],
        "Value": tag["value"],
        "PropagateAtLaunch": tag["propagateAtLaunch"],
    }


def _delete_tag(context: Context) -> None:
    tag = context.actual["tag"]
    context.call("delete_tags", Tags=[_aws_tag(context, tag)])


ROWS = (
    Row(
        "aws:autoscaling/schedule:Schedule",
        service="autoscaling",
        id="{scheduledActionName}",
        import_ids=("{autoscalingGroupName}/{scheduledActionName}",),
        create=Do(_put_action),
        update=(Do(_put_action, on=(*_SIZES, "startTime", "endTime", "recurrence", "timeZone")),),
        read=(
            Read(
                "describe_scheduled_actions",
                {
                    "AutoScalingGroupName": Fact("autoscalingGroupName"),
                    "ScheduledActionNames": [Fact("scheduledActionName")],
                },
                {
                    "AutoScalingGroupName": "autoscalingGroupName",
                    "ScheduledActionName": "scheduledActionName",
                    "ScheduledActionARN": "arn",
                    "MinSize": "_minSize",
                    "MaxSize": "_maxSize",
                    "DesiredCapacity": "_desiredCapacity",
                    **pascal("endTime", "recurrence", "startTime", "timeZone"),
                },
                path="ScheduledUpdateGroupActions[0]",
                gone=("ValidationError",),
            ),
            Derive(_with_unchanged_sizes, _SIZES),
        ),
        delete=(Call("delete_scheduled_action", _ACTION, ignore=("ValidationError",)),),
        computed=("endTime", "startTime", *_SIZES),
        replace_on=("autoscalingGroupName", "scheduledActionName"),
        notes=("no time passes for a schedule: nothing is ever scaled by it",),
    ),
    Row(
        "aws:autoscaling/tag:Tag",
        service="autoscaling",
        id=_group_tag_id,
        create=Do(_put_tag),
        update=(Do(_put_tag, on=("tag",)),),
        read=(
            Derive(
                _group_tag,
                (
                    "autoscalingGroupName",
                    Object("tag", {"Key": "key", "Value": "value", "PropagateAtLaunch": "propagateAtLaunch"}),
                ),
            ),
        ),
        delete=(Do(_delete_tag),),
        replace_on=("autoscalingGroupName",),
        notes=("another key in the tag makes another tag; the old one stays until the resource is replaced",),
    ),
)
