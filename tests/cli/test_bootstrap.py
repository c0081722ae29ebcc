"""`trainyard bootstrap` in an emulated account: what stands afterwards, and who may do what with it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from urllib.parse import unquote

import pytest
from emulated_account import Clients, empty
from iam_evaluation import Request, allows, decide

from trainyard.cli.aws_session import AccountError, account
from trainyard.cli.bootstrap import documents, steps
from trainyard.local import isolation
from trainyard.local.engine import emulated_aws_environment

REGION = "me-central-1"
TAGS = {"environment": "prod-uae", "owner": "platform-team", "data-class": "personal"}
BUCKET = "trainyard-prod-uae-state-123456789012"


@pytest.fixture
def plan(in_account) -> steps.Plan:
    return steps.Plan(account(REGION), "prod-uae", TAGS, "acme/platform")


@pytest.fixture
def done(plan) -> list[steps.Done]:
    return steps.run(plan, lambda _: None)


@dataclass(frozen=True)
class Role:
    """Who may take a role that was made, and what it may do."""

    trust: dict
    policy: dict


@pytest.fixture(scope="module")
def roles(server) -> dict[str, Role]:
    """The roles of one bootstrap, as the account has them: read once, for the tests that only judge them."""
    empty(server)
    with isolation.only(emulated_aws_environment(server)):
        steps.run(steps.Plan(account(REGION), "prod-uae", TAGS, "acme/platform"), lambda _: None)
    iam = Clients(server)("iam")

    def read(name: str) -> Role:
        trust = iam.get_role(RoleName=name)["Role"]["AssumeRolePolicyDocument"]
        policy = iam.get_role_policy(RoleName=name, PolicyName="trainyard")["PolicyDocument"]
        return Role(trust, json.loads(unquote(policy)) if isinstance(policy, str) else policy)

    return {role: read(f"trainyard-prod-uae-ci-{role}") for role in ("deploy", "preview")}


def test_the_state_lies_encrypted_versioned_and_closed_in_the_environments_region(done, aws):
    s3 = aws("s3", REGION)
    assert s3.get_bucket_location(Bucket=BUCKET)["LocationConstraint"] == REGION
    rule = s3.get_bucket_encryption(Bucket=BUCKET)["ServerSideEncryptionConfiguration"]["Rules"][0]
    key = rule["ApplyServerSideEncryptionByDefault"]["KMSMasterKeyID"]
    assert key == done[0].id
    assert aws("kms", REGION).get_key_rotation_status(KeyId=key)["KeyRotationEnabled"]
    assert s3.get_bucket_versioning(Bucket=BUCKET)["Status"] == "Enabled"
    assert all(s3.get_public_access_block(Bucket=BUCKET)["PublicAccessBlockConfiguration"].values())
    policy = s3.get_bucket_policy(Bucket=BUCKET)["Policy"]
    plain = Request("s3:GetObject", f"arn:aws:s3:::{BUCKET}/x", "*", {"aws:SecureTransport": "false"})
    assert decide(policy, plain) == "deny"
    assert {one["Key"]: one["Value"] for one in s3.get_bucket_tagging(Bucket=BUCKET)["TagSet"]} == TAGS


def test_a_second_run_makes_nothing_and_repairs_what_was_opened(plan, done, aws):
    assert all(one.made for one in done)
    aws("s3", REGION).delete_public_access_block(Bucket=BUCKET)
    again = steps.run(plan, lambda _: None)
    assert [one.id for one in again] == [one.id for one in done]
    assert not any(one.made for one in again)
    assert all(aws("s3", REGION).get_public_access_block(Bucket=BUCKET)["PublicAccessBlockConfiguration"].values())


def test_without_a_repository_there_are_no_roles(plan, aws):
    alone = steps.Plan(plan.account, plan.environment, TAGS, None)
    steps.run(alone, lambda _: None)
    assert aws("iam").list_roles()["Roles"] == []


@pytest.mark.parametrize(
    ("role", "subject", "enters"),
    [
        ("deploy", "repo:acme/platform:environment:prod-uae", True),
        ("deploy", "repo:acme/platform:pull_request", False),
        ("deploy", "repo:acme/platform:environment:dev", False),
        ("deploy", "repo:someone/platform:environment:prod-uae", False),
        ("preview", "repo:acme/platform:pull_request", True),
        ("preview", "repo:acme/platform-fork:pull_request", False),
    ],
)
def test_only_the_repositorys_own_runs_take_a_role(roles, role, subject, enters):
    host = documents.OIDC_HOST
    provider = f"arn:aws:iam::123456789012:oidc-provider/{host}"
    request = Request(
        "sts:AssumeRoleWithWebIdentity",
        principal=provider,
        context={f"{host}:aud": "sts.amazonaws.com", f"{host}:sub": subject},
    )
    assert allows(roles[role].trust, request) is enters


def test_a_preview_reads_the_state_and_no_data(roles):
    policy = roles["preview"].policy
    assert allows(policy, Request("s3:GetObject", f"arn:aws:s3:::{BUCKET}/.pulumi/stacks/x.json"))
    assert not allows(policy, Request("s3:PutObject", f"arn:aws:s3:::{BUCKET}/.pulumi/stacks/x.json"))
    assert decide(policy, Request("s3:GetObject", "arn:aws:s3:::trainyard-prod-uae-datasets/x")) == "deny"


@pytest.mark.parametrize(
    ("action", "resource", "region", "said"),
    [
        ("iam:CreateRole", "arn:aws:iam::123456789012:role/trainyard-prod-uae-node", REGION, "allow"),
        ("iam:CreateRole", "arn:aws:iam::123456789012:role/admin", REGION, "nothing"),
        ("iam:PutRolePolicy", "arn:aws:iam::123456789012:role/trainyard-prod-uae-ci-deploy", REGION, "deny"),
        ("s3:DeleteBucket", f"arn:aws:s3:::{BUCKET}", REGION, "deny"),
        ("s3:PutObject", f"arn:aws:s3:::{BUCKET}/.pulumi/x", REGION, "allow"),
        ("ec2:RunInstances", "*", "us-east-1", "deny"),
        ("ec2:RunInstances", "*", REGION, "nothing"),
        ("iam:GetRole", "arn:aws:iam::123456789012:role/trainyard-prod-uae-ci-deploy", "us-east-1", "allow"),
    ],
)
def test_a_deployment_stays_in_its_region_and_off_its_own_roles(roles, action, resource, region, said):
    assert decide(roles["deploy"].policy, Request(action, resource, context={"aws:RequestedRegion": region})) == said


def test_another_account_is_refused_before_anything_is_made(in_account, aws):
    with pytest.raises(AccountError, match="lead to account 123456789012"):
        account(REGION, "210987654321")
