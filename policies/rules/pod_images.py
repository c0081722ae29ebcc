"""Pods run images that the team chose: from an approved registry, and always the same."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

import yaml

from trainyard.policies.graph import Graph, Resource
from trainyard.policies.pod_templates import Pod, each_pod, has_pods, is_placeholder, over_containers
from trainyard.policies.rule import Finding, Severity, each, resource_rule, stack_rule, unverified, violation
from trainyard.policies.rules.regions import table
from trainyard.policies.values import Value, shown

_ECR = re.compile(r"(\d{12})\.dkr[.-]ecr(?:-fips)?\.([a-z0-9-]+)\.(?:amazonaws\.com(?:\.cn)?|on\.aws)")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_MOVING = frozenset({"canary", "dev", "develop", "edge", "main", "master", "rolling", "stable", "testing", "unstable"})
_MOVING_PART = frozenset({"latest", "nightly", "head"})

# What a stack has that tells its own account by its ARN.
_OF_THE_ACCOUNT = frozenset(
    {
        "aws:ecr/repository:Repository",
        "aws:eks/cluster:Cluster",
        "aws:eks/nodeGroup:NodeGroup",
        "aws:iam/role:Role",
    }
)


@dataclass(frozen=True)
class Approved:
    """Whose images may run besides those of the stack's own account."""

    accounts: frozenset[str]
    registries: tuple[str, ...]


@cache
def approved() -> Approved:
    raw = yaml.safe_load((Path(__file__).parents[1] / "registries.yaml").read_text(encoding="utf-8"))
    return Approved(frozenset(map(str, raw["accounts"])), tuple(f"{one.rstrip('/')}/" for one in raw["registries"]))


@stack_rule(
    "pod-image-approved",
    title="An image comes from an approved registry",
    severity=Severity.HIGH,
    applies=has_pods,
    controls={
        "CIS EKS": ("5.1.4",),
        "Trivy": ("KSV-0035", "KSV-0034", "KSV-0125"),
        "NIST 800-53": ("CM-11", "SR-3"),
        "ISO 27001": ("A.5.21", "A.8.19"),
    },
    why=(
        "Whoever can replace an image runs code beside the data. A registry of one's own is scanned, logged, within "
        "the region and there when a public one is not, or limits how often a cluster may pull."
    ),
    remedy="""
f"{account}.dkr.ecr.{region}.amazonaws.com/mirror/alpine:3.20"     # third-party images: modules/image_mirror.py
# policies/registries.yaml approves anything else
""",
)
def image_approved(resource: Resource, graph: Graph) -> Iterator[Finding]:
    def check(image: Value) -> Iterator[Finding]:
        name = image.text() or ""
        ecr = _ECR.match(name)
        if name.startswith(approved().registries):
            return
        if not ecr:
            yield violation(f"{shown(name)} comes from {_registry(name)}, which is not approved", image)
            return
        account, region = ecr.groups()
        if reason := table().refusal(region, resource.environment):
            yield violation(f"{shown(name)} comes from {region}; {reason}", image)
        elif account not in approved().accounts:
            own = _own_accounts(graph)
            if not own:
                yield unverified(f"whether account {account} is this stack's own is not known here", image)
            elif account not in own:
                yield violation(f"{shown(name)} comes from account {account}, which is not approved", image)

    yield from each_pod(resource, lambda pod: _images(pod, check))


def _registry(image: str) -> str:
    """The registry that a container runtime takes for an image's name."""
    first, separator, _ = image.partition("/")
    return first if separator and ("." in first or ":" in first or first == "localhost") else "docker.io"


@lru_cache(maxsize=2)
def _own_accounts(graph: Graph) -> set[str]:
    arns = [arn for one in graph.of(_OF_THE_ACCOUNT) if isinstance(arn := one.props.get("arn"), str)]
    return {parts[4] for arn in arns if len(parts := arn.split(":")) > 5}


@resource_rule(
    "pod-image-pinned",
    title="An image is named by its digest, or by a tag that stays with it",
    severity=Severity.MEDIUM,
    applies=has_pods,
    controls={
        "Trivy": ("KSV-0013",),
        "Checkov": ("CKV_K8S_14", "CKV_K8S_43"),
        "NIST 800-53": ("CM-2", "SI-7"),
        "ISO 27001": ("A.8.9", "A.8.32"),
    },
    why="Two nodes, or two starts of one job, run different programs under a tag that moves, and nothing says so.",
    remedy="""
"image": f"{repository_url}@sha256:..."          # or a tag such as :v1.35.2, in a repository with immutable tags
""",
)
def image_pinned(resource: Resource) -> Iterator[Finding]:
    def check(image: Value) -> Iterator[Finding]:
        name = image.text() or ""
        tagged, at, digest = name.partition("@")
        if at and not _DIGEST.fullmatch(digest):
            yield violation(f"{shown(name)} ends in no digest (sha256: and 64 digits)", image)
        elif not at:
            _, _, tag = tagged.rpartition("/")[2].partition(":")
            if not tag:
                yield violation(f"{shown(name)} has no tag, which means latest", image)
            elif tag in _MOVING or _MOVING_PART & set(re.split(r"[-_.]", tag.lower())):
                yield violation(f"{shown(name)}: the tag {shown(tag)} moves from image to image", image)

    yield from each_pod(resource, lambda pod: _images(pod, check))


def _images(pod: Pod, check: Callable[[Value], Iterator[Finding]]) -> Iterator[Finding]:
    """Judges the images of a pod: its containers' and those that it mounts as volumes."""

    def of_container(container: Value, _: Pod) -> Iterator[Finding]:
        image = container["image"]
        if image.present and not is_placeholder(image, pod):
            yield from check(image)

    def of_volume(volume: Value) -> Iterator[Finding]:
        if (reference := volume["image"]["reference"]).present:
            yield from check(reference)

    yield from over_containers(pod, of_container)
    yield from each([pod.spec["volumes"]], lambda volumes: each(volumes.items(), of_volume))
