"""Who may use which key."""

from __future__ import annotations

import pytest
from iam_evaluation import Request, allows, decide
from mocked_pulumi import ACCOUNT, REGION, Deployment, run

from trainyard.modules.keys import CustomerKey, CustomerKeyArgs, Keys, KeysArgs, logs_may_encrypt

KEYS = ("data", "messages", "logs", "compute", "secrets")
EVENTS, LOGS = "events.amazonaws.com", f"logs.{REGION}.amazonaws.com"
OTHER_ACCOUNT = "999999999999"
SERVICE_ROLES = f"arn:aws:iam::{ACCOUNT}:role/aws-service-role"
AUTO_SCALING = f"{SERVICE_ROLES}/autoscaling.amazonaws.com/AWSServiceRoleForAutoScaling"
SPOT = f"{SERVICE_ROLES}/spot.amazonaws.com/AWSServiceRoleForEC2Spot"
LINK = f"{SERVICE_ROLES}/s3.data-source.lustre.fsx.amazonaws.com/AWSServiceRoleForFSxS3Access_fs-0123456789abcdef0"
USE = ("kms:Decrypt", "kms:Encrypt", "kms:ReEncryptFrom", "kms:GenerateDataKeyWithoutPlaintext", "kms:DescribeKey")


@pytest.fixture(scope="module")
def keys() -> Deployment:
    return run(lambda: Keys("yard", KeysArgs(tags={"owner": "ml"})))


def _policy(keys: Deployment, purpose: str) -> str:
    return keys.one("aws:kms/key:Key", f"yard-{purpose}-key").inputs["policy"]


def test_the_account_administers_every_key_and_other_accounts_none(keys: Deployment) -> None:
    for purpose in KEYS:
        for action in ("kms:PutKeyPolicy", "kms:ScheduleKeyDeletion", "kms:Decrypt"):
            admin = Request(action, principal=f"arn:aws:iam::{ACCOUNT}:role/admin")
            stranger = Request(action, principal=f"arn:aws:iam::{OTHER_ACCOUNT}:role/admin")
            assert allows(_policy(keys, purpose), admin)
            assert decide(_policy(keys, purpose), stranger) == "nothing"


def _by_role(action: str, role: str, **context: str) -> Request:
    """What KMS sees of a request by a role. No IAM policy speaks for a service-linked role: the key's policy must."""
    account = role.split(":")[4]
    seen = {"kms:CallerAccount": account, "aws:PrincipalAccount": account, "aws:PrincipalArn": role, **context}
    return Request(action, principal=f"assumed:{role}", context=seen)


@pytest.mark.parametrize("role", [AUTO_SCALING, SPOT])
@pytest.mark.parametrize("action", USE)
def test_what_starts_nodes_may_use_the_compute_key_only(keys: Deployment, role: str, action: str) -> None:
    for purpose in KEYS:
        assert allows(_policy(keys, purpose), _by_role(action, role)) is (purpose == "compute")


@pytest.mark.parametrize("role", [AUTO_SCALING, SPOT])
def test_what_starts_nodes_may_grant_the_compute_key_to_aws_resources_only(keys: Deployment, role: str) -> None:
    to_ebs = _by_role("kms:CreateGrant", role, **{"kms:GrantIsForAWSResource": "true"})
    to_somebody = _by_role("kms:CreateGrant", role, **{"kms:GrantIsForAWSResource": "false"})
    for purpose in KEYS:
        assert allows(_policy(keys, purpose), to_ebs) is (purpose == "compute")
        assert not allows(_policy(keys, purpose), to_somebody)
    assert not allows(_policy(keys, "compute"), _by_role("kms:CreateGrant", role))


def test_nobody_else_comes_in_by_the_statements_for_service_roles(keys: Deployment) -> None:
    stranger = AUTO_SCALING.replace(ACCOUNT, OTHER_ACCOUNT)
    lookalike = f"arn:aws:iam::{ACCOUNT}:role/AWSServiceRoleForAutoScaling"
    for role in (stranger, lookalike, LINK):
        for action in USE:
            assert not allows(_policy(keys, "compute"), _by_role(action, role))
    # A caller of another account who could forge the role's name would still show its own account.
    forged = _by_role("kms:Decrypt", AUTO_SCALING, **{"kms:CallerAccount": OTHER_ACCOUNT})
    assert not allows(_policy(keys, "compute"), forged)


@pytest.mark.parametrize("action", USE)
def test_a_lustre_link_may_use_the_data_key_through_s3_only(keys: Deployment, action: str) -> None:
    through_s3 = {"kms:ViaService": f"s3.{REGION}.amazonaws.com"}
    for purpose in KEYS:
        assert allows(_policy(keys, purpose), _by_role(action, LINK, **through_s3)) is (purpose == "data")
    assert not allows(_policy(keys, "data"), _by_role(action, LINK))
    assert not allows(_policy(keys, "data"), _by_role(action, LINK, **{"kms:ViaService": "s3.eu-west-1.amazonaws.com"}))
    assert not allows(_policy(keys, "data"), _by_role(action, AUTO_SCALING, **through_s3))
    stranger = LINK.replace(ACCOUNT, OTHER_ACCOUNT)
    assert not allows(_policy(keys, "data"), _by_role(action, stranger, **through_s3))


@pytest.mark.parametrize("service", ["cloudwatch.amazonaws.com", "budgets.amazonaws.com", EVENTS])
@pytest.mark.parametrize("action", ["kms:Decrypt", "kms:GenerateDataKey"])
def test_alarms_budgets_and_events_of_this_account_may_publish_with_the_messages_key_only(
    keys: Deployment, service: str, action: str
) -> None:
    own = Request(action, principal=service, context={"aws:SourceAccount": ACCOUNT})
    for purpose in KEYS:
        assert allows(_policy(keys, purpose), own) is (purpose == "messages")
    foreign = Request(action, principal=service, context={"aws:SourceAccount": OTHER_ACCOUNT})
    assert not allows(_policy(keys, "messages"), foreign)


@pytest.mark.parametrize("action", ["kms:Decrypt", "kms:GenerateDataKey"])
def test_events_reach_this_accounts_topics_which_alone_say_whose_they_are(keys: Deployment, action: str) -> None:
    def to(topic: str) -> Request:
        return Request(action, principal=EVENTS, context={"kms:EncryptionContext:aws:sns:topicArn": topic})

    own = f"arn:aws:sns:{REGION}:{ACCOUNT}:alarm"
    for purpose in KEYS:
        assert allows(_policy(keys, purpose), to(own)) is (purpose == "messages")
    assert not allows(_policy(keys, "messages"), to(own.replace(ACCOUNT, OTHER_ACCOUNT)))
    assert not allows(_policy(keys, "messages"), Request(action, principal=EVENTS))


@pytest.mark.parametrize("action", ["kms:Encrypt", "kms:Decrypt", "kms:GenerateDataKey", "kms:ReEncryptTo"])
def test_cloudwatch_logs_may_use_the_logs_key_for_this_accounts_groups_only(keys: Deployment, action: str) -> None:
    def of(account: str, region: str = REGION) -> Request:
        group = f"arn:aws:logs:{region}:{account}:log-group:flow"
        return Request(action, principal=LOGS, context={"kms:EncryptionContext:aws:logs:arn": group})

    assert allows(_policy(keys, "logs"), of(ACCOUNT))
    assert not allows(_policy(keys, "logs"), of(OTHER_ACCOUNT))
    assert not allows(_policy(keys, "logs"), of(ACCOUNT, "eu-west-1"))
    assert not allows(_policy(keys, "logs"), Request(action, principal=LOGS))
    assert not allows(_policy(keys, "data"), of(ACCOUNT))
    assert not allows(_policy(keys, "messages"), of(ACCOUNT))


def test_no_service_may_change_a_key(keys: Deployment) -> None:
    for purpose in KEYS:
        for service in (EVENTS, LOGS):
            request = Request("kms:PutKeyPolicy", principal=service, context={"aws:SourceAccount": ACCOUNT})
            assert not allows(_policy(keys, purpose), request)


def test_keys_rotate_are_protected_and_are_found_by_alias(keys: Deployment) -> None:
    made = keys.of_type("aws:kms/key:Key")
    assert len(made) == len(KEYS)
    for key in made:
        assert key.inputs["enableKeyRotation"] is True
        assert key.inputs["deletionWindowInDays"] == 30
        assert key.inputs["tags"] == {"owner": "ml"}
        assert (key.protect, key.retain_on_delete) == (True, True)
    aliases = {alias.inputs["name"]: alias.inputs["targetKeyId"] for alias in keys.of_type("aws:kms/alias:Alias")}
    assert set(aliases) == {f"alias/yard-{purpose}" for purpose in KEYS}
    assert aliases["alias/yard-data"] == keys.one("aws:kms/key:Key", "yard-data-key").outputs["keyId"]


def test_unprotected_keys_can_be_deleted() -> None:
    keys = run(lambda: Keys("yard", KeysArgs(protected=False, deletion_window_days=7)))
    for key in keys.of_type("aws:kms/key:Key"):
        assert (key.protect, key.retain_on_delete, key.inputs["deletionWindowInDays"]) == (False, False, 7)


def test_a_key_alone_takes_the_statements_it_is_given() -> None:
    alone = run(lambda: CustomerKey("flow", CustomerKeyArgs("Flow logs", statements=[logs_may_encrypt])))
    group = f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:flow"
    request = Request("kms:GenerateDataKey", principal=LOGS, context={"kms:EncryptionContext:aws:logs:arn": group})
    assert allows(alone.one("aws:kms/key:Key").inputs["policy"], request)


@pytest.mark.parametrize("days", [6, 31])
def test_a_deletion_window_that_kms_does_not_take_is_refused(days: int) -> None:
    with pytest.raises(ValueError, match="7 to 30"):
        CustomerKeyArgs("anything", deletion_window_days=days)
