"""What the pack and its harness rely on in pulumi_policy beyond its documentation. Red: read wire.py, analyzer.py."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from google.protobuf.struct_pb2 import Struct
from pulumi_policy import proxy
from pulumi_policy.deserialize import SPECIAL_ASSET_SIG, SPECIAL_SECRET_SIG, SPECIAL_SIG_KEY
from pulumi_policy.proxy import UNKNOWN_STRING_VALUE

from trainyard.policies.analyzer import _resource
from trainyard.policies.cases import Secret, stack
from trainyard.policies.graph import name_of
from trainyard.policies.taggable import _TABLE, read_sdk
from trainyard.policies.testing import stack_resource
from trainyard.policies.values import UNKNOWN
from trainyard.policies.wire import UNKNOWN_KINDS, plain


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        *(({"a": kind, "b": [1, kind], "c": {"d": kind}}, {"a": UNKNOWN, "b": [1, UNKNOWN], "c": {"d": UNKNOWN}})
          for kind in sorted(UNKNOWN_KINDS)),
        ({"a": {SPECIAL_SIG_KEY: SPECIAL_SECRET_SIG, "value": {"b": UNKNOWN_STRING_VALUE, "c": True}}},
         {"a": {"b": UNKNOWN, "c": True}}),
        ({"a": {SPECIAL_SIG_KEY: SPECIAL_ASSET_SIG, "text": "x"}}, {"a": "<asset>"}),
        ({"a": {SPECIAL_SIG_KEY: "of a kind that comes later", "value": 1}}, {"a": UNKNOWN}),
        ({"a": None, "b": 1.5, "c": 2.0, "d": []}, {"a": None, "b": 1.5, "c": 2, "d": []}),
    ],
)  # fmt: skip
def test_what_the_engine_sends_is_read(sent: dict[str, Any], read: dict[str, Any]) -> None:
    struct = Struct()
    struct.update(sent)

    assert plain(struct) == read


def test_unknown_kinds_are_those_that_the_sdk_knows() -> None:
    known = {value for name, value in vars(proxy).items() if re.fullmatch(r"UNKNOWN_[A-Z]+_VALUE", name)}

    assert known == UNKNOWN_KINDS


def test_stack_comes_with_its_property_dependencies() -> None:
    key = {"type": "aws:kms/key:Key", "name": "key"}
    group = {
        "type": "aws:cloudwatch/logGroup:LogGroup",
        "name": "group",
        "props": {"kmsKeyId": UNKNOWN, "note": Secret("x")},
        "depends": {"kmsKeyId": ["key"]},
    }

    _, seen = (_resource(stack_resource(one)) for one in stack([key, group], "dev"))

    assert [name_of(urn) for urn in seen.property_dependencies["kmsKeyId"]] == ["key"]
    assert seen.props == {"kmsKeyId": UNKNOWN, "note": "x"}


def test_table_of_taggable_types_is_that_of_the_installed_sdk() -> None:
    written = json.loads(_TABLE.read_text(encoding="utf-8"))["types"]

    assert written == read_sdk(), "run: python -m trainyard.policies.taggable > policies/taggable_types.json"
    assert len(written) > 800
    assert written["aws:autoscaling/group:Group"] == "own tags only"
