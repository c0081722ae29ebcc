"""What builds the training image, from what, and what the build may do."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from iam_evaluation import Request, allows
from mocked_pulumi import ACCOUNT, REGION, Deployment, run

from trainyard.modules.image_build import ImageBuild, ImageBuildArgs, buildspec

DATA_KEY, LOGS_KEY = (f"arn:aws:kms:{REGION}:{ACCOUNT}:key/{purpose}" for purpose in ("data", "logs"))
BUCKET = "arn:aws:s3:::yard-art"
REPOSITORY, BASE = (
    f"arn:aws:ecr:{REGION}:{ACCOUNT}:repository/yard/{name}" for name in ("trainer", "mirror/cuda-base")
)
URL = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/yard/trainer"
ARGS = ImageBuildArgs(
    source_bucket_name="yard-art",
    source_bucket_arn=BUCKET,
    source_key_arn=DATA_KEY,
    repository_url=URL,
    repository_arn=REPOSITORY,
    logs_key_arn=LOGS_KEY,
    base_image=f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/yard/mirror/cuda-base:13",
    base_repository_arn=BASE,
    tags={"owner": "ml", "data-class": "personal"},
)


@pytest.fixture(scope="module")
def deployment() -> Deployment:
    return run(lambda: ImageBuild("yard", ARGS))


def _project(deployment: Deployment) -> dict[str, Any]:
    return dict(deployment.one("aws:codebuild/project:Project").inputs)


def test_it_builds_the_zip_with_commands_of_its_own(deployment: Deployment) -> None:
    project = _project(deployment)
    assert (project["source"]["type"], project["source"]["location"]) == ("S3", "yard-art/builds/checkout.zip")
    assert json.loads(project["source"]["buildspec"]) == buildspec()
    assert project["environment"]["privilegedMode"] is True
    variables = {one["name"]: one["value"] for one in project["environment"]["environmentVariables"]}
    assert variables == {"REPOSITORY_URL": URL, "BASE_IMAGE": ARGS.base_image}
    assert project["artifacts"] == {"type": "NO_ARTIFACTS"}


def test_its_log_is_encrypted_and_ends(deployment: Deployment) -> None:
    logs = deployment.one("aws:cloudwatch/logGroup:LogGroup")
    assert (logs.inputs["kmsKeyId"], logs.inputs["retentionInDays"]) == (LOGS_KEY, 365)
    assert logs.inputs["tags"]["data-class"] == "internal"
    assert _project(deployment)["logsConfig"]["cloudwatchLogs"]["groupName"] == logs.outputs["name"]


@pytest.mark.parametrize(
    ("action", "resource", "allowed"),
    [
        ("s3:GetObject", f"{BUCKET}/builds/checkout.zip", True),
        ("s3:GetObject", f"{BUCKET}/vision/model", False),
        ("s3:PutObject", f"{BUCKET}/builds/checkout.zip", False),
        ("ecr:PutImage", REPOSITORY, True),
        ("ecr:PutImage", BASE, False),
        ("ecr:BatchGetImage", BASE, True),
        ("ecr:DeleteRepository", REPOSITORY, False),
        ("ecr:BatchDeleteImage", REPOSITORY, False),
        ("ecr:GetAuthorizationToken", "*", True),
        ("iam:PassRole", "*", False),
        ("kms:Decrypt", DATA_KEY, False),
    ],
)
def test_the_build_may_do_this_and_no_more(deployment: Deployment, action: str, resource: str, allowed: bool) -> None:
    policy = deployment.one("aws:iam/rolePolicy:RolePolicy").inputs["policy"]
    assert allows(policy, Request(action, resource)) is allowed


def test_it_decrypts_through_s3_only(deployment: Deployment) -> None:
    policy = deployment.one("aws:iam/rolePolicy:RolePolicy").inputs["policy"]
    through = {"kms:ViaService": f"s3.{REGION}.amazonaws.com"}
    assert allows(policy, Request("kms:Decrypt", DATA_KEY, context=through))
    assert not allows(policy, Request("kms:Decrypt", LOGS_KEY, context=through))


def test_only_this_project_takes_the_role(deployment: Deployment) -> None:
    trust = deployment.one("aws:iam/role:Role").inputs["assumeRolePolicy"]

    def building(project: str) -> Request:
        source = f"arn:aws:codebuild:{REGION}:{ACCOUNT}:project/{project}"
        context = {"aws:SourceAccount": ACCOUNT, "aws:SourceArn": source}
        return Request("sts:AssumeRole", principal="codebuild.amazonaws.com", context=context)

    assert allows(trust, building(deployment.one("aws:codebuild/project:Project").outputs["name"]))
    assert not allows(trust, building("another-build"))


def _shell(folder: Path, command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command of the build with a `docker` that says what it is asked to do."""
    docker = folder / "docker"
    docker.write_text('#!/bin/sh\nfor word in "$@"; do printf "[%s]" "$word"; done\n')
    docker.chmod(0o755)
    variables = {"PATH": f"{folder}:{os.environ['PATH']}", **environment}
    return subprocess.run(["sh", "-c", command], env=variables, capture_output=True, text=True, check=False)


def test_the_tag_is_the_commit_and_without_one_nothing_is_built(tmp_path: Path) -> None:
    phases: Any = buildspec()["phases"]
    (build,) = phases["build"]["commands"]
    told = _shell(tmp_path, build, REPOSITORY_URL=URL, REVISION="abc123", BASE_IMAGE="").stdout
    assert told == f"[build][training_images][--build-arg][REVISION=abc123][--tag][{URL}:abc123]"
    based = _shell(tmp_path, build, REPOSITORY_URL=URL, REVISION="abc123", BASE_IMAGE="base:13").stdout
    assert "[--build-arg][BASE_IMAGE=base:13]" in based
    refused = _shell(tmp_path, phases["pre_build"]["commands"][0])
    assert refused.returncode != 0
    assert "start the build with REVISION" in refused.stderr


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"source_object": "builds/checkout.tar.gz"}, "zip's key"),
        ({"source_object": "/checkout.zip"}, "zip's key"),
        ({"base_image": None}, "which image"),
    ],
)
def test_wrong_arguments_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(ARGS, **changes)
