"""Where Pulumi keeps a stack's state, and the key of the secrets in it: places of data that no policy pack sees.

The state has every output of every resource, secrets included. The command line knows both texts; the engine tells a
pack neither.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

from trainyard.policies.residency.judging import rule_on, unverified_because
from trainyard.policies.residency.places import REGION, Place, host_place, region_place
from trainyard.policies.rule import Finding, Verdict, unverified, violation
from trainyard.policies.values import UnverifiedError, Value, shown

_ON_DISK = ("file", "")
_CLOUD = "https://api.pulumi.com"


def judge_backend(environment: str, data_class: str, backend: str, secrets_provider: str) -> Iterator[Finding]:
    """Whether an environment's state, and the key of its secrets, may be where they are.

    `backend` is the URL that `pulumi login` was given, `secrets_provider` that of `pulumi stack init`; either may be
    empty. Raises ValueError where one is no URL.
    """
    for name, place in (("state", _state(backend)), ("secrets key", _key(secrets_provider))):
        if place is None:
            continue
        at = Value(place.name, (), "")
        ruling = rule_on(environment, data_class, place)
        if ruling.unread is not None:
            yield unverified_because(ruling.unread, at, f"the stack's {name} with {data_class} data")
        elif ruling.verdict is Verdict.UNVERIFIED:
            yield unverified(f"the stack's {name} is in {place.name}: {ruling.reason}")
        elif ruling.verdict is Verdict.VIOLATION:
            yield violation(f"the stack's {name} is in {place.name}: {ruling.reason}")


def _state(backend: str) -> Place | None:
    """The place of the state; None where it is on the disk of whoever runs the program."""
    at = Value(backend, ("backend",), "")
    url = urlsplit(backend or _CLOUD)
    if url.scheme in _ON_DISK:
        return None
    if url.scheme == "s3":
        return _named_region(url.query, at, f"the bucket of {shown(backend)}")
    if url.scheme in ("http", "https"):
        return host_place(url.netloc, at)
    return Place(f"{url.scheme}://{url.netloc}")


def _key(secrets_provider: str) -> Place | None:
    """The place of the key; None where a passphrase or the service of the state stands for it."""
    at = Value(secrets_provider, ("secretsprovider",), "")
    url = urlsplit(secrets_provider)
    if secrets_provider in ("", "default", "passphrase"):
        return None
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
