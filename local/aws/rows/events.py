"""EventBridge: rules and their targets (in the SDK's `cloudwatch` module)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trainyard.local.aws.calls import Call, Read
from trainyard.local.aws.fields import Fact, Filled, Json, Object, pascal
from trainyard.local.aws.row import Name, Row
from trainyard.local.aws.tags import Tagging, TagsField, tagged_by

_BUS = {"EventBusName": Fact("eventBusName")}
_GONE = ("ResourceNotFoundException",)
_TAGS = TagsField(key="Key", value="Value")
_OTHER_TARGETS = "only targets named by their ARN alone, and SQS queues, are emulated"

_RULE = {
    "Name": "name",
    **_BUS,
    "EventPattern": Json("eventPattern"),
    **pascal("description", "roleArn", "scheduleExpression", "state"),
}
_TARGET = {
    "Id": "targetId",
    **pascal("arn", "roleArn", "input", "inputPath"),
    "InputTransformer": Object("inputTransformer", {"InputPathsMap": "inputPaths", "InputTemplate": "inputTemplate"}),
    "SqsParameters": Object("sqsTarget", pascal("messageGroupId")),
    "DeadLetterConfig": Object("deadLetterConfig", pascal("arn")),
    "RetryPolicy": Object("retryPolicy", pascal("maximumEventAgeInSeconds", "maximumRetryAttempts")),
}


def _rule_id(facts: Mapping[str, Any]) -> str:
    bus = facts.get("eventBusName") or "default"
    return facts["name"] if bus == "default" else f"{bus}/{facts['name']}"


def _target_id(facts: Mapping[str, Any]) -> str:
    return f"{_rule_id({**facts, 'name': facts['rule']}).replace('/', '-')}-{facts['targetId']}"


def _tagging() -> Tagging:
    address = {"ResourceARN": Filled("arn:{partition}:events:{region}:{account}:rule/{id}")}
    return tagged_by(
        "tag_resource",
        "untag_resource",
        address,
        tags="Tags",
        keys="TagKeys",
        pair=("Key", "Value"),
        create={"Tags": _TAGS},
        listing=Read("list_tags_for_resource", address, {"Tags": _TAGS}),
    )


ROWS = (
    Row(
        "aws:cloudwatch/eventRule:EventRule",
        service="events",
        cloudformation="AWS::Events::Rule",
        id=_rule_id,
        import_ids=("{eventBusName}/{name}", "{name}"),
        name=Name(max_length=64),
        create=Call("put_rule", _RULE),
        update=(Call("put_rule", _RULE),),
        read=(
            Read(
                "describe_rule",
                {"Name": Fact("name"), **_BUS},
                {
                    "EventPattern": Json("eventPattern"),
                    "Arn": "arn",
                    **pascal("description", "eventBusName", "name", "roleArn", "scheduleExpression", "state"),
                },
                gone=_GONE,
            ),
        ),
        delete=(Call("delete_rule", {"Name": Fact("name"), **_BUS}, ignore=_GONE),),
        tags=_tagging(),
        defaults={"eventBusName": "default", "forceDestroy": False},
        computed=("state",),
        local=("forceDestroy",),
        conflicts=(("isEnabled", "state"),),
        not_emulated={"isEnabled": "deprecated by the SDK; use state"},
        unchecked=("eventPattern",),
    ),
    Row(
        "aws:cloudwatch/eventTarget:EventTarget",
        service="events",
        cloudformation="AWS::Events::Rule/Targets/[]",
        id=_target_id,
        import_ids=("{eventBusName}/{rule}/{targetId}", "{rule}/{targetId}"),
        name=Name("targetId", "", max_length=64),
        create=Call(
            "put_targets",
            {"Rule": "rule", "EventBusName": "eventBusName", "Targets": [_TARGET]},
            failures="FailedEntries",
        ),
        update=(
            Call(
                "put_targets",
                {"Rule": "rule", "EventBusName": "eventBusName", "Targets": [_TARGET]},
                failures="FailedEntries",
            ),
        ),
        read=(
            Read(
                "list_targets_by_rule",
                {"Rule": Fact("rule"), **_BUS},
                {name: field for name, field in _TARGET.items() if name != "Id"},
                path="Targets[?Id == '$targetId'] | [0]",
                gone=_GONE,
            ),
        ),
        delete=(
            Call(
                "remove_targets",
                {"Rule": Fact("rule"), **_BUS, "Ids": [Fact("targetId")]},
                ignore=_GONE,
                failures="FailedEntries",
            ),
        ),
        defaults={"eventBusName": "default", "forceDestroy": False},
        local=("forceDestroy",),
        replace_on=("rule", "eventBusName"),
        schema_names={"targetId": "Id", "sqsTarget": "SqsParameters"},
        unchecked=("input",),
        not_emulated=dict.fromkeys(
            [
                "appsyncTarget",
                "batchTarget",
                "ecsTarget",
                "httpTarget",
                "kinesisTarget",
                "redshiftTarget",
                "runCommandTargets",
                "sagemakerPipelineTarget",
            ],
            _OTHER_TARGETS,
        ),
        notes=(
            "an event reaches a queue only if the queue's policy and the policy of its key let EventBridge in; "
            "else it is dropped and counted in the metric FailedInvocations",
        ),
    ),
)
