"""Decides what IAM policies allow, so that tests ask who may do what instead of comparing JSON.

The rules are those of the IAM user guide, "Policy evaluation logic" and "Condition operators", for the operators that
occur here. An operator, element or principal it does not know is an error, never a guess.
"""

from __future__ import annotations

import fnmatch
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Request:
    """One request to AWS.

    Attributes:
        action: such as `s3:PutObject`.
        resource: ARN.
        principal: ARN of the caller, or a service's host name. None where the policy is the caller's own.
        context: condition keys with their values; keys match whatever their case.
    """

    action: str
    resource: str = "*"
    principal: str | None = None
    context: Mapping[str, str] = field(default_factory=dict)


def decide(policy: str | Mapping[str, Any], request: Request) -> str:
    """`allow`, `deny` (said explicitly), or `nothing` where no statement speaks of the request."""
    document = json.loads(policy) if isinstance(policy, str) else policy
    effects = {statement["Effect"] for statement in document["Statement"] if _speaks_of(statement, request)}
    return "deny" if "Deny" in effects else "allow" if "Allow" in effects else "nothing"


def allows(policy: str | Mapping[str, Any], request: Request) -> bool:
    return decide(policy, request) == "allow"


def _speaks_of(statement: Mapping[str, Any], request: Request) -> bool:
    known = {"Sid", "Effect", "Principal", "Action", "NotAction", "Resource", "NotResource", "Condition"}
    unknown = set(statement) - known
    assert not unknown, f"this evaluation does not know {sorted(unknown)}"
    if "Principal" in statement and not _is_principal(statement["Principal"], request.principal):
        return False
    if not _named(statement, "Action", request.action.lower(), str.lower):
        return False
    if not _named(statement, "Resource", request.resource, str):
        return False
    context = {key.lower(): value for key, value in request.context.items()}
    return all(
        _holds(operator, context.get(key.lower()), [str(value) for value in _list(expected)])
        for operator, keys in statement.get("Condition", {}).items()
        for key, expected in keys.items()
    )


def _named(statement: Mapping[str, Any], element: str, value: str, normal: Callable[[str], str]) -> bool:
    """Whether `Action` or `Resource` names the value, or `NotAction` or `NotResource` does not."""
    if f"Not{element}" in statement:
        return not any(_like(value, normal(pattern)) for pattern in _list(statement[f"Not{element}"]))
    if element not in statement:
        return True
    return any(_like(value, normal(pattern)) for pattern in _list(statement[element]))


def _is_principal(allowed: str | Mapping[str, Any], principal: str | None) -> bool:
    if allowed == "*":
        return True
    assert isinstance(allowed, Mapping), f"this evaluation does not know the principal {allowed}"
    for kind, names in allowed.items():
        assert kind in ("AWS", "Service", "Federated"), f"this evaluation does not know principals of kind {kind}"
        for name in _list(names):
            whole_account = re.fullmatch(r"(arn:[\w-]+:iam::\d+:)root", name)
            if name == principal or (whole_account and principal and principal.startswith(whole_account[1])):
                return True
    return False


def _holds(operator: str, actual: str | None, expected: Sequence[str]) -> bool:
    match operator:
        case "Null":
            return (actual is None) == (expected[0] == "true")
        case "StringNotEquals":
            return actual is None or actual not in expected
        case "StringEquals" | "ArnEquals" if actual is not None:
            return actual in expected
        case "StringLike" | "ArnLike" if actual is not None:
            return any(_like(actual, pattern) for pattern in expected)
        case "Bool" if actual is not None:
            return actual.lower() == expected[0].lower()
        case "NumericLessThan" if actual is not None:
            return float(actual) < float(expected[0])
        case "StringEquals" | "ArnEquals" | "StringLike" | "ArnLike" | "Bool" | "NumericLessThan":
            return False
    raise AssertionError(f"this evaluation does not know the operator {operator}")


def _like(value: str, pattern: str) -> bool:
    return fnmatch.fnmatchcase(value, pattern.replace("[", "[[]"))


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
