"""Builds: what runs in them is nobody's to see, leaves a record and is encrypted."""

from __future__ import annotations

from collections.abc import Iterator

from trainyard.policies.aws import own_key
from trainyard.policies.graph import Graph, Resource
from trainyard.policies.rule import Finding, Severity, resource_rule, stack_rule, violation

_PROJECTS = frozenset({"aws:codebuild/project:Project"})


@stack_rule(
    "build-own-key",
    title="What a build makes is encrypted under a key of the team's own",
    severity=Severity.MEDIUM,
    applies=_PROJECTS,
    controls={"Checkov": ("CKV_AWS_147",), "NIST 800-53": ("SC-28", "SC-12"), "ISO 27001": ("A.8.24",)},
    why="Sources, caches and artifacts of a build lie where AWS's key for S3 opens them to all of the account.",
    remedy="""
aws.codebuild.Project(name, encryption_key=key.arn, ...)
""",
)
def build_own_key(project: Resource, graph: Graph) -> Iterator[Finding]:
    yield from own_key(project["encryptionKey"], project, graph)


@resource_rule(
    "build-logs",
    title="A build leaves a log in CloudWatch or in a bucket",
    severity=Severity.MEDIUM,
    applies=_PROJECTS,
    controls={
        "FSBP": ("CodeBuild.4",),
        "Checkov": ("CKV_AWS_314",),
        "NIST 800-53": ("AU-2", "AU-12"),
        "ISO 27001": ("A.8.15",),
    },
    why="A build holds the right to replace the images that every job runs. What it did must be there to be read.",
    remedy="""
aws.codebuild.Project(name, logs_config={"cloudwatch_logs": {"group_name": group.name}}, ...)    # with an own log group
""",
)
def build_logs(project: Resource) -> Iterator[Finding]:
    config = project["logsConfig"]
    to_bucket = config["s3Logs"]["status"].text() == "ENABLED"
    group = config["cloudwatchLogs"]
    if to_bucket:
        return
    if group["status"].text() == "DISABLED":
        yield violation("the build leaves no log", group["status"])
    elif not group["groupName"].text():
        yield violation("no log group is named, so CodeBuild makes one that nothing here encrypts or ends", config)


@resource_rule(
    "build-closed",
    title="Nobody outside sees a build, and its source comes over verified TLS",
    severity=Severity.HIGH,
    applies=_PROJECTS,
    controls={"NIST 800-53": ("AC-3", "SC-8"), "ISO 27001": ("A.5.14", "A.8.24")},
    why="A public build shows its logs, artifacts and settings to everyone; a source without TLS is anybody's code.",
    remedy="""
aws.codebuild.Project(name, project_visibility="PRIVATE", ...)     # and no insecure_ssl in a source
""",
)
def build_closed(project: Resource) -> Iterator[Finding]:
    seen = project["projectVisibility"]
    if (seen.text() or "PRIVATE") != "PRIVATE":
        yield violation("everyone can see this project's builds and their logs", seen)
    for source in (project["source"], *project["secondarySources"].items()):
        if source["insecureSsl"].flag():
            yield violation("the source may come from whoever answers", source["insecureSsl"])


@resource_rule(
    "build-encryption-on",
    title="What a build makes and logs is encrypted",
    severity=Severity.HIGH,
    applies=_PROJECTS,
    controls={
        "Checkov": ("CKV_AWS_78", "CKV_AWS_311"),
        "NIST 800-53": ("SC-28", "SC-13"),
        "ISO 27001": ("A.8.24",),
    },
    why="A build's output is what every job runs, and its log shows how it was made. Both are, unless told not to.",
    remedy="""
aws.codebuild.Project(name, artifacts={"type": "S3", "location": bucket.id}, ...)      # and no encryption_disabled
""",
)
def build_encryption_on(project: Resource) -> Iterator[Finding]:
    kept = [project["artifacts"], *project["secondaryArtifacts"].items(), project["logsConfig"]["s3Logs"]]
    for one in kept:
        if one["encryptionDisabled"].flag():
            yield violation("encryption is switched off", one["encryptionDisabled"])
