"""EventBridge in moto: who gets an event, under which conditions, and what is counted."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from copy import copy
from typing import Any

from moto.cloudwatch.models import CloudWatchBackend, cloudwatch_backends
from moto.events.models import EventPattern, Rule
from moto.events.utils import EventTemplateParser
from moto.kms.models import Key as MotoKey
from moto.kms.models import KmsBackend, kms_backends
from moto.sns.models import SNSBackend, sns_backends
from moto.sqs.models import Queue as MotoQueue
from moto.sqs.models import SQSBackend, sqs_backends

from trainyard.local.aws.delivery import (
    Key,
    Queue,
    Sender,
    Topic,
    event_as_sent,
    message_body,
    why_not_let_in,
    why_topic_is_closed,
)
from trainyard.local.aws.moto_adapter.expectations import require_mentions, require_parameters, wrap

_log = logging.getLogger("trainyard.aws.events")


def require_expected() -> None:
    """What this module relies on."""
    require_parameters(Rule.send_to_targets, "self", "original_event", "transform_input")
    require_parameters(EventPattern.matches_event, "self", "event")
    require_parameters(EventPattern.get_pattern, "self")
    require_parameters(EventTemplateParser.parse, "input_template", "input_paths_map", "event")
    require_parameters(SQSBackend.send_message, "self", "queue_name", "message_body", "message_attributes", "group_id")
    require_parameters(SNSBackend.publish, "self", "message", "arn")
    require_parameters(KmsBackend.describe_key, "self", "key_id")
    require_parameters(CloudWatchBackend.put_metric_data, "self", "namespace", "metric_data")
    require_mentions(Rule.__init__, "self.name", "self.state", "self.targets", "self.event_pattern", "self.region_name")
    require_mentions(MotoQueue.__init__, "self.queue_arn", "self.fifo_queue", '"KmsMasterKeyId"', '"Policy"')
    require_mentions(MotoKey.__init__, "self.key_state", "self.policy", "self.key_manager", "self.arn")


def install() -> None:
    """Let `_send_to_targets` decide."""
    wrap(Rule, "send_to_targets", lambda _: _send_to_targets)


_moto_send_to_targets: Callable[..., None] = Rule.send_to_targets
_transformed: Callable[..., Any] = EventTemplateParser.parse


def _send_to_targets(rule: Rule, original_event: Any, transform_input: bool = True) -> None:
    """As EventBridge does it: only enabled rules with a matching pattern; each target on its own; failures counted.

    moto also delivers for disabled rules and, for rules with only a schedule, every event. It does not look at the
    policies of queues and keys, leaves the account out of the event, and lets one failing target fail PutEvents.
    """
    if rule.state == "DISABLED" or not rule.event_pattern.get_pattern():
        return
    if not rule.event_pattern.matches_event(original_event):
        return
    _count(rule, "TriggeredRules")
    for target in list(rule.targets):
        try:
            if ":sqs:" in target["Arn"]:
                problem = _send_to_queue(rule, target, original_event)
            elif ":sns:" in target["Arn"]:
                problem = _send_to_topic(rule, target, original_event)
            else:
                problem = _send_elsewhere(rule, target, original_event, transform_input)
        except Exception as error:  # noqa: BLE001 - what goes wrong with one target must not reach the sender or the others
            problem = f"{type(error).__name__}: {error}"
        _count(rule, "Invocations")
        if problem:
            _count(rule, "FailedInvocations")
            _log.warning("rule %s did not reach %s: %s", rule.arn, target["Arn"], problem)
            _bury(rule, target, original_event, problem)


def _send_elsewhere(rule: Rule, target: Mapping[str, Any], event: Any, transform_input: bool) -> str:
    """Let moto serve its other kinds of targets, one at a time."""
    alone = copy(rule)
    alone.targets = [dict(target)]
    _moto_send_to_targets(alone, event, transform_input)
    return ""


def _send_to_queue(rule: Rule, target: Mapping[str, Any], event: Any) -> str:
    """Put the event into the target's queue; why not, if EventBridge is not let in."""
    group = (target.get("SqsParameters") or {}).get("MessageGroupId")
    problem = why_not_let_in(_sender(rule), _queue(target["Arn"]), target["Arn"], group)
    if problem:
        return problem
    _put_message(target["Arn"], _message(target, event), group_id=group)
    return ""


def _send_to_topic(rule: Rule, target: Mapping[str, Any], event: Any) -> str:
    """Publish the event to the target's topic; why not, if EventBridge is not let in."""
    arn = target["Arn"]
    region, account = arn.split(":")[3:5]
    found: Any = sns_backends[account][region].topics.get(arn)
    topic = None
    if found is not None:
        key_id = found.kms_master_key_id or None
        topic = Topic(arn, found.policy, key_id, _key(account, region, key_id) if key_id else None)
    problem = why_topic_is_closed(_sender(rule), topic, arn)
    if not problem:
        sns_backends[account][region].publish(_message(target, event), arn)
    return problem


def _message(target: Mapping[str, Any], event: Any) -> str:
    sent = event_as_sent(event)
    transformer = target.get("InputTransformer")
    if not transformer:
        return message_body(sent, target)
    with_time = {**sent, "ingestion-time": event["ingestion-time"]}
    paths = transformer.get("InputPathsMap") or {"": "$.none"}
    return json.dumps(_transformed(transformer["InputTemplate"], paths, with_time))


def _bury(rule: Rule, target: Mapping[str, Any], event: Any, problem: str) -> None:
    """Put what could not be delivered into the target's dead-letter queue, if it has one that lets EventBridge in."""
    arn = (target.get("DeadLetterConfig") or {}).get("Arn")
    if not arn:
        return
    reason = why_not_let_in(_sender(rule), _queue(arn), arn)
    if reason:
        _count(rule, "InvocationsFailedToBeSentToDlq")
        _log.warning("rule %s did not reach the dead-letter queue %s: %s", rule.arn, arn, reason)
        return
    attributes = {
        "RULE_ARN": rule.arn,
        "TARGET_ARN": target["Arn"],
        "ERROR_CODE": "NO_PERMISSIONS",
        "ERROR_MESSAGE": problem,
    }
    texts = {name: {"DataType": "String", "StringValue": text} for name, text in attributes.items()}
    _put_message(arn, json.dumps(event_as_sent(event)), message_attributes=texts)
    _count(rule, "InvocationsSentToDlq")


def _sender(rule: Rule) -> Sender:
    return Sender(rule.arn, rule.account_id, rule.region_name)


def _put_message(arn: str, body: str, **more: Any) -> None:
    region, account, name = arn.split(":")[3:6]
    sqs_backends[account][region].send_message(queue_name=name, message_body=body, **more)


def _queue(arn: str) -> Queue | None:
    region, account, name = arn.split(":")[3:6]
    found: Any = sqs_backends[account][region].queues.get(name)
    if found is None:
        return None
    key_id = found.kms_master_key_id or None
    return Queue(
        arn=found.queue_arn,
        policy=found.policy,
        key_id=key_id,
        key=_key(account, region, key_id) if key_id else None,
        fifo=bool(found.fifo_queue),
        deduplicates_by_content=bool(found.content_based_deduplication),
    )


def _key(account: str, region: str, key_id: str) -> Key | None:
    try:
        found = kms_backends[account][region].describe_key(key_id)
    except Exception:  # noqa: BLE001 - moto raises a different error for each way in which a key can be missing
        return None
    managed_by_aws = found.key_manager != "CUSTOMER" or key_id.startswith("alias/aws/") or ":alias/aws/" in key_id
    return Key(found.arn, found.key_state, found.policy, not managed_by_aws)


def _count(rule: Rule, metric: str) -> None:
    """Count in CloudWatch as EventBridge does, in its namespace and by rule."""
    datum = {
        "MetricName": metric,
        "Value": 1,
        "Dimensions": [{"Name": "RuleName", "Value": rule.name}],
        "Unit": "Count",
    }
    cloudwatch_backends[rule.account_id][rule.region_name].put_metric_data("AWS/Events", [datum])
