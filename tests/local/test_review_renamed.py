"""The earlier side of a review in the names of the later one, wherever a state says them."""

from __future__ import annotations

from typing import Any

from trainyard.local import review
from trainyard.policies.graph import Resource
from trainyard.policies.rule import Result, violation
from trainyard.policies.rules import resource_policies
from trainyard.policies.state import graph_of

STACK = {"urn": "urn:pulumi:dev::p::pulumi:pulumi:Stack::p-dev", "type": "pulumi:pulumi:Stack"}


HOLDER = Resource(
    "urn:pulumi:dev::p::aws:s3/bucketPolicy:BucketPolicy::one", "aws:s3/bucketPolicy:BucketPolicy", "one", {}
)


def _export(provider: str) -> dict[str, Any]:
    urn = f"urn:pulumi:dev::p::pulumi:providers:aws::{provider}"
    elsewhere = {"urn": urn, "type": "pulumi:providers:aws", "id": "0a1b", "inputs": {"region": "eu-west-1"}}
    logs = {
        "urn": "urn:pulumi:dev::p::aws:cloudwatch/logGroup:LogGroup::logs",
        "type": "aws:cloudwatch/logGroup:LogGroup",
        "provider": f"{urn}::0a1b",
        "dependencies": [urn],
    }
    return {"deployment": {"resources": [STACK, elsewhere, logs]}}


def test_a_resource_keeps_its_provider_when_that_is_called_otherwise() -> None:
    before, after = _export("old"), _export("new")
    names = {side: export["deployment"]["resources"][1] for side, export in (("old", before), ("new", after))}
    event = {"resourcePreEvent": {"metadata": {side: {"urn": one["urn"]} for side, one in names.items()}}}

    called = review._called_as_after(review.side("base", before), [event])

    assert called.export == after
    (logs,) = (one for one in graph_of(called.export).resources if one.name == "logs")
    assert logs.provider is not None
    assert logs.provider.name == "new"


def test_two_findings_that_read_alike_in_the_programs_names_stay_two() -> None:
    def found(*names: str) -> list[Result]:
        return [Result(resource_policies.no_lockout, HOLDER, tuple(violation(f"it lets {name} in") for name in names))]

    earlier, later = found("data-1111111"), found("data-2222222", "data-3333333", "data-3333333")

    new, fixed, standing = review.classified(earlier, later, lambda _: "it lets data in", lambda _: "it lets data in")
    assert [finding.message for _, finding in new] == ["it lets data-3333333 in"]
    assert [finding.message for _, finding in standing] == ["it lets data-2222222 in"]
    assert fixed == []
    assert [len(part) for part in review.classified(later, earlier)] == [1, 2, 0]
