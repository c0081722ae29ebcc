"""KMS in moto: the period of a key's rotation, which it drops, and keys' ARNs, which it does not always take."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from moto.kms.models import KmsBackend
from moto.kms.responses import KmsResponse

from trainyard.local.aws.moto_adapter.expectations import require_mentions, require_parameters, wrap

_DEFAULT_PERIOD_DAYS = 365
_BY_ID_ONLY = ("enable_key", "disable_key", "schedule_key_deletion", "cancel_key_deletion", "update_key_description")


def require_expected() -> None:
    """What this module relies on."""
    require_parameters(KmsResponse.enable_key_rotation, "self")
    require_mentions(KmsResponse.enable_key_rotation, '_get_param("KeyId")', "self.kms_backend")
    require_mentions(KmsResponse.get_key_rotation_status, '"KeyRotationEnabled"', "json.dumps")
    require_parameters(KmsBackend.any_id_to_key_id, "self", "key_id")
    for name in _BY_ID_ONLY:
        require_parameters(getattr(KmsBackend, name), "self", "key_id")


def install() -> None:
    """Keep and tell RotationPeriodInDays; take ARNs as well as IDs."""
    wrap(KmsResponse, "enable_key_rotation", _keeping_period)
    wrap(KmsResponse, "get_key_rotation_status", _telling_period)
    for name in _BY_ID_ONLY:
        wrap(KmsBackend, name, _by_any_id)


def _keeping_period(moto_enable: Callable[..., str]) -> Callable[..., str]:
    def enable_key_rotation(response: Any) -> str:
        answer = moto_enable(response)
        period = response._get_param("RotationPeriodInDays")
        _key(response).rotation_period_in_days = int(period) if period else _DEFAULT_PERIOD_DAYS
        return answer

    return enable_key_rotation


def _telling_period(moto_status: Callable[..., str]) -> Callable[..., str]:
    def get_key_rotation_status(response: Any) -> str:
        status = json.loads(moto_status(response))
        if status.get("KeyRotationEnabled"):
            status["RotationPeriodInDays"] = getattr(_key(response), "rotation_period_in_days", _DEFAULT_PERIOD_DAYS)
        return json.dumps({"KeyId": _key(response).arn, **status})

    return get_key_rotation_status


def _key(response: Any) -> Any:
    return response.kms_backend.describe_key(response._get_param("KeyId"))


def _by_any_id(moto_method: Callable[..., Any]) -> Callable[..., Any]:
    def method(backend: Any, key_id: str, *arguments: Any, **named: Any) -> Any:
        return moto_method(backend, backend.any_id_to_key_id(key_id), *arguments, **named)

    return method
