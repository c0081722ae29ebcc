"""What the pack and its harness rely on in pulumi_policy beyond its documentation. A red test here: read `pack.py`."""

from __future__ import annotations

import json

import pytest
from pulumi_policy import EnforcementLevel, StackValidationPolicy
from pulumi_policy.deserialize import SPECIAL_SECRET_SIG, SPECIAL_SIG_KEY, deserialize_properties
from pulumi_policy.policy import _PolicyAnalyzerServicer
from pulumi_policy.proxy import UNKNOWN_STRING_VALUE, UnknownValueError, unknown_checking_proxy

from trainyard.policies.cases import Secret, stack
from trainyard.policies.pack import plain
from trainyard.policies.taggable import _TABLE, read_sdk
from trainyard.policies.testing import _stack_resource
from trainyard.policies.values import UNKNOWN

# All kinds of unknown that the engine sends, by pulumi's sdk/go/common/resource/plugin/rpc.go.
UNKNOWN_KINDS = [
    "1c4a061d-8072-4f0a-a4cb-0ff528b18fe7",
    "3eeb2bf0-c639-47a8-9e75-3b44932eb421",
    "04da6b54-80e4-46f7-96ec-b56ff0331ba9",
    "6a19a0b0-7e62-4c92-b797-7f8e31da9cc2",
    "030794c1-ac77-496b-92df-f27374a8bd58",
    "e48ece36-62e2-4504-bad9-02848725956a",
    "dd056dcd-154b-4c76-9bd3-c8f88648b5ff",
]


@pytest.mark.parametrize("sentinel", UNKNOWN_KINDS)
def test_every_kind_of_unknown_becomes_unknown(sentinel: str) -> None:
    seen = plain(unknown_checking_proxy({"a": sentinel, "b": [1.0, sentinel], "c": {"d": {"e": sentinel}}, "f": "x"}))

    assert seen == {"a": UNKNOWN, "b": [1.0, UNKNOWN], "c": {"d": {"e": UNKNOWN}}, "f": "x"}


def test_reading_an_unknown_raises_with_its_message_attribute() -> None:
    with pytest.raises(UnknownValueError) as caught:
        unknown_checking_proxy({"a": UNKNOWN_STRING_VALUE})["a"]

    assert isinstance(caught.value.message, str)


def test_secrets_arrive_opened() -> None:
    wire = {"a": {SPECIAL_SIG_KEY: SPECIAL_SECRET_SIG, "value": {"b": UNKNOWN_STRING_VALUE, "c": True}}}

    assert plain(unknown_checking_proxy(deserialize_properties(wire))) == {"a": {"b": UNKNOWN, "c": True}}


def test_stack_policies_see_parents_and_property_dependencies_as_resources() -> None:
    seen = {}

    def validate(args, report_violation) -> None:
        seen.update({resource.name: resource for resource in args.resources})

    key = {"type": "aws:kms/key:Key", "name": "key"}
    group = {
        "type": "aws:cloudwatch/logGroup:LogGroup",
        "name": "group",
        "props": {"kmsKeyId": UNKNOWN, "note": Secret("x")},
        "depends": {"kmsKeyId": ["key"]},
    }
    servicer = _PolicyAnalyzerServicer(
        "pack", "1", [StackValidationPolicy("p", "d", validate)], EnforcementLevel.MANDATORY
    )
    from pulumi.runtime import proto

    request = proto.AnalyzeStackRequest(resources=[_stack_resource(one) for one in stack([key, group], "dev")])
    servicer.AnalyzeStack(request, None)

    assert [one.name for one in seen["group"].property_dependencies["kmsKeyId"]] == ["key"]
    assert plain(seen["group"].props) == {"kmsKeyId": UNKNOWN, "note": "x"}


def test_table_of_taggable_types_is_that_of_the_installed_sdk() -> None:
    written = json.loads(_TABLE.read_text(encoding="utf-8"))["types"]

    assert written == read_sdk(), "run: python -m trainyard.policies.taggable > policies/taggable_types.json"
    assert len(written) > 800
    assert written["aws:autoscaling/group:Group"] == "own tags only"
