"""EBS in moto: reading and putting back the key that new volumes are encrypted with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from moto.core.responses import ActionResult
from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models.elastic_block_store import EBSBackend
from moto.ec2.responses.elastic_block_store import ElasticBlockStore
from moto.kms.models import kms_backends

from trainyard.local.aws.moto_adapter.expectations import add, require_mentions, require_parameters, wrap


def require_expected() -> None:
    """What this module relies on."""
    require_mentions(EBSBackend.modify_ebs_default_kms_key_id, "self.default_kms_key_id")
    require_mentions(EBSBackend._create_default_encryption_key, "self.default_kms_key_id", "ebs_key.arn")
    require_parameters(ElasticBlockStore.modify_ebs_default_kms_key_id, "self")


def install() -> None:
    """Add what is missing; refuse a key that is not enabled."""
    add(ElasticBlockStore, "get_ebs_default_kms_key_id", _get_key)
    add(ElasticBlockStore, "reset_ebs_default_kms_key_id", _reset_key)
    wrap(EBSBackend, "modify_ebs_default_kms_key_id", _only_enabled)


def _get_key(response: Any) -> ActionResult:
    backend = response.ec2_backend
    return ActionResult({"KmsKeyId": backend.default_kms_key_id or backend._create_default_encryption_key()})


def _reset_key(response: Any) -> ActionResult:
    return ActionResult({"KmsKeyId": response.ec2_backend._create_default_encryption_key()})


def _only_enabled(moto_modify: Callable[..., str]) -> Callable[..., str]:
    def modify_ebs_default_kms_key_id(backend: Any, kms_key_id: str) -> str:
        try:
            key = kms_backends[backend.account_id][backend.region_name].describe_key(kms_key_id)
        except Exception:  # noqa: BLE001 - moto raises a different error for each way in which a key can be missing
            raise EC2ClientError("InvalidKmsKey.NotFound", f"The key {kms_key_id} does not exist") from None
        if key.key_state != "Enabled":
            raise EC2ClientError("InvalidKmsKey.InvalidState", f"The key {kms_key_id} is {key.key_state}")
        return moto_modify(backend, kms_key_id)

    return modify_ebs_default_kms_key_id
