"""Where Pulumi keeps a stack's state, and the key of the secrets in it: places of data that no policy pack sees.

The state has every output of every resource, secrets included. What is written in the repository tells both; the engine
tells a pack neither, so these two rules are in no pack. The command line judges them for a preview and a review.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from urllib.parse import parse_qs, urlsplit

from trainyard.policies.graph import Graph, Resource
from trainyard.policies.residency.judging import rule_on, unverified_because
from trainyard.policies.residency.jurisdictions import jurisdictions
from trainyard.policies.residency.places import REGION, Place, host_place, region_place
from trainyard.policies.rule import Finding, Level, Result, Severity, Verdict, judge, stack_rule, unverified, violation
from trainyard.policies.values import UnverifiedError, Value, shown

BACKEND, SECRETS_PROVIDER, DATA_CLASS = "backend.url", "secretsprovider", "data_class"
"""Of a stack as it is judged here: `url` in Pulumi.yaml, the key in the stack's file, the setting."""

CONTROLS = {
    "NIST 800-53": ("SA-9(5)", "AC-4", "SC-28"),
    "ISO 27001": ("A.5.31", "A.5.34"),
    "UAE PDPL": ("art. 22", "art. 23"),
}
_STACK = "pulumi:pulumi:Stack"
_ON_DISK = ("file", "")


@stack_rule(
    "transfer-state-backend",
    title="Pulumi keeps the stack's state where the law that binds its data lets it be",
    severity=Severity.HIGH,
    applies={_STACK},
    controls=CONTROLS,
    why="The state has every output of every resource, secrets and addresses included, and its history besides.",
    remedy="""
# Pulumi.yaml
backend: {url: "s3://BUCKET?region=me-central-1&awssdk=v2"}   # a bucket in a region of the data's jurisdiction
""",
)
def state_backend(stack: Resource, _: Graph) -> Iterator[Finding]:
    data_class = str(stack.props[DATA_CLASS])
    backend = stack.props.get(BACKEND)
    if backend:
        yield from _judged(stack, "state", data_class, BACKEND, _state(str(backend)))
    elif _bound_by_law(stack.environment, data_class):
        text = (
            f"Pulumi.yaml does not say where the state of {data_class} data is, so it is wherever the one who deploys "
            "is logged in to; backend.url there makes it known"
        )
        yield unverified(text, Value(None, (BACKEND,), ""))


@stack_rule(
    "transfer-state-key",
    title="The key of the secrets in the stack's state is where the law that binds its data lets it be",
    severity=Severity.HIGH,
    applies={_STACK},
    controls=CONTROLS,
    why="Whoever has the key reads every secret in the state, and a key service is bound by the law of where it is.",
    remedy="""
pulumi stack change-secrets-provider "awskms://alias/pulumi?region=me-central-1"   # of the data's jurisdiction
""",
)
def state_key(stack: Resource, _: Graph) -> Iterator[Finding]:
    provider = str(stack.props.get(SECRETS_PROVIDER) or "")
    yield from _judged(stack, "secrets key", str(stack.props[DATA_CLASS]), SECRETS_PROVIDER, _key(provider))


RULES = (state_backend, state_key)


def judge_backend(project: str, stack: str, data_class: str, backend: str, secrets_provider: str) -> tuple[Result, ...]:
    """Both rules on a stack of a project.

    `backend` is the URL that Pulumi.yaml names and `secrets_provider` what the stack's file does; either may be empty.
    That no backend is named is told, and stops nothing: what is not written, no review can hold.
    """
    urn = f"urn:pulumi:{stack}::{project}::{_STACK}::{project}-{stack}"
    props = {BACKEND: backend, SECRETS_PROVIDER: secrets_provider, DATA_CLASS: data_class}
    judged = Resource(urn, _STACK, f"{project}-{stack}", props)
    results = [judge(rule, judged, Graph([judged])) for rule in RULES]
    if not backend:
        told = tuple(replace(one, level=Level.ADVISORY) for one in results[0].findings)
        results[0] = replace(results[0], findings=told)
    return tuple(results)


def _bound_by_law(environment: str, data_class: str) -> bool:
    home = jurisdictions().home(environment)
    return home is not None and bool(home[1].cite(data_class)) and not jurisdictions().free(environment, data_class)


def _judged(stack: Resource, what: str, data_class: str, place_of: str, place: Place | None) -> Iterator[Finding]:
    if place is None:
        return
    at = Value(place.name, (place_of,), "")
    ruling = rule_on(stack.environment, data_class, place)
    if ruling.unread is not None:
        yield unverified_because(ruling.unread, at, f"the stack's {what} with {data_class} data")
    elif ruling.verdict is Verdict.UNVERIFIED:
        yield unverified(f"the stack's {what} is in {place.name}: {ruling.reason}", at)
    elif ruling.verdict is Verdict.VIOLATION:
        yield violation(f"the stack's {what} is in {place.name}: {ruling.reason}", at)


def _state(backend: str) -> Place | None:
    """The place of the state; None where it is on the disk of whoever runs the program."""
    at = Value(backend, (BACKEND,), "")
    url = urlsplit(backend)
    if url.scheme in _ON_DISK:
        return None
    if url.scheme == "s3":
        return _named_region(url.query, at, f"the bucket of {shown(backend)}")
    if url.scheme in ("http", "https"):
        return host_place(url.netloc, at)
    return Place(f"{url.scheme}://{url.netloc}")


def _key(secrets_provider: str) -> Place | None:
    """The place of the key; None where a passphrase or the service of the state stands for it."""
    at = Value(secrets_provider, (SECRETS_PROVIDER,), "")
    if secrets_provider in ("", "default", "passphrase"):
        return None
    url = urlsplit(secrets_provider)
    if url.scheme == "awskms":
        arn = re.search(rf"arn:aws[a-z-]*:kms:({REGION.pattern}):", secrets_provider)
        return (
            region_place(arn[1], at) if arn else _named_region(url.query, at, f"the key of {shown(secrets_provider)}")
        )
    return Place(f"{url.scheme}://{url.netloc}")


def _named_region(query: str, at: Value, what: str) -> Place:
    region = parse_qs(query).get("region", [""])[0]
    if region:
        return region_place(region, at)
    return Place(what, unread=UnverifiedError(at, f"{what} names no region; write ?region= behind it"))
