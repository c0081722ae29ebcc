"""STS in moto: keys that IAM does not know are the account's root, or whoever the rehearsal says runs the program."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from moto.sts.models import STSBackend
from moto.utilities.utils import get_partition

from trainyard.local.aws.moto_adapter.expectations import require_mentions, require_parameters, wrap

CALLER = "TRAINYARD_EMULATED_CALLER"
"""Variable with the ARN of a role's session: as whom access entries and the program then know the caller."""


def require_expected() -> None:
    """What this module relies on."""
    require_parameters(STSBackend.get_caller_identity, "self", "access_key_id", "region")
    require_mentions(STSBackend.get_caller_identity, ":user/moto", "return user_id, arn, self.account_id")


def install() -> None:
    """Let keys that IAM does not know be the root's, or the caller's."""
    wrap(STSBackend, "get_caller_identity", _as_root)


def _as_root(moto_identity: Callable[..., tuple[str, str, str]]) -> Callable[..., tuple[str, str, str]]:
    def get_caller_identity(backend: Any, access_key_id: str, region: str) -> tuple[str, str, str]:
        user_id, arn, account = moto_identity(backend, access_key_id, region)
        if arn.endswith(":user/moto") and ":sts:" in arn:
            if caller := os.environ.get(CALLER):
                return f"AROAEMULATEDCALLER000:{caller.rpartition('/')[2]}", caller, account
            return account, f"arn:{get_partition(region)}:iam::{account}:root", account
        return user_id, arn, account

    return get_caller_identity
