"""What is to raise an alarm does: a rule is on and has a target, and somebody hears the topic."""

from __future__ import annotations

import re
from collections.abc import Iterator

from trainyard.policies.graph import Graph, Resource
from trainyard.policies.parts import is_providers_choice
from trainyard.policies.rule import Finding, Severity, stack_rule, unverified, violation

_RULES = frozenset({"aws:cloudwatch/eventRule:EventRule"})
_TARGETS = frozenset({"aws:cloudwatch/eventTarget:EventTarget"})
_TOPICS = frozenset({"aws:sns/topic:Topic"})
_SUBSCRIPTIONS = frozenset({"aws:sns/topicSubscription:TopicSubscription"})

_COMPOSED = frozenset({"aws:cloudwatch/compositeAlarm:CompositeAlarm"})
_ALARMS = _COMPOSED | {"aws:cloudwatch/metricAlarm:MetricAlarm"}

_IN_A_RULE = re.compile(r"""\(\s*["']?([^"'()]+?)["']?\s*\)""")

_HEARD = {"NIST 800-53": ("SI-4", "AU-5", "IR-6"), "ISO 27001": ("A.8.16", "A.6.8")}


@stack_rule(
    "event-rule-acts",
    title="A rule of EventBridge is on, and what it matches goes somewhere",
    severity=Severity.MEDIUM,
    applies=_RULES,
    controls=_HEARD,
    why="A rule that is off, or has no target, sees the emergency role used and tells nobody. It looks like quiet.",
    remedy="""
aws.cloudwatch.EventTarget(name, rule=rule.name, arn=topic.arn)        # and no state="DISABLED" on the rule
""",
)
def rule_acts(rule: Resource, graph: Graph) -> Iterator[Finding]:
    state, enabled = rule["state"], rule["isEnabled"]
    if _written(rule, "state") and state.text() == "DISABLED":
        yield violation("the rule is off", state)
    elif _written(rule, "isEnabled") and not state.present and enabled.flag() is False:
        yield violation("the rule is off", enabled)
    found = graph.attached(rule, _TARGETS, "rule")
    if not found.certain and found.possible:
        yield unverified(f"whether {found.possible[0].name} is a target of this rule is not known yet")
    elif not found.certain:
        yield violation("the rule has no target")


def _written(resource: Resource, name: str) -> bool:
    """Whether the program says it: what only the provider reports is unknown until then."""
    return not is_providers_choice(resource, name)


@stack_rule(
    "topic-heard",
    title="Somebody subscribes to a topic",
    severity=Severity.MEDIUM,
    applies=_TOPICS,
    controls=_HEARD,
    why="An alarm that goes to a topic without subscribers goes nowhere, and shows as sent.",
    remedy="""
aws.sns.TopicSubscription(name, topic=topic.arn, protocol="email", endpoint="platform-team@example.com")
""",
)
def topic_heard(topic: Resource, graph: Graph) -> Iterator[Finding]:
    found = graph.attached(topic, _SUBSCRIPTIONS, "topic")
    if not found.certain and found.possible:
        yield unverified(f"whether {found.possible[0].name} is of this topic is not known yet")
    elif not found.certain:
        yield violation("nobody subscribes to this topic")


@stack_rule(
    "topic-subscription-tls",
    title="A topic's messages go to no address without TLS",
    severity=Severity.HIGH,
    applies=_SUBSCRIPTIONS,
    controls={"NIST 800-53": ("SC-8",), "ISO 27001": ("A.8.24", "A.5.14")},
    why="Over plain HTTP everyone on the way reads which role was taken, by whom and when, and can answer for you.",
    remedy="""
aws.sns.TopicSubscription(name, topic=topic.arn, protocol="https", endpoint="https://hooks.example.com/alarms")
""",
)
def subscription_tls(subscription: Resource, _: Graph) -> Iterator[Finding]:
    protocol, endpoint = subscription["protocol"], subscription["endpoint"]
    if protocol.text() == "http":
        yield violation("messages go out over plain HTTP", protocol)
    elif (endpoint.text() or "").lower().startswith("http://"):
        yield violation("messages go out over plain HTTP", endpoint)


@stack_rule(
    "alarm-acts",
    title="An alarm of CloudWatch does something, and is on",
    severity=Severity.MEDIUM,
    applies=_ALARMS,
    controls={"Checkov": ("CKV_AWS_319",), **_HEARD},
    why="An alarm without an action turns red on a page that nobody has open. One whose actions are off does the same.",
    remedy="""
aws.cloudwatch.MetricAlarm(name, alarm_actions=[topic.arn], ...)           # and no actions_enabled=False
""",
)
def alarm_acts(alarm: Resource, graph: Graph) -> Iterator[Finding]:
    switch, actions = alarm["actionsEnabled"], alarm["alarmActions"]
    if switch.flag() is not False and actions.items():
        return
    parts = [_is_part(alarm, one, graph) for one in graph.of(_COMPOSED)]
    if True in parts:
        return  # the other one acts, or is told here
    if None in parts:
        yield unverified(
            "it does nothing by itself; whether an alarm that is made of others looks at it is not known yet"
        )
    elif switch.flag() is False:
        yield violation("the alarm's actions are off", switch)
    else:
        yield violation("the alarm has no action", actions)


def _is_part(alarm: Resource, composed: Resource, graph: Graph) -> bool | None:
    """Whether a composite alarm looks at this one: its rule says `ALARM("name or ARN")`."""
    if any(one.urn == alarm.urn for one in graph.origins(composed, "alarmRule")):
        return True
    said = composed.props.get("alarmRule")
    if isinstance(said, str):
        named = _IN_A_RULE.findall(said)
        found = any(alarm.props.get(key) in named for key in ("name", "arn"))
        return found or (False if alarm["name"].known else None)
    return graph.refers(composed, "alarmRule", alarm)
