"""CodeBuild projects and the archives in S3 that they build from."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from aws_lifecycle import Lifecycle, Step
from aws_program import DEFAULT_TAGS, CheckFailedError, Program
from pulumi.runtime import rpc

from trainyard.local.aws.account import Account
from trainyard.local.aws.errors import ProviderError, RefusedError
from trainyard.local.aws.provider import Configuration, Provider

PROJECT, BUCKET = "aws:codebuild/project:Project", "aws:s3/bucket:Bucket"
OBJECT = "aws:s3/bucketObjectv2:BucketObjectv2"
ROLE = "aws:iam/role:Role"
BUILDSPEC = json.dumps({"version": 0.2, "phases": {"build": {"commands": ["make image"]}}})


def trust(service: str) -> str:
    statement = {"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def asset(**parts: Any) -> dict[str, Any]:
    return {rpc._special_sig_key: rpc._special_asset_sig, **parts}


def archive(**parts: Any) -> dict[str, Any]:
    return {rpc._special_sig_key: rpc._special_archive_sig, **parts}


def project(role: str, **more: Any) -> dict[str, Any]:
    return {
        "serviceRole": role,
        "artifacts": {"type": "NO_ARTIFACTS"},
        "environment": {
            "type": "LINUX_CONTAINER",
            "computeType": "BUILD_GENERAL1_LARGE",
            "image": "aws/codebuild/amazonlinux-x86_64-standard:5.0",
            "privilegedMode": True,
        },
        "source": {"type": "NO_SOURCE", "buildspec": BUILDSPEC},
        **more,
    }


class TestLife(Lifecycle):
    region = "me-central-1"
    steps = {  # noqa: RUF012
        "key": Step("aws:kms/key:Key", lambda _: {"deletionWindowInDays": 7}),
        "role": Step(ROLE, lambda _: {"assumeRolePolicy": trust("codebuild.amazonaws.com")}),
        "vpc": Step("aws:ec2/vpc:Vpc", lambda _: {"cidrBlock": "10.0.0.0/16"}),
        "subnet": Step("aws:ec2/subnet:Subnet", lambda r: {"vpcId": r["vpc"].id, "cidrBlock": "10.0.0.0/24"}),
        "group": Step("aws:ec2/securityGroup:SecurityGroup", lambda r: {"vpcId": r["vpc"].id}),
        "bucket": Step(BUCKET, lambda _: {}),
        "source": Step(
            OBJECT,
            lambda r: {
                "bucket": r["bucket"].id,
                "key": "images/source.zip",
                "source": archive(assets={"Dockerfile": asset(text="FROM scratch")}),
                "kmsKeyId": r["key"]["arn"],
                "serverSideEncryption": "aws:kms",
            },
            lambda r: {
                "bucket": r["bucket"].id,
                "key": "images/source.zip",
                "source": archive(assets={"Dockerfile": asset(text="FROM debian")}),
                "kmsKeyId": r["key"]["arn"],
                "serverSideEncryption": "aws:kms",
                "metadata": {"commit": "abc"},
                "tags": {"a": "b"},
            },
            not_told=frozenset({"source"}),
            by_others=frozenset({"versionId"}),
        ),
        "text": Step(
            OBJECT,
            lambda r: {"bucket": r["bucket"].id, "key": "text", "content": "one", "contentType": "text/plain"},
            lambda r: {"bucket": r["bucket"].id, "key": "text", "content": "two", "contentType": "text/plain"},
            not_told=frozenset({"content"}),
        ),
        "project": Step(
            PROJECT,
            lambda r: project(r["role"]["arn"], description="images"),
            lambda r: project(
                r["role"]["arn"],
                environment={
                    "type": "LINUX_CONTAINER",
                    "computeType": "BUILD_GENERAL1_2XLARGE",
                    "image": "aws/codebuild/amazonlinux-x86_64-standard:5.0",
                    "privilegedMode": True,
                    "environmentVariables": [
                        {"name": "REPOSITORY", "value": "r"},
                        {"name": "TOKEN", "value": "/t", "type": "PARAMETER_STORE"},
                    ],
                },
                source={
                    "type": "S3",
                    "location": f"{r['bucket'].id}/{r['source']['key']}",
                    "buildspec": "buildspec.yml",
                },
                encryptionKey=r["key"]["arn"],
                buildTimeout=120,
                queuedTimeout=60,
                concurrentBuildLimit=1,
                logsConfig={"cloudwatchLogs": {"groupName": "/trainyard/images"}, "s3Logs": {"status": "DISABLED"}},
                vpcConfig={
                    "vpcId": r["vpc"].id,
                    "subnets": [r["subnet"].id],
                    "securityGroupIds": [r["group"].id],
                },
                cache={"type": "LOCAL", "modes": ["LOCAL_DOCKER_LAYER_CACHE"]},
                tags={"a": "b"},
            ),
        ),
    }

    def test_an_archive_is_a_zip_file_in_the_bucket(self, stack: Program, aws: Any):
        made = stack.resources["source"]
        body = aws("s3", "me-central-1").get_object(Bucket=made["bucket"], Key=made["key"])["Body"].read()
        assert zipfile.ZipFile(io.BytesIO(body)).read("Dockerfile") == b"FROM scratch"

    def test_a_role_that_does_not_trust_codebuild_is_refused(self, stack: Program):
        role = stack.up(ROLE, "other", assumeRolePolicy=trust("ec2.amazonaws.com"))
        with pytest.raises(RefusedError, match="does not trust it"):
            stack.up(PROJECT, "refused", **project(role["arn"]))
        with pytest.raises(RefusedError, match="does not exist"):
            stack.up(PROJECT, "refused", **project("arn:aws:iam::123456789012:role/none"))
        stack.destroy("other")

    def test_a_folder_becomes_the_same_zip_file_each_time(self, stack: Program, tmp_path: Path):
        (tmp_path / "a").mkdir()
        (tmp_path / "a" / "b.txt").write_text("b")
        bucket = stack.resources["bucket"].id
        folder = archive(path=str(tmp_path), hash="1")
        first = stack.up(OBJECT, "folder", bucket=bucket, key="folder.zip", source=folder)["etag"]
        (tmp_path / "a" / "b.txt").touch()
        again = stack.up(OBJECT, "folder", bucket=bucket, key="folder.zip", source={**folder, "hash": "2"})["etag"]
        assert first == again
        assert stack.log[-1] == "update folder"
        stack.destroy("folder")

    def test_a_file_that_is_not_there_is_an_error_for_people(self, stack: Program):
        with pytest.raises(ProviderError, match="cannot be read"):
            stack.up(OBJECT, "none", bucket=stack.resources["bucket"].id, key="k", source=asset(path="/no/file"))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"source": {"type": "S3"}}, "a source of type S3 has one"),
        ({"source": {"type": "NO_SOURCE"}}, "no file to find it in"),
        ({"artifacts": {"type": "S3"}}, "have a bucket"),
    ],
)
def test_projects_that_codebuild_refuses(account: Account, change: dict[str, Any], words: str):
    program = Program(Provider(Configuration("us-east-1", DEFAULT_TAGS), account))
    with pytest.raises(CheckFailedError, match=words):
        program.up(PROJECT, "refused", **project("arn:aws:iam::123456789012:role/r", **change))
