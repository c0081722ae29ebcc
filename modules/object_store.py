"""The platform's four buckets: data sets, checkpoints, artifacts, and the logs of who touched them.

store = ObjectStore(
    "platform", ObjectStoreArgs(data_key_arn=keys.data.arn), pulumi.ResourceOptions(provider=provider)
)
pulumi.export("checkpoints", store.checkpoints.bucket_name)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import pulumi
import pulumi_aws as aws

from trainyard.modules.private_bucket import Lifecycle, ObjectLock, PrivateBucket, PrivateBucketArgs

DATASETS = Lifecycle(noncurrent_days=90)
# The trainer deletes the checkpoints that it has replaced; each is as large as model and optimiser together.
CHECKPOINTS = Lifecycle(noncurrent_days=3, unfinished_upload_days=1)
ARTIFACTS = Lifecycle(noncurrent_days=365)


@dataclass(frozen=True)
class ObjectStoreArgs:
    """What encrypts the buckets and how firmly they are kept.

    Attributes:
        data_key_arn: KMS key of every object but the access logs, which S3 delivers only under its own key.
        log_retention_days: how long access logs are kept.
        object_lock: of data sets and artifacts. Checkpoints get a lock without days: each is replaced within the hour,
            and would have to be paid for until its days are over. Access logs get none.
        protected: refuse to delete the buckets or anything in them, and keep them when they leave the program.
        tags: added to the provider's default tags.
    """

    data_key_arn: pulumi.Input[str]
    log_retention_days: int = 365
    object_lock: ObjectLock | None = None
    protected: bool = True
    tags: Mapping[str, pulumi.Input[str]] = field(default_factory=dict)


class ObjectStore(pulumi.ComponentResource):
    """Three buckets for data under the platform's key, and one that takes their access logs."""

    datasets: PrivateBucket
    checkpoints: PrivateBucket
    artifacts: PrivateBucket
    logs: PrivateBucket

    def __init__(self, name: str, args: ObjectStoreArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("trainyard:object_store:ObjectStore", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)

        def data_bucket(purpose: str, lifecycle: Lifecycle, lock: ObjectLock | None) -> PrivateBucket:
            return PrivateBucket(
                f"{name}-{purpose}",
                PrivateBucketArgs(
                    lifecycle=lifecycle,
                    key_arn=args.data_key_arn,
                    object_lock=lock,
                    protected=args.protected,
                    tags=args.tags,
                ),
                child,
            )

        on_request = replace(args.object_lock, days=None) if args.object_lock else None
        self.datasets = data_bucket("datasets", DATASETS, args.object_lock)
        self.checkpoints = data_bucket("checkpoints", CHECKPOINTS, on_request)
        self.artifacts = data_bucket("artifacts", ARTIFACTS, args.object_lock)
        logged = {"datasets": self.datasets, "checkpoints": self.checkpoints, "artifacts": self.artifacts}
        self.logs = PrivateBucket(
            f"{name}-logs",
            PrivateBucketArgs(
                lifecycle=Lifecycle(noncurrent_days=30, current_days=args.log_retention_days),
                access_logs_of=[bucket.arn for bucket in logged.values()],
                protected=args.protected,
                # Access logs say who read which key and when, never what stood in it.
                tags={**args.tags, "data-class": "internal"},
            ),
            child,
        )
        for purpose, bucket in logged.items():
            aws.s3.BucketLogging(
                f"{name}-{purpose}-logging",
                bucket=bucket.bucket_name,
                target_bucket=self.logs.bucket_name,
                target_prefix=f"s3/{purpose}/",
                # S3 tries the target's policy when logging is switched on.
                opts=pulumi.ResourceOptions(parent=self, depends_on=[self.logs]),
            )
        self.register_outputs(
            {
                "datasets_bucket": self.datasets.bucket_name,
                "checkpoints_bucket": self.checkpoints.bucket_name,
                "artifacts_bucket": self.artifacts.bucket_name,
                "logs_bucket": self.logs.bucket_name,
            }
        )
