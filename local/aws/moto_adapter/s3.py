"""S3 in moto: events going to EventBridge, who may deliver access logs, and locks on buckets that hold objects."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from moto.core.responses import ActionResult, EmptyResult
from moto.s3.models import FakeBucket, S3Backend
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
    require_parameters(S3Backend.put_object_lock_configuration, "bucket_name", "lock_enabled", "mode", "days", "years")
    require_mentions(S3Backend.put_object_lock_configuration, "raise InvalidBucketState", "raise BucketNeedsToBeNew")
    require_parameters(S3Backend.get_object_lock_configuration, "bucket_name")


def install() -> None:
    """Mend the telling of notifications and the check of access log targets."""
    wrap(S3Response, "get_bucket_notification", _telling_event_bridge)
    wrap(FakeBucket, "_log_permissions_enabled_policy", lambda _: _logs_may_be_delivered)
    wrap(S3Backend, "put_object_lock_configuration", _locking_what_holds_objects)
    wrap(S3Backend, "get_object_lock_configuration", _telling_one_unit)


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


def _locking_what_holds_objects(moto_put: Callable[..., None]) -> Callable[..., None]:
    """moto's S3 is that of before 2023-11, which refused a bucket with objects in it."""

    def put_object_lock_configuration(
        backend: Any,
        bucket_name: str,
        lock_enabled: bool,
        mode: str | None = None,
        days: int | None = None,
        years: int | None = None,
    ) -> None:
        bucket = backend.get_bucket(bucket_name)
        kept, bucket.keys = bucket.keys, type(bucket.keys)()
        try:
            moto_put(backend, bucket_name, lock_enabled, mode, days, years)
        finally:
            bucket.keys = kept

    return put_object_lock_configuration


def _telling_one_unit(moto_get: Callable[..., Any]) -> Callable[..., Any]:
    """A retention is told in days or in years, as it was asked for; moto adds 0 of the other."""

    def get_object_lock_configuration(
        backend: Any, bucket_name: str
    ) -> tuple[bool, str | None, int | None, int | None]:
        enabled, mode, days, years = moto_get(backend, bucket_name)
        return enabled, mode, days or None, years or None

    return get_object_lock_configuration
