"""Diff: what counts as a change, what replaces, and in which order."""

from __future__ import annotations

import pytest

from trainyard.local.aws.check import CheckRequest, check
from trainyard.local.aws.diff import diff, replacing_properties
from trainyard.local.aws.rows import row_for
from trainyard.local.aws.values import UNKNOWN

QUEUE = "aws:sqs/queue:Queue"
LIFECYCLE = "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration"


def difference(token, old, new, outputs=None):
    row = row_for(token)
    before, problems = check(row, CheckRequest("x", old, seed=b"1", region="us-east-1"))
    assert not problems
    after, problems = check(row, CheckRequest("x", new, before, seed=b"2", region="us-east-1"))
    assert not problems
    return diff(row, before, {**before, **(outputs or {})}, after)


def test_the_same_program_changes_nothing():
    assert not difference(QUEUE, {"delaySeconds": 5}, {"delaySeconds": 5}).changes


def test_a_changed_an_added_and_a_removed_property():
    assert difference(QUEUE, {"delaySeconds": 5}, {"delaySeconds": 6}).changes == {"delaySeconds": "update"}
    assert difference(QUEUE, {}, {"kmsMasterKeyId": "k"}).changes == {"kmsMasterKeyId": "add"}
    assert difference(QUEUE, {"kmsMasterKeyId": "k"}, {}).changes == {"kmsMasterKeyId": "delete"}


def test_a_removed_property_with_a_default_goes_back_to_it():
    assert difference(QUEUE, {"delaySeconds": 5}, {}).changes == {"delaySeconds": "update"}


def test_what_aws_chooses_is_no_change_when_the_program_stops_saying_it():
    assert not difference(QUEUE, {"maxMessageSize": 2048}, {}).changes


def test_saying_what_aws_chose_is_no_change():
    assert not difference(QUEUE, {}, {"maxMessageSize": 2048}, {"maxMessageSize": 2048}).changes
    assert difference(QUEUE, {}, {"maxMessageSize": 4096}, {"maxMessageSize": 2048}).changes


def test_documents_are_compared_by_meaning():
    token = "aws:sqs/queuePolicy:QueuePolicy"
    text = '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": ["sqs:SendMessage"]}]}'
    meant = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sqs:SendMessage"}]}
    old = {"queueUrl": "u", "policy": text}
    assert not difference(token, old, {"queueUrl": "u", "policy": meant}).changes
    assert difference(token, old, {"queueUrl": "u", "policy": {**meant, "Statement": []}}).changes == {
        "policy": "update"
    }


def test_tags_show_the_changed_key():
    changes = difference(QUEUE, {"tags": {"a": "1", "b": "1"}}, {"tags": {"a": "2", "c-d": "1"}}).changes
    assert changes == {
        "tags.a": "update",
        "tags.b": "delete",
        'tags["c-d"]': "add",
        "tagsAll.a": "update",
        "tagsAll.b": "delete",
        'tagsAll["c-d"]': "add",
    }


def test_lists_show_the_changed_item():
    def rule(name, days):
        return {"id": name, "status": "Enabled", "expiration": {"days": days}}

    old = {"bucket": "b", "rules": [rule("a", 1), rule("b", 2)]}
    assert difference(LIFECYCLE, old, {"bucket": "b", "rules": [rule("a", 1), rule("b", 3)]}).changes == {
        "rules[1]": "update"
    }
    assert difference(LIFECYCLE, old, {"bucket": "b", "rules": [rule("a", 1)]}).changes == {"rules[1]": "delete"}


def test_the_order_of_a_set_is_no_change():
    token = "aws:ec2/vpcEndpoint:VpcEndpoint"
    base = {"vpcId": "vpc-1", "serviceName": "com.amazonaws.us-east-1.s3"}
    assert not difference(token, {**base, "routeTableIds": ["a", "b"]}, {**base, "routeTableIds": ["b", "a"]}).changes


def test_an_unknown_value_is_a_change_and_replaces_where_a_known_one_would():
    token = "aws:sqs/queuePolicy:QueuePolicy"
    found = difference(token, {"queueUrl": "u", "policy": "{}"}, {"queueUrl": UNKNOWN, "policy": "{}"})
    assert found.replaces == {"queueUrl"}


@pytest.mark.parametrize(
    ("token", "names"),
    [
        (QUEUE, {"name", "namePrefix", "fifoQueue", "region"}),
        ("aws:ec2/vpc:Vpc", {"cidrBlock", "instanceTenancy", "region"}),
        (
            "aws:ec2/subnet:Subnet",
            {"availabilityZone", "availabilityZoneId", "cidrBlock", "vpcId", "region", "ipv6Native"},
        ),
        ("aws:kms/key:Key", {"customerMasterKeySpec", "keyUsage", "multiRegion", "region"}),
        ("aws:iam/role:Role", {"name", "namePrefix", "path", "region"}),
        ("aws:iam/policy:Policy", {"name", "namePrefix", "path", "description", "region"}),
        ("aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule", {"securityGroupId", "region"}),
    ],
)
def test_what_replaces(token, names):
    row = row_for(token)
    assert replacing_properties(row) - set(row.not_emulated) == names


def test_a_generated_name_lets_the_new_resource_stand_beside_the_old_one():
    found = difference(QUEUE, {"fifoQueue": False}, {"fifoQueue": True, "name": "x.fifo"})
    assert found.replaces == {"name", "fifoQueue"}
    assert not found.delete_before_replace


def test_a_fixed_name_makes_the_old_resource_go_first():
    token = "aws:iam/role:Role"
    found = difference(
        token, {"name": "r", "assumeRolePolicy": "{}"}, {"name": "r", "assumeRolePolicy": "{}", "path": "/x/"}
    )
    assert found.replaces == {"path"}
    assert found.delete_before_replace


def test_an_attachment_goes_before_its_like_comes():
    token = "aws:iam/rolePolicyAttachment:RolePolicyAttachment"
    found = difference(token, {"role": "r", "policyArn": "a"}, {"role": "r", "policyArn": "b"})
    assert found.delete_before_replace


def test_taking_a_region_moves_the_resource():
    assert difference(QUEUE, {}, {"region": "eu-west-1"}).replaces == {"region"}


def test_only_another_region_replaces_the_provider():
    from trainyard.local.aws.provider import configuration_replaces

    assert configuration_replaces({"region": "us-east-1"}, {"region": "eu-west-1"}) == ["region"]
    assert configuration_replaces({"region": "us-east-1"}, {"region": "us-east-1", "defaultTags": "{}"}) == []
