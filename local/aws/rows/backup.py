"""AWS Backup: vaults, their policies and locks, plans and what they select."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from trainyard.local.aws.calls import Call, Derive, Do, Read
from trainyard.local.aws.context import Context
from trainyard.local.aws.errors import AwsError
from trainyard.local.aws.fields import ID, Each, Fact, Json, Object, OnlyOne, Prop, Values, pascal, read_map
from trainyard.local.aws.row import Name, Row
from trainyard.local.aws.tags import TagsField, tagged_by

_GONE = ("ResourceNotFoundException",)
_VAULT = {"BackupVaultName": ID}


def _tags(parameter: str) -> Any:
    return tagged_by(
        "tag_resource",
        "untag_resource",
        {"ResourceArn": Fact("arn")},
        tags="Tags",
        keys="TagKeyList",
        create={parameter: TagsField()},
        listing=Read("list_tags", {"ResourceArn": Fact("arn")}, {"Tags": TagsField()}),
    )


def _empty_vault(context: Context) -> None:
    """Take the recovery points out of a vault, where the program allows that."""
    if not context.wanted.get("forceDestroy"):
        return
    points = context.list_all("list_recovery_points_by_backup_vault", BackupVaultName=context.id)["RecoveryPoints"]
    for point in points:
        arn = point["RecoveryPointArn"]
        context.call("delete_recovery_point", BackupVaultName=context.id, RecoveryPointArn=arn)


def _vault() -> Row:
    return Row(
        "aws:backup/vault:Vault",
        service="backup",
        cloudformation="AWS::Backup::BackupVault",
        id="BackupVaultName",
        name=Name(prefix_property="", max_length=50),
        create=Call("create_backup_vault", {"BackupVaultName": "name", "EncryptionKeyArn": "kmsKeyArn"}),
        read=(
            Read(
                "describe_backup_vault",
                _VAULT,
                {
                    "BackupVaultName": "name",
                    "BackupVaultArn": "arn",
                    "EncryptionKeyArn": "kmsKeyArn",
                    "NumberOfRecoveryPoints": "recoveryPoints",
                },
                gone=_GONE,
            ),
        ),
        delete=(Do(_empty_vault), Call("delete_backup_vault", _VAULT, ignore=_GONE)),
        tags=_tags("BackupVaultTags"),
        defaults={"forceDestroy": False},
        local=("forceDestroy",),
        computed=("kmsKeyArn",),
        replace_on=("kmsKeyArn",),
        schema_names={"name": "BackupVaultName", "kmsKeyArn": "EncryptionKeyArn"},
    )


def _vault_policy() -> Row:
    put = Call("put_backup_vault_access_policy", {"BackupVaultName": "backupVaultName", "Policy": Json("policy")})
    return Row(
        "aws:backup/vaultPolicy:VaultPolicy",
        service="backup",
        id="{backupVaultName}",
        create=put,
        update=(put,),
        read=(
            Read(
                "get_backup_vault_access_policy",
                _VAULT,
                {"BackupVaultName": "backupVaultName", "BackupVaultArn": "backupVaultArn", "Policy": Json("policy")},
                gone=_GONE,
            ),
        ),
        delete=(Call("delete_backup_vault_access_policy", _VAULT, ignore=_GONE),),
        replace_on=("backupVaultName",),
    )


def _vault_lock() -> Row:
    days = pascal("maxRetentionDays", "minRetentionDays")
    return Row(
        "aws:backup/vaultLockConfiguration:VaultLockConfiguration",
        service="backup",
        id="{backupVaultName}",
        create=Call(
            "put_backup_vault_lock_configuration",
            {"BackupVaultName": "backupVaultName", **days, **pascal("changeableForDays")},
        ),
        read=(
            Read(
                "describe_backup_vault",
                _VAULT,
                {"BackupVaultName": "backupVaultName", "BackupVaultArn": "backupVaultArn", **days},
                path="[@][?Locked] | [0]",
                gone=_GONE,
            ),
        ),
        delete=(Call("delete_backup_vault_lock_configuration", _VAULT, ignore=_GONE),),
        replace_on=("backupVaultName", "changeableForDays", "maxRetentionDays", "minRetentionDays"),
        delete_before_replace=True,
        notes=("with changeableForDays the lock becomes final after as many days, in AWS for good",),
    )


_LIFECYCLE = {
    "DeleteAfterDays": "deleteAfter",
    "MoveToColdStorageAfterDays": "coldStorageAfter",
    "OptInToArchiveForSupportedResources": "optInToArchiveForSupportedResources",
}
_RULE = {
    "RuleName": "ruleName",
    "TargetBackupVaultName": "targetVaultName",
    "ScheduleExpression": "schedule",
    "ScheduleExpressionTimezone": Prop("scheduleExpressionTimezone", unset="Etc/UTC"),
    "StartWindowMinutes": Prop("startWindow", unset=60),
    "CompletionWindowMinutes": Prop("completionWindow", unset=180),
    "Lifecycle": Object("lifecycle", _LIFECYCLE),
    "RecoveryPointTags": "recoveryPointTags",
    "EnableContinuousBackup": "enableContinuousBackup",
    "CopyActions": Each(
        "copyActions",
        {"DestinationBackupVaultArn": "destinationVaultArn", "Lifecycle": Object("lifecycle", _LIFECYCLE)},
        ordered=False,
    ),
}
_RULE_DEFAULTS = {
    "completionWindow": 180,
    "schedule": "cron(0 5 ? * * *)",
    "scheduleExpressionTimezone": "Etc/UTC",
    "startWindow": 60,
}


class _Rules(Each):
    """Rules in any order; what a rule does not say is as the official provider and AWS fill it in."""

    def canonical(self, value: Any) -> Any:
        return super().canonical([{**_RULE_DEFAULTS, **rule} for rule in value or ()])


_PLAN = {
    "BackupPlan": {
        "BackupPlanName": "name",
        "Rules": _Rules("rules", _RULE, ordered=False),
        "AdvancedBackupSettings": Each(
            "advancedBackupSettings", pascal("backupOptions", "resourceType"), ordered=False
        ),
    }
}


def _long_enough_in_the_cold(inputs: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    rules = inputs.get("rules")
    for index, rule in enumerate(rules if isinstance(rules, list) else ()):
        lifecycle = rule.get("lifecycle") if isinstance(rule, Mapping) else None
        if not isinstance(lifecycle, Mapping):
            continue
        cold, end = lifecycle.get("coldStorageAfter"), lifecycle.get("deleteAfter")
        if isinstance(cold, int) and isinstance(end, int) and end < cold + 90:
            yield f"rules[{index}].lifecycle.deleteAfter", f"is {end}; at least 90 days after coldStorageAfter ({cold})"


def _plan() -> Row:
    plan = {"BackupPlanId": ID}
    return Row(
        "aws:backup/plan:Plan",
        service="backup",
        id="BackupPlanId",
        name=Name(prefix_property="", max_length=50),
        create=Call("create_backup_plan", _PLAN),
        update=(Call("update_backup_plan", {**plan, **_PLAN}),),
        read=(Read("get_backup_plan", plan, {**_PLAN, "BackupPlanArn": "arn", "VersionId": "version"}, gone=_GONE),),
        delete=(Call("delete_backup_plan", plan, ignore=_GONE),),
        tags=_tags("BackupPlanTags"),
        constraints=(_long_enough_in_the_cold,),
        not_emulated={"scanSettings": "scanning backups for malware is not emulated"},
        notes=("no backup is made by itself",),
    )


_KEY_VALUE = {"ConditionKey": "key", "ConditionValue": "value"}
_CONDITIONS = {
    "StringEquals": Each("stringEquals", _KEY_VALUE, ordered=False),
    "StringLike": Each("stringLikes", _KEY_VALUE, ordered=False),
    "StringNotEquals": Each("stringNotEquals", _KEY_VALUE, ordered=False),
    "StringNotLike": Each("stringNotLikes", _KEY_VALUE, ordered=False),
}
_SELECTION = {
    "SelectionName": "name",
    "IamRoleArn": "iamRoleArn",
    "Resources": Values("resources"),
    "NotResources": Values("notResources"),
    "ListOfTags": Each(
        "selectionTags", {"ConditionKey": "key", "ConditionType": "type", "ConditionValue": "value"}, ordered=False
    ),
    "Conditions": OnlyOne("conditions", _CONDITIONS),
}


def _selection_exists(context: Context, observed: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """An import names the plan as well: `plan|selection`."""
    del observed
    plan, _, identity = context.id.rpartition("|")
    plan = plan or context.facts.get("planId", "")
    try:
        found = context.call("get_backup_selection", BackupPlanId=plan, SelectionId=identity)
    except AwsError as error:
        if error.code in _GONE:
            return None
        raise
    context.id = identity
    return {"planId": plan, "_selection": found["BackupSelection"]}


def _selection_told(context: Context, observed: Mapping[str, Any]) -> Mapping[str, Any]:
    del context
    return read_map(_SELECTION, observed["_selection"])


def _role_exists(context: Context) -> None:
    arn = context.wanted["iamRoleArn"]
    try:
        context.call("get_role", "iam", RoleName=arn.rsplit("/", 1)[-1])
    except AwsError:
        raise AwsError(
            "backup:CreateBackupSelection",
            "InvalidParameterValueException",
            f"IAM Role {arn} is not found or cannot be assumed by AWS Backup",
        ) from None


def _selection() -> Row:
    return Row(
        "aws:backup/selection:Selection",
        service="backup",
        id="SelectionId",
        name=Name(prefix_property="", max_length=50),
        before=(_role_exists,),
        create=Call("create_backup_selection", {"BackupPlanId": "planId", "BackupSelection": _SELECTION}),
        read=(
            Derive(_selection_exists, ("planId",)),
            Derive(
                _selection_told,
                (
                    "name",
                    "iamRoleArn",
                    Values("resources"),
                    Values("notResources"),
                    _SELECTION["ListOfTags"],
                    _SELECTION["Conditions"],
                ),
            ),
        ),
        delete=(Call("delete_backup_selection", {"BackupPlanId": Fact("planId"), "SelectionId": ID}, ignore=_GONE),),
        replace_on=("conditions", "iamRoleArn", "notResources", "planId", "resources", "selectionTags"),
        delete_before_replace=True,
        computed=("notResources",),
    )


ROWS = (_vault(), _vault_policy(), _vault_lock(), _plan(), _selection())
