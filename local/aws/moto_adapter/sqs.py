"""SQS in moto: attributes that it forgets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from moto.sqs.models import Queue

from trainyard.local.aws.moto_adapter.expectations import require_mentions, require_parameters, wrap

_FORGOTTEN = "RedriveAllowPolicy"


def require_expected() -> None:
    """What this module relies on."""
    require_parameters(Queue._set_attributes, "self", "attributes", "now")
    require_mentions(Queue, 'self.policy = attributes.get("Policy")', "camelcase_to_underscores(key)")
    require_mentions(Queue, "for attribute in self.BASE_ATTRIBUTES:", "camelcase_to_underscores(attribute)")


def install() -> None:
    """Keep a queue's policy when other attributes are set, know RedriveAllowPolicy, and one encryption at a time."""
    wrap(Queue, "_set_attributes", _keeping)
    if _FORGOTTEN not in Queue.BASE_ATTRIBUTES:
        Queue.BASE_ATTRIBUTES = [*Queue.BASE_ATTRIBUTES, _FORGOTTEN]


def _keeping(moto_set_attributes: Callable[..., None]) -> Callable[..., None]:
    def set_attributes(queue: Any, attributes: dict[str, Any], now: float | None = None) -> None:
        kept = {name: getattr(queue, name, None) for name in ("policy", "redrive_allow_policy")}
        moto_set_attributes(queue, attributes, now)
        if "Policy" not in attributes:
            queue.policy = kept["policy"]
        if _FORGOTTEN not in attributes:
            queue.redrive_allow_policy = kept["redrive_allow_policy"]
        if attributes.get("KmsMasterKeyId"):
            queue.sqs_managed_sse_enabled = "false"
        for name in (*kept, "kms_master_key_id"):
            if getattr(queue, name) == "":
                setattr(queue, name, None)

    return set_attributes
