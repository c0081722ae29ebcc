"""CodeBuild: projects that build images and mirror them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from trainyard.local.aws.calls import Call, Read
from trainyard.local.aws.context import Context
from trainyard.local.aws.errors import AwsError, RefusedError
from trainyard.local.aws.fields import ID, Each, FieldLike, Object, Prop, Scope, Values, same
from trainyard.local.aws.row import Name, Row
from trainyard.local.aws.tags import Tagging, TagsField

_ARTIFACTS = same(
    "artifactIdentifier",
    "bucketOwnerAccess",
    "encryptionDisabled",
    "location",
    "name",
    "namespaceType",
    "overrideArtifactName",
    "packaging",
    "path",
    "type",
)
_SOURCE: dict[str, FieldLike] = {
    **same("buildspec", "gitCloneDepth", "insecureSsl", "location", "reportBuildStatus", "type"),
    "auth": Object("auth", same("resource", "type")),
    "buildStatusConfig": Object("buildStatusConfig", same("context", "targetUrl")),
    "gitSubmodulesConfig": Object("gitSubmodulesConfig", same("fetchSubmodules")),
}
_ENVIRONMENT = {
    **same("certificate", "computeType", "hostKernel", "image", "privilegedMode", "type"),
    "imagePullCredentialsType": Prop("imagePullCredentialsType", unset="CODEBUILD"),
    "environmentVariables": Each(
        "environmentVariables", {**same("name", "value"), "type": Prop("type", unset="PLAINTEXT")}
    ),
    "fleet": Object("fleet", same("fleetArn")),
    "registryCredential": Object("registryCredential", same("credential", "credentialProvider")),
}
_LOGS = {
    "cloudWatchLogs": Object(
        "cloudwatchLogs", {**same("groupName", "streamName"), "status": Prop("status", unset="ENABLED")}
    ),
    "s3Logs": Object(
        "s3Logs",
        {**same("bucketOwnerAccess", "encryptionDisabled", "location"), "status": Prop("status", unset="DISABLED")},
    ),
}
_NETWORK: dict[str, FieldLike] = {
    "securityGroupIds": Values("securityGroupIds"),
    "subnets": Values("subnets"),
    "vpcId": "vpcId",
}
_PROJECT: dict[str, FieldLike] = {
    **same("autoRetryLimit", "encryptionKey", "serviceRole", "sourceVersion"),
    "artifacts": Object("artifacts", _ARTIFACTS),
    "cache": Object("cache", same("cacheNamespace", "location", "modes", "type"), unset={"type": "NO_CACHE"}),
    "concurrentBuildLimit": "concurrentBuildLimit",
    "description": "description",
    "environment": Object("environment", _ENVIRONMENT),
    "logsConfig": Object("logsConfig", _LOGS),
    "queuedTimeoutInMinutes": "queuedTimeout",
    "source": Object("source", _SOURCE),
    "timeoutInMinutes": "buildTimeout",
    "vpcConfig": Object("vpcConfig", _NETWORK),
}
_CLEARING: dict[str, FieldLike] = {
    "concurrentBuildLimit": Prop("concurrentBuildLimit", unset=-1),
    "description": Prop("description", unset=""),
    "sourceVersion": Prop("sourceVersion", unset=""),
    "vpcConfig": Object("vpcConfig", _NETWORK, unset={}),
}
_PAIRS = TagsField(key="key", value="value")
_MORE_THAN_ONE = "projects with one source and one artifact are emulated"


class _AllTags(TagsField):
    """CodeBuild replaces a project's tags by those of an update."""

    def write(self, scope: Scope) -> Any:
        return self._shaped(scope.values.get(self.name) or {})


def _assumable_role(context: Context) -> None:
    """CodeBuild tries to assume the role when a project is made, and refuses a role that does not trust it."""
    arn = context.wanted["serviceRole"]
    try:
        role = context.call("get_role", "iam", RoleName=arn.rsplit("/", 1)[-1])["Role"]
    except AwsError:
        raise RefusedError(f"codebuild: the service role {arn} does not exist") from None
    document = role["AssumeRolePolicyDocument"]
    document = json.loads(document) if isinstance(document, str) else document
    statements = document["Statement"]
    for statement in statements if isinstance(statements, list) else [statements]:
        principal = statement.get("Principal")
        services = principal.get("Service", []) if isinstance(principal, Mapping) else []
        services = [services] if isinstance(services, str) else services
        if statement["Effect"] == "Allow" and "codebuild.amazonaws.com" in services:
            return
    raise RefusedError(f"CodeBuild is not authorized to perform: sts:AssumeRole on {arn}: the role does not trust it")


def _one_network(context: Context) -> None:
    """Subnets and groups of a build are those of its network."""
    network = context.wanted.get("vpcConfig")
    if not network:
        return
    subnets = context.call("describe_subnets", "ec2", SubnetIds=list(network["subnets"]))["Subnets"]
    groups = context.call("describe_security_groups", "ec2", GroupIds=list(network["securityGroupIds"]))
    for found in (*subnets, *groups["SecurityGroups"]):
        if found["VpcId"] != network["vpcId"]:
            name = found.get("SubnetId") or found.get("GroupId")
            raise RefusedError(f"codebuild: {name} is not in the network {network['vpcId']}")


def _whole(inputs: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    source, artifacts = inputs.get("source"), inputs.get("artifacts")
    if isinstance(source, Mapping):
        if source.get("type") not in ("NO_SOURCE", "CODEPIPELINE") and not source.get("location"):
            yield "source.location", f"is missing: a source of type {source.get('type')} has one"
        if source.get("type") == "NO_SOURCE" and not source.get("buildspec"):
            yield "source.buildspec", "is missing: without a source there is no file to find it in"
    if isinstance(artifacts, Mapping) and artifacts.get("type") == "S3" and not artifacts.get("location"):
        yield "artifacts.location", "is missing: artifacts of type S3 have a bucket"


_TAGS = Tagging(
    create={"tags": _PAIRS},
    read={"tags": _PAIRS},
    calls=(Call("update_project", {"name": "name", "tags": _AllTags(key="key", value="value")}),),
)
ROWS = (
    Row(
        "aws:codebuild/project:Project",
        service="codebuild",
        id="project.arn",
        name=Name(prefix_property="", max_length=150),
        before=(_assumable_role, _one_network),
        create=Call("create_project", {"name": "name", "badgeEnabled": "badgeEnabled", **_PROJECT}),
        update=(Call("update_project", {"name": "name", "badgeEnabled": "badgeEnabled", **_PROJECT, **_CLEARING}),),
        read=(
            Read(
                "batch_get_projects",
                {"names": [ID]},
                {**_PROJECT, **same("arn", "name"), "badge": {"badgeEnabled": "badgeEnabled"}},
                path="projects[0]",
            ),
        ),
        delete=(Call("delete_project", {"name": "name"}),),
        tags=_TAGS,
        defaults={
            "badgeEnabled": False,
            "buildTimeout": 60,
            "queuedTimeout": 480,
        },
        computed=(
            "cache",
            "encryptionKey",
            "environment.environmentVariables[].type",
            "environment.imagePullCredentialsType",
            "logsConfig",
            "logsConfig.cloudwatchLogs.status",
            "logsConfig.s3Logs.status",
        ),
        constraints=(_whole,),
        not_emulated={
            **dict.fromkeys(("secondaryArtifacts", "secondarySources", "secondarySourceVersions"), _MORE_THAN_ONE),
            "badgeUrl": "there is no badge to show",
            "buildBatchConfig": "batches of builds are not emulated",
            "fileSystemLocations": "EFS is not emulated",
            **dict.fromkeys(("projectVisibility", "publicProjectAlias", "resourceAccessRole"), "projects are private"),
        },
        notes=("a build that is started succeeds at once and does nothing",),
    ),
)
