"""AWS Backup in moto: selections, changed plans, vaults' policies and recovery points, which it lacks."""

from __future__ import annotations

import json
import re
import secrets
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

from moto.backup import urls
from moto.backup.exceptions import InvalidParameterValueException, InvalidRequestException, ResourceNotFoundException
from moto.backup.models import BackupBackend, Plan, Vault
from moto.backup.responses import BackupResponse

from trainyard.local.aws.account import partition_of
from trainyard.local.aws.moto_adapter.expectations import add, require_mentions, require_parameters, wrap

_PATHS = (
    "{0}/backup-vaults/(?P<name>[^/]+)/access-policy$",
    "{0}/backup-vaults/(?P<name>[^/]+)/recovery-points/$",
    "{0}/backup-vaults/(?P<name>[^/]+)/recovery-points/(?P<arn>.+)$",
    "{0}/backup-jobs$",
)


def require_expected() -> None:
    """What this module relies on."""
    require_mentions(BackupBackend.__init__, "self.vaults", "self.plans")
    require_parameters(BackupBackend.delete_backup_vault, "self", "backup_vault_name")
    require_parameters(BackupBackend.delete_backup_plan, "self", "backup_plan_id")
    require_parameters(BackupBackend.get_backup_plan, "self", "backup_plan_id", "version_id")
    require_mentions(BackupResponse.describe_backup_vault, "self.backup_backend")
    require_mentions(Vault.__init__, "self.num_of_recovery_points", "self.encryption_key_arn")
    require_mentions(Plan.__init__, "self.version_id", "self.backup_plan = backup_plan")


def install() -> None:
    """Add the missing operations, and refuse what AWS refuses."""
    for path in _PATHS:
        urls.url_paths[path] = BackupResponse.dispatch
    wrap(BackupResponse, "describe_backup_vault", lambda _: _describe_vault)
    wrap(BackupBackend, "create_backup_plan", _into_existing_vaults)
    wrap(BackupBackend, "delete_backup_vault", _only_empty)
    wrap(BackupBackend, "get_backup_plan", _not_deleted)
    wrap(BackupBackend, "delete_backup_plan", _without_selections)
    for name, operation in {
        "update_backup_plan": _update_plan,
        "create_backup_selection": _create_selection,
        "get_backup_selection": _get_selection,
        "list_backup_selections": _list_selections,
        "delete_backup_selection": _delete_selection,
        "put_backup_vault_access_policy": _put_policy,
        "get_backup_vault_access_policy": _get_policy,
        "delete_backup_vault_access_policy": _delete_policy,
        "start_backup_job": _start_job,
        "list_recovery_points_by_backup_vault": _list_points,
        "delete_recovery_point": _delete_point,
    }.items():
        add(BackupResponse, name, operation)


def _describe_vault(response: Any) -> str:
    vault = _vault(response)
    region, account = response.region, response.current_account
    default_key = f"arn:{partition_of(region)}:kms:{region}:{account}:alias/aws/backup"
    told = {"EncryptionKeyArn": default_key, **vault.to_list_dict(), "NumberOfRecoveryPoints": len(_points(vault))}
    return json.dumps(told)


def _only_empty(moto_delete: Callable[..., None]) -> Callable[..., None]:
    def delete_backup_vault(backend: Any, backup_vault_name: str) -> None:
        vault = backend.vaults.get(backup_vault_name)
        if vault and _points(vault):
            raise InvalidRequestException(
                f"Backup vault cannot be deleted (contains {len(_points(vault))} recovery points)"
            )
        moto_delete(backend, backup_vault_name)

    return delete_backup_vault


def _into_existing_vaults(moto_create: Callable[..., Any]) -> Callable[..., Any]:
    def create_backup_plan(backend: Any, backup_plan: dict[str, Any], *arguments: Any, **named: Any) -> Any:
        _require_vaults(backend, backup_plan)
        deleted = [identity for identity, plan in backend.plans.items() if plan.deletion_date is not None]
        for identity in deleted:  # their names are free again
            del backend.plans[identity]
        return moto_create(backend, backup_plan, *arguments, **named)

    return create_backup_plan


def _require_vaults(backend: Any, backup_plan: dict[str, Any]) -> None:
    for rule in backup_plan["Rules"]:
        if rule["TargetBackupVaultName"] not in backend.vaults:
            raise InvalidParameterValueException(f"Backup vault {rule['TargetBackupVaultName']} does not exist")
        lifecycle = rule.get("Lifecycle") or {}
        cold, end = lifecycle.get("MoveToColdStorageAfterDays"), lifecycle.get("DeleteAfterDays")
        if cold and end and end < cold + 90:
            raise InvalidParameterValueException(
                "DeleteAfterDays cannot be less than 90 days apart from MoveToColdStorageAfterDays"
            )


def _not_deleted(moto_get: Callable[..., Any]) -> Callable[..., Any]:
    def get_backup_plan(backend: Any, backup_plan_id: str, version_id: Any = None) -> Any:
        plan = moto_get(backend, backup_plan_id, version_id)
        if plan.deletion_date is not None:
            raise ResourceNotFoundException(msg="Cannot find Backup plan with ID: " + backup_plan_id)
        return plan

    return get_backup_plan


def _without_selections(moto_delete: Callable[..., Any]) -> Callable[..., Any]:
    def delete_backup_plan(backend: Any, backup_plan_id: str) -> Any:
        if getattr(backend.plans.get(backup_plan_id), "selections", None):
            raise InvalidRequestException(
                "Related backup plan selections must be deleted prior to backup plan deletion"
            )
        return moto_delete(backend, backup_plan_id)

    return delete_backup_plan


def _update_plan(response: Any) -> str:
    plan = _plan(response)
    wanted = json.loads(response.body)["BackupPlan"]
    _require_vaults(response.backup_backend, wanted)
    made: Any = Plan(wanted, plan.creator_request_id, response.backup_backend)
    plan.backup_plan, plan.version_id = made.backup_plan, made.version_id
    plan.advanced_backup_settings = made.advanced_backup_settings
    return json.dumps(plan.to_dict())


def _create_selection(response: Any) -> str:
    plan = _plan(response)
    wanted = json.loads(response.body)["BackupSelection"]
    selections = plan.__dict__.setdefault("selections", {})
    if any(found["SelectionName"] == wanted["SelectionName"] for found in selections.values()):
        raise InvalidRequestException(f"A selection named {wanted['SelectionName']} exists")
    identity = f"{secrets.token_hex(4)}-{secrets.token_hex(2)}-4{secrets.token_hex(2)[1:]}-a{secrets.token_hex(2)[1:]}"
    identity = f"{identity}-{secrets.token_hex(6)}"
    selections[identity] = wanted
    return json.dumps({"SelectionId": identity, "BackupPlanId": plan.backup_plan_id, "CreationDate": time.time()})


def _get_selection(response: Any) -> str:
    plan, identity = _plan(response), response.path.rstrip("/").split("/selections/")[-1]
    found = getattr(plan, "selections", {}).get(identity)
    if found is None:
        raise ResourceNotFoundException(msg="Cannot find Backup plan selection with ID: " + identity)
    told = {"BackupSelection": found, "SelectionId": identity, "BackupPlanId": plan.backup_plan_id}
    return json.dumps(told)


def _list_selections(response: Any) -> str:
    plan = _plan(response)
    listed = [
        {
            "SelectionId": identity,
            "SelectionName": found["SelectionName"],
            "BackupPlanId": plan.backup_plan_id,
            "IamRoleArn": found["IamRoleArn"],
        }
        for identity, found in getattr(plan, "selections", {}).items()
    ]
    return json.dumps({"BackupSelectionsList": listed})


def _delete_selection(response: Any) -> str:
    _get_selection(response)
    del _plan(response).selections[response.path.rstrip("/").split("/selections/")[-1]]
    return "{}"


def _put_policy(response: Any) -> str:
    _vault(response).access_policy = json.loads(response.body)["Policy"]
    return "{}"


def _get_policy(response: Any) -> str:
    vault = _vault(response)
    policy = getattr(vault, "access_policy", None)
    if not policy:
        raise ResourceNotFoundException(msg="Cannot find an access policy of " + vault.backup_vault_name)
    told = {"BackupVaultName": vault.backup_vault_name, "BackupVaultArn": vault.backup_vault_arn, "Policy": policy}
    return json.dumps(told)


def _delete_policy(response: Any) -> str:
    _vault(response).access_policy = None
    return "{}"


def _start_job(response: Any) -> str:
    """A job that is done at once: a recovery point of the resource lies in the vault."""
    request = json.loads(response.body)
    vault = _named_vault(response, request["BackupVaultName"])
    region, account = response.region, response.current_account
    arn = f"arn:{partition_of(region)}:backup:{region}:{account}:recovery-point:{secrets.token_hex(16)}"
    _points(vault)[arn] = {
        "RecoveryPointArn": arn,
        "BackupVaultName": vault.backup_vault_name,
        "BackupVaultArn": vault.backup_vault_arn,
        "ResourceArn": request["ResourceArn"],
        "Status": "COMPLETED",
        "CreationDate": time.time(),
    }
    return json.dumps({"BackupJobId": secrets.token_hex(16), "RecoveryPointArn": arn, "CreationDate": time.time()})


def _list_points(response: Any) -> str:
    return json.dumps({"RecoveryPoints": list(_points(_vault(response)).values())})


def _delete_point(response: Any) -> str:
    vault, arn = _vault(response), unquote(response.path.split("/recovery-points/")[-1])
    if vault.locked:
        raise InvalidRequestException(f"the vault {vault.backup_vault_name} is locked: its recovery points stay")
    _points(vault).pop(arn, None)
    return "{}"


def _points(vault: Any) -> dict[str, Any]:
    return vault.__dict__.setdefault("recovery_points", {})


def _vault(response: Any) -> Any:
    return _named_vault(response, re.search(r"/backup-vaults/([^/]+)", response.path)[1])  # ty: ignore[not-subscriptable]


def _named_vault(response: Any, name: str) -> Any:
    found = response.backup_backend.vaults.get(unquote(name))
    if found is None:
        raise ResourceNotFoundException(msg=f"Backup vault {name} does not exist")
    return found


def _plan(response: Any) -> Any:
    identity = re.search(r"/plans/([^/]+)", response.path)[1]  # ty: ignore[not-subscriptable]
    return response.backup_backend.get_backup_plan(identity, None)
