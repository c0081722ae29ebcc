"""What is not emulated is refused, unless it is to be noted: then it stands as the program writes it."""

from __future__ import annotations

import pytest

from trainyard.local.aws.account import Account
from trainyard.local.aws.noted import noted_in
from trainyard.local.aws.provider import Configuration, Provider
from trainyard.local.aws.rows import UnsupportedTypeError
from trainyard.local.aws.values import UNKNOWN
from trainyard.local.process import NOTING_VARIABLE

COPY = "aws:ec2/amiCopy:AmiCopy"
ENDPOINT = "aws:ec2/vpcEndpoint:VpcEndpoint"
WRITTEN = {"sourceAmiId": "ami-1", "sourceAmiRegion": "us-east-1", "region": "eu-west-1", "tags": {"team": "a"}}


@pytest.fixture
def provider() -> Provider:
    """Of an account whose number is known: nothing is asked of it."""
    return Provider(Configuration("us-east-1", {"owner": "b"}), Account("http://127.0.0.1:9", _id="123456789012"))


@pytest.fixture
def noting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(NOTING_VARIABLE, "true")


def test_without_being_asked_nothing_is_noted(provider: Provider) -> None:
    with pytest.raises(UnsupportedTypeError, match="is not emulated: add a row"):
        provider.check(COPY, "copy", WRITTEN, {})
    _, problems = provider.check(ENDPOINT, "sts", {"vpcId": "vpc-1", "serviceRegion": "eu-west-1"}, {})
    assert [path for path, _ in problems] == ["serviceRegion"]


@pytest.mark.usefixtures("noting")
def test_a_noted_resource_keeps_what_is_written_through_its_whole_life(provider: Provider) -> None:
    inputs, problems = provider.check(COPY, "copy", WRITTEN, {}, b"seed")
    assert problems == []
    assert inputs["name"].startswith("copy-")
    assert inputs["tagsAll"] == {"team": "a", "owner": "b"}
    assert provider.create(COPY, inputs, preview=True)[1]["arn"] is UNKNOWN

    resource_id, outputs = provider.create(COPY, inputs, preview=False)
    assert outputs["arn"] == f"arn:aws:ec2:eu-west-1:123456789012:amiCopy/{resource_id}"
    assert {name: outputs[name] for name in WRITTEN} == WRITTEN

    found = provider.read(COPY, resource_id, outputs, inputs)
    assert found is not None
    assert provider.diff(COPY, found[1], found[2], inputs).changes == {}
    assert found[0] == resource_id

    changed = {**inputs, "description": "of the nodes"}
    assert provider.diff(COPY, inputs, outputs, changed).changes == {"description": "add"}
    assert provider.update(COPY, resource_id, changed, inputs, outputs, preview=False)["description"] == "of the nodes"
    provider.delete(COPY, resource_id, inputs, outputs)


@pytest.mark.usefixtures("noting")
def test_inputs_of_a_noted_resource_are_held_against_the_sdk(provider: Provider) -> None:
    wrong = {"sourceAmiRegion": "us-east-1", "sourceAmi": "ami-1", "encrypted": "yes"}
    _, problems = provider.check(COPY, "copy", wrong, {})
    assert dict(problems) == {
        "sourceAmiId": "is missing: it is required",
        "sourceAmi": "is no property of this type; did you mean sourceAmiId?",
        "encrypted": "is 'yes'; it must be true or false",
    }


@pytest.mark.usefixtures("noting")
def test_a_type_that_nobody_has_is_refused_still(provider: Provider) -> None:
    with pytest.raises(UnsupportedTypeError):
        provider.check("aws:ec2/imagination:Imagination", "none", {}, {})


def test_what_is_noted_is_told_by_kind_and_name() -> None:
    resources = [
        (COPY, "nodes", WRITTEN),
        (COPY, "drivers", WRITTEN),
        (ENDPOINT, "sts", {"vpcId": "vpc-1", "serviceName": "sts", "serviceRegion": "eu-west-1", "__defaults": []}),
        ("kubernetes:core/v1:Namespace", "team", {}),
        ("aws:s3/bucket:Bucket", "data", {"bucket": "data", "tags": {}}),
    ]
    assert noted_in(resources) == ("AmiCopy nodes, drivers", "VpcEndpoint sts.serviceRegion")
