"""A map writes AWS requests from properties and reads properties from answers."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from trainyard.local.aws.fields import (
    ID,
    Added,
    Choice,
    Const,
    Each,
    Filled,
    Given,
    Json,
    Object,
    Prop,
    Removed,
    Scope,
    Text,
    Values,
    canonical_map,
    leaves,
    pascal,
    read_map,
    same,
    write_map,
)


def scope(values=None, facts=None, actual=None) -> Scope:
    return Scope(values or {}, facts or {}, actual or {})


@pytest.mark.parametrize(
    ("map_", "properties", "request_"),
    [
        (pascal("cidrBlock"), {"cidrBlock": "10.0.0.0/16"}, {"CidrBlock": "10.0.0.0/16"}),
        (same("kmsKeyId"), {"kmsKeyId": "k"}, {"kmsKeyId": "k"}),
        ({"Dns": {"Value": "dns"}}, {"dns": False}, {"Dns": {"Value": False}}),
        ({"A": Text("n"), "B": Text("b")}, {"n": 30, "b": True}, {"A": "30", "B": "true"}),
        ({"State": Choice("on", values={True: "ON", False: "OFF"})}, {"on": False}, {"State": "OFF"}),
        ({"Groups": Values("groups", key="Id")}, {"groups": ["a", "b"]}, {"Groups": [{"Id": "a"}, {"Id": "b"}]}),
        ({"Rule": Object("rule", pascal("name"))}, {"rule": {"name": "x"}}, {"Rule": {"Name": "x"}}),
        ({"Rules": Object("rule", pascal("name"), single=True)}, {"rule": {"name": "x"}}, {"Rules": [{"Name": "x"}]}),
        (
            {"Rules": Each("rules", pascal("id"))},
            {"rules": [{"id": "1"}, {"id": "2"}]},
            {"Rules": [{"Id": "1"}, {"Id": "2"}]},
        ),
    ],
)
def test_a_map_goes_both_ways(map_, properties, request_):
    assert write_map(map_, scope(properties)) == request_
    assert read_map(map_, request_) == properties


def test_what_is_not_set_is_left_out_of_a_request():
    map_ = {"A": "a", "B": {"C": "c"}, "D": [{"E": "e"}], "F": Object("f", {}), "G": Given("a", Const(1))}
    assert write_map(map_, scope()) == {}


def test_a_setting_is_put_back_with_the_value_for_unset():
    assert write_map({"Key": Prop("key", unset="")}, scope()) == {"Key": ""}
    assert write_map({"Filter": Object("filter", {}, unset={})}, scope()) == {"Filter": {}}


def test_facts_address_the_resource():
    map_ = {"Id": ID, "Arn": Filled("arn:{region}:{id}"), "Filters": [{"Name": Const("vpc"), "Values": [ID]}]}
    written = write_map(map_, scope(facts={"id": "vpc-1", "region": "eu-west-1"}))
    assert written == {"Id": "vpc-1", "Arn": "arn:eu-west-1:vpc-1", "Filters": [{"Name": "vpc", "Values": ["vpc-1"]}]}


def test_lists_change_by_what_is_added_and_removed():
    map_ = {"Add": Added("tables"), "Remove": Removed("tables")}
    assert write_map(map_, scope({"tables": ["b", "c"]}, actual={"tables": ["a", "b"]})) == {
        "Add": ["c"],
        "Remove": ["a"],
    }
    assert write_map(map_, scope({"tables": ["a"]}, actual={"tables": ["a"]})) == {}


def test_a_parameter_that_aws_takes_only_when_true():
    assert write_map({"FifoQueue": Text("fifo", only_true=True)}, scope({"fifo": False})) == {}
    assert write_map({"FifoQueue": Text("fifo", only_true=True)}, scope({"fifo": True})) == {"FifoQueue": "true"}


def test_times_are_read_as_utc_text():
    assert read_map({"Made": "made"}, {"Made": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)}) == {
        "made": "2026-01-02T03:04:05Z"
    }


def test_documents_mean_the_same_however_they_are_written():
    field = Json("policy")
    written = '{"Statement": [{"Action": ["s3:Get", "s3:Put"], "Resource": ["*"]}]}'
    reworded = '{"Statement":[{"Resource":"*","Action":["s3:Put","s3:Get"]}]}'
    assert field.canonical(written) == field.canonical(reworded)
    assert field.canonical(written) != field.canonical(written.replace("Put", "Delete"))
    assert field.canonical("no json") == "no json"


def test_the_order_of_statements_is_kept():
    field = Json("policy")
    assert field.canonical('{"Statement": [{"Sid": "a"}, {"Sid": "b"}]}') != field.canonical(
        '{"Statement": [{"Sid": "b"}, {"Sid": "a"}]}'
    )


def test_order_matters_only_where_a_row_says_so():
    one, other = [{"id": "1"}, {"id": "2"}], [{"id": "2"}, {"id": "1"}]
    assert Each("rules", pascal("id")).canonical(one) != Each("rules", pascal("id")).canonical(other)
    unordered = Each("rules", pascal("id"), ordered=False)
    assert unordered.canonical(one) == unordered.canonical(other)


def test_what_says_nothing_equals_what_is_not_there():
    map_ = {"Days": "days", "Policy": Json("policy"), "Tags": Object("tags", pascal("key"))}
    assert canonical_map(map_, {"days": 0, "policy": None, "tags": {"key": ""}}) == {}


def test_leaves_name_every_property_once_per_mention():
    map_ = {"A": "a", "B": {"C": Text("c")}, "D": [{"E": "e"}], "F": Given("g", ["g"]), "H": ID, "I": Added("tables")}
    assert sorted(leaf.name for leaf in leaves(map_)) == ["a", "c", "e", "g", "tables"]
