"""The data layer as it stands: buckets, the interruption queue, the network, the registry."""

from __future__ import annotations

import json

import pytest

BUCKETS = ("datasets_bucket", "checkpoints_bucket", "artifacts_bucket")


@pytest.mark.parametrize("bucket", BUCKETS)
def test_data_is_encrypted_with_the_platforms_own_key(client, outputs, bucket):
    found = client("s3").get_bucket_encryption(Bucket=outputs[bucket])["ServerSideEncryptionConfiguration"]["Rules"][0]
    assert found["ApplyServerSideEncryptionByDefault"] == {
        "SSEAlgorithm": "aws:kms",
        "KMSMasterKeyID": outputs["data_key_arn"],
    }


@pytest.mark.parametrize("bucket", [*BUCKETS, "logs_bucket"])
def test_no_bucket_can_be_opened_to_the_public(client, outputs, bucket):
    s3, name = client("s3"), outputs[bucket]
    assert all(s3.get_public_access_block(Bucket=name)["PublicAccessBlockConfiguration"].values())
    rules = s3.get_bucket_ownership_controls(Bucket=name)["OwnershipControls"]["Rules"]
    assert rules == [{"ObjectOwnership": "BucketOwnerEnforced"}]


@pytest.mark.parametrize("bucket", BUCKETS)
def test_what_is_overwritten_can_be_had_back(client, outputs, bucket):
    assert client("s3").get_bucket_versioning(Bucket=outputs[bucket])["Status"] == "Enabled"


@pytest.mark.parametrize("bucket", [*BUCKETS, "logs_bucket"])
def test_data_lies_in_the_environments_region(client, outputs, settings, bucket):
    place = client("s3").get_bucket_location(Bucket=outputs[bucket])["LocationConstraint"] or "us-east-1"
    assert place == settings.region


def test_every_key_rotates_and_is_enabled(client, outputs):
    kms = client("kms")
    keys = [value for name, value in outputs.items() if name.endswith("_key_arn")]
    assert len(keys) == 5
    for key in keys:
        assert kms.describe_key(KeyId=key)["KeyMetadata"]["KeyState"] == "Enabled"
        assert kms.get_key_rotation_status(KeyId=key)["KeyRotationEnabled"]


def test_the_interruption_queue_is_encrypted_and_every_rule_leads_to_it(client, outputs):
    attributes = client("sqs").get_queue_attributes(
        QueueUrl=outputs["interruption_queue_url"], AttributeNames=["KmsMasterKeyId", "QueueArn", "RedrivePolicy"]
    )["Attributes"]
    assert attributes["QueueArn"] == outputs["interruption_queue_arn"]
    assert attributes["KmsMasterKeyId"] == outputs["messages_key_arn"]
    events = client("events")
    assert len(outputs["interruption_rule_names"]) == 6
    for name in outputs["interruption_rule_names"]:
        assert events.describe_rule(Name=name)["State"] == "ENABLED"
        assert [one["Arn"] for one in events.list_targets_by_rule(Rule=name)["Targets"]] == [attributes["QueueArn"]]


def test_spot_warnings_have_a_rule(client, outputs):
    events = client("events")
    patterns = [
        json.loads(events.describe_rule(Name=name)["EventPattern"]) for name in outputs["interruption_rule_names"]
    ]
    assert any("EC2 Spot Instance Interruption Warning" in one.get("detail-type", ()) for one in patterns)


def test_all_traffic_of_the_vpc_is_logged(client, outputs, settings):
    if settings.network.existing is not None:
        pytest.skip("an existing VPC's flow logs are its owner's")
    found = client("ec2").describe_flow_logs(Filters=[{"Name": "resource-id", "Values": [outputs["vpc_id"]]}])
    assert [(one["FlowLogStatus"], one["TrafficType"]) for one in found["FlowLogs"]] == [("ACTIVE", "ALL")]


def test_every_endpoint_that_was_asked_for_is_available(client, outputs, settings):
    if settings.network.existing is not None:
        pytest.skip("an existing VPC's endpoints are its owner's")
    found = client("ec2").describe_vpc_endpoints(Filters=[{"Name": "vpc-id", "Values": [outputs["vpc_id"]]}])
    states = {one["ServiceName"].partition(f"{settings.region}.")[2]: one["State"] for one in found["VpcEndpoints"]}
    assert states == dict.fromkeys({"s3", *settings.network.interface_endpoints}, "available")


def test_private_subnets_give_no_public_address(client, outputs):
    found = client("ec2").describe_subnets(SubnetIds=outputs["private_subnet_ids"])["Subnets"]
    assert len(found) == len(outputs["private_subnet_ids"])
    assert not any(one["MapPublicIpOnLaunch"] for one in found)
    assert {one["AvailabilityZone"]: one["SubnetId"] for one in found} == outputs["private_subnet_ids_by_zone"]


def test_images_cannot_be_overwritten(client, outputs, settings):
    found = client("ecr").describe_repositories()["repositories"]
    own = [one for one in found if one["repositoryName"].startswith(f"{settings.name}/")]
    assert outputs["trainer_repository_url"] in {one["repositoryUri"] for one in own}
    assert {one["imageTagMutability"] for one in own} == {"IMMUTABLE"}
    assert {one["encryptionConfiguration"]["kmsKey"] for one in own} == {outputs["compute_key_arn"]}


def test_a_month_has_a_limit(client, settings):
    account = client("sts").get_caller_identity()["Account"]
    found = client("budgets").describe_budgets(AccountId=account)["Budgets"]
    own = [one for one in found if one["BudgetName"].startswith(settings.name)]
    assert [float(one["BudgetLimit"]["Amount"]) for one in own] == [float(settings.budget.monthly_limit_usd)]
