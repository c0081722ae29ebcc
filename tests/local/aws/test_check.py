"""Check: what a person is told about wrong inputs, and what Check fills in."""

from __future__ import annotations

import pytest

from trainyard.local.aws.account import Account
from trainyard.local.aws.check import CheckRequest, check
from trainyard.local.aws.naming import Autonaming
from trainyard.local.aws.provider import Configuration, Provider
from trainyard.local.aws.rows import UnsupportedTypeError, row_for
from trainyard.local.aws.values import UNKNOWN

BUCKET = "aws:s3/bucket:Bucket"
QUEUE = "aws:sqs/queue:Queue"
KEY = "aws:kms/key:Key"


def checked(token, inputs, **more):
    more = {"region": "us-east-1", "default_tags": {"managed-by": "trainyard"}, "seed": b"seed", **more}
    return check(row_for(token), CheckRequest("jobs", inputs, **more))


def problems(token, inputs, **more):
    return dict(checked(token, inputs, **more)[1])


@pytest.mark.parametrize(
    ("token", "inputs", "path", "words"),
    [
        (QUEUE, {"delaySecond": 3}, "delaySecond", "did you mean delaySeconds?"),
        (QUEUE, {"delaySeconds": "3"}, "delaySeconds", "must be a whole number"),
        (QUEUE, {"delaySeconds": True}, "delaySeconds", "must be a whole number"),
        (QUEUE, {"delaySeconds": 1000}, "delaySeconds", "it may be 0 to 900"),
        (QUEUE, {"fifoQueue": "yes"}, "fifoQueue", "must be true or false"),
        (QUEUE, {"tags": {"a": 1}}, 'tags["a"]', "must be a string"),
        (QUEUE, {"contentBasedDeduplication": True}, "contentBasedDeduplication", "set fifoQueue"),
        (QUEUE, {"name": "a", "namePrefix": "b"}, "name", "excludes namePrefix"),
        ("aws:sqs/queuePolicy:QueuePolicy", {"policy": "{}"}, "queueUrl", "it is required"),
        (
            "aws:s3/bucketVersioning:BucketVersioning",
            {"bucket": "b", "versioningConfiguration": {}},
            "versioningConfiguration.status",
            "it is required",
        ),
        (
            "aws:s3/bucketVersioning:BucketVersioning",
            {"bucket": "b", "versioningConfiguration": {"status": "On"}},
            "versioningConfiguration.status",
            "it may be Enabled, Suspended",
        ),
        (
            "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration",
            {"bucket": "b", "rules": [{"applyServerSideEncryptionByDefault": {"sseAlgorithm": "DES"}}]},
            "rules[0].applyServerSideEncryptionByDefault.sseAlgorithm",
            "aws:kms",
        ),
        (
            "aws:sqs/queuePolicy:QueuePolicy",
            {"queueUrl": "u", "policy": {"Statement": []}},
            "policy.Version",
            "it is required",
        ),
        (BUCKET, {"acl": "private"}, "acl", "is not emulated: deprecated by the SDK"),
        ("aws:cloudwatch/logGroup:LogGroup", {"retentionInDays": 8}, "retentionInDays", "it may be 1, 3, 5"),
        (KEY, {"keyUsage": "SIGN"}, "keyUsage", "ENCRYPT_DECRYPT"),
        (KEY, {"deletionWindowInDays": 3}, "deletionWindowInDays", "7 to 30"),
        ("aws:ec2/vpc:Vpc", {"cidrBlock": "10.0.0.0/16", "instanceTenancy": "shared"}, "instanceTenancy", "dedicated"),
        (
            "aws:ec2/routeTableAssociation:RouteTableAssociation",
            {"routeTableId": "rtb-1"},
            "subnetId",
            "exactly one of",
        ),
    ],
)
def test_a_wrong_input_is_named_with_what_may_stand_there(token, inputs, path, words):
    found = problems(token, inputs)
    assert path in found, found
    assert words in found[path]


def test_an_unsupported_type_names_the_file_to_add_it_in():
    with pytest.raises(
        UnsupportedTypeError, match=r"aws:eks/fargateProfile:FargateProfile is not emulated: .*rows/eks\.py"
    ):
        row_for("aws:eks/fargateProfile:FargateProfile")
    with pytest.raises(UnsupportedTypeError, match=r"rows/events\.py"):
        row_for("aws:cloudwatch/eventBus:EventBus")


def test_unknown_values_are_no_problem_and_stay_unknown():
    inputs, found = checked(QUEUE, {"kmsMasterKeyId": UNKNOWN, "delaySeconds": UNKNOWN, "policy": UNKNOWN})
    assert not found
    assert inputs["kmsMasterKeyId"] is UNKNOWN


def test_a_document_given_as_an_object_becomes_text():
    policy = {"Version": "2012-10-17", "Statement": []}
    inputs, found = checked("aws:sqs/queuePolicy:QueuePolicy", {"queueUrl": "u", "policy": policy})
    assert not found
    assert inputs["policy"] == '{"Version":"2012-10-17","Statement":[]}'
    inputs, _ = checked("aws:sqs/queuePolicy:QueuePolicy", {"queueUrl": "u", "policy": {**policy, "Id": UNKNOWN}})
    assert inputs["policy"] is UNKNOWN


def test_defaults_are_filled_in_and_named():
    inputs, _ = checked(KEY, {"enableKeyRotation": True})
    assert inputs["keyUsage"] == "ENCRYPT_DECRYPT"
    assert inputs["enableKeyRotation"] is True
    assert "keyUsage" in inputs["__defaults"]
    assert "enableKeyRotation" not in inputs["__defaults"]


def test_default_tags_go_into_tags_all_and_the_resource_s_own_win():
    inputs, _ = checked(QUEUE, {"tags": {"owner": "me", "managed-by": "hand"}})
    assert inputs["tags"] == {"owner": "me", "managed-by": "hand"}
    assert inputs["tagsAll"] == {"owner": "me", "managed-by": "hand"}
    assert checked(QUEUE, {})[0]["tagsAll"] == {"managed-by": "trainyard"}
    assert checked(QUEUE, {"tags": {"owner": UNKNOWN}})[0]["tagsAll"] is UNKNOWN
    assert "tagsAll" not in checked("aws:kms/alias:Alias", {"targetKeyId": "k"})[0]


def test_the_region_is_the_provider_s_unless_the_resource_has_its_own():
    assert checked(QUEUE, {})[0]["region"] == "us-east-1"
    assert checked(QUEUE, {"region": "eu-west-1"})[0]["region"] == "eu-west-1"
    assert checked(QUEUE, {}, region=UNKNOWN)[0]["region"] is UNKNOWN
    assert "region" not in checked("aws:iam/role:Role", {"assumeRolePolicy": "{}"})[0]


class TestNames:
    def test_a_generated_name_has_seven_hex_digits_and_is_the_same_for_the_same_seed(self):
        inputs, _ = checked(QUEUE, {})
        assert inputs["name"].startswith("jobs-")
        assert len(inputs["name"]) == len("jobs-") + 7
        int(inputs["name"][5:], 16)
        assert checked(QUEUE, {})[0]["name"] == inputs["name"]
        assert checked(QUEUE, {}, seed=b"other")[0]["name"] != inputs["name"]

    def test_a_generated_name_is_kept_and_made_anew_without_old_inputs(self):
        first, _ = checked(QUEUE, {})
        kept, _ = checked(QUEUE, {}, old_inputs=first, seed=b"other")
        assert kept["name"] == first["name"]

    def test_a_name_that_the_program_took_away_is_replaced_by_a_generated_one(self):
        fixed, _ = checked(QUEUE, {"name": "fixed"})
        assert checked(QUEUE, {}, old_inputs=fixed)[0]["name"].startswith("jobs-")

    def test_a_fixed_name_and_a_prefix_are_left_alone(self):
        assert checked(QUEUE, {"name": "fixed"})[0]["name"] == "fixed"
        assert "name" not in checked(QUEUE, {"namePrefix": "p-"})[0]

    def test_services_have_their_own_rules_for_names(self):
        assert checked(QUEUE, {"fifoQueue": True})[0]["name"].endswith(".fifo")
        bucket, _ = check(row_for(BUCKET), CheckRequest("Data", {}, seed=b"s"))
        assert bucket["bucket"].startswith("data-")
        assert checked("aws:kms/alias:Alias", {"targetKeyId": "k"})[0]["name"].startswith("alias/jobs-")
        assert checked("aws:cloudwatch/eventTarget:EventTarget", {"rule": "r", "arn": "arn:aws:sqs:::q"})[0][
            "targetId"
        ].startswith("jobs-")

    def test_a_name_that_gets_too_long(self):
        found = dict(check(row_for(BUCKET), CheckRequest("x" * 60, {}))[1])
        assert "at most 63" in found["bucket"]

    def test_the_stack_s_own_naming_wins(self):
        assert checked(QUEUE, {}, autonaming=Autonaming("dev-jobs", "propose"))[0]["name"] == "dev-jobs"
        assert checked(QUEUE, {}, autonaming=Autonaming("dev-jobs", "enforce"))[0]["name"] == "dev-jobs"
        assert "auto-naming off" in problems(QUEUE, {}, autonaming=Autonaming("", "disable"))["name"]


def test_the_provider_checks_its_own_settings(monkeypatch):
    from trainyard.local.aws.provider import check_configuration

    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    assert dict(check_configuration({"assumeRoles": '[{"roleArn":"x"}]', "region": "us-east-1"}))["assumeRoles"]
    assert dict(check_configuration({}))["region"].startswith("is missing")
    assert check_configuration({"region": "us-east-1", "accessKey": "x", "defaultTags": '{"tags":{"a":"b"}}'}) == []


def test_default_tags_of_the_provider_come_as_json_text():
    provider = Provider(Configuration.parse({"region": "us-east-1", "defaultTags": '{"tags":{"a":"b"}}'}), Account(""))
    assert provider.check(QUEUE, "q", {}, {})[0]["tagsAll"] == {"a": "b"}


def test_without_an_emulated_account_nothing_is_configured(monkeypatch):
    from trainyard.local.aws.errors import ProviderError

    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with pytest.raises(ProviderError, match="AWS_ENDPOINT_URL is not set"):
        Provider.configure({"region": "us-east-1"})
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://sqs.us-east-1.amazonaws.com")
    with pytest.raises(ProviderError, match="only talks to an emulated account"):
        Provider.configure({"region": "us-east-1"})
