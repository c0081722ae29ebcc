"""Whether a resource-based policy lets an AWS service do something.

As far as policies of queues, keys and buckets about services go: Effect, Principal and NotPrincipal, Action and
NotAction, Resource and NotResource, and the condition operators below. An operator outside of those is an error, not
a guess.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any


class UnsupportedPolicyError(ValueError):
    """The policy uses something that is not evaluated here."""


@dataclass(frozen=True)
class Request:
    """`principal`, a service (`events.amazonaws.com`) or an ARN, asks for `action` on `resource`.

    `context` are condition keys with their values.
    """

    principal: str
    action: str
    resource: str
    context: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Decision:
    """Whether the request is allowed, and why, in words; `denied` where a statement says so expressly."""

    allowed: bool
    reason: str
    denied: bool = False


def evaluate(policy: str | Mapping[str, Any] | None, request: Request) -> Decision:
    """An explicit Deny wins, then any Allow; without one it is denied."""
    if not policy:
        return Decision(False, "there is no policy")
    document = json.loads(policy) if isinstance(policy, str) else policy
    verdict = Decision(False, f"no statement allows {request.principal} {request.action}")
    for number, statement in enumerate(_as_list(document.get("Statement")), start=1):
        if not _applies(statement, request):
            continue
        name = statement.get("Sid") or f"number {number}"
        if statement.get("Effect") == "Deny":
            return Decision(False, f"statement {name} denies {request.principal} {request.action}", denied=True)
        verdict = Decision(True, f"statement {name} allows it")
    return verdict


def is_public(policy: str | Mapping[str, Any]) -> bool:
    """Whether S3 calls a bucket's policy public: it allows everyone, under no condition that names who may."""
    document = json.loads(policy) if isinstance(policy, str) else policy
    return any(
        statement.get("Effect") == "Allow"
        and (_names_everyone(statement.get("Principal")) or "NotPrincipal" in statement)
        and not _names_who_may(statement.get("Condition") or {})
        for statement in _as_list(document.get("Statement"))
    )


def _names_everyone(principal: Any) -> bool:
    return principal == "*" or (isinstance(principal, Mapping) and "*" in _as_list(principal.get("AWS")))


def _names_who_may(conditions: Mapping[str, Any]) -> bool:
    for operator, keys in conditions.items():
        plain = operator.split(":")[-1]
        if plain.endswith("IfExists") or plain.removesuffix("IfExists") not in _NAMING_OPERATORS:
            continue
        for key, values in keys.items():
            if key.lower() in _NAMING_KEYS and not any(
                str(value) in ("*", "0.0.0.0/0", "::/0") for value in _as_list(values)
            ):
                return True
    return False


def _applies(statement: Mapping[str, Any], request: Request) -> bool:
    return (
        _matches_principal(statement, request.principal)
        and _matches_either(statement, "Action", request.action.lower(), str.lower)
        and _matches_either(statement, "Resource", request.resource, str)
        and _matches_conditions(statement.get("Condition") or {}, request.context)
    )


def _matches_principal(statement: Mapping[str, Any], asking: str) -> bool:
    if "NotPrincipal" in statement:
        return not _names(statement["NotPrincipal"], asking)
    return _names(statement.get("Principal"), asking)


def _names(principal: Any, asking: str) -> bool:
    if principal == "*":
        return True
    if not isinstance(principal, Mapping):
        return False
    named = _as_list(principal.get("AWS"))
    return asking in _as_list(principal.get("Service")) or "*" in named or asking in named


def _matches_either(statement: Mapping[str, Any], name: str, value: str, normal: Callable[[str], str]) -> bool:
    """Action or NotAction, Resource or NotResource; a policy of a key may leave the resource out."""
    if f"Not{name}" in statement:
        return not any(_like(value, normal(pattern)) for pattern in _as_list(statement[f"Not{name}"]))
    if name not in statement:
        return name == "Resource"
    return any(_like(value, normal(pattern)) for pattern in _as_list(statement[name]))


def _matches_conditions(conditions: Mapping[str, Any], context: Mapping[str, str]) -> bool:
    present = {key.lower(): value for key, value in context.items()}
    return all(
        _holds(operator, present.get(key.lower()), [str(value) for value in _as_list(values)])
        for operator, keys in conditions.items()
        for key, values in keys.items()
    )


def _holds(operator: str, actual: str | None, values: list[str]) -> bool:
    """One operator on one key. Keys have a single value here, so `ForAnyValue` differs in nothing but a missing key."""
    name = operator
    if name.startswith("ForAllValues:"):
        name = name.removeprefix("ForAllValues:")
        if actual is None:
            return True
    elif name.startswith("ForAnyValue:"):
        name = name.removeprefix("ForAnyValue:")
        if actual is None:
            return False
    if name == "Null":
        return any((actual is None) == (_truth(value)) for value in values)
    if name.endswith("IfExists"):
        name = name.removesuffix("IfExists")
        if actual is None:
            return True
    negated, test = _operator(name, operator)
    if actual is None:
        return negated
    matched = any(test(actual, value) for value in values)
    return matched != negated


def _operator(name: str, shown: str) -> tuple[bool, Callable[[str, str], bool]]:
    if name in _OPERATORS:
        return False, _OPERATORS[name]
    positive = _NEGATED.get(name)
    if positive is None:
        raise UnsupportedPolicyError(
            f"the condition operator {shown} is not evaluated here; these are: {', '.join([*_OPERATORS, *_NEGATED])}"
        )
    return True, _OPERATORS[positive]


def _like(value: str, pattern: str) -> bool:
    """AWS's wildcards: `*` and `?`, nothing else is special."""
    return re.fullmatch(_expression(pattern), value, re.DOTALL) is not None


def _expression(pattern: str) -> str:
    return re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")


def _arn_like(value: str, pattern: str) -> bool:
    """Wildcards stay within each of an ARN's six parts."""
    parts, patterns = value.split(":", 5), pattern.split(":", 5)
    return len(parts) == len(patterns) == 6 and all(map(_like, parts, patterns))


def _number(compare: Callable[[float, float], bool]) -> Callable[[str, str], bool]:
    return lambda actual, value: compare(float(actual), float(value))


def _truth(value: str) -> bool:
    return value.lower() == "true"


def _as_list(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, Iterable) and not isinstance(value, (str, Mapping)) else [value]


_OPERATORS: dict[str, Callable[[str, str], bool]] = {
    "StringEquals": lambda actual, value: actual == value,
    "StringEqualsIgnoreCase": lambda actual, value: actual.lower() == value.lower(),
    "StringLike": _like,
    "ArnEquals": _arn_like,
    "ArnLike": _arn_like,
    "Bool": lambda actual, value: _truth(actual) == _truth(value),
    "NumericEquals": _number(lambda actual, value: actual == value),
    "NumericLessThan": _number(lambda actual, value: actual < value),
    "NumericLessThanEquals": _number(lambda actual, value: actual <= value),
    "NumericGreaterThan": _number(lambda actual, value: actual > value),
    "NumericGreaterThanEquals": _number(lambda actual, value: actual >= value),
}
_NAMING_OPERATORS = {"StringEquals", "StringEqualsIgnoreCase", "StringLike", "ArnEquals", "ArnLike", "IpAddress"}
_NAMING_KEYS = {
    "aws:principalaccount",
    "aws:principalarn",
    "aws:principalorgid",
    "aws:sourceaccount",
    "aws:sourcearn",
    "aws:sourceip",
    "aws:sourceorgid",
    "aws:sourceowner",
    "aws:sourcevpc",
    "aws:sourcevpce",
    "aws:userid",
    "s3:dataaccesspointaccount",
    "s3:dataaccesspointarn",
}
_NEGATED = {
    "StringNotEquals": "StringEquals",
    "StringNotEqualsIgnoreCase": "StringEqualsIgnoreCase",
    "StringNotLike": "StringLike",
    "ArnNotEquals": "ArnEquals",
    "ArnNotLike": "ArnLike",
    "NumericNotEquals": "NumericEquals",
}
