"""AWS Backup: vaults, plans, selections; and the default encryption of EBS."""

from __future__ import annotations

import json
from typing import Any

import pytest
from aws_lifecycle import Lifecycle, Step
from aws_program import CheckFailedError, Program

from trainyard.local.aws.errors import AwsError

VAULT, PLAN, SELECTION = "aws:backup/vault:Vault", "aws:backup/plan:Plan", "aws:backup/selection:Selection"
TRUST = {"Effect": "Allow", "Principal": {"Service": "backup.amazonaws.com"}, "Action": "sts:AssumeRole"}
DENY = {"Effect": "Deny", "Principal": {"AWS": "*"}, "Action": "backup:DeleteRecoveryPoint", "Resource": "*"}


def document(*statements: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def rule(vault: Any, **more: Any) -> dict[str, Any]:
    return {"ruleName": "daily", "targetVaultName": vault["name"], "schedule": "cron(0 3 * * ? *)", **more}


class TestLife(Lifecycle):
    region = "me-central-1"
    steps = {  # noqa: RUF012
        "key": Step("aws:kms/key:Key", lambda _: {"deletionWindowInDays": 7}),
        "role": Step("aws:iam/role:Role", lambda _: {"assumeRolePolicy": document(TRUST)}),
        "vault": Step(
            VAULT,
            lambda r: {"kmsKeyArn": r["key"]["arn"]},
            lambda r: {"kmsKeyArn": r["key"]["arn"], "tags": {"a": "b"}},
        ),
        "vault-policy": Step(
            "aws:backup/vaultPolicy:VaultPolicy",
            lambda r: {"backupVaultName": r["vault"]["name"], "policy": document(DENY)},
            lambda r: {"backupVaultName": r["vault"]["name"], "policy": document({**DENY, "Action": "backup:*"})},
        ),
        "lock": Step(
            "aws:backup/vaultLockConfiguration:VaultLockConfiguration",
            lambda r: {"backupVaultName": r["vault"]["name"], "minRetentionDays": 7, "maxRetentionDays": 365},
        ),
        "plan": Step(
            PLAN,
            lambda r: {"rules": [rule(r["vault"], lifecycle={"deleteAfter": 35})]},
            lambda r: {
                "rules": [
                    rule(r["vault"], lifecycle={"deleteAfter": 100, "coldStorageAfter": 10}, startWindow=120),
                    rule(r["vault"], ruleName="weekly", recoveryPointTags={"a": "b"}, enableContinuousBackup=True),
                ],
                "tags": {"a": "b"},
            },
            by_others=frozenset({"version"}),
        ),
        "selection": Step(
            SELECTION,
            lambda r: {
                "planId": r["plan"].id,
                "iamRoleArn": r["role"]["arn"],
                "resources": ["arn:aws:fsx:me-central-1:123456789012:file-system/fs-1"],
            },
            import_id=lambda resource: f"{resource['planId']}|{resource.id}",
        ),
        "tagged": Step(
            SELECTION,
            lambda r: {
                "planId": r["plan"].id,
                "iamRoleArn": r["role"]["arn"],
                "selectionTags": [{"type": "STRINGEQUALS", "key": "backup", "value": "daily"}],
                "resources": ["*"],
                "conditions": [{"stringEquals": [{"key": "aws:ResourceTag/environment", "value": "prod"}]}],
            },
            import_id=lambda resource: f"{resource['planId']}|{resource.id}",
        ),
        "encryption": Step(
            "aws:ebs/encryptionByDefault:EncryptionByDefault", lambda _: {}, lambda _: {"enabled": False}
        ),
        "default-key": Step("aws:ebs/defaultKmsKey:DefaultKmsKey", lambda r: {"keyArn": r["key"]["arn"]}),
    }

    def test_a_vault_with_recovery_points_stays(self, stack: Program, aws: Any):
        vault = stack.up(VAULT, "full")
        point = {"ResourceArn": "arn:aws:fsx:me-central-1:123456789012:file-system/fs-1"}
        aws("backup", "me-central-1").start_backup_job(
            BackupVaultName=vault["name"], IamRoleArn=stack.resources["role"]["arn"], **point
        )
        with pytest.raises(AwsError, match="contains 1 recovery points"):
            stack.destroy("full")
        stack.up(VAULT, "full", forceDestroy=True)
        stack.destroy("full")

    def test_a_plan_with_selections_stays(self, stack: Program):
        with pytest.raises(AwsError, match="selections must be deleted"):
            stack.destroy("plan")

    def test_a_rule_needs_its_vault_and_time_in_the_cold(self, stack: Program):
        with pytest.raises(AwsError, match="vault none does not exist"):
            stack.up(PLAN, "refused", rules=[rule({"name": "none"})])
        lifecycle = {"coldStorageAfter": 30, "deleteAfter": 60}
        with pytest.raises(CheckFailedError, match="at least 90 days after"):
            stack.up(PLAN, "refused", rules=[rule(stack.resources["vault"], lifecycle=lifecycle)])

    def test_the_key_of_new_volumes_goes_back(self, stack: Program, aws: Any):
        ec2 = aws("ec2", "me-central-1")
        assert ec2.get_ebs_default_kms_key_id()["KmsKeyId"] == stack.resources["key"]["arn"]
        stack.destroy("default-key")
        assert ec2.get_ebs_default_kms_key_id()["KmsKeyId"] != stack.resources["key"]["arn"]
        missing = "arn:aws:kms:me-central-1:123456789012:key/00000000-0000-0000-0000-000000000000"
        with pytest.raises(AwsError, match="NotFound"):
            stack.up("aws:ebs/defaultKmsKey:DefaultKmsKey", "refused", keyArn=missing)
