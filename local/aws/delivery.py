"""EventBridge's rules for putting an event into a queue: who lets it in, and what the message is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from trainyard.local.aws.resource_policy import Request, UnsupportedPolicyError, evaluate

SERVICE = "events.amazonaws.com"
_KEY_ACTIONS = ("kms:GenerateDataKey", "kms:Decrypt")
_EVENT_PARTS = ("version", "id", "detail-type", "source", "account", "time", "region", "resources", "detail")


@dataclass(frozen=True)
class Key:
    """A KMS key as its service sees it; `customer_managed` is false for keys such as `alias/aws/sqs`."""

    arn: str
    state: str
    policy: str
    customer_managed: bool


@dataclass(frozen=True)
class Queue:
    """A queue; `key_id` is what its encryption names, `key` the key that this is, if there is one."""

    arn: str
    policy: str | None
    key_id: str | None
    key: Key | None
    fifo: bool = False
    deduplicates_by_content: bool = False


@dataclass(frozen=True)
class Topic:
    """A topic of SNS, as `Queue` is a queue."""

    arn: str
    policy: str | None
    key_id: str | None
    key: Key | None


@dataclass(frozen=True)
class Sender:
    """The rule on whose behalf EventBridge sends."""

    rule_arn: str
    account: str
    region: str

    def request(self, action: str, resource: str, via: str = "sqs", topic_arn: str = "") -> Request:
        """The service's request, with the condition keys that it carries; `via` is whose key it uses."""
        # To SNS it carries no source, and a policy that asks for one keeps it out. To SQS, both.
        source = {} if via == "sns" else {"aws:SourceArn": self.rule_arn, "aws:SourceAccount": self.account}
        values = {
            **source,
            "aws:SecureTransport": "true",
            "aws:PrincipalIsAWSService": "true",
            "aws:PrincipalServiceName": SERVICE,
            "aws:RequestedRegion": self.region,
            "aws:ViaAWSService": "false",
        }
        if action.startswith("kms:"):
            values["kms:ViaService"] = f"{via}.{self.region}.amazonaws.com"
        if topic_arn:
            values["kms:EncryptionContext:aws:sns:topicArn"] = topic_arn
        return Request(SERVICE, action, resource, values)


def why_not_let_in(sender: Sender, queue: Queue | None, target_arn: str, message_group_id: str | None = None) -> str:
    """Why `sender`'s event cannot be put into the queue; nothing if it can."""
    if target_arn.split(":")[3] != sender.region:
        return f"{target_arn} is in another region than the rule"
    if queue is None:
        return f"there is no queue {target_arn}"
    if queue.fifo and not message_group_id:
        return "the queue is FIFO and the target has no message group"
    if queue.fifo and not queue.deduplicates_by_content:
        return "the queue is FIFO and does not deduplicate by content"
    try:
        decision = evaluate(queue.policy, sender.request("sqs:SendMessage", queue.arn))
        if not decision.allowed:
            return f"the queue's policy does not let EventBridge in: {decision.reason}"
        return _why_key_is_closed(sender, queue) if queue.key_id else ""
    except (UnsupportedPolicyError, ValueError) as error:
        return str(error)


def why_topic_is_closed(sender: Sender, topic: Topic | None, target_arn: str) -> str:
    """Why `sender`'s event cannot be published to the topic; nothing if it can."""
    if target_arn.split(":")[3] != sender.region:
        return f"{target_arn} is in another region than the rule"
    if topic is None:
        return f"there is no topic {target_arn}"
    try:
        decision = evaluate(topic.policy, sender.request("sns:Publish", topic.arn, "sns"))
        if not decision.allowed:
            return f"the topic's policy does not let EventBridge in: {decision.reason}"
        return _why_key_is_closed(sender, topic, "topic", "sns") if topic.key_id else ""
    except (UnsupportedPolicyError, ValueError) as error:
        return str(error)


def _why_key_is_closed(sender: Sender, target: Queue | Topic, kind: str = "queue", via: str = "sqs") -> str:
    key = target.key
    if key is None:
        return f"the {kind} is encrypted with {target.key_id}, which is no key"
    if not key.customer_managed:
        return (
            f"the {kind} is encrypted with {target.key_id}, whose policy cannot let EventBridge in: "
            "use a key of your own"
        )
    if key.state != "Enabled":
        return f"the {kind}'s key {key.arn} is {key.state}"
    for action in _KEY_ACTIONS:
        topic_arn = target.arn if isinstance(target, Topic) else ""
        decision = evaluate(key.policy, sender.request(action, key.arn, via, topic_arn))
        if not decision.allowed:
            return f"the policy of the {kind}'s key does not let EventBridge in: {decision.reason}"
    return ""


def event_as_sent(event: Mapping[str, Any]) -> dict[str, Any]:
    """The event as targets receive it: its nine parts in EventBridge's order, the time in RFC 3339."""
    sent = {part: event[part] for part in _EVENT_PARTS if part in event}
    if isinstance(sent.get("time"), (int, float)):
        sent["time"] = datetime.fromtimestamp(sent["time"], UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return sent


def selected(event: Any, path: str) -> Any:
    """What an input path such as `$.detail.instance-id` selects; `None` where there is nothing."""
    for part in path.removeprefix("$").split("."):
        if part:
            event = event.get(part) if isinstance(event, Mapping) else None
    return event


def message_body(event: Mapping[str, Any], target: Mapping[str, Any]) -> str:
    """The message for a target without an input transformer: its constant, a part of the event, or the event."""
    if target.get("Input"):
        return target["Input"]
    if target.get("InputPath"):
        return json.dumps(selected(event, target["InputPath"]))
    return json.dumps(event)
