"""A review as people meet it: an environment with all that a page can show, a clean one, one that does not come up.

The graph behind the picture, the costs and the reach is an exported state of the whole platform. Findings are what the
rules say of their own examples.
"""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from trainyard.cli.review.model import ChangedResource, Environment, Review, environment_of
from trainyard.cli.review.residency import DataPlace, Residency, Way
from trainyard.local.changes import Change, Operation, PropertyChange
from trainyard.local.review import Comparison, Side
from trainyard.policies.cases import cases_of
from trainyard.policies.registry import RULES
from trainyard.policies.rule import Result, Rule, Verdict, evaluate

_EXPORT = Path(__file__).parents[1] / "cli" / "platform_export.json"
NASTY = "<script>document.title='run'</script><img src=x onerror=\"document.title='run'\">"
LONG_WORD = "arn:aws:iam::123456789012:role/" + "x" * 400
RIGHT_TO_LEFT = "بيانات صحية \u202e moc.live"
LAKE, DATASETS, KEY, QUEUE, NODES = (
    "trainyard-local-lustre",
    "trainyard-local-datasets",
    "trainyard-local-data-key",
    "trainyard-local-undelivered",
    "trainyard-local-p4d-nodes",
)


def sample_review() -> Review:
    return Review("main (1a2b3c4)", "working tree", (prod(), clean(), broken()))


@cache
def prod() -> Environment:
    export = _export()
    base = Side("main", (), (*found("kms-rotation"), *found("fsx-tags-on-backups")), _without(export, KEY))
    head = Side(
        "working tree",
        (),
        (
            *found("s3-public-access-block"),
            *found("s3-tls-only"),
            *(of_another(one) for one in found("s3-tls-only")),
            *found("transfer-replica", Verdict.UNVERIFIED),
            *found("fsx-tags-on-backups"),
            *found("pod-read-only-root"),
        ),
        _without(export, QUEUE),
    )
    made = environment_of(Comparison("prod-us", "us-east-1", base, head, _changes(export)))
    return replace(made, residency=_residency(), resources_before=321, resources_after=322)


@cache
def clean() -> Environment:
    export = _export()
    urn = _urns(export)[DATASETS]
    change = Change(
        urn, "aws:s3/bucket:Bucket", DATASETS, Operation.UPDATE, (PropertyChange("tags.owner", "infra", "ml"),)
    )
    side = Side("main", (), (), export)
    return replace(environment_of(Comparison("dev", "us-east-1", side, side, (change,))), picture="")


def broken() -> Environment:
    return Environment(
        "prod-uae", "me-central-1", failure="working tree does not come up:\naws:ec2:Vpc vpc: no <b>quota</b> left"
    )


def many(count: int) -> Review:
    """As many changes, of every operation in turn, each with a property or two."""
    changes = tuple(
        Change(
            f"urn:pulumi:big::p::aws:s3/bucket:Bucket::bucket-{number}",
            "aws:s3/bucket:Bucket",
            f"bucket-{number}",
            list(Operation)[number % 4],
            (
                PropertyChange("tags", {"owner": "a", "n": str(number)}, {"owner": "b", "n": str(number)}),
                PropertyChange("forceDestroy", False, True),
            ),
        )
        for number in range(count)
    )
    return Review("main", "working tree", (Environment("big", "us-east-1", tuple(map(ChangedResource, changes))),))


def found(rule_id: str, verdict: Verdict = Verdict.VIOLATION) -> tuple[Result, ...]:
    """What a rule says of its own first example of that verdict."""
    rule = _rule(rule_id)
    case = next(one for one in cases_of(rule) if one.verdict is verdict)
    return tuple(one for one in evaluate([rule], case.graph()) if one.findings)


def of_another(result: Result) -> Result:
    """The same, of another resource."""
    resource = result.resource
    return replace(result, resource=replace(resource, urn=f"{resource.urn}-2", name=f"{resource.name}-2"))


def _rule(rule_id: str) -> Rule:
    return next(one for one in RULES if one.id == rule_id)


@cache
def _export() -> dict[str, Any]:
    return json.loads(_EXPORT.read_text(encoding="utf-8"))


def _without(export: dict[str, Any], name: str) -> dict[str, Any]:
    resources = [one for one in export["deployment"]["resources"] if one["urn"].rpartition("::")[2] != name]
    return {**export, "deployment": {**export["deployment"], "resources": resources}}


def _urns(export: dict[str, Any]) -> dict[str, str]:
    return {
        raw["urn"].rpartition("::")[2]: raw["urn"]
        for raw in export["deployment"]["resources"]
        if raw["type"].startswith(
            ("aws:fsx/lustre", "aws:s3/bucket:", "aws:kms/key:", "aws:sqs/queue:", "aws:eks/node")
        )
    }


def _changes(export: dict[str, Any]) -> tuple[Change, ...]:
    urns = _urns(export)

    def change(name: str, operation: Operation, *properties: PropertyChange) -> Change:
        urn = urns[name]
        return Change(urn, urn.split("::")[2].rpartition("$")[2], name, operation, properties)

    return (
        change(KEY, Operation.CREATE),
        change(
            DATASETS,
            Operation.UPDATE,
            PropertyChange("tags.owner", NASTY, RIGHT_TO_LEFT),
            PropertyChange("tags.role", None, LONG_WORD),
            PropertyChange("tags.token", "[secret]", "[secret]"),
        ),
        change(
            NODES,
            Operation.UPDATE,
            PropertyChange("scalingConfig", {"minSize": 0, "maxSize": 4}, {"minSize": 1, "maxSize": 8}),
        ),
        change(LAKE, Operation.REPLACE, PropertyChange("storageType", "SSD", "INTELLIGENT_TIERING", replaces=True)),
        change(QUEUE, Operation.DELETE),
    )


def _residency() -> Residency:
    return Residency(
        (DataPlace("health", "eu-west-1", 0, 2), DataPlace("health", "us-east-1", 12, 12)),
        (
            Way(
                "health", "eu-west-1", f"{DATASETS} → replica (eu-west-1)", Verdict.VIOLATION, "no transfer basis", True
            ),
            Way("health", "(not known)", f"{KEY} → log", Verdict.UNVERIFIED, "the destination is not known", True),
            Way(
                "internal",
                "us-west-2",
                f"{LAKE} → {LONG_WORD} → backup (us-west-2)",
                Verdict.PASSED,
                "same jurisdiction",
                False,
            ),
        ),
    )
