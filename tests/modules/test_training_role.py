"""What a training job may do, and what it may not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from iam_evaluation import Request, allows
from mocked_pulumi import ACCOUNT, REGION, Deployment, run

from trainyard.modules.training_role import (
    InstanceTrust,
    PodIdentityTrust,
    PrincipalTrust,
    TrainingRole,
    TrainingRoleArgs,
)

DATASETS, CHECKPOINTS, ARTIFACTS = (f"arn:aws:s3:::yard-{purpose}" for purpose in ("data", "ckpt", "art"))
DATA_KEY, QUEUE_KEY = (f"arn:aws:kms:{REGION}:{ACCOUNT}:key/{purpose}" for purpose in ("data", "messages"))
QUEUE = f"arn:aws:sqs:{REGION}:{ACCOUNT}:yard"
CLUSTER = f"arn:aws:eks:{REGION}:{ACCOUNT}:cluster/yard"
BOUNDARY = f"arn:aws:iam::{ACCOUNT}:policy/boundary"

ARGS = TrainingRoleArgs(
    trusts=[PodIdentityTrust("vision", "trainer", CLUSTER)],
    datasets_bucket_arn=DATASETS,
    checkpoints_bucket_arn=CHECKPOINTS,
    artifacts_bucket_arn=ARTIFACTS,
    data_key_arn=DATA_KEY,
    queue_arn=QUEUE,
    queue_key_arn=QUEUE_KEY,
    run_prefix="vision/",
    dataset_prefixes=["books/", "code/"],
    permissions_boundary_arn=BOUNDARY,
    tags={"owner": "ml"},
)


def _deploy(**changes: Any) -> Deployment:
    return run(lambda: TrainingRole("yard", replace(ARGS, **changes)))


@pytest.fixture(scope="module")
def role() -> Deployment:
    return _deploy()


@pytest.fixture(scope="module")
def policy(role: Deployment) -> str:
    return role.one("aws:iam/rolePolicy:RolePolicy").inputs["policy"]


@pytest.mark.parametrize(
    ("action", "resource", "allowed"),
    [
        ("s3:GetObject", f"{DATASETS}/books/train-00000.bin", True),
        ("s3:GetObject", f"{DATASETS}/code/manifest.json", True),
        ("s3:GetObject", f"{DATASETS}/patients/1", False),
        ("s3:PutObject", f"{DATASETS}/books/train-00000.bin", False),
        ("s3:DeleteObject", f"{DATASETS}/books/train-00000.bin", False),
        ("s3:GetObject", f"{CHECKPOINTS}/vision/run/step-1", True),
        ("s3:PutObject", f"{CHECKPOINTS}/vision/run/step-1", True),
        ("s3:DeleteObject", f"{CHECKPOINTS}/vision/run/step-1", True),
        ("s3:AbortMultipartUpload", f"{CHECKPOINTS}/vision/run/step-1", True),
        ("s3:PutObject", f"{CHECKPOINTS}/vision-2/run/step-1", False),
        ("s3:GetObject", f"{CHECKPOINTS}/speech/run/step-1", False),
        ("s3:GetObject", f"{ARTIFACTS}/vision/model", True),
        ("s3:PutObject", f"{ARTIFACTS}/vision/model", True),
        ("s3:DeleteObject", f"{ARTIFACTS}/vision/model", False),
        ("s3:PutObject", f"{ARTIFACTS}/model", False),
        ("s3:GetObjectVersion", f"{CHECKPOINTS}/vision/run/step-1", False),
        ("s3:PutBucketPolicy", CHECKPOINTS, False),
        ("s3:GetObject", "arn:aws:s3:::elsewhere/vision/model", False),
        ("sqs:ReceiveMessage", QUEUE, True),
        ("sqs:DeleteMessage", QUEUE, True),
        ("sqs:ChangeMessageVisibility", QUEUE, True),
        ("sqs:SendMessage", QUEUE, False),
        ("sqs:PurgeQueue", QUEUE, False),
        ("sqs:ReceiveMessage", f"{QUEUE}-other", False),
        ("iam:PassRole", "*", False),
        ("sts:AssumeRole", f"arn:aws:iam::{ACCOUNT}:role/admin", False),
    ],
)
def test_actions(policy: str, action: str, resource: str, allowed: bool) -> None:
    assert allows(policy, Request(action, resource)) is allowed


@pytest.mark.parametrize(
    ("bucket", "prefix", "allowed"),
    [
        (DATASETS, "books/", True),
        (DATASETS, "books/2026/", True),
        (DATASETS, "patients/", False),
        (DATASETS, "", False),
        (DATASETS, None, False),
        (CHECKPOINTS, "vision/run", True),
        (CHECKPOINTS, "vision-2/", False),
        (CHECKPOINTS, None, False),
        (ARTIFACTS, "vision/", True),
        (ARTIFACTS, "speech/", False),
    ],
)
def test_listing_shows_its_own_prefixes_only(policy: str, bucket: str, prefix: str | None, allowed: bool) -> None:
    context = {} if prefix is None else {"s3:prefix": prefix}
    assert allows(policy, Request("s3:ListBucket", bucket, context=context)) is allowed


def test_without_dataset_prefixes_the_whole_bucket_can_be_read_and_listed() -> None:
    policy = _deploy(dataset_prefixes=("",)).one("aws:iam/rolePolicy:RolePolicy").inputs["policy"]
    assert allows(policy, Request("s3:GetObject", f"{DATASETS}/anything"))
    assert allows(policy, Request("s3:ListBucket", DATASETS))


@given(
    other=st.text(alphabet="abvision/-_.*?", min_size=1, max_size=20).filter(lambda key: not key.startswith("vision/"))
)
def test_no_key_outside_the_prefix_can_be_written(policy: str, other: str) -> None:
    for bucket in (DATASETS, CHECKPOINTS, ARTIFACTS):
        for action in ("s3:PutObject", "s3:DeleteObject"):
            assert not allows(policy, Request(action, f"{bucket}/{other}"))


def _key_use(policy: str, action: str, key: str, service: str, encrypted: str) -> bool:
    context = {
        "kms:ViaService": f"{service}.{REGION}.amazonaws.com",
        f"kms:EncryptionContext:aws:{service}:arn": encrypted,
    }
    return allows(policy, Request(action, key, context=context))


@pytest.mark.parametrize(
    ("action", "key", "service", "encrypted", "allowed"),
    [
        ("kms:Decrypt", DATA_KEY, "s3", DATASETS, True),
        ("kms:Decrypt", DATA_KEY, "s3", f"{DATASETS}/books/1", True),
        ("kms:GenerateDataKey", DATA_KEY, "s3", DATASETS, False),
        ("kms:Decrypt", DATA_KEY, "s3", CHECKPOINTS, True),
        ("kms:GenerateDataKey", DATA_KEY, "s3", CHECKPOINTS, True),
        ("kms:GenerateDataKey", DATA_KEY, "s3", ARTIFACTS, True),
        ("kms:Decrypt", DATA_KEY, "s3", "arn:aws:s3:::elsewhere", False),
        ("kms:Decrypt", DATA_KEY, "sqs", QUEUE, False),
        ("kms:Decrypt", QUEUE_KEY, "sqs", QUEUE, True),
        ("kms:GenerateDataKey", QUEUE_KEY, "sqs", QUEUE, False),
        ("kms:Decrypt", QUEUE_KEY, "s3", DATASETS, False),
    ],
)
def test_keys_are_used_through_their_service_for_these_things_only(
    policy: str, action: str, key: str, service: str, encrypted: str, allowed: bool
) -> None:
    assert _key_use(policy, action, key, service, encrypted) is allowed


def test_keys_cannot_be_used_directly(policy: str) -> None:
    assert not allows(policy, Request("kms:Decrypt", DATA_KEY))
    assert not allows(policy, Request("kms:Decrypt", QUEUE_KEY))


def _taking(namespace: str, service_account: str, cluster: str = CLUSTER, account: str = ACCOUNT) -> Request:
    return Request(
        "sts:AssumeRole",
        principal="pods.eks.amazonaws.com",
        context={
            "aws:SourceAccount": account,
            "aws:RequestTag/kubernetes-namespace": namespace,
            "aws:RequestTag/kubernetes-service-account": service_account,
            "aws:RequestTag/eks-cluster-arn": cluster,
        },
    )


def test_only_the_named_pods_take_the_role(role: Deployment) -> None:
    trust = role.one("aws:iam/role:Role").inputs["assumeRolePolicy"]
    assert allows(trust, _taking("vision", "trainer"))
    assert allows(trust, replace(_taking("vision", "trainer"), action="sts:TagSession"))
    assert not allows(trust, _taking("speech", "trainer"))
    assert not allows(trust, _taking("vision", "default"))
    assert not allows(trust, _taking("vision", "trainer", cluster=f"{CLUSTER}-2"))
    assert not allows(trust, _taking("vision", "trainer", account="999999999999"))
    assert not allows(trust, Request("sts:AssumeRole", principal="ec2.amazonaws.com"))


def test_without_a_cluster_any_of_the_account_will_do() -> None:
    trust = _deploy(trusts=[PodIdentityTrust("vision", "trainer")]).one("aws:iam/role:Role").inputs["assumeRolePolicy"]
    assert allows(trust, _taking("vision", "trainer", cluster=f"{CLUSTER}-2"))
    assert not allows(trust, _taking("vision", "trainer", account="999999999999"))


def test_named_principals_take_it_without_kubernetes() -> None:
    slurm = f"arn:aws:iam::{ACCOUNT}:role/slurm"
    trust = _deploy(trusts=[PrincipalTrust([slurm])]).one("aws:iam/role:Role").inputs["assumeRolePolicy"]
    assert allows(trust, Request("sts:AssumeRole", principal=slurm))
    assert not allows(trust, Request("sts:AssumeRole", principal=f"{slurm}-2"))
    assert not allows(trust, _taking("vision", "trainer"))


def test_instances_take_it_through_a_profile_of_its_own() -> None:
    deployment = _deploy(trusts=[InstanceTrust()])
    role = deployment.one("aws:iam/role:Role")
    assert allows(role.inputs["assumeRolePolicy"], Request("sts:AssumeRole", principal="ec2.amazonaws.com"))
    assert deployment.one("aws:iam/instanceProfile:InstanceProfile").inputs["role"] == role.outputs["name"]


def test_pods_need_no_profile(role: Deployment) -> None:
    assert role.of_type("aws:iam/instanceProfile:InstanceProfile") == []


def test_the_boundary_and_the_tags_stand_on_the_role(role: Deployment) -> None:
    made = role.one("aws:iam/role:Role").inputs
    assert made["permissionsBoundary"] == BOUNDARY
    assert made["tags"] == {"owner": "ml"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"trusts": []}, "nobody could take the role"),
        ({"run_prefix": "vision"}, "followed by a slash"),
        ({"run_prefix": ""}, "followed by a slash"),
        ({"run_prefix": "/"}, "followed by a slash"),
        ({"run_prefix": "*/"}, "means something else"),
        ({"dataset_prefixes": ["${aws:username}/"]}, "means something else"),
        ({"dataset_prefixes": []}, "read no data"),
    ],
)
def test_wrong_arguments_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(ARGS, **changes)


@pytest.mark.parametrize("arns", [[], ["*"], [f"arn:aws:iam::{ACCOUNT}:role/*"]])
def test_a_principal_wildcard_is_refused(arns: list[str]) -> None:
    with pytest.raises(ValueError, match="full ARN"):
        PrincipalTrust(arns)
