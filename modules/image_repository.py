"""Image repositories in ECR: tags that never change their image, scanned, encrypted, readable in the account alone.

repositories = ImageRepository(
    "platform",
    ImageRepositoryArgs(prefix="trainyard-dev", key_arn=keys.compute.arn, repositories=["trainer"]),
    pulumi.ResourceOptions(provider=provider),
)
pulumi.export("trainer", repositories.repository_urls["trainer"])
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pulumi
import pulumi_aws as aws

UNTAGGED_DAYS = 7
_NAME = re.compile(r"[a-z0-9]+(?:[._/-][a-z0-9]+)*")


@dataclass(frozen=True)
class ImageRepositoryArgs:
    """Which repositories, and what encrypts them.

    Attributes:
        prefix: beginning of the names in ECR, which has one name space per account and region.
        key_arn: KMS key of the images. It cannot be changed afterwards.
        repositories: names after the prefix, such as `trainer`.
        protected: refuse to delete the repositories, and keep their images.
        tags: added to the provider's default tags.
    """

    prefix: str
    key_arn: pulumi.Input[str]
    repositories: Sequence[str]
    protected: bool = True
    tags: Mapping[str, pulumi.Input[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.repositories:
            raise ValueError("repositories is empty; it names at least one, such as trainer")
        for name in (self.prefix, *self.repositories):
            if not _NAME.fullmatch(name):
                raise ValueError(
                    f"{name!r} is no name for a repository: lower-case letters and digits, joined by . _ - or /"
                )
        if len(set(self.repositories)) < len(self.repositories):
            raise ValueError(f"repositories names one twice: {', '.join(self.repositories)}")


class ImageRepository(pulumi.ComponentResource):
    """Repositories by name."""

    repository_urls: dict[str, pulumi.Output[str]]
    repository_arns: dict[str, pulumi.Output[str]]

    def __init__(self, name: str, args: ImageRepositoryArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("trainyard:image_repository:ImageRepository", name, None, opts)
        self.repository_urls, self.repository_arns = {}, {}
        for purpose in args.repositories:
            label = f"{name}-{purpose.replace('/', '-')}"
            repository = aws.ecr.Repository(
                label,
                # A name that is known beforehand stands in manifests, and in the build that fills it.
                name=f"{args.prefix}/{purpose}",
                image_tag_mutability="IMMUTABLE",
                image_scanning_configuration=aws.ecr.RepositoryImageScanningConfigurationArgs(scan_on_push=True),
                encryption_configurations=[
                    aws.ecr.RepositoryEncryptionConfigurationArgs(encryption_type="KMS", kms_key=args.key_arn)
                ],
                force_delete=not args.protected,
                tags=args.tags,
                opts=pulumi.ResourceOptions(parent=self, protect=args.protected, retain_on_delete=args.protected),
            )
            aws.ecr.LifecyclePolicy(
                label, repository=repository.name, policy=lifecycle(), opts=pulumi.ResourceOptions(parent=self)
            )
            self.repository_urls[purpose] = repository.repository_url
            self.repository_arns[purpose] = repository.arn
        self.register_outputs({"repository_urls": self.repository_urls, "repository_arns": self.repository_arns})


def lifecycle() -> str:
    """ECR's rules: what has no tag goes after a week. Tagged images stay: a run can be repeated only with its own."""
    return json.dumps(
        {
            "rules": [
                {
                    "rulePriority": 1,
                    "description": f"Untagged for {UNTAGGED_DAYS} days",
                    "selection": {
                        "tagStatus": "untagged",
                        "countType": "sinceImagePushed",
                        "countUnit": "days",
                        "countNumber": UNTAGGED_DAYS,
                    },
                    "action": {"type": "expire"},
                }
            ]
        }
    )
