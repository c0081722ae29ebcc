"""The vault, what fills it, and who may."""

from __future__ import annotations

from typing import Any

import pytest
from iam_evaluation import Request, allows
from mocked_pulumi import ACCOUNT, REGION, Deployment, run

from trainyard.modules.backup import Backup, BackupArgs, VaultLock

KEY = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/data"
BUCKET = "arn:aws:s3:::yard-artifacts"


def _made(**changes: Any) -> Deployment:
    return run(lambda: Backup("yard", BackupArgs(KEY, [BUCKET], **changes)))


@pytest.fixture(scope="module")
def backup() -> Deployment:
    return _made(schedule="cron(30 1 ? * SUN *)", retention_days=120, cold_storage_after_days=30, tags={"owner": "ml"})


def test_backups_lie_under_the_given_key(backup: Deployment) -> None:
    vault = backup.one("aws:backup/vault:Vault").inputs
    assert vault["kmsKeyArn"] == KEY
    assert vault["tags"] == {"owner": "ml"}


def test_the_plan_fills_the_vault_on_time_and_copies_nowhere(backup: Deployment) -> None:
    (rule,) = backup.one("aws:backup/plan:Plan").inputs["rules"]
    assert rule["targetVaultName"] == backup.one("aws:backup/vault:Vault").outputs["name"]
    assert rule["schedule"] == "cron(30 1 ? * SUN *)"
    assert rule["lifecycle"] == {"deleteAfter": 120, "coldStorageAfter": 30}
    assert rule["startWindow"] < rule["completionWindow"]
    assert rule["recoveryPointTags"] == {"owner": "ml"}
    assert not rule.get("copyActions")


def test_exactly_what_was_named_is_backed_up_once_the_role_may(backup: Deployment) -> None:
    selection = backup.one("aws:backup/selection:Selection")
    assert selection.inputs["resources"] == [BUCKET]
    assert selection.inputs["iamRoleArn"] == backup.one("aws:iam/role:Role").outputs["arn"]
    attached = backup.of_type("aws:iam/rolePolicyAttachment:RolePolicyAttachment")
    assert {policy.inputs["policyArn"] for policy in attached} == {
        "arn:aws:iam::aws:policy/service-role/AWSBackupServiceRolePolicyForBackup",
        "arn:aws:iam::aws:policy/service-role/AWSBackupServiceRolePolicyForRestores",
        "arn:aws:iam::aws:policy/AWSBackupServiceRolePolicyForS3Backup",
        "arn:aws:iam::aws:policy/AWSBackupServiceRolePolicyForS3Restore",
    }
    assert {policy.urn for policy in attached} <= selection.dependencies


def test_only_aws_backup_for_this_account_takes_the_role(backup: Deployment) -> None:
    trust = backup.one("aws:iam/role:Role").inputs["assumeRolePolicy"]

    def taking(service: str, account: str) -> Request:
        return Request("sts:AssumeRole", principal=service, context={"aws:SourceAccount": account})

    assert allows(trust, taking("backup.amazonaws.com", ACCOUNT))
    assert not allows(trust, taking("backup.amazonaws.com", "999999999999"))
    assert not allows(trust, taking("ec2.amazonaws.com", ACCOUNT))


def test_a_lock_is_made_only_where_asked_and_stays_removable_unless_told() -> None:
    assert not _made().of_type("aws:backup/vaultLockConfiguration:VaultLockConfiguration")
    locked = _made(lock=VaultLock(minimum_retention_days=7, maximum_retention_days=400))
    lock = locked.one("aws:backup/vaultLockConfiguration:VaultLockConfiguration").inputs
    assert (lock["minRetentionDays"], lock["maxRetentionDays"]) == (7, 400)
    assert "changeableForDays" not in lock


@pytest.mark.parametrize("protected", [True, False])
def test_a_protected_vault_is_neither_deleted_nor_emptied(protected: bool) -> None:
    vault = _made(protected=protected).one("aws:backup/vault:Vault")
    assert vault.protect is vault.retain_on_delete is protected
    assert vault.inputs["forceDestroy"] is not protected


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"resource_arns": []}, "nothing to back up"),
        ({"resource_arns": ["my-bucket"]}, "takes ARNs"),
        ({"schedule": "daily"}, "six fields"),
        ({"schedule": "cron(0 3 * * *)"}, "six fields"),
        ({"retention_days": 0}, "1 to 36500"),
        ({"retention_days": 35, "cold_storage_after_days": 7}, "at least 91"),
        ({"retention_days": 100, "cold_storage_after_days": 11}, "1 to 10"),
        ({"retention_days": 100, "cold_storage_after_days": 0}, "1 to 10"),
        ({"lock": VaultLock(60)}, "takes 60 to"),
        ({"lock": VaultLock(1, 30)}, "takes 1 to 30"),
    ],
)
def test_wrong_arguments_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BackupArgs(**{"key_arn": KEY, "resource_arns": [BUCKET], **changes})


@pytest.mark.parametrize(("days", "message"), [((0,), "1 to 36500"), ((30, 7), "less than"), ((7, 30, 2), "3 or more")])
def test_a_wrong_lock_is_refused(days: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        VaultLock(*days)
