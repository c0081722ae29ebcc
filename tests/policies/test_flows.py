"""Data followed over ways of any number, and the map of what lies where."""

from __future__ import annotations

import json
import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from trainyard.policies.cases import stack
from trainyard.policies.graph import Graph
from trainyard.policies.residency.channels import channels
from trainyard.policies.residency.flows import reach, residency_map
from trainyard.policies.rule import Verdict
from trainyard.policies.state import _graph
from trainyard.policies.values import UNKNOWN

EXPORT = Path(__file__).with_name("residency_export.json")
PERSONAL = {"data-class": "personal"}


def aws(kind: str, name: str, /, **props: Any) -> dict[str, Any]:
    return {"type": f"aws:{kind}", "name": name, "provider": "aws", "props": props}


def bucket(name: str, /, **props: Any) -> dict[str, Any]:
    return aws("s3/bucket:Bucket", name, bucket=name, arn=f"arn:aws:s3:::{name}", **props)


def replication(source: str, target: str) -> dict[str, Any]:
    rules = [{"destination": {"bucket": f"arn:aws:s3:::{target}"}}]
    kind = "s3/bucketReplicationConfig:BucketReplicationConfig"
    return aws(kind, f"{source}-to-{target}", bucket=source, rules=rules)


def graph(*described: dict[str, Any], environment: str = "prod-uae") -> Graph:
    provider = {"type": "pulumi:providers:aws", "name": "aws", "props": {"region": "me-central-1"}}
    return Graph(stack([provider, *described], environment))


def named(of: Graph, name: str) -> Any:
    return next(one for one in of.resources if one.name == name)


def test_path_is_told_step_by_step() -> None:
    made = graph(
        bucket("datasets", tags=PERSONAL),
        bucket("copy", region="eu-central-1"),
        replication("datasets", "copy"),
        aws(
            "backup/plan:Plan",
            "plan",
            id="plan-1",
            region="eu-central-1",
            rules=[
                {"copyActions": [{"destinationVaultArn": "arn:aws:backup:us-east-1:123456789012:backup-vault:far"}]}
            ],
        ),
        aws("backup/selection:Selection", "selection", planId="plan-1", resources=["arn:aws:s3:::copy"]),
    )

    found = [one.explained(named(made, "datasets")) for one in reach(named(made, "datasets"), made)]

    assert found == [
        "datasets → replica copy (eu-central-1)",
        "datasets → replica copy (eu-central-1) → backup plan (eu-central-1)",
        "datasets → replica copy (eu-central-1) → backup plan (eu-central-1) → backup copy (us-east-1)",
    ]


def test_circle_ends() -> None:
    made = graph(bucket("a"), bucket("b"), replication("a", "b"), replication("b", "a"))

    assert [one.explained(named(made, "a")) for one in reach(named(made, "a"), made)] == [
        "a → replica b (me-central-1)",
        "a → replica b (me-central-1) → replica a (me-central-1)",
    ]


def test_long_chain_needs_no_recursion() -> None:
    count = 3000
    chain = [bucket(f"b{index}") for index in range(count)]
    made = graph(*chain, *(replication(f"b{index}", f"b{index + 1}") for index in range(count - 1)))

    assert sum(1 for _ in reach(named(made, "b0"), made)) == count - 1


def test_map_puts_what_is_wrong_first() -> None:
    made = graph(
        bucket("fine", tags=PERSONAL),
        bucket("datasets", tags=PERSONAL),
        bucket("unknown", tags={"data-class": UNKNOWN}),
        bucket("copy", region="eu-central-1", tags={"data-class": "public"}),
        replication("datasets", "copy"),
    )

    rows = [(row.resource.name, row.data_class, row.place, row.verdict) for row in residency_map(made)]

    assert rows == [
        ("datasets", "personal", "me-central-1", Verdict.VIOLATION),
        ("unknown", "not known yet", "me-central-1", Verdict.UNVERIFIED),
        ("fine", "personal", "me-central-1", Verdict.PASSED),
        ("copy", "public", "eu-central-1", Verdict.PASSED),
    ]
    assert residency_map(made)[0].reaches == (("eu-central-1", "datasets → replica copy (eu-central-1)"),)
    assert "Federal Decree-Law No. 45 of 2021" in residency_map(made)[0].reason


@cache
def platform() -> Graph:
    return _graph(json.loads(EXPORT.read_text(encoding="utf-8"))["deployment"]["resources"], "outputs")


def test_map_of_a_whole_platform_finds_its_ways_and_nothing_wrong() -> None:
    rows = residency_map(platform())
    ways = [re.sub(r"trainyard-prod-us-", "", text) for row in rows for _, text in row.reaches]

    assert {row.verdict for row in rows} == {Verdict.PASSED}
    assert {row.place for row in rows} == {"us-east-2"}
    assert {row.data_class for row in rows} == {"public", "internal"}
    assert "datasets → access log logs (us-east-2)" in ways
    assert "lustre → data repository checkpoints (us-east-2) → access log logs (us-east-2)" in ways


def test_same_platform_under_another_law_may_not_be_where_it_is() -> None:
    raw = json.loads(EXPORT.read_text(encoding="utf-8").replace("urn:pulumi:prod-us::", "urn:pulumi:prod-uae::"))
    rows = residency_map(_graph(raw["deployment"]["resources"], "outputs"))

    assert {row.verdict for row in rows if row.data_class != "public"} == {Verdict.VIOLATION}
    assert {row.verdict for row in rows if row.data_class == "public"} == {Verdict.PASSED}


def _module(resource_type: str) -> str:
    """The source of the SDK that a type is defined in."""
    package = find_spec("pulumi_aws")
    assert package is not None
    assert package.submodule_search_locations
    folder = resource_type.split(":")[1].split("/")[0]
    folder = {"lambda": "lambda_"}.get(folder, folder)
    sources = sorted((Path(package.submodule_search_locations[0]) / folder).glob("*.py"))
    texts = (source.read_text(encoding="utf-8") for source in sources if source.stem != "__init__")
    return next((text for text in texts if f"'{resource_type}'," in text), "")


def _inputs(resource_type: str) -> str:
    package = find_spec("pulumi_aws")
    assert package is not None
    assert package.submodule_search_locations
    folder = resource_type.split(":")[1].split("/")[0]
    path = Path(package.submodule_search_locations[0]) / {"lambda": "lambda_"}.get(folder, folder) / "_inputs.py"
    return path.read_text(encoding="utf-8") if path.exists() else ""


def _snake(name: str) -> str:
    return re.sub(r"([A-Z])", r"_\1", name).lower()


@pytest.mark.parametrize("channel", channels(), ids=lambda one: f"{one.type.rpartition(':')[2]}.{one.path}")
def test_channel_names_what_the_sdk_has(channel: Any) -> None:
    source = _module(channel.type)
    first, *rest = channel.path.split(".")

    assert source, f"{channel.type} is no type of pulumi-aws"
    assert f"def {_snake(first)}(self)" in source
    assert all(f"def {_snake(step)}(self)" in _inputs(channel.type) for step in rest)
    if channel.source and channel.source != "@" and ":" not in channel.source:
        assert f"def {_snake(channel.source)}(self)" in source
