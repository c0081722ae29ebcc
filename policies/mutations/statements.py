"""Mutations of policy documents: of identities, resources, trust, keys and endpoints, statement by statement."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from trainyard.policies.graph import Graph, Resource
from trainyard.policies.mutations import places
from trainyard.policies.mutations.everywhere import STRANGER
from trainyard.policies.mutations.model import Mutation
from trainyard.policies.mutations.places import ABSENT, JSON, Path
from trainyard.policies.values import shown

_TRUST = "assumeRolePolicy"
_ENDPOINTS = "aws:ec2/vpcEndpoint:VpcEndpoint"
_LIKE = {"stringequals": "StringLike", "arnequals": "ArnLike", "stringlike": "StringLike", "arnlike": "ArnLike"}
_LESS_OFTEN = 100
_Statement = dict[str, Any]
_Change = Callable[[_Statement], _Statement | None]
"""From a statement to what becomes of it; None where it is gone."""


def mutations(graph: Graph) -> Iterator[Mutation]:
    for resource in graph.resources:
        for path, text in places.leaves(resource.props):
            if '"Statement"' in text:
                yield from _of_document(resource, path)


def _of_document(resource: Resource, path: Path) -> Iterator[Mutation]:
    listed = (*path, JSON, "Statement")
    found = places.read(resource.props, listed)
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        return  # written in a way that nothing in this program writes it
    for index, statement in enumerate(found):
        label = statement.get("Sid") or f"statement {index}"
        for loses, done, change in _changes(resource, path, statement):
            what = f"{places.written(path)}, {label}: {done}"
            yield Mutation(loses, resource, what, (((*listed, index), _edit(change)),))
    if more := _one_more(resource, path, found):
        done = f"{places.written(path)}: a statement that allows {more['Action']} to {_whom(more)} is added"
        yield Mutation(_loses(resource, path, more), resource, done, ((listed, lambda old: [*old, more]),))


def _edit(change: _Change) -> places.Edit:
    def edit(old: Any) -> Any:
        new = change(old)
        return ABSENT if new is None else new

    return edit


def _changes(resource: Resource, path: Path, statement: _Statement) -> Iterator[tuple[str, str, _Change]]:
    loses = _loses(resource, path, statement)
    if statement.get("Effect") == "Deny":
        yield loses, "the denial is gone", lambda _: None
        if isinstance(statement.get("Resource"), list) and len(statement["Resource"]) > 1:
            yield loses, "it denies on its first resource only", lambda old: {**old, "Resource": old["Resource"][:1]}
        return
    trust = path[-1] == _TRUST
    if not trust:
        yield from _wider_actions(loses, statement)
    if "Principal" not in statement or resource.type == _ENDPOINTS:
        yield from _wider_resources(loses, statement)
    if statement.get("Principal", "*") != "*":
        yield loses, "Principal becomes *, on no condition", _without("Condition", Principal="*")
        stranger = {"AWS": f"arn:aws:iam::{STRANGER}:root"}
        yield loses, "Principal becomes a stranger, on no condition", _without("Condition", Principal=stranger)
    yield from _fewer_conditions(loses, statement)


def _wider_actions(loses: str, statement: _Statement) -> Iterator[tuple[str, str, _Change]]:
    actions = _listed(statement.get("Action"))
    services = sorted({one.partition(":")[0] for one in actions})
    if actions and "*" not in actions:
        yield loses, "Action becomes *", _with(Action="*")
        whole = [f"{one}:*" for one in services]
        if whole != actions:
            yield loses, f"Action becomes {', '.join(whole)}", _with(Action=whole)


def _wider_resources(loses: str, statement: _Statement) -> Iterator[tuple[str, str, _Change]]:
    resources = _listed(statement.get("Resource"))
    if not resources or "*" in resources:
        return
    yield loses, "Resource becomes *", _with(Resource="*")
    wider = [re.sub(r"^(arn:[^:]*:s3:::[^/]+/).+\*$", r"\1*", one) for one in resources]
    if wider != resources:
        yield loses, f"Resource becomes {shown(', '.join(wider))}", _with(Resource=wider)


def _fewer_conditions(loses: str, statement: _Statement) -> Iterator[tuple[str, str, _Change]]:
    conditions = statement.get("Condition") or {}
    if conditions:
        yield loses, "Condition is gone", _without("Condition")
    keys = [(operator, key) for operator, tests in conditions.items() for key in tests]
    for operator, key in keys:
        if len(keys) > 1:
            yield loses, f"{operator} {key} is gone", _with(Condition=_dropped(conditions, operator, key))
        if (wider := _wider_test(conditions, operator, key)) is not None:
            yield loses, f"{operator} {key} is as wide as can be", _with(Condition=wider)


def _dropped(conditions: Mapping[str, Any], operator: str, key: str) -> dict[str, Any]:
    left = {
        one: {name: test for name, test in tests.items() if (one, name) != (operator, key)}
        for one, tests in conditions.items()
    }
    return {one: tests for one, tests in left.items() if tests}


def _wider_test(conditions: Mapping[str, Any], operator: str, key: str) -> dict[str, Any] | None:
    """The conditions with one test that lets everything through, as it is written by mistake or on purpose."""
    value = conditions[operator][key]
    rest = _dropped(conditions, operator, key)
    lower = operator.lower()
    if lower in _LIKE:
        operator, value = _LIKE[lower], "*"
    elif lower == "bool" and value in ("true", True):
        value = "false"
    elif lower.startswith("numericless"):
        value = str(int(value) * _LESS_OFTEN)
    else:
        return None
    return {**rest, operator: {**rest.get(operator, {}), key: value}}


def _one_more(resource: Resource, path: Path, found: list[_Statement]) -> _Statement | None:
    first = next((one for one in found if one.get("Effect") == "Allow"), found[0] if found else None)
    if first is None or resource.type == _ENDPOINTS:
        return None
    if path[-1] == _TRUST:
        stranger = {"AWS": f"arn:aws:iam::{STRANGER}:root"}
        return {"Effect": "Allow", "Principal": stranger, "Action": "sts:AssumeRole"}
    if "Principal" not in first:
        return {"Effect": "Allow", "Action": "*", "Resource": "*"}
    service = _listed(first.get("Action"))[0].partition(":")[0]
    return {"Effect": "Allow", "Principal": "*", "Action": f"{service}:*", "Resource": first.get("Resource", "*")}


def _whom(statement: _Statement) -> str:
    if "Principal" not in statement:
        return "the identity"
    return "everyone" if statement["Principal"] == "*" else "a stranger"


def _loses(resource: Resource, path: Path, statement: _Statement) -> str:
    if path[-1] == _TRUST:
        return "trust"
    if resource.type == _ENDPOINTS:
        return "endpoint policies"
    return "resource policies" if "Principal" in statement else "identities"


def _listed(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else [str(one) for one in value or ()]


def _with(**new: Any) -> _Change:
    return lambda old: {**old, **new}


def _without(key: str, **new: Any) -> _Change:
    return lambda old: {name: value for name, value in {**old, **new}.items() if name != key}
