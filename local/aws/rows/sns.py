"""SNS: topics, their policies and subscriptions."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from trainyard.local.aws.account import partition_of
from trainyard.local.aws.calls import Call, Derive, Do, Read
from trainyard.local.aws.context import Context
from trainyard.local.aws.fields import ID, Const, Field, Json, Prop, Text, pascal
from trainyard.local.aws.row import Name, Row
from trainyard.local.aws.tags import TagsField, tagged_by

_TOPIC = {"TopicArn": ID}
_GONE = ("NotFound", "NotFoundException")
_ATTRIBUTES: dict[str, Field] = {
    "ContentBasedDeduplication": Text("contentBasedDeduplication", only_true=True),
    "DeliveryPolicy": Json("deliveryPolicy", unset=""),
    "DisplayName": Prop("displayName", unset=""),
    "KmsMasterKeyId": Prop("kmsMasterKeyId", unset=""),
    "Policy": Json("policy"),
    "SignatureVersion": Text("signatureVersion"),
    "TracingConfig": Prop("tracingConfig"),
}
_TO_CREATE = {
    "ContentBasedDeduplication": Text("contentBasedDeduplication", only_true=True),
    "DeliveryPolicy": Json("deliveryPolicy"),
    **pascal("displayName", "kmsMasterKeyId", "tracingConfig"),
    "FifoTopic": Text("fifoTopic", only_true=True),
    "Policy": Json("policy"),
    "SignatureVersion": Text("signatureVersion"),
}
_PAIRS = TagsField(key="Key", value="Value")
_DELIVERY_STATUS = "the delivery status of messages is not emulated"
_FEEDBACK = [
    f"{protocol}{kind}"
    for protocol in ("application", "firehose", "http", "lambda", "sqs")
    for kind in ("FailureFeedbackRoleArn", "SuccessFeedbackRoleArn", "SuccessFeedbackSampleRate")
]


def _fifo_name(name: str, inputs: Mapping[str, Any]) -> str:
    return f"{name}.fifo" if inputs.get("fifoTopic") is True and not name.endswith(".fifo") else name


def _name(context: Context, observed: Mapping[str, Any]) -> Mapping[str, Any]:
    del context
    return {"name": observed["arn"].rsplit(":", 1)[-1]}


def _fifo_only(inputs: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if inputs.get("contentBasedDeduplication") and inputs.get("fifoTopic") is not True:
        yield "contentBasedDeduplication", "is for FIFO topics; set fifoTopic"


def _owner_s_policy(context: Context) -> None:
    """Taking a topic's policy away means that only its owner may use it, as it is with a new topic."""
    actions = ("GetTopicAttributes", "SetTopicAttributes", "AddPermission", "RemovePermission", "DeleteTopic")
    root = f"arn:{partition_of(context.region)}:iam::{context.account.id}:root"
    statement = {
        "Sid": "__default_statement_ID",
        "Effect": "Allow",
        "Principal": {"AWS": root},
        "Action": [f"SNS:{action}" for action in (*actions, "Subscribe", "ListSubscriptionsByTopic", "Publish")],
        "Resource": context.id,
    }
    document = {"Version": "2008-10-17", "Id": "__default_policy_ID", "Statement": [statement]}
    context.call(
        "set_topic_attributes", TopicArn=context.id, AttributeName="Policy", AttributeValue=json.dumps(document)
    )


def _topic() -> Row:
    return Row(
        "aws:sns/topic:Topic",
        service="sns",
        cloudformation="AWS::SNS::Topic",
        id="TopicArn",
        name=Name(max_length=256, finish=_fifo_name),
        create=Call("create_topic", {"Name": "name", "Attributes": _TO_CREATE}),
        settings=tuple(
            Call(
                "set_topic_attributes",
                {**_TOPIC, "AttributeName": Const(name), "AttributeValue": field},
                needs=("AttributeValue",),
            )
            for name, field in _ATTRIBUTES.items()
        ),
        read=(
            Read(
                "get_topic_attributes",
                _TOPIC,
                {**_TO_CREATE, "FifoTopic": Text("fifoTopic"), "Owner": "owner", "TopicArn": "arn"},
                path="Attributes",
                gone=_GONE,
            ),
            Derive(_name, ("name",)),
        ),
        delete=(Call("delete_topic", _TOPIC, ignore=_GONE),),
        tags=tagged_by(
            "tag_resource",
            "untag_resource",
            {"ResourceArn": ID},
            tags="Tags",
            keys="TagKeys",
            pair=("Key", "Value"),
            create={"Tags": _PAIRS},
            listing=Read("list_tags_for_resource", {"ResourceArn": ID}, {"Tags": _PAIRS}),
        ),
        defaults={"contentBasedDeduplication": False, "fifoTopic": False},
        computed=("policy", "signatureVersion", "tracingConfig"),
        replace_on=("fifoTopic",),
        schema_names={"name": "TopicName"},
        unchecked=("deliveryPolicy", "policy"),
        constraints=(_fifo_only,),
        not_emulated={
            **dict.fromkeys(_FEEDBACK, _DELIVERY_STATUS),
            **dict.fromkeys(
                ("archivePolicy", "beginningArchiveTime", "fifoThroughputScope", "maximumMessageSize"),
                "no attribute of topics in the emulated account",
            ),
        },
    )


def _topic_policy() -> Row:
    put = Call(
        "set_topic_attributes", {"TopicArn": "arn", "AttributeName": Const("Policy"), "AttributeValue": Json("policy")}
    )
    return Row(
        "aws:sns/topicPolicy:TopicPolicy",
        service="sns",
        id="{arn}",
        create=put,
        update=(put,),
        read=(
            Read(
                "get_topic_attributes",
                {"TopicArn": "arn"},
                {"TopicArn": "arn", "Owner": "owner", "Policy": Json("policy")},
                path="Attributes",
                gone=_GONE,
            ),
        ),
        delete=(Do(_owner_s_policy),),
        replace_on=("arn",),
    )


def _topic_subscription() -> Row:
    kept = {
        "DeliveryPolicy": Json("deliveryPolicy"),
        "FilterPolicyScope": Prop("filterPolicyScope"),
        "FilterPolicy": Json("filterPolicy"),
        "RawMessageDelivery": Text("rawMessageDelivery"),
        "RedrivePolicy": Json("redrivePolicy"),
        "SubscriptionRoleArn": Prop("subscriptionRoleArn"),
    }
    return Row(
        "aws:sns/topicSubscription:TopicSubscription",
        service="sns",
        cloudformation="AWS::SNS::Subscription",
        id="SubscriptionArn",
        create=Call(
            "subscribe",
            {
                "TopicArn": "topic",
                **pascal("endpoint", "protocol"),
                "ReturnSubscriptionArn": Const(True),
                "Attributes": {**kept, "RawMessageDelivery": Text("rawMessageDelivery", only_true=True)},
            },
        ),
        settings=tuple(
            Call(
                "set_subscription_attributes",
                {"SubscriptionArn": ID, "AttributeName": Const(name), "AttributeValue": field},
                needs=("AttributeValue",),
            )
            for name, field in {**kept, "FilterPolicy": Json("filterPolicy", unset="")}.items()
        ),
        read=(
            Read(
                "get_subscription_attributes",
                {"SubscriptionArn": ID},
                {
                    **kept,
                    **pascal("endpoint", "protocol"),
                    "ConfirmationWasAuthenticated": Text("confirmationWasAuthenticated"),
                    "Owner": "ownerId",
                    "PendingConfirmation": Text("pendingConfirmation"),
                    "SubscriptionArn": "arn",
                    "TopicArn": "topic",
                },
                path="Attributes",
                gone=_GONE,
            ),
        ),
        delete=(Call("unsubscribe", {"SubscriptionArn": ID}, ignore=_GONE),),
        defaults={"confirmationTimeoutInMinutes": 1, "endpointAutoConfirms": False, "rawMessageDelivery": False},
        local=("confirmationTimeoutInMinutes", "endpointAutoConfirms"),
        computed=("filterPolicyScope",),
        replace_on=("endpoint", "protocol", "topic"),
        unchecked=("deliveryPolicy", "filterPolicy", "redrivePolicy"),
        schema_names={"topic": "TopicArn"},
        not_emulated={"replayPolicy": "archives of FIFO topics are not emulated"},
        notes=("a subscription by mail stays pending; no mail is sent",),
    )


ROWS = (_topic(), _topic_policy(), _topic_subscription())
