"""Mutations of properties, by the table `changes.yaml`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from trainyard.policies.graph import Graph, Resource
from trainyard.policies.mutations import places
from trainyard.policies.mutations.model import Mutation
from trainyard.policies.mutations.places import ABSENT, Edit
from trainyard.policies.values import UNKNOWN, shown

_HOW = ("drop", "to", "add", "delete", "tag")
_POD_SPEC = {
    "Pod": ("spec",),
    "CronJob": ("spec", "jobTemplate", "spec", "template", "spec"),
}
_IN_TEMPLATE = ("spec", "template", "spec")


@cache
def table() -> Mapping[str, list[Mapping[str, Any]]]:
    """What is tried, by the resource's type. Raises ValueError where an entry does not say what, or says it twice."""
    raw = yaml.safe_load(Path(__file__).with_name("changes.yaml").read_text(encoding="utf-8"))
    found: dict[str, list[Mapping[str, Any]]] = {}
    for group in raw:
        for one in group["tries"]:
            if sum(how in one for how in _HOW) != 1 or "loses" not in one or ("at" in one) == ("delete" in one):
                raise ValueError(f"changes.yaml: {one} must say what it loses, and one of {', '.join(_HOW)}")
            for kind in group["types"]:
                found.setdefault(kind, []).append({**one, "pods": group.get("pods", False)})
    return found


def mutations(graph: Graph) -> Iterator[Mutation]:
    """Of every resource whose type the table has, over the graph of inputs."""
    for resource in graph.resources:
        for one in table().get(resource.type, ()):
            yield from _tried(resource, one)


def _tried(resource: Resource, one: Mapping[str, Any]) -> Iterator[Mutation]:
    if "delete" in one:
        lacking = (places.matches(resource.props, places.steps(pattern)) for pattern in one.get("lacking", ()))
        if all(value is ABSENT for found in lacking for _, value in found):
            yield Mutation(one["loses"], resource, "the resource is gone")
        return
    also = [
        (path, _edit(one["also"], now)[0])
        for path, now in (places.matches(resource.props, _pattern(resource, one, one["also"])) if "also" in one else ())
    ]
    for path, now in places.matches(resource.props, _pattern(resource, one, one)):
        edit, done = _edit(one, now)
        if now is UNKNOWN or (now is ABSENT and ("held" in one or "drop" in one)) or edit(now) == now:
            continue
        if "only" in one and now != one["only"]:
            continue
        yield Mutation(one["loses"], resource, f"{places.written(path)}: {done}", ((path, edit), *also))


def _pattern(resource: Resource, one: Mapping[str, Any], change: Mapping[str, Any]) -> tuple[str, ...]:
    pattern = places.steps(change["at"])
    return (*_POD_SPEC.get(resource.type.rpartition(":")[2], _IN_TEMPLATE), *pattern) if one["pods"] else pattern


def _edit(one: Mapping[str, Any], now: Any) -> tuple[Edit, str]:
    """What becomes of the value, and that in words."""
    if "drop" in one:
        return (lambda _: ABSENT), f"{_said(now)} is gone"
    if "add" in one:
        return (lambda old: [*(old if isinstance(old, list) else ()), one["add"]]), f"{_said(one['add'])} is added"
    new = f"{_untagged(str(now))}:{one['tag']}" if "tag" in one else one["to"]
    return (lambda _: new), f"{_said(now)} becomes {_said(new)}" if now is not ABSENT else f"{_said(new)} is set"


def _untagged(image: str) -> str:
    name = image.partition("@")[0]
    head, slash, last = name.rpartition("/")
    return f"{head}{slash}{last.partition(':')[0]}"


def _said(value: Any) -> str:
    return "what was there" if value is ABSENT else shown(value)
