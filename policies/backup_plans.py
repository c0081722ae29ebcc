"""What AWS Backup takes: the selections of a stack, against one resource."""

from __future__ import annotations

from collections.abc import Iterator

from trainyard.policies.aws import tags_of
from trainyard.policies.graph import Graph, Resource
from trainyard.policies.iam.documents import covers
from trainyard.policies.subnets import any_of
from trainyard.policies.values import UNKNOWN, Value

_SELECTIONS = frozenset({"aws:backup/selection:Selection"})
_TAG = "aws:ResourceTag/"


def backed_up(resource: Resource, graph: Graph) -> bool | None:
    """Whether a selection of this stack takes the resource; None where that is not known yet."""
    return any_of(_selects(selection, resource, graph) for selection in graph.of(_SELECTIONS))


def _selects(selection: Resource, resource: Resource, graph: Graph) -> bool | None:
    left_out = _listed(selection, "notResources", resource, graph)
    if left_out:
        return False
    named = _listed(selection, "resources", resource, graph)
    tagged = any_of(_has(resource, one["key"], one["value"]) for one in _items(selection["selectionTags"]))
    met = [_has(resource, key, value) for key, value in _equals(selection["conditions"])]
    fits = any_of([named, tagged])
    if fits and False not in met and None not in met and left_out is False and _only_equals(selection["conditions"]):
        return True
    return False if fits is False or False in met else None


def _listed(selection: Resource, name: str, resource: Resource, graph: Graph) -> bool | None:
    """Whether a list of ARNs and patterns has the resource."""
    value = selection[name]
    comes_from_it = any(one.urn == resource.urn for one in graph.origins(selection, name))
    if value.raw is UNKNOWN:
        # An output that nobody set is computed from nothing.
        return (True if comes_from_it else None) if name in selection.property_dependencies else False
    arn = resource.props.get("arn")
    verdicts: list[bool | None] = []
    for one in value.items():
        if isinstance(one.raw, str) and one.raw == "*":
            verdicts.append(True)
        elif isinstance(one.raw, str) and isinstance(arn, str):
            verdicts.append(covers(one.raw, arn))
        else:
            verdicts.append(True if comes_from_it and one.raw is UNKNOWN else None)
    return any_of(verdicts)


def _items(value: Value) -> list[Value]:
    return [] if value.raw is UNKNOWN else value.items()


def _equals(conditions: Value) -> Iterator[tuple[Value, Value]]:
    for condition in _items(conditions):
        for one in condition["stringEquals"].items():
            yield one["key"], one["value"]


def _only_equals(conditions: Value) -> bool:
    """Whether no other kind of condition narrows the selection."""
    return not any(
        condition[kind].items()
        for condition in _items(conditions)
        for kind in ("stringLikes", "stringNotEquals", "stringNotLikes")
    )


def _has(resource: Resource, key: Value, value: Value) -> bool | None:
    """Whether the resource has a tag with a value."""
    tags = tags_of(resource)
    if UNKNOWN in (key.raw, value.raw, tags.raw):
        return None
    held = tags[str(key.raw).removeprefix(_TAG)].raw
    return None if held is UNKNOWN else held is not None and held == value.raw
