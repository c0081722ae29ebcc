"""Where a resource is, where a destination leads, and which classes of data a resource holds."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from weakref import WeakKeyDictionary

from trainyard.policies.accounts import account_of, own_accounts
from trainyard.policies.aws import BUCKETS, DATA_CLASSES, tags_of
from trainyard.policies.graph import Graph, Resource
from trainyard.policies.residency.jurisdictions import jurisdictions
from trainyard.policies.taggable import taggable
from trainyard.policies.values import UNKNOWN, NotKnownYetError, UnverifiedError, Value, shown

REGION = re.compile(r"[a-z]{2,4}(?:-[a-z]+){1,2}-\d{1,2}")
_ARN = re.compile(
    r"arn:aws[a-z-]*:(?P<service>[a-z0-9-]+):(?P<region>[a-z0-9-]*):(?P<account>\d{12}|aws)?:(?P<rest>.+)", re.S
)
_BUCKET_HOST = re.compile(
    r"(?P<bucket>[a-z0-9][a-z0-9.-]+?)\.s3(?:-website)?(?:[.-](?P<region>[a-z0-9-]+))?\.amazonaws\.com"
)
_AWS_HOST = re.compile(
    r"(?:^|[.-])([a-z]{2,4}(?:-[a-z]+){1,2}-\d{1,2})\.(?:[a-z]+\.)*(?:amazonaws\.com|on\.aws)(?:\.cn)?$"
)
# Names by which a program refers to a resource, beside its id.
_IDENTITIES = ("id", "arn", "name", "url", "keyId", "catalogId", "invokeArn", "dnsName")
# A type that gets its provider's default tags.
_TAKES_TAGS = "aws:s3/bucket:Bucket"
# What a destination that is not known yet can't be: it decides who may, not where to.
_NO_DESTINATION = (
    "aws:iam/",
    "aws:kms/",
    "aws:s3/bucketPolicy",
    "aws:s3/bucketVersioning",
    "pulumi:",
    "random:",
    "time:",
)


@dataclass(frozen=True)
class Place:
    """Somewhere that data lie or can get to: a region; else a jurisdiction that the table names for an account or a
    host; else, with neither, something outside that the table does not know. `unread` says why it can't be told."""

    name: str
    region: str = ""
    jurisdiction: str = ""
    unread: UnverifiedError | None = None
    anywhere: bool = False
    """Whether this is no one place: data can be in any country at once."""


@dataclass(frozen=True)
class Landing:
    """A place where data arrive, and the resource there if this stack has it."""

    place: Place
    target: Resource | None = None


class Atlas:
    """What the graph tells of places: who is known by which name, which account is the program's own."""

    def __init__(self, graph: Graph) -> None:
        self._resources = graph.resources
        self.accounts = own_accounts(graph)

    @cached_property
    def _named(self) -> Mapping[str, list[Resource]]:
        named: defaultdict[str, list[Resource]] = defaultdict(list)
        for resource in self._resources:
            texts = {text for key in _IDENTITIES if isinstance(text := resource.props.get(key), str) and text}
            if is_bucket(resource) and isinstance(name := resource.props.get("bucket"), str):
                texts.add(name)
            for text in texts:
                named[text].append(resource)
        return named

    @cached_property
    def classes(self) -> frozenset[str]:
        """Every class that some resource is tagged with, or that a provider puts on its resources."""
        providers = {one.provider.urn: one.provider for one in self._resources if one.provider is not None}
        bearers = [*self._resources, *(Resource("", _TAKES_TAGS, "", {}, provider) for provider in providers.values())]
        return frozenset(text for one in bearers if (text := _class_tag(one).raw) in DATA_CLASSES)

    @cached_property
    def unnamed_buckets(self) -> list[Resource]:
        return [one for one in self._resources if is_bucket(one) and not one["bucket"].known]

    def find(self, text: str, wanted: Callable[[Resource], bool]) -> Resource | None:
        """The one resource that goes by a name; None where there is none, or more than one."""
        found = [one for one in self._named.get(text, ()) if wanted(one)]
        return found[0] if len(found) == 1 else None


_ATLASES: WeakKeyDictionary[Graph, Atlas] = WeakKeyDictionary()


def atlas_of(graph: Graph) -> Atlas:
    if graph not in _ATLASES:
        _ATLASES[graph] = Atlas(graph)
    return _ATLASES[graph]


def is_bucket(resource: Resource) -> bool:
    return resource.type in BUCKETS


def is_aws(resource: Resource) -> bool:
    """Whether this is a resource that holds or carries data. A part of one, such as a bucket's policy, goes by the same
    name and takes no tags."""
    return resource.type.startswith("aws:") and taggable(resource.type)


def _class_tag(resource: Resource) -> Value:
    tags = tags_of(resource)
    return tags["data-class"] if tags.known else tags


def classes_of(resource: Resource, graph: Graph) -> frozenset[str]:
    """The class that a resource is tagged with. One that takes no tags, or has none, may carry every class of the
    stack. Raises `UnverifiedError` where the tag is unknown or no class."""
    tag = _class_tag(resource)
    name = tag.text()
    if name is None:
        return atlas_of(graph).classes
    if name not in DATA_CLASSES:
        raise UnverifiedError(tag, f"{shown(name)!r} is no data class; there may stand {', '.join(DATA_CLASSES)}")
    return frozenset({name})


def place_of(resource: Resource) -> Place:
    """The region that a resource is in: its own, its ARN's, or its provider's."""
    region = resource["region"]
    if not region.known and resource.property_dependencies and "region" not in resource.property_dependencies:
        # The engine says which properties the program gave, and this is none of them: it is the provider's.
        region = Value(None, region.path, region.urn)
    try:
        text = region.text() or _region_of_arn(resource) or _provider_region(resource)
    except UnverifiedError as unread:
        return Place(resource.name, unread=unread)
    return region_place(text, region)


def region_place(text: str, at: Value) -> Place:
    if not REGION.fullmatch(text):
        return Place(text, unread=UnverifiedError(at, f"{shown(text)!r} is not the name of a region"))
    return Place(text, region=text)


def _region_of_arn(resource: Resource) -> str:
    text = resource.props.get("arn")
    arn = _ARN.fullmatch(text) if isinstance(text, str) else None
    return arn["region"] if arn else ""


def _provider_region(resource: Resource) -> str:
    if resource.provider is None:
        raise UnverifiedError(Value(None, (), resource.urn), "neither the resource nor a provider says its region")
    region = resource.provider["region"]
    if not region.present:
        reason = "its provider takes its region from whoever runs it; it is known once the program writes region="
        raise UnverifiedError(Value(None, ("region",), resource.urn), reason)
    return region.text() or ""


def account_landing(at: Value, graph: Graph) -> Landing | None:
    """The account that a value names, as a place; None where it is the program's own."""
    text = at.text() or ""
    account = account_of(text)
    if account and account in atlas_of(graph).accounts:
        return None
    if code := jurisdictions().accounts.get(account):
        return Landing(Place(f"account {account}", jurisdiction=code))
    reason = (
        f"where the account of {shown(text)} keeps what it gets can't be told; it can once the account stands under "
        "`accounts` in policies/jurisdictions.yaml, or in an ARN of this stack"
    )
    return Landing(Place(shown(text), unread=UnverifiedError(at, reason)))


def host_place(text: str, at: Value) -> Place:
    """Where a URL or a host name leads."""
    host = re.sub(r"^[a-z0-9+.-]+://", "", text.strip().lower())
    host = re.split(r"[/:?#]", host.rpartition("@")[2] if "@" in host.split("/")[0] else host, maxsplit=1)[0]
    if found := _AWS_HOST.search(host):
        return region_place(found[1], at)
    if code := jurisdictions().hosts.get(host):
        return Place(host, jurisdiction=code)
    return Place(host)


class Reader:
    """Finds where a property of one resource leads."""

    def __init__(self, carrier: Resource, graph: Graph) -> None:
        self.carrier = carrier
        self.graph = graph
        self.atlas = atlas_of(graph)

    def origins(self, at: Value, wanted: Callable[[Resource], bool]) -> list[Resource]:
        """What an unknown value may be, of all that its property was computed from."""
        found = self.graph.origins(self.carrier, str(at.path[0])) if at.path else []
        return [one for one in found if wanted(one) and not one.type.startswith(_NO_DESTINATION)]

    def resource(self, at: Value, wanted: Callable[[Resource], bool] = is_aws) -> Resource | None:
        """The resource that a property names; None where this stack has none such, or it can't be told which."""
        if not at.known:
            found = self.origins(at, wanted)
            return found[0] if len(found) == 1 else None
        if not isinstance(at.raw, str):
            return None
        text = at.raw.removesuffix(":*")
        if host := _BUCKET_HOST.match(text):
            text = host["bucket"]
        found = self.atlas.find(text, wanted)
        if found is None and (arn := _ARN.fullmatch(text)) and arn["service"] == "s3":
            found = self.atlas.find(arn["rest"].split("/")[0], wanted)
        return found

    def arn(self, at: Value) -> Iterator[Landing]:
        """An ARN, or a name or address that stands for one."""
        text = self._text(at)
        if text is None:
            yield from self._unknown(at, is_aws)
            return
        arn = _ARN.fullmatch(text)
        if arn is None and (re.match(r"https?://", text) or _AWS_HOST.search(text)):
            yield Landing(host_place(text, at), self.resource(at))
        elif arn is not None and arn["service"] == "s3":
            yield from self._bucket(arn["rest"].split("/")[0], at)
        elif arn is not None and arn["region"]:
            yield Landing(region_place(arn["region"], at), self.resource(at))
        elif (target := self.resource(at)) is not None:
            yield Landing(place_of(target), target)
        else:
            yield self._untold(at, f"{shown(text)!r} names no region, and nothing of this stack goes by it")

    def bucket(self, at: Value) -> Iterator[Landing]:
        """A bucket by its name, `s3://name/prefix`, `name/prefix`, ARN or host name."""
        text = self._text(at)
        if text is None:
            yield from self._unknown(at, is_bucket)
        elif arn := _ARN.fullmatch(text):
            yield from self._bucket(arn["rest"].split("/")[0], at) if arn["service"] == "s3" else self.arn(at)
        elif host := _BUCKET_HOST.match(text.lower()):
            yield from self._bucket(host["bucket"], at, host["region"] or "")
        else:
            yield from self._bucket(text.removeprefix("s3://").split("/")[0], at)

    def region(self, at: Value) -> Iterator[Landing]:
        text = self._text(at)
        if text is None:
            yield from self._unknown(at, lambda _: False)
        else:
            yield Landing(region_place(text, at))

    def host(self, at: Value) -> Iterator[Landing]:
        text = self._text(at)
        if text is None:
            yield from self._unknown(at, is_aws)
        elif _BUCKET_HOST.match(text.lower()):
            yield from self.bucket(at)
        else:
            yield Landing(host_place(text, at), self.resource(at))

    def everyone(self, at: Value) -> Iterator[Landing]:
        """A switch that opens something to everyone."""
        del at
        yield Landing(Place("everyone, in any country", anywhere=True))

    def account(self, at: Value) -> Iterator[Landing]:
        if not at.known:
            if not self._of_own_account(at):
                yield from self._unknown(at, lambda _: False)
        elif landing := account_landing(at, self.graph):
            yield landing

    def edge(self, at: Value) -> Iterator[Landing]:
        """Edge locations, which are wherever the users are. A switch may be off."""
        if not at.known or at.text() not in ("Suspended", "Disabled"):
            yield Landing(Place("edge locations, in any country", anywhere=True))

    def reference(self, at: Value) -> Iterator[Landing]:
        """An id that is worth something only where this stack has its bearer."""
        text = self._text(at)
        if text is None:
            yield from self._unknown(at, is_aws)
        elif (target := self.resource(at)) is not None:
            yield Landing(place_of(target), target)
        else:
            yield self._untold(at, f"{shown(text)!r} is not of this stack, so where it leads can't be told")

    def _of_own_account(self, at: Value) -> bool:
        """Whether an unknown account, or ARN of one, comes from resources that this provider makes."""
        found = self.graph.origins(self.carrier, str(at.path[0])) if at.path else []
        return bool(found) and all(
            one.type.startswith("aws:") and "/organization" not in one.type and one.provider == self.carrier.provider
            for one in found
        )

    def _text(self, at: Value) -> str | None:
        """The text; None where it is unknown or holds something that is."""
        return at.text() if at.known else None

    def _bucket(self, name: str, at: Value, region: str = "") -> Iterator[Landing]:
        target = self.atlas.find(name, is_bucket)
        if target is not None:
            yield Landing(place_of(target), target)
        elif REGION.fullmatch(region):
            yield Landing(Place(region, region=region))
        else:
            reason = f"no bucket {shown(name)!r} is in this stack, and a bucket's name does not tell its region"
            yield self._untold(at, reason)
            for unnamed in self.atlas.unnamed_buckets:
                yield Landing(place_of(unnamed), unnamed)  # its name may turn out to be this one

    def _unknown(self, at: Value, wanted: Callable[[Resource], bool]) -> Iterator[Landing]:
        found = self.origins(at, wanted)
        for target in found:
            yield Landing(place_of(target), target)
        if not found:
            yield Landing(Place("a place that is not known yet", unread=NotKnownYetError(at)))
            if wanted is is_bucket:
                for one in self.graph.of(BUCKETS):
                    yield Landing(place_of(one), one)  # it may turn out to be this one

    @staticmethod
    def _untold(at: Value, reason: str) -> Landing:
        text = f"{reason}; it is known once the program makes or names it with its region"
        return Landing(Place(shown(at.raw), unread=UnverifiedError(at, text)))


def walk(value: Value, steps: tuple[str, ...]) -> Iterator[Value]:
    """The values at a path, through every list on the way. What is unknown on the way is given as it is."""
    if value.raw is UNKNOWN:
        yield value
    elif isinstance(value.raw, list):
        for item in value.items():
            yield from walk(item, steps)
    elif not steps:
        if value.present and value.raw != "":
            yield value
    elif value.present:
        yield from walk(value[steps[0]], steps[1:])
