"""ECR: repositories, policies, registry settings."""

from __future__ import annotations

import json
from typing import Any

import pytest
from aws_lifecycle import Lifecycle, Step
from aws_program import CheckFailedError, Program

from trainyard.local.aws.errors import AwsError, RefusedError

REPOSITORY = "aws:ecr/repository:Repository"
KEEP_TEN = {
    "rulePriority": 1,
    "selection": {"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": 10},
    "action": {"type": "expire"},
}
PULL = {
    "Sid": "pull",
    "Effect": "Allow",
    "Principal": {"Service": "codebuild.amazonaws.com"},
    "Action": ["ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"],
}


def rules(count: int) -> str:
    return json.dumps({"rules": [{**KEEP_TEN, "selection": {**KEEP_TEN["selection"], "countNumber": count}}]})


def statement(*actions: str) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": [{**PULL, "Action": list(actions)}]})


class TestLife(Lifecycle):
    region = "me-central-1"
    steps = {  # noqa: RUF012
        "key": Step("aws:kms/key:Key", lambda _: {"deletionWindowInDays": 7}),
        "images": Step(
            REPOSITORY,
            lambda r: {
                "name": "trainyard/training",
                "imageTagMutability": "IMMUTABLE",
                "imageScanningConfiguration": {"scanOnPush": True},
                "encryptionConfigurations": [{"encryptionType": "KMS", "kmsKey": r["key"]["arn"]}],
                "forceDelete": True,
            },
            lambda r: {
                "name": "trainyard/training",
                "imageTagMutability": "MUTABLE",
                "imageScanningConfiguration": {"scanOnPush": False},
                "encryptionConfigurations": [{"encryptionType": "KMS", "kmsKey": r["key"]["arn"]}],
                "forceDelete": True,
                "tags": {"a": "b"},
            },
        ),
        "mirrored": Step(
            REPOSITORY,
            lambda _: {
                "imageTagMutability": "IMMUTABLE_WITH_EXCLUSION",
                "imageTagMutabilityExclusionFilters": [{"filter": "latest*", "filterType": "WILDCARD"}],
            },
        ),
        "lifecycle": Step(
            "aws:ecr/lifecyclePolicy:LifecyclePolicy",
            lambda r: {"repository": r["images"]["name"], "policy": rules(10)},
            lambda r: {"repository": r["images"]["name"], "policy": rules(20)},
        ),
        "policy": Step(
            "aws:ecr/repositoryPolicy:RepositoryPolicy",
            lambda r: {"repository": r["images"]["name"], "policy": statement("ecr:BatchGetImage")},
            lambda r: {"repository": r["images"]["name"], "policy": statement("ecr:DescribeImages")},
        ),
        "scanning": Step(
            "aws:ecr/registryScanningConfiguration:RegistryScanningConfiguration",
            lambda _: {
                "scanType": "ENHANCED",
                "rules": [
                    {
                        "scanFrequency": "CONTINUOUS_SCAN",
                        "repositoryFilters": [{"filter": "*", "filterType": "WILDCARD"}],
                    }
                ],
            },
            lambda _: {
                "scanType": "BASIC",
                "rules": [
                    {"scanFrequency": "SCAN_ON_PUSH", "repositoryFilters": [{"filter": "*", "filterType": "WILDCARD"}]}
                ],
            },
        ),
        "cache": Step(
            "aws:ecr/pullThroughCacheRule:PullThroughCacheRule",
            lambda _: {"ecrRepositoryPrefix": "kubernetes", "upstreamRegistryUrl": "registry.k8s.io"},
        ),
    }

    def test_the_address_of_a_repository(self, stack: Program):
        url = "123456789012.dkr.ecr.me-central-1.amazonaws.com/trainyard/training"
        assert stack.resources["images"]["repositoryUrl"] == url

    def test_a_repository_with_images_goes_only_by_force(self, stack: Program, aws: Any):
        kept = stack.up(REPOSITORY, "kept", imageTagMutability="IMMUTABLE")
        ecr = aws("ecr", "me-central-1")
        image = {"repositoryName": kept["name"], "imageManifest": json.dumps({"schemaVersion": 2}), "imageTag": "1"}
        ecr.put_image(**image, imageManifestMediaType="application/vnd.oci.image.manifest.v1+json")
        with pytest.raises(AwsError, match="RepositoryNotEmptyException"):
            stack.destroy("kept")
        stack.up(REPOSITORY, "kept", imageTagMutability="IMMUTABLE", forceDelete=True)
        stack.destroy("kept")

    def test_a_key_that_cannot_be_used_is_refused(self, stack: Program):
        key = "arn:aws:kms:me-central-1:123456789012:key/00000000-0000-0000-0000-000000000000"
        with pytest.raises(RefusedError, match="ECR cannot use the key"):
            stack.up(REPOSITORY, "keyless", encryptionConfigurations=[{"encryptionType": "KMS", "kmsKey": key}])

    def test_upstreams_that_want_credentials(self, stack: Program):
        with pytest.raises(AwsError, match="needs a credentialArn"):
            stack.up(
                "aws:ecr/pullThroughCacheRule:PullThroughCacheRule",
                "hub",
                ecrRepositoryPrefix="hub",
                upstreamRegistryUrl="registry-1.docker.io",
            )

    def test_what_does_not_go_together(self, stack: Program):
        with pytest.raises(CheckFailedError, match="encryptionType KMS"):
            stack.up(REPOSITORY, "wrong", encryptionConfigurations=[{"encryptionType": "AES256", "kmsKey": "k"}])
        filters = [{"filter": "a", "filterType": "WILDCARD"}]
        with pytest.raises(CheckFailedError, match="WITH_EXCLUSION"):
            stack.up(REPOSITORY, "wrong", imageTagMutability="MUTABLE", imageTagMutabilityExclusionFilters=filters)
