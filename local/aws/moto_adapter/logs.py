"""CloudWatch Logs in moto: changing the key of a log group, which it lacks."""

from __future__ import annotations

from typing import Any

from moto.logs.exceptions import ResourceNotFoundException
from moto.logs.models import LogGroup, LogsBackend
from moto.logs.responses import LogsResponse

from trainyard.local.aws.moto_adapter.expectations import add, require_mentions


def require_expected() -> None:
    """What this module relies on."""
    require_mentions(LogGroup.__init__, "self.kms_key_id")
    require_mentions(LogsBackend.create_log_group, "self.groups[log_group_name]")
    require_mentions(LogsResponse.delete_retention_policy, "self.logs_backend", "self._get_param(", 'return ""')


def install() -> None:
    """Add AssociateKmsKey and DisassociateKmsKey."""
    add(LogsResponse, "associate_kms_key", _associate_kms_key)
    add(LogsResponse, "disassociate_kms_key", _disassociate_kms_key)


def _associate_kms_key(response: Any) -> str:
    _group(response).kms_key_id = response._get_param("kmsKeyId")
    return ""


def _disassociate_kms_key(response: Any) -> str:
    _group(response).kms_key_id = None
    return ""


def _group(response: Any) -> Any:
    group = response.logs_backend.groups.get(response._get_param("logGroupName"))
    if group is None:
        raise ResourceNotFoundException()
    return group
