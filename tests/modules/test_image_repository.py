"""Repositories whose tags never change and whose images are scanned."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from mocked_pulumi import ACCOUNT, REGION, Deployment, run

from trainyard.modules.image_repository import ImageRepository, ImageRepositoryArgs

KEY = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/compute"
ARGS = ImageRepositoryArgs(prefix="yard", key_arn=KEY, repositories=["trainer", "serving/gpu"], tags={"owner": "ml"})


@pytest.fixture(scope="module")
def deployment() -> Deployment:
    return run(lambda: ImageRepository("yard", ARGS))


def test_each_is_immutable_scanned_and_encrypted(deployment: Deployment) -> None:
    made = {one.inputs["name"]: one.inputs for one in deployment.of_type("aws:ecr/repository:Repository")}
    assert set(made) == {"yard/trainer", "yard/serving/gpu"}
    for repository in made.values():
        assert repository["imageTagMutability"] == "IMMUTABLE"
        assert repository["imageScanningConfiguration"] == {"scanOnPush": True}
        assert repository["encryptionConfigurations"] == [{"encryptionType": "KMS", "kmsKey": KEY}]
        assert repository["tags"] == {"owner": "ml"}


def test_only_untagged_images_go(deployment: Deployment) -> None:
    policies = deployment.of_type("aws:ecr/lifecyclePolicy:LifecyclePolicy")
    assert {policy.inputs["repository"] for policy in policies} == {"yard/trainer", "yard/serving/gpu"}
    for policy in policies:
        rules = json.loads(policy.inputs["policy"])["rules"]
        assert {rule["selection"]["tagStatus"] for rule in rules} == {"untagged"}


@pytest.mark.parametrize("protected", [True, False])
def test_protected_images_are_not_deleted_with_their_repository(protected: bool) -> None:
    made = run(lambda: ImageRepository("yard", replace(ARGS, protected=protected)))
    for repository in made.of_type("aws:ecr/repository:Repository"):
        assert repository.protect is repository.retain_on_delete is protected
        assert repository.inputs["forceDelete"] is not protected


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"repositories": []}, "is empty"),
        ({"repositories": ["Trainer"]}, "lower-case"),
        ({"repositories": ["trainer/"]}, "lower-case"),
        ({"prefix": "yard_"}, "lower-case"),
        ({"repositories": ["trainer", "trainer"]}, "twice"),
    ],
)
def test_wrong_arguments_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(ARGS, **changes)
