"""The earlier side of a review in the names of the later one, wherever a state says them."""

from __future__ import annotations

from typing import Any

from trainyard.local import review
from trainyard.policies.state import graph_of

STACK = {"urn": "urn:pulumi:dev::p::pulumi:pulumi:Stack::p-dev", "type": "pulumi:pulumi:Stack"}


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
