"""The harness itself: a test built on it must be able to fail."""

from __future__ import annotations

import pulumi
import pulumi_aws as aws
import pytest
from mocked_pulumi import run


def _bucket() -> aws.s3.Bucket:
    return aws.s3.Bucket("box", force_destroy=True)


def test_an_assertion_in_an_apply_that_nobody_awaits_fails() -> None:
    def program() -> None:
        def wrong(arn: str) -> None:
            raise AssertionError(f"looked at {arn}")

        _bucket().arn.apply(wrong)

    with pytest.raises(AssertionError, match="looked at arn:aws:s3:::box"):
        run(program)


def test_an_error_in_the_program_is_raised() -> None:
    def program() -> None:
        _bucket()
        raise LookupError("in the program")

    with pytest.raises(LookupError, match="in the program"):
        run(program)


def test_a_resource_that_is_registered_late_is_seen() -> None:
    def program() -> None:
        box = _bucket()
        aws.s3.BucketVersioning(
            "late",
            bucket=box.arn.apply(lambda arn: arn.rpartition(":")[2]),
            versioning_configuration=aws.s3.BucketVersioningVersioningConfigurationArgs(status="Enabled"),
        )
        pulumi.export("arn", box.arn)

    deployment = run(program)

    box = deployment.one("aws:s3/bucket:Bucket")
    assert deployment.one("aws:s3/bucketVersioning:BucketVersioning").inputs["bucket"] == box.outputs["bucket"]
    assert deployment.outputs == {"arn": box.outputs["arn"]}


def test_runs_do_not_see_each_other() -> None:
    assert len(run(_bucket).resources) == len(run(_bucket).resources) == 1


def test_an_invoke_that_the_mocks_do_not_know_is_an_error() -> None:
    with pytest.raises(KeyError, match="getBucket"):
        run(lambda: aws.s3.get_bucket_output(bucket="box"))
