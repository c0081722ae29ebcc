"""Who refers to whom: by value, or by dependency while the value is unknown."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from trainyard.policies.graph import Graph, Resource, environment_of
from trainyard.policies.values import UNKNOWN, UnverifiedError, Value

TARGET = "bucket"


def resource(
    name: str, kind: str = "aws:s3/bucket:Bucket", depends: dict[str, list[str]] | None = None, **props: Any
) -> Resource:
    urns = {
        key: tuple(f"urn:pulumi:dev::p::t::{origin}" for origin in origins) for key, origins in (depends or {}).items()
    }
    return Resource(f"urn:pulumi:dev::p::t::{name}", kind, name, props, property_dependencies=urns)


PART = "aws:s3/bucketPolicy:BucketPolicy"


@pytest.mark.parametrize(
    ("bucket", "part", "expected"),
    [
        ({"bucket": "data"}, {"bucket": "data"}, True),
        ({"arn": "arn:aws:s3:::data"}, {"bucket": "arn:aws:s3:::data"}, True),
        ({"arn": "arn:aws:ec2:us-east-1:1:vpc/vpc-1"}, {"bucket": "vpc-1"}, True),
        ({"arn": "arn:aws:ec2:us-east-1:1:vpc/vpc-12"}, {"bucket": "vpc-1"}, False),
        ({"arn": "arn:aws:ec2:us-east-1:1:vpc/vpc-1"}, {"bucket": ""}, False),
        ({"bucket": "data"}, {"bucket": "other"}, False),
        ({"bucket": "data"}, {"bucket": "data-copy", "depends": {"bucket": ["target"]}}, None),
        ({"bucket": "data"}, {}, False),
        ({"bucket": "data"}, {"bucket": UNKNOWN, "depends": {"bucket": ["target"]}}, True),
        ({"bucket": "data"}, {"bucket": UNKNOWN, "depends": {"bucket": ["rival"]}}, False),
        ({"bucket": "data"}, {"bucket": UNKNOWN, "depends": {"bucket": ["target", "rival"]}}, None),
        ({"bucket": "data"}, {"bucket": UNKNOWN, "depends": {"bucket": ["versioning"]}}, None),
        ({"bucket": "data"}, {"bucket": UNKNOWN}, None),
        ({"bucket": UNKNOWN}, {"bucket": "data"}, None),
        ({"bucket": UNKNOWN}, {"bucket": "data", "depends": {"bucket": ["target"]}}, True),
        ({"bucket": "data"}, {"bucket": 7}, None),
    ],
)
def test_reference(bucket: dict[str, Any], part: dict[str, Any], expected: bool | None) -> None:
    target = resource("target", **bucket)
    policy = resource("policy", PART, **part)
    versioning = resource(
        "versioning", "aws:s3/bucketVersioning:BucketVersioning", {"bucket": ["target"]}, bucket=UNKNOWN
    )
    graph = Graph([target, resource("rival", bucket="rival"), versioning, policy])

    assert graph.refers(policy, "bucket", target) is expected


def test_circles_of_dependencies_end() -> None:
    one = resource("one", PART, {"bucket": ["two"]}, bucket=UNKNOWN)
    two = resource("two", PART, {"bucket": ["one"]}, bucket=UNKNOWN)
    target = resource("target", bucket="data")

    assert Graph([one, two, target]).refers(one, "bucket", target) is False


def test_what_is_only_read_is_an_origin_of_no_type_of_this_stack() -> None:
    urns = (f"urn:pulumi:dev::p::mine:index:Own${PART}::read", "urn:pulumi:dev::p::pulumi:pulumi:StackReference::base")
    one = replace(resource("one", PART, bucket=UNKNOWN), property_dependencies={"bucket": urns})

    read, base = Graph([one]).origins(one, "bucket")

    assert (read.name, read.type) == ("read", f"read:{PART}")
    assert (base.name, base.type) == ("base", "pulumi:pulumi:StackReference")


def test_reference_to_one_of_two_of_which_one_is_only_read_is_doubtful() -> None:
    target = resource("target", bucket=UNKNOWN)
    part = resource("one", PART, {"bucket": ["target"]}, bucket=UNKNOWN)
    other = f"urn:pulumi:dev::p::{target.type}::read"
    doubtful = replace(part, property_dependencies={"bucket": (target.urn, other)})

    assert Graph([part, target]).refers(part, "bucket", target) is True
    assert Graph([doubtful, target]).refers(doubtful, "bucket", target) is None


@pytest.mark.parametrize(
    ("urn", "environment"),
    [("urn:pulumi:prod-uae::trainyard::a$b::name", "prod-uae"), ("nonsense", ""), ("", "")],
)
def test_environment_is_read_from_the_urn(urn: str, environment: str) -> None:
    assert environment_of(urn) == environment


def test_values_tell_absent_unknown_and_wrong_apart() -> None:
    value = Value({"a": {"b": [True, UNKNOWN, "x"]}, "n": None})

    assert value["missing"]["deeper"].text() is None
    assert value["n"].items() == []
    assert value["a"]["b"].items()[0].flag() is True
    with pytest.raises(UnverifiedError, match="not known yet"):
        value["a"]["b"].items()[1].flag()
    with pytest.raises(UnverifiedError, match="true or false was expected, this is 'x'"):
        value["a"]["b"].items()[2].flag()
    assert [leaf.path for leaf in value.leaves()] == [("a", "b", 0), ("a", "b", 1), ("a", "b", 2), ("n",)]
