"""The data layer: the network, the keys, the buckets, the image repositories: what lives long and is protected."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from trainyard.modules.existing_network import ExistingNetwork, ExistingNetworkArgs
from trainyard.modules.image_build import ImageBuild, ImageBuildArgs
from trainyard.modules.image_mirror import ImageMirror, ImageMirrorArgs
from trainyard.modules.image_repository import ImageRepository, ImageRepositoryArgs
from trainyard.modules.interruption_queue import InterruptionQueue, InterruptionQueueArgs
from trainyard.modules.keys import Keys, KeysArgs
from trainyard.modules.network import Network, NetworkArgs
from trainyard.modules.object_store import ObjectStore, ObjectStoreArgs
from trainyard.modules.private_bucket import ObjectLock
from trainyard.modules.third_party_images import images_for
from trainyard.modules.training_role import PodIdentityTrust, TrainingRole, TrainingRoleArgs
from trainyard.stacks.settings import Settings

RUN_PREFIX = "runs/"
"""Where training jobs write, in the checkpoints and in the artifacts bucket; each team below it."""

TRAINER = "trainer"
"""The service account of training jobs, in every team's namespace."""


@dataclass(frozen=True)
class DataLayer:
    """What stands on the data layer may know of it. Each field is also the stack output of that name."""

    vpc_id: pulumi.Output[str]
    vpc_cidr: pulumi.Output[str]
    private_subnet_ids: pulumi.Output[list[str]]
    private_subnet_ids_by_zone: pulumi.Output[dict[str, str]]
    data_key_arn: pulumi.Output[str]
    messages_key_arn: pulumi.Output[str]
    logs_key_arn: pulumi.Output[str]
    compute_key_arn: pulumi.Output[str]
    secrets_key_arn: pulumi.Output[str]
    datasets_bucket: pulumi.Output[str]
    checkpoints_bucket: pulumi.Output[str]
    artifacts_bucket: pulumi.Output[str]
    artifacts_bucket_arn: pulumi.Output[str]
    logs_bucket: pulumi.Output[str]
    interruption_queue_url: pulumi.Output[str]
    interruption_queue_arn: pulumi.Output[str]
    interruption_rule_names: pulumi.Output[list[str]]
    training_role_arns: pulumi.Output[dict[str, str]]
    """By team."""
    trainer_repository_url: pulumi.Output[str]
    third_party_images: pulumi.Output[dict[str, str]]
    """References of what others publish, by name: the mirror's, or where there is none, the publisher's own."""


def data(settings: Settings, aws_provider: aws.Provider) -> DataLayer:
    """Declare the data layer of one environment."""
    name = settings.name
    in_aws = pulumi.ResourceOptions(provider=aws_provider)

    keys = Keys(
        name,
        KeysArgs(deletion_window_days=settings.key_deletion_window_days, protected=settings.protect_data),
        in_aws,
    )
    network = _network(settings, keys, in_aws)
    store = ObjectStore(
        name,
        ObjectStoreArgs(
            data_key_arn=keys.data.arn,
            log_retention_days=settings.log_retention_days,
            object_lock=ObjectLock(settings.lock.mode, settings.lock.days) if settings.lock else None,
            protected=settings.protect_data,
        ),
        in_aws,
    )
    queue = InterruptionQueue(name, InterruptionQueueArgs(key_arn=keys.messages.arn), in_aws)
    trainer_images, third_party_images = _images(settings, keys, store, in_aws)
    roles = {
        team.name: TrainingRole(
            f"{name}-{team.name}",
            TrainingRoleArgs(
                trusts=[PodIdentityTrust(team.name, TRAINER)],
                datasets_bucket_arn=store.datasets.arn,
                checkpoints_bucket_arn=store.checkpoints.arn,
                artifacts_bucket_arn=store.artifacts.arn,
                data_key_arn=keys.data.arn,
                queue_arn=queue.arn,
                queue_key_arn=keys.messages.arn,
                run_prefix=f"{RUN_PREFIX}{team.name}/",
            ),
            in_aws,
        )
        for team in settings.teams
    }

    return DataLayer(
        vpc_id=network.vpc_id,
        vpc_cidr=network.cidr_block,
        private_subnet_ids=network.private_subnet_ids,
        private_subnet_ids_by_zone=pulumi.Output.all(**network.private_subnet_ids_by_zone),
        data_key_arn=keys.data.arn,
        messages_key_arn=keys.messages.arn,
        logs_key_arn=keys.logs.arn,
        compute_key_arn=keys.compute.arn,
        secrets_key_arn=keys.secrets.arn,
        datasets_bucket=store.datasets.bucket_name,
        checkpoints_bucket=store.checkpoints.bucket_name,
        artifacts_bucket=store.artifacts.bucket_name,
        artifacts_bucket_arn=store.artifacts.arn,
        logs_bucket=store.logs.bucket_name,
        interruption_queue_url=queue.url,
        interruption_queue_arn=queue.arn,
        interruption_rule_names=queue.rule_names,
        training_role_arns=pulumi.Output.all(**{team: role.arn for team, role in roles.items()}),
        trainer_repository_url=trainer_images.repository_urls[TRAINER],
        third_party_images=third_party_images,
    )


def _network(settings: Settings, keys: Keys, in_aws: pulumi.ResourceOptions) -> Network | ExistingNetwork:
    existing = settings.network.existing
    if existing is not None:
        return ExistingNetwork(
            settings.name,
            ExistingNetworkArgs(vpc_id=existing.vpc_id, private_subnet_ids_by_zone=existing.private_subnet_ids_by_zone),
            in_aws,
        )
    return Network(
        settings.name,
        NetworkArgs(
            cidr_block=str(settings.vpc_cidr),
            availability_zones=settings.availability_zones,
            logs_key_arn=keys.logs.arn,
            flow_log_retention_days=settings.log_retention_days,
            interface_endpoints=settings.network.interface_endpoints,
            nat=settings.network.nat,
        ),
        in_aws,
    )


def _images(
    settings: Settings, keys: Keys, store: ObjectStore, in_aws: pulumi.ResourceOptions
) -> tuple[ImageRepository, pulumi.Output[dict[str, str]]]:
    """The training image's repository, what builds it, and copies of the images of others."""
    name = settings.name
    repository = ImageRepository(
        name,
        ImageRepositoryArgs(
            prefix=name, key_arn=keys.compute.arn, repositories=[TRAINER], protected=settings.protect_data
        ),
        in_aws,
    )
    images = images_for(settings.kubernetes.version)
    mirror = None
    references = pulumi.Output.from_input({image.name: image.reference for image in images})
    if settings.images.mirror:
        mirror = ImageMirror(
            name,
            ImageMirrorArgs(
                prefix=name,
                images=images,
                key_arn=keys.compute.arn,
                logs_key_arn=keys.logs.arn,
                log_retention_days=settings.log_retention_days,
            ),
            in_aws,
        )
        references = pulumi.Output.all(**{image.name: mirror.mirrored_image(image.name) for image in images})
    if settings.images.build:
        ImageBuild(
            name,
            ImageBuildArgs(
                source_bucket_name=store.artifacts.bucket_name,
                source_bucket_arn=store.artifacts.arn,
                source_key_arn=keys.data.arn,
                repository_url=repository.repository_urls[TRAINER],
                repository_arn=repository.repository_arns[TRAINER],
                logs_key_arn=keys.logs.arn,
                base_image=mirror.mirrored_image("cuda-base") if mirror else None,
                base_repository_arn=mirror.repository_arns["cuda-base"] if mirror else None,
                log_retention_days=settings.log_retention_days,
            ),
            in_aws,
        )
    return repository, references
