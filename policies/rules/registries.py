"""Images are scanned, stay what they were, lie under an own key, and go when nobody uses them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace

from trainyard.policies.aws import own_key
from trainyard.policies.graph import Graph, Resource
from trainyard.policies.parts import any_of, given, missing
from trainyard.policies.rule import Finding, Severity, each, resource_rule, stack_rule, violation
from trainyard.policies.values import UnverifiedError, Value, shown

_REPOSITORIES = frozenset({"aws:ecr/repository:Repository"})
# What a repository looks like that ECR makes by itself, at the first push or pull through.
_TEMPLATES = frozenset({"aws:ecr/repositoryCreationTemplate:RepositoryCreationTemplate"})
_SCANNING = frozenset({"aws:ecr/registryScanningConfiguration:RegistryScanningConfiguration"})
_LIFECYCLE = frozenset({"aws:ecr/lifecyclePolicy:LifecyclePolicy"})
_SCANNED = ("SCAN_ON_PUSH", "CONTINUOUS_SCAN")


@stack_rule(
    "ecr-scan-on-push",
    title="An image is scanned for known vulnerabilities when it is pushed",
    severity=Severity.HIGH,
    applies=_REPOSITORIES,
    controls={
        "FSBP": ("ECR.1",),
        "CIS EKS": ("5.1.1",),
        "Checkov": ("CKV_AWS_163",),
        "Trivy": ("AWS-0030",),
        "NIST 800-53": ("RA-5",),
        "ISO 27001": ("A.8.8",),
    },
    why=(
        "A CUDA image brings a whole distribution along. A scan at push finds its known holes before a node runs it, "
        "with every byte of the data set in reach."
    ),
    remedy="""
aws.ecr.Repository(name, image_scanning_configuration={"scan_on_push": True})
""",
)
def scan_on_push(repository: Resource, graph: Graph) -> Iterator[Finding]:
    own = given(repository, "imageScanningConfiguration")
    if own and own["scanOnPush"].flag():
        return
    rules = [rule_value for one in graph.of(_SCANNING) for rule_value in one["rules"].items()]
    if not any_of(rules, lambda rule_value: _scans(rule_value, repository)):
        yield violation("nothing scans its images", repository["imageScanningConfiguration"])


def _scans(rule_value: Value, repository: Resource) -> bool:
    """Whether a rule of the whole registry scans this repository."""
    if rule_value["scanFrequency"].text() not in _SCANNED:
        return False
    filters = [one["filter"].text() or "" for one in rule_value["repositoryFilters"].items()]
    return "*" in filters or any(_matches(one, repository["name"].text() or "") for one in filters)


def _matches(pattern: str, name: str) -> bool:
    """As ECR compares: a filter without a wildcard is looked for anywhere in the name."""
    expression = re.escape(pattern).replace(r"\*", ".*")
    return re.fullmatch(expression if "*" in pattern else f".*{expression}.*", name) is not None


@resource_rule(
    "ecr-immutable-tags",
    title="A tag stays on the image that it was given to",
    severity=Severity.MEDIUM,
    applies=_REPOSITORIES | _TEMPLATES,
    controls={
        "FSBP": ("ECR.2",),
        "Checkov": ("CKV_AWS_51",),
        "Trivy": ("AWS-0031",),
        "NIST 800-53": ("CM-2", "SI-7"),
        "ISO 27001": ("A.8.9", "A.8.32"),
    },
    why=(
        "A node that joins on the third day of a run pulls the tag anew. If someone moved it, half of the ranks train "
        "with other code, and no result can be traced to an image."
    ),
    remedy="""
aws.ecr.Repository(name, image_tag_mutability="IMMUTABLE")      # and a new tag for each build, such as its revision
""",
)
def immutable_tags(repository: Resource) -> Iterator[Finding]:
    mutability = repository["imageTagMutability"]
    text = mutability.text()
    if text == "IMMUTABLE_WITH_EXCLUSION":
        filters = [one["filter"].text() or "" for one in repository["imageTagMutabilityExclusionFilters"].items()]
        yield violation(f"tags like {shown(', '.join(filters) or 'some')} can be moved", mutability)
    elif text != "IMMUTABLE":
        yield violation("tags can be moved to another image", mutability)


@stack_rule(
    "ecr-own-key",
    title="Images lie under a key of the team's own",
    severity=Severity.LOW,
    applies=_REPOSITORIES | _TEMPLATES,
    controls={
        "FSBP": ("ECR.5",),
        "Checkov": ("CKV_AWS_136",),
        "Trivy": ("AWS-0033",),
        "NIST 800-53": ("SC-28", "SC-13"),
        "ISO 27001": ("A.8.24",),
    },
    why=(
        "Training code and sometimes weights lie in images. A repository's encryption can never be changed: "
        "the wrong key now means to make it anew later, and to push everything again."
    ),
    remedy="""
aws.ecr.Repository(name, encryption_configurations=[{"encryption_type": "KMS", "kms_key": key_arn}])
""",
)
def repository_key(repository: Resource, graph: Graph) -> Iterator[Finding]:
    configured = given(repository, "encryptionConfigurations")
    parts = configured.items() if configured else []
    if not parts:
        yield violation("the images are under S3's own keys (AES256)", repository["encryptionConfigurations"])

    def check(part: Value) -> Iterator[Finding]:
        kind = part["encryptionType"].text() or "AES256"
        if not kind.startswith("KMS"):
            yield violation(f"the images are under S3's own keys ({shown(kind)})", part["encryptionType"])
        else:
            yield from own_key(part["kmsKey"], repository, graph)

    yield from each(parts, check)


@stack_rule(
    "ecr-lifecycle",
    title="A repository lets go of images that nobody needs",
    severity=Severity.LOW,
    applies=_REPOSITORIES,
    controls={"FSBP": ("ECR.3",), "NIST 800-53": ("CM-8", "SI-12"), "ISO 27001": ("A.8.10",)},
    why="Old images cost by the month and can be pulled by mistake, with the holes that were found since.",
    remedy="""
aws.ecr.LifecyclePolicy(name, repository=repository.name, policy=json.dumps({"rules": [{
    "rulePriority": 1, "action": {"type": "expire"}, "selection": {"tagStatus": "untagged",
    "countType": "sinceImagePushed", "countUnit": "days", "countNumber": 7}}]}))
""",
)
def repository_lifecycle(repository: Resource, graph: Graph) -> Iterator[Finding]:
    found = graph.attached(repository, _LIFECYCLE, "repository")
    if not found.certain:
        yield missing("lifecycle policy", found.possible, "repository")

    def check(policy: Value) -> Iterator[Finding]:
        if not _rules_of(policy):
            yield violation("the policy has no rule", policy)

    yield from each([part["policy"] for part in found.certain], check)


def _rules_of(policy: Value) -> list[Value]:
    raw = policy.raw
    if not isinstance(raw, dict):
        try:
            raw = json.loads(policy.text() or "")
        except ValueError:
            raise UnverifiedError(policy, "this is not a lifecycle policy: it is not JSON") from None
    return replace(policy, raw=raw)["rules"].items()
