"""S3 in moto: a bucket's events going to EventBridge, which it does not tell, and who may deliver access logs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from moto.core.responses import ActionResult, EmptyResult
from moto.s3.models import FakeBucket
from moto.s3.responses import S3Response

from trainyard.local.aws.moto_adapter.expectations import require_mentions, require_parameters, wrap
from trainyard.local.aws.resource_policy import Request, UnsupportedPolicyError, evaluate

_LOGGING_SERVICE = "logging.s3.amazonaws.com"


def require_expected() -> None:
    """What this module relies on."""
    require_parameters(S3Response.get_bucket_notification, "self")
    require_mentions(
        S3Response.get_bucket_notification,
        "self.backend.get_bucket_notification_configuration(",
        "self.serialized(ActionResult(result))",
    )
    require_mentions(ActionResult.__init__, "result")
    require_parameters(FakeBucket._log_permissions_enabled_policy, "target_bucket", "target_prefix")
    require_mentions(FakeBucket.set_logging, "self._log_permissions_enabled_policy(")


def install() -> None:
    """Mend the telling of notifications and the check of access log targets."""
    wrap(S3Response, "get_bucket_notification", _telling_event_bridge)
    wrap(FakeBucket, "_log_permissions_enabled_policy", lambda _: _logs_may_be_delivered)


def _logs_may_be_delivered(source: Any, target_bucket: Any, target_prefix: str | None) -> bool:
    """Whether the target's policy lets access logs of `source` in; moto compares statements by their letters."""
    arn = f"arn:{target_bucket.partition}:s3:::"
    policy = target_bucket.policy
    request = Request(
        _LOGGING_SERVICE,
        "s3:PutObject",
        f"{arn}{target_bucket.name}/{target_prefix or ''}log",
        {
            "aws:SourceArn": f"{arn}{source.name}",
            "aws:SourceAccount": source.account_id,
            "aws:SecureTransport": "true",
            "aws:PrincipalIsAWSService": "true",
            "aws:PrincipalServiceName": _LOGGING_SERVICE,
        },
    )
    try:
        return bool(policy) and evaluate(policy.decode(), request).allowed
    except UnsupportedPolicyError:
        return False


def _telling_event_bridge(moto_get: Callable[..., Any]) -> Callable[..., Any]:
    def get_bucket_notification(response: Any) -> Any:
        configuration = response.backend.get_bucket_notification_configuration(response.bucket_name)
        if not configuration or configuration.event_bridge is None:
            return moto_get(response)
        serialized = response.serialized

        def with_event_bridge(result: Any) -> Any:
            told = {} if isinstance(result, EmptyResult) else dict(result.result)
            return serialized(ActionResult({**told, "EventBridgeConfiguration": {}}))

        response.serialized = with_event_bridge
        return moto_get(response)

    return get_bucket_notification
