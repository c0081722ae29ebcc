"""Copies of others' images and charts in the account's own ECR, so that private subnets need no internet.

    mirror = ImageMirror(
        "platform",
        ImageMirrorArgs(
            prefix="trainyard-dev",
            images=images_for("1.35"),
            key_arn=keys.compute.arn,
            logs_key_arn=keys.logs.arn,
        ),
        pulumi.ResourceOptions(provider=provider),
    )
    mirror.mirrored_image("cluster-autoscaler")      # …/trainyard-dev/mirror/cluster-autoscaler:v1.35.2

The project copies what is not there yet, each time it is started:

    aws codebuild start-build --project-name PROJECT

It is the only thing that fetches from the internet, and it does so in CodeBuild's own network. A tag in the mirror
never changes its image; where upstream's does, the build says so and leaves the copy alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pulumi
import pulumi_aws as aws

from trainyard.modules.account import Account
from trainyard.modules.code_build import BUILD_IMAGE, build_log_group, build_role, write_logs
from trainyard.modules.image_build import PUSH_ACTIONS
from trainyard.modules.image_repository import ImageRepository, ImageRepositoryArgs
from trainyard.modules.policy_document import Statement
from trainyard.modules.third_party_images import ThirdPartyImage

CRANE_VERSION = "0.20.3"
CRANE_SHA256 = "36c67a932f489b3f2724b64af90b599a8ef2aa7b004872597373c0ad694dc059"
"""Of the Linux x86-64 archive. Source: the release's checksums.txt, as a dozen public programs quote it (secondary),
read 2026-11."""

TIMEOUT_MINUTES = 60


@dataclass(frozen=True)
class ImageMirrorArgs:
    """What is copied, and what encrypts it.

    Attributes:
        prefix: beginning of the repositories' names in ECR.
        images: which images and charts, such as `third_party_images.images_for("1.35")`.
        key_arn: KMS key of the copies. It cannot be changed afterwards.
        logs_key_arn: KMS key of the log group, which must let CloudWatch Logs in.
        log_retention_days: a number of days that CloudWatch Logs offers.
        protected: refuse to delete the copies.
        tags: added to the provider's default tags.
    """

    prefix: str
    images: Sequence[ThirdPartyImage]
    key_arn: pulumi.Input[str]
    logs_key_arn: pulumi.Input[str]
    log_retention_days: int = 365
    protected: bool = False
    tags: Mapping[str, pulumi.Input[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.images:
            raise ValueError("images is empty; third_party_images.images_for gives those of a Kubernetes version")
        names = [image.name for image in self.images]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"images has {', '.join(twice)} twice; each name stands for one version")


class ImageMirror(pulumi.ComponentResource):
    """A repository for each image or chart, and the CodeBuild project that fills them."""

    project_name: pulumi.Output[str]
    log_group_name: pulumi.Output[str]
    repository_arns: dict[str, pulumi.Output[str]]

    def __init__(self, name: str, args: ImageMirrorArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("trainyard:image_mirror:ImageMirror", name, None, opts)
        account = Account.of(self)
        child = pulumi.ResourceOptions(parent=self)
        # What others publish is public, whatever the platform's own data are.
        tags = {**args.tags, "data-class": "public"}
        repositories = ImageRepository(
            f"{name}-mirror",
            ImageRepositoryArgs(
                prefix=f"{args.prefix}/mirror",
                key_arn=args.key_arn,
                repositories=[image.name for image in args.images],
                protected=args.protected,
                tags=tags,
            ),
            child,
        )
        self._references = {
            image.name: pulumi.Output.concat(repositories.repository_urls[image.name], ":", image.tag)
            for image in args.images
        }
        label = f"{name}-image-mirror"
        logs = build_log_group(label, args.logs_key_arn, args.log_retention_days, args.tags, child)
        arns = [repositories.repository_arns[image.name] for image in args.images]
        role, permission = build_role(label, account, [write_logs(logs), *mirror_statements(arns)], args.tags, child)
        project = aws.codebuild.Project(
            label,
            description=f"Copies others' images into the registry of {name}",
            service_role=role.arn,
            source=aws.codebuild.ProjectSourceArgs(
                type="NO_SOURCE",
                buildspec=pulumi.Output.all(**self._references).apply(
                    lambda targets: json.dumps(buildspec(args.images, targets))
                ),
            ),
            artifacts=aws.codebuild.ProjectArtifactsArgs(type="NO_ARTIFACTS"),
            environment=aws.codebuild.ProjectEnvironmentArgs(
                type="LINUX_CONTAINER",
                compute_type="BUILD_GENERAL1_SMALL",
                image=BUILD_IMAGE,
                # crane copies from registry to registry without a Docker engine.
                privileged_mode=False,
            ),
            encryption_key=args.key_arn,
            logs_config=aws.codebuild.ProjectLogsConfigArgs(
                cloudwatch_logs=aws.codebuild.ProjectLogsConfigCloudwatchLogsArgs(group_name=logs.name)
            ),
            build_timeout=TIMEOUT_MINUTES,
            tags=args.tags,
            opts=pulumi.ResourceOptions(parent=self, depends_on=[permission]),
        )
        self.project_name = project.name
        self.log_group_name = logs.name
        self.repository_arns = repositories.repository_arns
        self.register_outputs(
            {
                "project_name": self.project_name,
                "log_group_name": self.log_group_name,
                "images": self._references,
            }
        )

    def mirrored_image(self, name: str) -> pulumi.Output[str]:
        """The copy's reference, registry and tag included.

        Raises:
            ValueError: where nothing of that name is mirrored.
        """
        if name not in self._references:
            raise ValueError(f"nothing named {name!r} is mirrored; there is {', '.join(self._references)}")
        return self._references[name]


def buildspec(images: Sequence[ThirdPartyImage], targets: Mapping[str, str]) -> dict[str, object]:
    """What the build does, with `targets` the copies' references by name.

    A copy that exists is compared with upstream and left as it is. A copy that cannot be made fails the build,
    after the others have been made.
    """
    archive = (
        f"https://github.com/google/go-containerregistry/releases/download/v{CRANE_VERSION}"
        "/go-containerregistry_Linux_x86_64.tar.gz"
    )
    registry = next(iter(targets.values())).partition("/")[0]
    return {
        "version": "0.2",
        "phases": {
            "install": {
                "commands": [
                    f"curl --fail --silent --show-error --location --output crane.tar.gz {archive}",
                    f"echo '{CRANE_SHA256}  crane.tar.gz' | sha256sum --check",
                    "tar --extract --gzip --file crane.tar.gz --directory /usr/local/bin crane",
                ]
            },
            "pre_build": {
                "commands": [
                    f"aws ecr get-login-password | crane auth login --username AWS --password-stdin {registry}"
                ]
            },
            "build": {
                "commands": [
                    # One command, so that the function is there for all.
                    "\n".join(
                        [
                            _COPY,
                            *(f"copy {image.reference} {targets[image.name]}" for image in images),
                            'test ! -e failed || { echo "not mirrored:" $(cat failed); exit 1; }',
                        ]
                    )
                ]
            },
        },
    }


# Prints the digest of each copy, to be put into the table of images.
_COPY = """\
copy() {
  there=$(crane digest "$2" 2>/dev/null || true)
  if [ -n "$there" ]; then
    upstream=$(crane digest "$1" || true)
    [ "$upstream" = "$there" ] || echo "changed upstream, copy left alone: $1 is ${upstream:-gone}, copy is $there"
    return 0
  fi
  if crane copy "$1" "$2"; then echo "mirrored $1 $(crane digest "$2")"; else echo "$1" >> failed; fi
}"""


def mirror_statements(repository_arns: Sequence[pulumi.Input[str]]) -> list[Statement]:
    """What the build may do beside writing its log: fill these repositories."""
    return [
        # ECR gives its token for the whole registry or not at all.
        {"Sid": "LogIn", "Effect": "Allow", "Action": "ecr:GetAuthorizationToken", "Resource": "*"},
        {"Sid": "Push", "Effect": "Allow", "Action": list(PUSH_ACTIONS), "Resource": list(repository_arns)},
    ]
