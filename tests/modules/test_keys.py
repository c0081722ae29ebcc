"""Who may use which key."""

from __future__ import annotations

import pytest
from iam_evaluation import Request, allows, decide
from mocked_pulumi import ACCOUNT, REGION, Deployment, run

from trainyard.modules.keys import CustomerKey, CustomerKeyArgs, Keys, KeysArgs, logs_may_encrypt

EVENTS, LOGS = "events.amazonaws.com", f"logs.{REGION}.amazonaws.com"
OTHER_ACCOUNT = "999999999999"


@pytest.fixture(scope="module")
def keys() -> Deployment:
    return run(lambda: Keys("yard", KeysArgs(tags={"owner": "ml"})))


def _policy(keys: Deployment, purpose: str) -> str:
    return keys.one("aws:kms/key:Key", f"yard-{purpose}-key").inputs["policy"]


def test_the_account_administers_every_key_and_other_accounts_none(keys: Deployment) -> None:
    for purpose in ("data", "messages", "logs"):
        for action in ("kms:PutKeyPolicy", "kms:ScheduleKeyDeletion", "kms:Decrypt"):
            admin = Request(action, principal=f"arn:aws:iam::{ACCOUNT}:role/admin")
            stranger = Request(action, principal=f"arn:aws:iam::{OTHER_ACCOUNT}:role/admin")
            assert allows(_policy(keys, purpose), admin)
            assert decide(_policy(keys, purpose), stranger) == "nothing"


@pytest.mark.parametrize("action", ["kms:Decrypt", "kms:GenerateDataKey"])
def test_eventbridge_may_send_this_accounts_events_with_the_messages_key_only(keys: Deployment, action: str) -> None:
    own = Request(action, principal=EVENTS, context={"aws:SourceAccount": ACCOUNT})
    foreign = Request(action, principal=EVENTS, context={"aws:SourceAccount": OTHER_ACCOUNT})
    assert allows(_policy(keys, "messages"), own)
    assert not allows(_policy(keys, "messages"), foreign)
    assert not allows(_policy(keys, "data"), own)
    assert not allows(_policy(keys, "logs"), own)


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
    for purpose in ("data", "messages", "logs"):
        for service in (EVENTS, LOGS):
            request = Request("kms:PutKeyPolicy", principal=service, context={"aws:SourceAccount": ACCOUNT})
            assert not allows(_policy(keys, purpose), request)


def test_keys_rotate_are_protected_and_are_found_by_alias(keys: Deployment) -> None:
    made = keys.of_type("aws:kms/key:Key")
    assert len(made) == 3
    for key in made:
        assert key.inputs["enableKeyRotation"] is True
        assert key.inputs["deletionWindowInDays"] == 30
        assert key.inputs["tags"] == {"owner": "ml"}
        assert (key.protect, key.retain_on_delete) == (True, True)
    aliases = {alias.inputs["name"]: alias.inputs["targetKeyId"] for alias in keys.of_type("aws:kms/alias:Alias")}
    assert set(aliases) == {"alias/yard-data", "alias/yard-messages", "alias/yard-logs"}
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
