"""What the SDK and the CloudFormation schemas tell: the contract with both."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from trainyard.local.aws import cloudformation, sdk
from trainyard.local.aws.cloudformation import NoSchemaError
from trainyard.local.aws.sdk import UnknownTypeError, introspect, sdk_type


def test_inputs_types_and_required_flags_come_from_the_sdk():
    found = introspect("aws:sqs/queuePolicy:QueuePolicy")
    assert found.required == ["policy", "queueUrl"]
    assert found.inputs["queueUrl"] == {"is": "string"}
    assert {option["is"] for option in found.inputs["policy"]["of"]} == {"string", "object"}


def test_nested_types_are_described_to_the_bottom():
    found = introspect("aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration")
    rule = found.objects[found.inputs["rules"]["of"]["name"]]
    assert rule["required"] == ["id", "status"]
    expiration = found.objects[rule["properties"]["expiration"]["name"]]
    assert expiration["properties"]["days"] == {"is": "integer"}


def test_a_type_whose_arguments_are_called_like_a_nested_type():
    assert introspect("aws:s3/bucketVersioning:BucketVersioning").required == ["bucket", "versioningConfiguration"]


def test_outputs_have_what_inputs_lack():
    found = introspect("aws:kms/key:Key")
    assert {"arn", "keyId", "tagsAll"} <= set(found.outputs) - set(found.inputs)
    assert not {"id", "urn"} & set(found.outputs)


@pytest.mark.parametrize("token", ["aws:s3/buckte:Buckte", "aws:nothing/here:Here", "random"])
def test_a_type_that_the_sdk_lacks(token):
    with pytest.raises(UnknownTypeError):
        introspect(token)


def test_what_was_found_is_kept_on_disk_and_a_broken_file_is_found_again(tmp_path, monkeypatch):
    monkeypatch.setenv("TRAINYARD_CACHE_DIR", str(tmp_path))
    sdk_type.cache_clear()
    first = sdk_type("aws:kms/alias:Alias")
    (file,) = tmp_path.rglob("*.json")
    assert json.loads(file.read_text())["token"] == "aws:kms/alias:Alias"
    file.write_text("{ broken")
    sdk_type.cache_clear()
    assert sdk_type("aws:kms/alias:Alias") == first
    monkeypatch.setattr(sdk, "introspect", lambda _: pytest.fail("looked into the SDK again"))
    sdk_type.cache_clear()
    assert sdk_type("aws:kms/alias:Alias") == first
    sdk_type.cache_clear()


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path, monkeypatch):
    file = tmp_path / "file"
    file.write_text("")
    monkeypatch.setenv("TRAINYARD_CACHE_DIR", str(file / "below"))
    sdk_type.cache_clear()
    assert sdk_type("aws:kms/alias:Alias").required == ["targetKeyId"]
    sdk_type.cache_clear()


def test_create_only_properties_come_from_the_bundled_schemas():
    assert {"QueueName", "FifoQueue"} <= cloudformation.schema("AWS::SQS::Queue").create_only


def test_a_schema_by_its_path_and_property_names_in_either_spelling():
    schema = cloudformation.schema("AWS::S3::Bucket")
    status = schema.at("versioningConfiguration/status")
    assert status is not None
    assert list(status.violations("Enabled")) == []
    assert list(status.violations("On")) == ["is 'On'; it may be Enabled, Suspended"]
    rule = schema.at("OwnershipControls/Rules/[]/objectOwnership")
    assert rule is not None
    assert "BucketOwnerEnforced" in next(rule.violations("Mine"))


def test_ranges_and_lengths():
    queue = cloudformation.schema("AWS::SQS::Queue")
    delay = queue.property("DelaySeconds")
    assert delay is not None
    assert list(delay.violations(901)) == ["is 901; it may be 0 to 900"]
    description = cloudformation.schema("AWS::Events::Rule").property("description")
    assert description is not None
    assert "513 characters" in next(description.violations("x" * 513))


def test_a_schema_that_is_not_bundled():
    with pytest.raises(NoSchemaError):
        cloudformation.schema("AWS::No::Such")
    with pytest.raises(NoSchemaError):
        cloudformation.schema("AWS::S3::Bucket/NoSuch")


def test_a_region_may_have_its_own_schema_and_else_has_the_common_one():
    assert cloudformation.schema("AWS::KMS::Key", "me-central-1").property("KeySpec") is not None
    assert cloudformation.schema("AWS::KMS::Key", "xx-nowhere-1").property("KeySpec") is not None


def test_looking_types_up_leaves_the_sdk_whole_for_a_program_in_the_same_process():
    """The SDK's packages load late: one that loads in the midst of one of its modules lacks that module for good."""
    program = """
import threading
from trainyard.local.aws.sdk import _module_of
tokens = [f"aws:s3/bucket{name}:Bucket{name}" for name in ("Versioning", "Policy", "LifecycleConfiguration", "Logging")]
gate = threading.Barrier(len(tokens))
def look_up(token):
    gate.wait()
    _module_of(token)
threads = [threading.Thread(target=look_up, args=(token,)) for token in tokens]
for thread in threads: thread.start()
for thread in threads: thread.join()
import pulumi_aws as aws
for token in tokens:
    getattr(aws.s3, token.rsplit(":")[-1])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
