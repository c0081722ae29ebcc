"""The data layer: the network, the keys, the buckets, and how a training job reaches them."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from trainyard.modules.interruption_queue import InterruptionQueue, InterruptionQueueArgs
from trainyard.modules.keys import Keys, KeysArgs
from trainyard.modules.network import Network, NetworkArgs
from trainyard.modules.object_store import ObjectStore, ObjectStoreArgs
from trainyard.modules.training_role import PodIdentityTrust, TrainingRole, TrainingRoleArgs
from trainyard.stacks.settings import Settings

RUN_PREFIX = "runs/"
"""Where training jobs write, in the checkpoints and in the artifacts bucket."""

TRAINING_NAMESPACE, TRAINING_SERVICE_ACCOUNT = "training", "trainer"


@dataclass(frozen=True)
class DataLayer:
    """What stands on the data layer may know of it. Each field is also the stack output of that name."""

    vpc_id: pulumi.Output[str]
    private_subnet_ids: pulumi.Output[list[str]]
    data_key_arn: pulumi.Output[str]
    datasets_bucket: pulumi.Output[str]
    checkpoints_bucket: pulumi.Output[str]
    artifacts_bucket: pulumi.Output[str]
    logs_bucket: pulumi.Output[str]
    interruption_queue_url: pulumi.Output[str]
    interruption_queue_arn: pulumi.Output[str]
    interruption_rule_names: pulumi.Output[list[str]]
    training_role_arn: pulumi.Output[str]


def data(settings: Settings, aws_provider: aws.Provider) -> DataLayer:
    """Declare the data layer of one environment."""
    name = settings.name
    in_aws = pulumi.ResourceOptions(provider=aws_provider)

    keys = Keys(
        name,
        KeysArgs(deletion_window_days=settings.key_deletion_window_days, protected=settings.protect_data),
        in_aws,
    )

    network = Network(
        name,
        NetworkArgs(
            cidr_block=str(settings.vpc_cidr),
            availability_zones=settings.availability_zones,
            logs_key_arn=keys.logs.arn,
            flow_log_retention_days=settings.log_retention_days,
        ),
        in_aws,
    )

    store = ObjectStore(
        name,
        ObjectStoreArgs(
            data_key_arn=keys.data.arn,
            log_retention_days=settings.log_retention_days,
            protected=settings.protect_data,
        ),
        in_aws,
    )

    queue = InterruptionQueue(name, InterruptionQueueArgs(key_arn=keys.messages.arn), in_aws)

    training_role = TrainingRole(
        name,
        TrainingRoleArgs(
            trusts=[PodIdentityTrust(TRAINING_NAMESPACE, TRAINING_SERVICE_ACCOUNT)],
            datasets_bucket_arn=store.datasets.arn,
            checkpoints_bucket_arn=store.checkpoints.arn,
            artifacts_bucket_arn=store.artifacts.arn,
            data_key_arn=keys.data.arn,
            queue_arn=queue.arn,
            queue_key_arn=keys.messages.arn,
            run_prefix=RUN_PREFIX,
        ),
        in_aws,
    )

    return DataLayer(
        vpc_id=network.vpc_id,
        private_subnet_ids=network.private_subnet_ids,
        data_key_arn=keys.data.arn,
        datasets_bucket=store.datasets.bucket_name,
        checkpoints_bucket=store.checkpoints.bucket_name,
        artifacts_bucket=store.artifacts.bucket_name,
        logs_bucket=store.logs.bucket_name,
        interruption_queue_url=queue.url,
        interruption_queue_arn=queue.arn,
        interruption_rule_names=queue.rule_names,
        training_role_arn=training_role.arn,
    )
