"""Mutations of resources: what is made of an environment, and how it is judged."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from trainyard.policies.graph import Graph, Resource
from trainyard.policies.in_force import InForce
from trainyard.policies.mutations import everywhere, places, properties, statements
from trainyard.policies.mutations.places import ABSENT
from trainyard.policies.mutations.trying import Outcome, try_all
from trainyard.policies.rule import Finding, Rule, Severity, resource_rule, stack_rule, violation

KEY = "arn:aws:kms:us-east-1:123456789012:key/1"


def _resource(kind: str, name: str, **props: Any) -> Resource:
    return Resource(f"urn:pulumi:dev::trainyard::{kind}::{name}", kind, name, props)


TEMPLATE = _resource(
    "aws:ec2/launchTemplate:LaunchTemplate",
    "nodes",
    region="us-east-1",
    metadataOptions={"httpTokens": "required", "httpPutResponseHopLimit": 1},
    blockDeviceMappings=[{"ebs": {"encrypted": "true", "kmsKeyId": KEY}}, {"ebs": {"encrypted": "false"}}],
)
POLICY = {
    "Statement": [
        {"Sid": "Read", "Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::data/runs/a/*"},
        {
            "Sid": "Use",
            "Effect": "Allow",
            "Action": "kms:Decrypt",
            "Resource": KEY,
            "Condition": {"StringEquals": {"kms:ViaService": "s3.us-east-1.amazonaws.com", "aws:RequestTag/a": "b"}},
        },
        {"Sid": "No", "Effect": "Deny", "Action": "*", "Resource": ["arn:aws:s3:::data", "arn:aws:s3:::data/*"]},
    ]
}
ROLE_POLICY = _resource("aws:iam/rolePolicy:RolePolicy", "job", policy=json.dumps(POLICY))


def _after(mutation: Any, resource: Resource) -> Any:
    """The properties that a mutation leaves, or None where nothing is left of the resource."""
    found = mutation.applied(Graph([resource])).by_urn.get(resource.urn)
    return found.props if found else None


def test_a_change_of_one_place_leaves_all_else_and_the_original_alone():
    before = {"a": [{"b": 1}, {"b": 2}], "c": '{"d": {"e": 1}}'}

    assert places.changed(before, ("a", 1, "b"), lambda old: old + 1)["a"] == [{"b": 1}, {"b": 3}]
    assert places.changed(before, ("a", 0), lambda _: ABSENT)["a"] == [{"b": 2}]
    assert json.loads(places.changed(before, ("c", places.JSON, "d", "e"), lambda _: 5)["c"]) == {"d": {"e": 5}}
    assert places.changed(before, ("x", "y"), lambda _: 1) == {**before, "x": {"y": 1}}
    assert places.changed(before, ("x", "y"), lambda _: ABSENT) == before
    assert places.changed(before, ("a", 7, "b"), lambda _: 1) == before
    assert before == {"a": [{"b": 1}, {"b": 2}], "c": '{"d": {"e": 1}}'}


def test_properties_are_taken_away_one_at_a_time_and_only_where_that_changes_something():
    made = {one.what: one for one in properties.mutations(Graph([TEMPLATE]))}

    assert "blockDeviceMappings[0].ebs.encrypted: true becomes false" in made
    assert not any(what.startswith("blockDeviceMappings[1].ebs.encrypted") for what in made)
    changed = _after(made["metadataOptions.httpTokens: required becomes optional"], TEMPLATE)
    assert changed["metadataOptions"] == {"httpTokens": "optional", "httpPutResponseHopLimit": 1}
    assert changed["blockDeviceMappings"] == TEMPLATE.props["blockDeviceMappings"]


def test_regions_accounts_and_ranges_are_moved_wherever_they_stand():
    own = _resource("aws:kms/key:Key", "key", arn=KEY)
    rule = _resource("aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule", "in", cidrIpv4="10.0.0.0/16")
    graph = Graph([TEMPLATE, own, rule])

    made = {(one.resource.name, one.loses, one.what.partition(":")[0]) for one in everywhere.mutations(graph, graph)}

    assert ("nodes", "regions", "region") in made
    assert ("nodes", "regions", "blockDeviceMappings[0].ebs.kmsKeyId") in made
    assert ("nodes", "accounts", "blockDeviceMappings[0].ebs.kmsKeyId") in made
    assert ("in", "network", "cidrIpv4") in made


def test_each_statement_of_a_document_is_widened_in_each_way():
    done = [one.what for one in statements.mutations(Graph([ROLE_POLICY]))]

    assert "policy, Read: Action becomes *" in done
    assert "policy, Read: Resource becomes arn:aws:s3:::data/*" in done
    assert "policy, Use: Condition is gone" in done
    assert "policy, Use: StringEquals kms:ViaService is gone" in done
    assert "policy, Use: StringEquals aws:RequestTag/a is as wide as can be" in done
    assert "policy, No: the denial is gone" in done
    assert "policy, No: it denies on its first resource only" in done
    assert not any("Principal" in one for one in done), "an identity's policy names nobody"


def test_a_wider_condition_keeps_the_others():
    (wider,) = (
        one
        for one in statements.mutations(Graph([ROLE_POLICY]))
        if one.what == "policy, Use: StringEquals kms:ViaService is as wide as can be"
    )

    use = json.loads(_after(wider, ROLE_POLICY)["policy"])["Statement"][1]

    assert use["Condition"] == {"StringEquals": {"aws:RequestTag/a": "b"}, "StringLike": {"kms:ViaService": "*"}}


@resource_rule("tokens", title="t", severity=Severity.LOW, applies={TEMPLATE.type}, controls={}, why="", remedy="")
def tokens(template: Resource) -> Iterator[Finding]:
    if template["metadataOptions"]["httpTokens"].text() != "required":
        yield violation("optional")


@stack_rule(
    "hops", title="t", severity=Severity.LOW, applies={TEMPLATE.type}, controls={}, why="", remedy="", advice=True
)
def hops(template: Resource, _: Graph) -> Iterator[Finding]:
    if template["metadataOptions"]["httpPutResponseHopLimit"].raw != 1:
        yield violation("far")


@resource_rule("broken", title="t", severity=Severity.LOW, applies={TEMPLATE.type}, controls={}, why="", remedy="")
def broken(template: Resource) -> Iterator[Finding]:
    yield violation(f"{template.props['keyName']}")


@pytest.fixture(scope="module")
def outcomes() -> dict[str, Outcome]:
    rules: tuple[Rule, ...] = (tokens, hops, broken)
    graph = Graph([TEMPLATE])
    return {one.mutation.what: one.outcome for one in try_all(InForce(rules), graph, graph)}


def test_what_stops_a_deployment_is_caught_and_what_advises_is_told_apart(outcomes):
    assert outcomes["metadataOptions.httpTokens: required becomes optional"] is Outcome.CAUGHT
    assert outcomes["metadataOptions.httpPutResponseHopLimit: 1 becomes 2"] is Outcome.ADVICE
    assert outcomes["blockDeviceMappings[0].ebs.encrypted: true becomes false"] is Outcome.MISSED


def test_a_rule_that_fails_catches_nothing_and_what_was_found_before_is_no_catch(outcomes):
    """`broken` fails before as after, but where a key pair is named: there it says something new."""
    assert outcomes["keyName: operators is set"] is Outcome.CAUGHT
    assert outcomes["region: us-east-1 becomes ap-southeast-1"] is Outcome.MISSED
