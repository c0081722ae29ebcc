"""The life of resources in the real engine: made, left alone, changed, replaced, broken, mended, adopted, removed."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError

from trainyard.local.engine import EngineError


@pytest.fixture
def account(rehearse):
    account = rehearse("lifecycle")
    account.engine.run("up")
    return account


def _operations(result):
    return {(operation, urn.rsplit("::", 1)[-1]) for operation, urn in result.steps}


def test_what_was_made_can_be_read_back_and_needs_no_change(account):
    outputs = account.engine.outputs()
    vpcs = account.client("ec2").describe_vpcs(VpcIds=[outputs["vpc_id"]])["Vpcs"]
    assert vpcs[0]["CidrBlock"] == "10.1.0.0/16"
    assert {"Key": "owner", "Value": "rehearsal"} in vpcs[0]["Tags"]
    versioning = account.client("s3").get_bucket_versioning(Bucket=outputs["bucket"])
    assert versioning["Status"] == "Enabled"
    preview = account.engine.run("preview")
    assert set(preview.changes) == {"same"}


def test_a_setting_changes_its_resource_and_no_other(account):
    account.configure(retention=7200)
    changed = account.engine.run("up")
    assert _operations(changed) == {("update", "queue")}
    attributes = account.client("sqs").get_queue_attributes(
        QueueUrl=account.engine.outputs()["queue_url"], AttributeNames=["MessageRetentionPeriod"]
    )
    assert attributes["Attributes"]["MessageRetentionPeriod"] == "7200"


def test_a_default_tag_reaches_every_resource_that_takes_tags(account):
    account.configure(owner="vision-team")
    changed = account.engine.run("up")
    assert {("update", "vpc"), ("update", "subnet"), ("update", "bucket"), ("update", "queue")} <= _operations(changed)
    tags = account.client("s3").get_bucket_tagging(Bucket=account.engine.outputs()["bucket"])["TagSet"]
    assert {"Key": "owner", "Value": "vision-team"} in tags


def test_what_cannot_be_changed_is_replaced_with_all_that_stands_in_it(account):
    before = account.engine.outputs()
    account.configure(cidr="10.2.0.0/16")
    changed = account.engine.run("up")
    assert {("create-replacement", "vpc"), ("delete-replaced", "vpc")} <= _operations(changed)
    assert {("create-replacement", "subnet"), ("delete-replaced", "subnet")} <= _operations(changed)
    after = account.engine.outputs()
    assert after["vpc_id"] != before["vpc_id"]
    with pytest.raises(ClientError, match="InvalidVpcID"):
        account.client("ec2").describe_vpcs(VpcIds=[before["vpc_id"]])
    assert set(account.engine.run("preview").changes) == {"same"}


def test_drift_made_from_outside_is_found_by_refresh_and_mended_by_up(account):
    bucket = account.engine.outputs()["bucket"]
    s3 = account.client("s3")
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Suspended"})
    assert account.engine.run("refresh").changes.get("update") == 1
    assert account.resource("versioning")["outputs"]["versioningConfiguration"]["status"] == "Suspended"
    assert _operations(account.engine.run("up")) == {("update", "versioning")}
    assert s3.get_bucket_versioning(Bucket=bucket)["Status"] == "Enabled"


def test_what_was_deleted_outside_is_made_again(account):
    sqs = account.client("sqs")
    sqs.delete_queue(QueueUrl=account.engine.outputs()["queue_url"])
    refreshed = account.engine.run("refresh")
    assert refreshed.changes.get("delete", 0) >= 1
    assert ("create", "queue") in _operations(account.engine.run("up"))
    assert sqs.get_queue_attributes(QueueUrl=account.engine.outputs()["queue_url"], AttributeNames=["QueueArn"])


def test_a_failure_half_way_keeps_what_was_made_and_the_next_up_goes_on(rehearse):
    account = rehearse("lifecycle")
    account.configure(unreachable=True)
    with pytest.raises(EngineError, match=r"InvalidVpcID\.NotFound") as failed:
        account.engine.run("up")
    assert "Traceback" not in str(failed.value)
    made = account.resource("vpc")["id"]
    account.configure(unreachable=None)
    repaired = account.engine.run("up")
    assert account.resource("vpc")["id"] == made
    assert "delete" not in repaired.changes
    assert set(account.engine.run("preview").changes) == {"same"}


def test_a_bucket_made_by_hand_is_imported_and_then_needs_no_change(account):
    account.client("s3").create_bucket(Bucket="made-by-hand-2026")
    account.client("s3").put_bucket_tagging(
        Bucket="made-by-hand-2026",
        Tagging={"TagSet": [{"Key": "owner", "Value": "rehearsal"}, {"Key": "data-class", "Value": "internal"}]},
    )
    provider = account.resource("aws")["urn"]
    account.engine.run(
        "import", "aws:s3/bucket:Bucket", "adopted", "made-by-hand-2026", "--protect=false", "--generate-code=false",
        "--provider", f"aws={provider}",
    )  # fmt: skip
    account.configure(adopted="made-by-hand-2026")
    assert set(account.engine.run("preview").changes) == {"same"}


def test_a_wrong_input_is_refused_before_anything_is_made(rehearse):
    account = rehearse("lifecycle")
    account.configure(versioning="On")
    with pytest.raises(EngineError, match=r"(?s)status.*On.*Enabled"):
        account.engine.run("preview")
    assert account.client("ec2").describe_vpcs(Filters=[{"Name": "is-default", "Values": ["false"]}])["Vpcs"] == []


def test_destroy_leaves_nothing(account):
    bucket = account.engine.outputs()["bucket"]
    account.engine.run("destroy")
    assert account.client("s3").list_buckets()["Buckets"] == [], bucket
    assert account.client("sqs").list_queues().get("QueueUrls", []) == []
    assert account.client("ec2").describe_vpcs(Filters=[{"Name": "is-default", "Values": ["false"]}])["Vpcs"] == []
    assert account.engine.export()["deployment"].get("resources", []) == []
