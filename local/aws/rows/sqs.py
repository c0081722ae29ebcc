"""SQS: queues and the policies of queues that are resources of their own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from trainyard.local.aws.calls import Call, Derive, Read
from trainyard.local.aws.context import Context
from trainyard.local.aws.fields import ID, Const, Json, Prop, Text
from trainyard.local.aws.row import Name, Row
from trainyard.local.aws.tags import TagsField, tagged_by

_GONE = ("AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist")
_QUEUE = {"QueueUrl": ID}
_SETTINGS = {
    "ContentBasedDeduplication": Text("contentBasedDeduplication", only_true=True),
    "DeduplicationScope": "deduplicationScope",
    "DelaySeconds": Text("delaySeconds"),
    "FifoThroughputLimit": "fifoThroughputLimit",
    "KmsDataKeyReusePeriodSeconds": Text("kmsDataKeyReusePeriodSeconds"),
    "KmsMasterKeyId": "kmsMasterKeyId",
    "MaximumMessageSize": Text("maxMessageSize"),
    "MessageRetentionPeriod": Text("messageRetentionSeconds"),
    "Policy": Json("policy"),
    "ReceiveMessageWaitTimeSeconds": Text("receiveWaitTimeSeconds"),
    "RedriveAllowPolicy": Json("redriveAllowPolicy"),
    "RedrivePolicy": Json("redrivePolicy"),
    "SqsManagedSseEnabled": Text("sqsManagedSseEnabled"),
    "VisibilityTimeout": Text("visibilityTimeoutSeconds"),
}
_TAGS = tagged_by(
    "tag_queue",
    "untag_queue",
    _QUEUE,
    tags="Tags",
    keys="TagKeys",
    create={"tags": TagsField()},
    listing=Read("list_queue_tags", _QUEUE, {"Tags": TagsField()}),
)


def _fifo_name(name: str, inputs: Mapping[str, Any]) -> str:
    return f"{name}.fifo" if inputs.get("fifoQueue") is True and not name.endswith(".fifo") else name


def _name(context: Context, observed: Mapping[str, Any]) -> Mapping[str, Any]:
    del context
    return {"name": observed["arn"].rsplit(":", 1)[-1]}


def _fifo_only(inputs: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if inputs.get("fifoQueue") is True:
        return
    for name in ("contentBasedDeduplication", "deduplicationScope", "fifoThroughputLimit"):
        if inputs.get(name):
            yield name, "is for FIFO queues; set fifoQueue"


def _one_encryption(inputs: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if inputs.get("sqsManagedSseEnabled") is True and inputs.get("kmsMasterKeyId"):
        yield "sqsManagedSseEnabled", "excludes kmsMasterKeyId: a queue is encrypted by SQS or with a key of KMS"


def _policy(token: str, attribute: str, field: Json) -> Row:
    """One attribute of a queue as a resource: the queue's URL is its ID; without the attribute it does not exist."""
    put = Call("set_queue_attributes", {"QueueUrl": "queueUrl", "Attributes": {attribute: field}})
    return Row(
        token,
        service="sqs",
        id="{queueUrl}",
        create=put,
        update=(put,),
        read=(
            Read(
                "get_queue_attributes",
                {"QueueUrl": "queueUrl", "AttributeNames": Const([attribute])},
                {attribute: field},
                path=f"[Attributes][?{attribute}] | [0]",
                gone=_GONE,
            ),
        ),
        delete=(Call("set_queue_attributes", {**_QUEUE, "Attributes": {attribute: Const("")}}, ignore=_GONE),),
        replace_on=("queueUrl",),
    )


ROWS = (
    Row(
        "aws:sqs/queue:Queue",
        service="sqs",
        cloudformation="AWS::SQS::Queue",
        id="QueueUrl",
        name=Name(max_length=80, finish=_fifo_name),
        create=Call(
            "create_queue",
            {"QueueName": "name", "Attributes": {**_SETTINGS, "FifoQueue": Text("fifoQueue", only_true=True)}},
        ),
        read=(
            Read(
                "get_queue_attributes",
                {**_QUEUE, "AttributeNames": Const(["All"])},
                {**_SETTINGS, "FifoQueue": Text("fifoQueue"), "QueueArn": "arn"},
                path="Attributes",
                gone=_GONE,
            ),
            Derive(_name, ("name",)),
        ),
        settings=(
            Call(
                "set_queue_attributes",
                {**_QUEUE, "Attributes": {**_SETTINGS, "KmsMasterKeyId": Prop("kmsMasterKeyId", unset="")}},
            ),
        ),
        delete=(Call("delete_queue", _QUEUE, ignore=_GONE),),
        tags=_TAGS,
        defaults={
            "contentBasedDeduplication": False,
            "delaySeconds": 0,
            "fifoQueue": False,
            "messageRetentionSeconds": 345600,
            "receiveWaitTimeSeconds": 0,
            "visibilityTimeoutSeconds": 30,
        },
        computed=(
            "deduplicationScope",
            "fifoThroughputLimit",
            "kmsDataKeyReusePeriodSeconds",
            "maxMessageSize",
            "policy",
            "redriveAllowPolicy",
            "redrivePolicy",
            "sqsManagedSseEnabled",
        ),
        outputs={"url": "{id}"},
        schema_names={
            "name": "QueueName",
            "maxMessageSize": "MaximumMessageSize",
            "messageRetentionSeconds": "MessageRetentionPeriod",
            "receiveWaitTimeSeconds": "ReceiveMessageWaitTimeSeconds",
            "visibilityTimeoutSeconds": "VisibilityTimeout",
        },
        unchecked=("policy", "redriveAllowPolicy", "redrivePolicy"),
        constraints=(_fifo_only, _one_encryption),
        notes=("the queue's URL is at the emulated account's address",),
    ),
    _policy("aws:sqs/queuePolicy:QueuePolicy", "Policy", Json("policy")),
    _policy("aws:sqs/redriveAllowPolicy:RedriveAllowPolicy", "RedriveAllowPolicy", Json("redriveAllowPolicy")),
    _policy("aws:sqs/redrivePolicy:RedrivePolicy", "RedrivePolicy", Json("redrivePolicy")),
)
