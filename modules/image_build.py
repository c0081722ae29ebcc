"""A CodeBuild project that builds the training image from a checkout in S3 and pushes it to ECR.

    build = ImageBuild(
        "platform",
        ImageBuildArgs(
            source_bucket_arn=store.artifacts.arn,
            source_bucket_name=store.artifacts.bucket_name,
            source_key_arn=keys.data.arn,
            repository_arn=repositories.repository_arns["trainer"],
            repository_url=repositories.repository_urls["trainer"],
            logs_key_arn=keys.logs.arn,
        ),
        pulumi.ResourceOptions(provider=provider),
    )

A person or the CI starts it, after putting the checkout there as a zip; the image's tag is the commit:

    git archive --format zip --output checkout.zip HEAD
    aws s3 cp checkout.zip s3://BUCKET/builds/checkout.zip
    aws codebuild start-build --project-name PROJECT \
        --environment-variables-override name=REVISION,value=$(git rev-parse HEAD)

The project runs in CodeBuild's own network, which reaches the internet, so that the cluster's need not.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

import pulumi
import pulumi_aws as aws

from trainyard.modules.account import Account
from trainyard.modules.code_build import BUILD_IMAGE, build_log_group, build_role, write_logs
from trainyard.modules.policy_document import Statement

PUSH_ACTIONS = (
    "ecr:BatchCheckLayerAvailability",
    "ecr:BatchGetImage",
    "ecr:CompleteLayerUpload",
    "ecr:GetDownloadUrlForLayer",
    "ecr:InitiateLayerUpload",
    "ecr:PutImage",
    "ecr:UploadLayerPart",
)
PULL_ACTIONS = ("ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer")
# torch is unpacked, written into a layer and packed again: some 40 GB of disk at the same time.
COMPUTE_TYPE = "BUILD_GENERAL1_LARGE"
TIMEOUT_MINUTES = 60


@dataclass(frozen=True)
class ImageBuildArgs:
    """Where the source lies and where the image goes.

    Attributes:
        source_bucket_name: bucket of the zipped checkout.
        source_bucket_arn: the same bucket.
        source_key_arn: KMS key of that bucket.
        repository_url: ECR repository that is pushed to.
        repository_arn: the same repository.
        logs_key_arn: KMS key of the log group, which must let CloudWatch Logs in.
        source_object: key of the zip.
        base_image: what the Dockerfile starts from. None: what it says itself, from a public registry that limits how
            often CodeBuild's shared addresses may pull; a mirrored image avoids that.
        base_repository_arn: ECR repository of `base_image`, where it is one of this account.
        log_retention_days: a number of days that CloudWatch Logs offers.
        tags: added to the provider's default tags.
    """

    source_bucket_name: pulumi.Input[str]
    source_bucket_arn: pulumi.Input[str]
    source_key_arn: pulumi.Input[str]
    repository_url: pulumi.Input[str]
    repository_arn: pulumi.Input[str]
    logs_key_arn: pulumi.Input[str]
    source_object: str = "builds/checkout.zip"
    base_image: pulumi.Input[str] | None = None
    base_repository_arn: pulumi.Input[str] | None = None
    log_retention_days: int = 365
    tags: Mapping[str, pulumi.Input[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.source_object.endswith(".zip") or self.source_object.startswith("/"):
            raise ValueError(f"source_object is {self.source_object!r}; it is a zip's key, such as builds/checkout.zip")
        if self.base_repository_arn is not None and self.base_image is None:
            raise ValueError("base_repository_arn without base_image: say which image of that repository")


class ImageBuild(pulumi.ComponentResource):
    """The project, its role and its log group."""

    project_name: pulumi.Output[str]
    project_arn: pulumi.Output[str]
    log_group_name: pulumi.Output[str]

    def __init__(self, name: str, args: ImageBuildArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("trainyard:image_build:ImageBuild", name, None, opts)
        account = Account.of(self)
        child = pulumi.ResourceOptions(parent=self)
        label = f"{name}-image-build"
        logs = build_log_group(label, args.logs_key_arn, args.log_retention_days, args.tags, child)
        role, permission = build_role(
            label, account, [write_logs(logs), *build_statements(args, account)], args.tags, child
        )
        variable = aws.codebuild.ProjectEnvironmentEnvironmentVariableArgs
        project = aws.codebuild.Project(
            label,
            description=f"Builds the training image of {name}",
            service_role=role.arn,
            source=aws.codebuild.ProjectSourceArgs(
                type="S3",
                location=pulumi.Output.concat(args.source_bucket_name, "/", args.source_object),
                # Here and not in the zip: whoever may upload a checkout shall not choose the commands too.
                buildspec=json.dumps(buildspec()),
            ),
            artifacts=aws.codebuild.ProjectArtifactsArgs(type="NO_ARTIFACTS"),
            environment=aws.codebuild.ProjectEnvironmentArgs(
                type="LINUX_CONTAINER",
                compute_type=COMPUTE_TYPE,
                image=BUILD_IMAGE,
                # A Docker engine inside the build's container needs it. The container lives for one build.
                privileged_mode=True,
                environment_variables=[
                    variable(name="REPOSITORY_URL", value=args.repository_url),
                    variable(name="BASE_IMAGE", value=args.base_image or ""),
                ],
            ),
            encryption_key=args.source_key_arn,
            logs_config=aws.codebuild.ProjectLogsConfigArgs(
                cloudwatch_logs=aws.codebuild.ProjectLogsConfigCloudwatchLogsArgs(group_name=logs.name)
            ),
            build_timeout=TIMEOUT_MINUTES,
            tags=args.tags,
            opts=pulumi.ResourceOptions(parent=self, depends_on=[permission]),
        )
        self.project_name = project.name
        self.project_arn = project.arn
        self.log_group_name = logs.name
        self.register_outputs(
            {"project_name": self.project_name, "project_arn": self.project_arn, "log_group_name": self.log_group_name}
        )


def buildspec() -> dict[str, object]:
    """What the build does. A tag that exists already ends it: tags are immutable, so that commit has been built."""
    return {
        "version": "0.2",
        "phases": {
            "pre_build": {
                "commands": [
                    ': "${REVISION:?start the build with REVISION, the commit that the checkout was made from}"',
                    'aws ecr get-login-password | docker login --username AWS --password-stdin "${REPOSITORY_URL%%/*}"',
                ]
            },
            "build": {
                "commands": [
                    'docker build training_images --build-arg "REVISION=$REVISION"'
                    ' ${BASE_IMAGE:+--build-arg "BASE_IMAGE=$BASE_IMAGE"} --tag "$REPOSITORY_URL:$REVISION"',
                ]
            },
            "post_build": {
                "commands": [
                    'test "$CODEBUILD_BUILD_SUCCEEDING" = 1',
                    'docker push "$REPOSITORY_URL:$REVISION"',
                    "docker inspect --format '{{index .RepoDigests 0}}' \"$REPOSITORY_URL:$REVISION\"",
                ]
            },
        },
    }


def build_statements(args: ImageBuildArgs, account: Account) -> list[Statement]:
    """What the build may do beside writing its log."""
    statements: list[Statement] = [
        {
            "Sid": "ReadTheCheckout",
            "Effect": "Allow",
            "Action": ["s3:GetObject", "s3:GetObjectVersion"],
            "Resource": pulumi.Output.concat(args.source_bucket_arn, "/", args.source_object),
        },
        {
            "Sid": "FindTheBucket",
            "Effect": "Allow",
            "Action": ["s3:GetBucketAcl", "s3:GetBucketLocation"],
            "Resource": args.source_bucket_arn,
        },
        {
            "Sid": "DecryptTheCheckout",
            "Effect": "Allow",
            "Action": "kms:Decrypt",
            "Resource": args.source_key_arn,
            "Condition": {"StringEquals": {"kms:ViaService": account.service_host("s3")}},
        },
        # ECR gives its token for the whole registry or not at all.
        {"Sid": "LogIn", "Effect": "Allow", "Action": "ecr:GetAuthorizationToken", "Resource": "*"},
        {"Sid": "Push", "Effect": "Allow", "Action": list(PUSH_ACTIONS), "Resource": args.repository_arn},
    ]
    if args.base_repository_arn is not None:
        statements.append(
            {
                "Sid": "PullTheBase",
                "Effect": "Allow",
                "Action": list(PULL_ACTIONS),
                "Resource": args.base_repository_arn,
            }
        )
    return statements
