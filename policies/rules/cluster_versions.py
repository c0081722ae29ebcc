"""Clusters run a Kubernetes version that EKS supports at no extra charge, and are updated in time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache
from pathlib import Path

import yaml

from trainyard.policies.graph import Graph, Resource
from trainyard.policies.parts import is_providers_choice
from trainyard.policies.preflight import NODE_GROUPS
from trainyard.policies.rule import Finding, Severity, resource_rule, stack_rule, unverified, violation
from trainyard.policies.values import UnverifiedError, Value, shown

_CLUSTERS = frozenset({"aws:eks/cluster:Cluster"})
_NOTICE = timedelta(days=60)
"""How long an update takes to plan, rehearse and roll out."""


@dataclass(frozen=True)
class Support:
    """The last days of standard and of extended support."""

    standard: date
    extended: date


@cache
def table() -> Mapping[tuple[int, int], Support]:
    text = Path(__file__).parents[1].joinpath("eks_versions.yaml").read_text(encoding="utf-8")
    return {_numbers(name): Support(**row) for name, row in yaml.safe_load(text)["versions"].items()}


def today() -> date:
    return datetime.now(UTC).date()


def _numbers(text: str) -> tuple[int, int]:
    major, _, minor = text.partition(".")
    return int(major), int(minor)


def _support(version: Value) -> Support | None:
    """The version's dates; None for one that is older than all in the table.

    Raises UnverifiedError for a newer one, and for what is no version.
    """
    text = version.text() or ""
    try:
        numbers = _numbers(text)
    except ValueError:
        raise UnverifiedError(version, f"{shown(text)!r} is not a version such as 1.35") from None
    if numbers > max(table()):
        raise UnverifiedError(version, f"eks_versions.yaml does not know Kubernetes {text} yet: add its dates")
    return table().get(numbers)


@resource_rule(
    "eks-version-supported",
    title="A cluster and its nodes run a Kubernetes version under standard support",
    severity=Severity.HIGH,
    applies=_CLUSTERS | NODE_GROUPS,
    controls={
        "FSBP": ("EKS.2",),
        "Checkov": ("CKV_AWS_339",),
        "NIST 800-53": ("SI-2", "SA-22"),
        "ISO 27001": ("A.8.8", "A.8.19"),
    },
    why=(
        "Kubernetes mends flaws in a version for about 14 months. Then EKS charges six times as much for the cluster, "
        "and twelve months later updates it on a day of its own choosing."
    ),
    remedy="""
aws.eks.Cluster(name, version="1.35", upgrade_policy={"support_type": "STANDARD"}, ...)   # one minor version at a time
""",
)
def version_supported(resource: Resource) -> Iterator[Finding]:
    version = resource["version"]
    if not version.present:
        # Nodes without a version have the cluster's.
        if resource.type in _CLUSTERS:
            yield unverified("no version is named, so EKS takes the one that is its default on that day", version)
        return
    support = _support(version)
    if support is None or today() > support.extended:
        yield violation(f"EKS does not support Kubernetes {version.raw} any more", version)
    elif today() > support.standard:
        yield violation(
            f"standard support of Kubernetes {version.raw} ended on {support.standard}; "
            f"extended support, at a higher price, ends on {support.extended}",
            version,
        )


@stack_rule(
    "eks-version-ends-soon",
    title="A cluster is updated two months before its version's standard support ends",
    severity=Severity.LOW,
    applies=_CLUSTERS,
    controls={"FSBP": ("EKS.2",), "NIST 800-53": ("SI-2", "SA-22"), "ISO 27001": ("A.8.8", "A.8.19")},
    why="An update of a training cluster waits for runs to end, and each minor version is a step of its own.",
    remedy="""
aws.eks.Cluster(name, version="1.35", ...)       # the next minor version; rehearse it in another environment first
""",
    advice=True,
)
def version_ends_soon(cluster: Resource, _: Graph) -> Iterator[Finding]:
    version = cluster["version"]
    if not version.present:
        return
    support = _support(version)
    if support and today() <= support.standard < today() + _NOTICE:
        days = (support.standard - today()).days
        yield violation(
            f"standard support of Kubernetes {version.raw} ends in {days} days, on {support.standard}", version
        )


@stack_rule(
    "eks-standard-support",
    title="A cluster is updated at the end of standard support instead of paying for more",
    severity=Severity.LOW,
    applies=_CLUSTERS,
    controls={
        "EKS user guide": ("Disable EKS extended support",),
        "NIST 800-53": ("SI-2", "SA-22"),
        "ISO 27001": ("A.8.8",),
    },
    why="EKS moves a cluster into extended support, at six times the price, unless told otherwise. Nobody is asked.",
    remedy="""
aws.eks.Cluster(name, upgrade_policy={"support_type": "STANDARD"}, ...)
""",
    # Who cannot update in time may want to pay for more.
    advice=True,
)
def standard_support(cluster: Resource, _: Graph) -> Iterator[Finding]:
    policy = cluster["upgradePolicy"]
    if is_providers_choice(cluster, "upgradePolicy"):
        yield violation("nothing is said, which means EXTENDED", policy)
        return
    kind = policy["supportType"]
    if (text := kind.text() or "EXTENDED") != "STANDARD":
        yield violation(f"the kind of support is {shown(text)}", kind)
