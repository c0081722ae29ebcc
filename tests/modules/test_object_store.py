"""The buckets: who reaches them, how, and what they keep."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from iam_evaluation import Request, allows, decide
from mocked_pulumi import ACCOUNT, REGION, Deployment, Registered, run

from trainyard.modules.object_store import ObjectStore, ObjectStoreArgs
from trainyard.modules.private_bucket import Lifecycle, ObjectLock, PrivateBucket, PrivateBucketArgs

KEY = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/data"
DATA = ("datasets", "checkpoints", "artifacts")
ALL = (*DATA, "logs")
TLS = {"aws:SecureTransport": "true", "s3:TlsVersion": "1.3"}
ADMIN = f"arn:aws:iam::{ACCOUNT}:role/admin"

ALGORITHM = "s3:x-amz-server-side-encryption"
KEY_ID = "s3:x-amz-server-side-encryption-aws-kms-key-id"
CUSTOMER_ALGORITHM = "s3:x-amz-server-side-encryption-customer-algorithm"


@pytest.fixture(scope="module")
def store() -> Deployment:
    args = ObjectStoreArgs(data_key_arn=KEY, log_retention_days=90, tags={"owner": "ml", "data-class": "health"})
    return run(lambda: ObjectStore("yard", args))


def _bucket(store: Deployment, purpose: str) -> Registered:
    return store.one("aws:s3/bucket:Bucket", f"yard-{purpose}")


def _setting(store: Deployment, token: str, purpose: str) -> Registered:
    """The one resource of type `token` that belongs to the bucket."""
    bucket = _bucket(store, purpose).outputs["bucket"]
    found = [resource for resource in store.of_type(token) if resource.inputs["bucket"] == bucket]
    assert len(found) == 1, f"{len(found)} {token} for {purpose}"
    return found[0]


def _policy(store: Deployment, purpose: str) -> str:
    return _setting(store, "aws:s3/bucketPolicy:BucketPolicy", purpose).inputs["policy"]


def _put(store: Deployment, purpose: str, headers: dict[str, str]) -> Request:
    arn = f"{_bucket(store, purpose).outputs['arn']}/model"
    return Request("s3:PutObject", arn, principal=ADMIN, context={**TLS, **headers})


@pytest.mark.parametrize("purpose", ALL)
def test_no_bucket_can_be_made_public(store: Deployment, purpose: str) -> None:
    block = _setting(store, "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock", purpose).inputs
    for switch in ("blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets"):
        assert block[switch] is True
    ownership = _setting(store, "aws:s3/bucketOwnershipControls:BucketOwnershipControls", purpose).inputs
    assert ownership["rule"] == {"objectOwnership": "BucketOwnerEnforced"}


@pytest.mark.parametrize("purpose", ALL)
def test_every_bucket_is_versioned(store: Deployment, purpose: str) -> None:
    versioning = _setting(store, "aws:s3/bucketVersioning:BucketVersioning", purpose).inputs
    assert versioning["versioningConfiguration"] == {"status": "Enabled"}


@pytest.mark.parametrize("purpose", ALL)
@pytest.mark.parametrize(
    ("context", "decision"),
    [
        ({"aws:SecureTransport": "false"}, "deny"),
        ({"aws:SecureTransport": "true", "s3:TlsVersion": "1.1"}, "deny"),
        (TLS, "nothing"),
    ],
)
def test_only_current_tls_gets_through(store: Deployment, purpose: str, context: dict[str, str], decision: str) -> None:
    bucket = _bucket(store, purpose).outputs["arn"]
    for action, resource in (("s3:GetObject", f"{bucket}/model"), ("s3:ListBucket", bucket)):
        request = Request(action, resource, principal=ADMIN, context=context)
        assert decide(_policy(store, purpose), request) == decision


SSE = "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration"


@pytest.mark.parametrize("purpose", DATA)
def test_data_is_encrypted_with_the_platforms_key(store: Deployment, purpose: str) -> None:
    (rule,) = _setting(store, SSE, purpose).inputs["rules"]
    assert rule["applyServerSideEncryptionByDefault"] == {"sseAlgorithm": "aws:kms", "kmsMasterKeyId": KEY}
    assert rule["bucketKeyEnabled"] is True


def test_access_logs_are_encrypted_with_s3s_own_key_as_their_delivery_demands(store: Deployment) -> None:
    (rule,) = _setting(store, SSE, "logs").inputs["rules"]
    assert rule["applyServerSideEncryptionByDefault"] == {"sseAlgorithm": "AES256"}


@pytest.mark.parametrize("purpose", DATA)
@pytest.mark.parametrize(
    ("headers", "decision"),
    [
        ({}, "nothing"),
        ({ALGORITHM: "aws:kms", KEY_ID: KEY}, "nothing"),
        ({ALGORITHM: "AES256"}, "deny"),
        ({ALGORITHM: "aws:kms:dsse", KEY_ID: KEY}, "deny"),
        ({ALGORITHM: "aws:kms", KEY_ID: KEY.replace("data", "stolen")}, "deny"),
        ({ALGORITHM: "aws:kms"}, "deny"),
        ({CUSTOMER_ALGORITHM: "AES256"}, "deny"),
    ],
    ids=["default", "own-key", "s3-key", "dsse", "other-key", "managed-key", "customer-key"],
)
def test_nothing_is_stored_under_another_key_and_the_default_still_works(
    store: Deployment, purpose: str, headers: dict[str, str], decision: str
) -> None:
    assert decide(_policy(store, purpose), _put(store, purpose, headers)) == decision


@pytest.mark.parametrize("purpose", DATA)
def test_access_to_data_is_logged(store: Deployment, purpose: str) -> None:
    logging = _setting(store, "aws:s3/bucketLogging:BucketLogging", purpose)
    assert logging.inputs["targetBucket"] == _bucket(store, "logs").outputs["bucket"]
    assert logging.inputs["targetPrefix"] == f"s3/{purpose}/"
    assert _setting(store, "aws:s3/bucketPolicy:BucketPolicy", "logs").urn in logging.dependencies


def test_the_logs_bucket_takes_the_access_logs_of_these_buckets_only(store: Deployment) -> None:
    target = f"{_bucket(store, 'logs').outputs['arn']}/s3/datasets/2026"

    def delivery(source: str, account: str = ACCOUNT, service: str = "logging.s3.amazonaws.com") -> Request:
        context = {**TLS, "aws:SourceArn": source, "aws:SourceAccount": account}
        return Request("s3:PutObject", target, principal=service, context=context)

    policy = _policy(store, "logs")
    for purpose in DATA:
        source = _bucket(store, purpose).outputs["arn"]
        assert allows(policy, delivery(source))
        assert not allows(policy, delivery(source, account="999999999999"))
        assert not allows(policy, delivery(source, service="cloudtrail.amazonaws.com"))
    assert not allows(policy, delivery("arn:aws:s3:::somebody-elses"))


def _rules(store: Deployment, purpose: str) -> dict[str, dict]:
    token = "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration"
    rules = _setting(store, token, purpose).inputs["rules"]
    assert all(rule["status"] == "Enabled" and rule["filter"] == {"prefix": ""} for rule in rules)
    return {rule["id"]: rule for rule in rules}


def test_replaced_checkpoints_go_quickly_and_replaced_data_slowly(store: Deployment) -> None:
    days = {
        purpose: _rules(store, purpose)["remove-leftovers"]["noncurrentVersionExpiration"]["noncurrentDays"]
        for purpose in ALL
    }
    assert days == {"datasets": 90, "checkpoints": 3, "artifacts": 365, "logs": 30}


def test_only_logs_expire_while_they_are_current(store: Deployment) -> None:
    assert _rules(store, "logs")["expire"]["expiration"] == {"days": 90}
    for purpose in DATA:
        assert "expire" not in _rules(store, purpose)


@pytest.mark.parametrize("purpose", ALL)
def test_unfinished_uploads_and_empty_markers_are_removed(store: Deployment, purpose: str) -> None:
    rule = _rules(store, purpose)["remove-leftovers"]
    assert 1 <= rule["abortIncompleteMultipartUpload"]["daysAfterInitiation"] <= 7
    assert rule["expiration"] == {"expiredObjectDeleteMarker": True}


def test_the_logs_are_of_a_lower_class_than_the_data(store: Deployment) -> None:
    for purpose in DATA:
        assert _bucket(store, purpose).inputs["tags"] == {"owner": "ml", "data-class": "health"}
    assert _bucket(store, "logs").inputs["tags"] == {"owner": "ml", "data-class": "internal"}


@pytest.mark.parametrize("protected", [True, False])
def test_protected_buckets_are_neither_deleted_nor_emptied(protected: bool) -> None:
    store = run(lambda: ObjectStore("yard", ObjectStoreArgs(KEY, protected=protected)))
    buckets = store.of_type("aws:s3/bucket:Bucket")
    assert len(buckets) == 4
    for bucket in buckets:
        assert bucket.protect is bucket.retain_on_delete is protected
        assert bucket.inputs["forceDestroy"] is not protected


LOCK = "aws:s3/bucketObjectLockConfiguration:BucketObjectLockConfiguration"


def test_a_locked_store_keeps_data_sets_and_artifacts_and_lets_go_of_checkpoints() -> None:
    """A checkpoint is replaced within the hour: locked by default, each would be paid for until its days are over."""
    store = run(lambda: ObjectStore("yard", ObjectStoreArgs(KEY, object_lock=ObjectLock("compliance", 90))))
    always = {"defaultRetention": {"mode": "COMPLIANCE", "days": 90}}
    rules = {purpose: _setting(store, LOCK, purpose).inputs.get("rule") for purpose in DATA}
    assert rules == {"datasets": always, "checkpoints": None, "artifacts": always}
    assert len(store.of_type(LOCK)) == len(DATA), "S3 delivers no access logs to what is locked by default"
    assert [_bucket(store, one).inputs.get("objectLockEnabled") for one in ALL] == [True, True, True, None]


def test_a_lock_waits_for_the_versions_it_locks() -> None:
    store = run(lambda: ObjectStore("yard", ObjectStoreArgs(KEY, object_lock=ObjectLock(days=1))))
    for purpose in DATA:
        versioning = _setting(store, "aws:s3/bucketVersioning:BucketVersioning", purpose)
        assert versioning.urn in _setting(store, LOCK, purpose).dependencies


def test_nothing_is_locked_unasked(store: Deployment) -> None:
    assert store.of_type(LOCK) == []


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ObjectLock("worm"), "mode is 'worm'; it may be governance or compliance"),
        (lambda: ObjectLock(days=0), "days is 0; it may be 1 to 36500"),
        (
            lambda: PrivateBucketArgs(Lifecycle(1), access_logs_of=["arn:aws:s3:::a"], object_lock=ObjectLock(days=1)),
            "delivers no access logs",
        ),
    ],
)
def test_a_lock_that_cannot_be_is_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_a_bucket_alone_is_guarded_without_a_key() -> None:
    alone = run(lambda: PrivateBucket("state", PrivateBucketArgs(Lifecycle(noncurrent_days=30))))
    bucket = alone.one("aws:s3/bucket:Bucket").outputs["arn"]
    policy = alone.one("aws:s3/bucketPolicy:BucketPolicy").inputs["policy"]
    plain = {"aws:SecureTransport": "false"}
    assert decide(policy, Request("s3:GetObject", f"{bucket}/x", principal=ADMIN, context=plain)) == "deny"
    assert decide(policy, Request("s3:PutObject", f"{bucket}/x", principal=ADMIN, context=TLS)) == "nothing"


@pytest.mark.parametrize("setting", ["noncurrent_days", "unfinished_upload_days", "current_days"])
def test_a_lifecycle_of_no_days_is_refused(setting: str) -> None:
    with pytest.raises(ValueError, match=f"{setting} is 0"):
        Lifecycle(**{"noncurrent_days": 1, setting: 0})
