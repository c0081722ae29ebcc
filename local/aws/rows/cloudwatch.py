"""CloudWatch: alarms on metrics. (Its `event…` types are in `events.py`, its `log…` types in `logs.py`.)"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from trainyard.local.aws.calls import Call, Read
from trainyard.local.aws.fields import ID, Each, Fact, Object, Prop, Scope, Values, pascal
from trainyard.local.aws.row import Name, Row
from trainyard.local.aws.tags import TagsField, tagged_by
from trainyard.local.aws.values import OMIT

_PROMQL = "alarms on PromQL queries are not emulated"
_PAIRS = TagsField(key="Key", value="Value")


class _Dimensions(Prop):
    """A map where AWS has a list of names and values."""

    def write(self, scope: Scope) -> Any:
        value = super().write(scope)
        return value if value is OMIT else [{"Name": name, "Value": text} for name, text in sorted(value.items())]

    def read(self, value: Any, into: dict[str, Any]) -> None:
        if value:
            into[self.name] = {entry["Name"]: entry["Value"] for entry in value}


_METRIC = {
    "Metric": {**pascal("metricName", "namespace"), "Dimensions": _Dimensions("dimensions")},
    **pascal("period", "stat", "unit"),
}
_ALARM = {
    "AlarmName": "name",
    "AlarmDescription": "alarmDescription",
    "AlarmActions": Values("alarmActions"),
    "Dimensions": _Dimensions("dimensions"),
    "EvaluateLowSampleCountPercentile": "evaluateLowSampleCountPercentiles",
    "InsufficientDataActions": Values("insufficientDataActions"),
    "Metrics": Each(
        "metricQueries",
        {
            **pascal("accountId", "expression", "id", "label", "period"),
            "MetricStat": Object("metric", _METRIC),
            "ReturnData": Prop("returnData", unset=False),
        },
        ordered=False,
    ),
    "OKActions": Values("okActions"),
    **pascal(
        "actionsEnabled",
        "comparisonOperator",
        "datapointsToAlarm",
        "evaluationPeriods",
        "extendedStatistic",
        "metricName",
        "namespace",
        "period",
        "statistic",
        "threshold",
        "thresholdMetricId",
        "treatMissingData",
        "unit",
    ),
}


def _whole(inputs: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What PutMetricAlarm refuses with a ValidationError."""
    for name in ("comparisonOperator", "evaluationPeriods"):
        if inputs.get(name) is None:
            yield name, "is missing"
    if inputs.get("metricName"):
        for name in ("namespace", "period"):
            if inputs.get(name) is None:
                yield name, "is missing: it goes with metricName"
        if bool(inputs.get("statistic")) == bool(inputs.get("extendedStatistic")):
            yield "statistic", "or extendedStatistic: exactly one goes with metricName"
    queries = inputs.get("metricQueries")
    if isinstance(queries, list):
        returning = [query for query in queries if isinstance(query, Mapping) and query.get("returnData")]
        if len(returning) != 1 and not inputs.get("thresholdMetricId"):
            yield "metricQueries", f"have {len(returning)} with returnData; an alarm watches exactly one"
        for name in ("namespace", "period", "statistic", "dimensions", "extendedStatistic", "unit"):
            if inputs.get(name):
                yield name, "cannot stand beside metricQueries"
    if inputs.get("threshold") is None and not inputs.get("thresholdMetricId"):
        yield "threshold", "is missing"
    points, periods = inputs.get("datapointsToAlarm"), inputs.get("evaluationPeriods")
    if isinstance(points, int) and isinstance(periods, int) and points > periods:
        yield "datapointsToAlarm", f"is {points}, more than evaluationPeriods ({periods})"


ROWS = (
    Row(
        "aws:cloudwatch/metricAlarm:MetricAlarm",
        service="cloudwatch",
        cloudformation="AWS::CloudWatch::Alarm",
        id="{name}",
        name=Name(prefix_property="", max_length=255),
        create=Call("put_metric_alarm", _ALARM),
        update=(Call("put_metric_alarm", _ALARM),),
        read=(Read("describe_alarms", {"AlarmNames": [ID]}, {**_ALARM, "AlarmArn": "arn"}, path="MetricAlarms[0]"),),
        delete=(Call("delete_alarms", {"AlarmNames": [ID]}),),
        tags=tagged_by(
            "tag_resource",
            "untag_resource",
            {"ResourceARN": Fact("arn")},
            tags="Tags",
            keys="TagKeys",
            pair=("Key", "Value"),
            create={"Tags": _PAIRS},
            listing=Read("list_tags_for_resource", {"ResourceARN": Fact("arn")}, {"Tags": _PAIRS}),
        ),
        defaults={"actionsEnabled": True, "treatMissingData": "missing"},
        computed=("evaluateLowSampleCountPercentiles",),
        exactly_one=(("metricName", "metricQueries"),),
        constraints=(_whole,),
        schema_names={"name": "AlarmName"},
        not_emulated=dict.fromkeys(
            ("evaluationCriteria", "evaluationInterval", "evaluationWindow", "warmUpConfiguration"), _PROMQL
        ),
        notes=("no alarm goes off by itself: metrics are not evaluated",),
    ),
)
