"""AWS policy documents: who may do what, under which conditions."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_network
from typing import Any

from trainyard.policies.values import NotKnownYetError, UnverifiedError, Value

ANYONE = "*"

# Condition keys that tie a caller to an account, an organisation, a network or a resource of someone's own.
_NARROWING_KEYS = frozenset(
    {
        "aws:principalaccount",
        "aws:principalarn",
        "aws:principalorgid",
        "aws:principalorgpaths",
        "aws:sourceaccount",
        "aws:sourcearn",
        "aws:sourceorgid",
        "aws:sourceorgpaths",
        "aws:sourceowner",
        "aws:sourcevpc",
        "aws:sourcevpce",
        "aws:userid",
        "kms:calleraccount",
        "s3:dataaccesspointaccount",
        "s3:dataaccesspointarn",
    }
)
_MATCHING_OPERATORS = frozenset({"stringequals", "stringequalsignorecase", "stringlike", "arnequals", "arnlike"})

# AWS calls an address range public when it is wider than this (user guide, "The meaning of public").
_WIDEST_SOURCE_PREFIX = {4: 8, 6: 32}


@dataclass(frozen=True)
class Statement:
    """One statement with every "one or a list" made a tuple. A `not_` field is empty where the element is absent.

    `principals_by_kind` has the principals once more by their kind in lower case: `aws`, `service`, `federated`,
    `canonicaluser`.
    """

    label: str
    effect: str
    principals: tuple[str, ...]
    not_principals: tuple[str, ...]
    actions: tuple[str, ...]
    resources: tuple[str, ...]
    conditions: Mapping[str, Mapping[str, tuple[str, ...]]]
    not_actions: tuple[str, ...] = ()
    not_resources: tuple[str, ...] = ()
    principals_by_kind: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def for_anyone(self) -> bool:
        return ANYONE in self.principals or bool(self.not_principals)

    @property
    def narrowed(self) -> bool:
        """Whether a condition keeps strangers out. All conditions must hold, so one that narrows is enough."""
        return any(
            _narrows(operator, key, values)
            for operator, tests in self.conditions.items()
            for key, values in tests.items()
        )


def statements(document: Value) -> list[Statement]:
    """The statements of a policy document, given as text or as an object; none where it is absent or empty.

    Raises `UnverifiedError` where it is unknown or no policy document.
    """
    raw = document.raw
    if raw is None or raw == "":
        return []
    if not isinstance(raw, dict):
        try:
            raw = json.loads(document.text() or "")
        except ValueError:
            raise UnverifiedError(document, "this is not a policy document: it is not JSON") from None
    if not isinstance(raw, dict):
        raise UnverifiedError(document, "this is not a policy document: it is not a JSON object")
    if (unknown := next((leaf for leaf in document.leaves() if not leaf.known), None)) is not None:
        raise NotKnownYetError(unknown)
    found = raw.get("Statement")
    if found is None:
        raise UnverifiedError(document, 'this is not a policy document: it has no "Statement"')
    return [_statement(document, index, part) for index, part in enumerate(_many(found))]


def grants(statement: Statement, action: str) -> bool:
    """Whether the statement is about an action such as `s3:GetObject`, be it named, matched by a pattern, or not left
    out by `NotAction`. AWS compares actions without regard to case."""
    if statement.not_actions:
        return not any(_same_action(pattern, action) for pattern in statement.not_actions)
    return any(_same_action(pattern, action) for pattern in statement.actions)


def _same_action(pattern: str, action: str) -> bool:
    return _glob(pattern.lower(), action.lower())


def pinned(statement: Statement, *keys: str) -> tuple[str, ...]:
    """The values that a condition demands of one of the keys (in lower case); none where it demands nothing, or where
    a value lets everyone through. A key that ends in `/` or `:` stands for every key that begins so."""
    found: list[str] = []
    for operator, tests in statement.conditions.items():
        if operator.removeprefix("foranyvalue:") not in _MATCHING_OPERATORS:
            continue
        for key, values in tests.items():
            named = any(key == one or (one[-1] in "/:" and key.startswith(one)) for one in keys)
            if named and values and all(_says_something(value) for value in values):
                found += values
    return tuple(found)


def _says_something(value: str) -> bool:
    """Whether a pattern leaves anyone out. An ARN does by its account, or, in S3, by the name of its bucket."""
    parts = value.split(":", 5)
    if parts[0] == "arn" and len(parts) == 6:
        return (parts[4] or parts[5].lstrip("/").partition("/")[0]).strip("*?") != ""
    return value.strip("*:?") not in ("", "arn", "arn:aws")


def denies_plain_transport(statement: Statement, service: str, *enough: str) -> bool:
    """Whether this refuses every action of `service`, or one of those that are `enough` (in lower case), to anyone who
    does not use TLS, and has no other condition."""
    if statement.effect != "Deny" or ANYONE not in statement.principals or len(statement.conditions) != 1:
        return False
    if not any(action in (ANYONE, f"{service}:*", *enough) for action in (text.lower() for text in statement.actions)):
        return False
    ((operator, tests),) = statement.conditions.items()
    if operator not in ("bool", "boolifexists") or len(tests) != 1:
        return False
    ((key, values),) = tests.items()
    return key == "aws:securetransport" and "false" in values


def covers(pattern: str, arn: str) -> bool:
    """Whether a resource pattern with `*` and `?` covers an ARN. Partitions are taken as equal: an account is in one,
    and while it is not known yet the program can't write it."""
    return _glob(_any_partition(pattern), _any_partition(arn))


def _glob(pattern: str, text: str) -> bool:
    if "*" not in pattern and "?" not in pattern:
        return pattern == text
    expression = re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")
    return re.fullmatch(expression, text, re.DOTALL) is not None


def _any_partition(arn: str) -> str:
    return re.sub(r"^arn:aws[a-z-]*:", "arn:aws:", arn)


def _narrows(operator: str, key: str, values: tuple[str, ...]) -> bool:
    operator = operator.removeprefix("foranyvalue:")
    if operator == "ipaddress" and key == "aws:sourceip":
        return bool(values) and not any(_wide(text) for text in values)
    if operator not in _MATCHING_OPERATORS or key not in _NARROWING_KEYS:
        return False
    return bool(values) and all(_says_something(value) for value in values)


def _wide(text: str) -> bool:
    try:
        network = ip_network(text, strict=False)
    except ValueError:
        return True
    return network.prefixlen < _WIDEST_SOURCE_PREFIX[network.version]


def _statement(document: Value, index: int, raw: Any) -> Statement:
    if not isinstance(raw, dict):
        raise UnverifiedError(document, f"statement {index} of the policy document is not a JSON object")
    conditions: dict[str, dict[str, tuple[str, ...]]] = {}
    for operator, tests in _object(raw.get("Condition")).items():
        keys = conditions.setdefault(str(operator).lower(), {})
        for key, values in _object(tests).items():
            keys[str(key).lower()] = _texts(values)
    return Statement(
        label=f"statement {raw['Sid']!r}" if isinstance(raw.get("Sid"), str) else f"statement {index}",
        effect=str(raw.get("Effect", "")),
        principals=_principals(raw.get("Principal")),
        not_principals=_principals(raw.get("NotPrincipal")),
        actions=_texts(raw.get("Action")),
        resources=_texts(raw.get("Resource")),
        conditions=conditions,
        not_actions=_texts(raw.get("NotAction")),
        not_resources=_texts(raw.get("NotResource")),
        principals_by_kind=_by_kind(raw.get("Principal")),
    )


def _principals(raw: Any) -> tuple[str, ...]:
    if isinstance(raw, dict):
        return tuple(text for group in raw.values() for text in _texts(group))
    return _texts(raw)


def _by_kind(raw: Any) -> dict[str, tuple[str, ...]]:
    if isinstance(raw, dict):
        return {str(kind).lower(): _texts(group) for kind, group in raw.items()}
    return {"aws": _texts(raw)} if raw is not None else {}


def _object(raw: Any) -> Mapping[Any, Any]:
    return raw if isinstance(raw, dict) else {}


def _many(raw: Any) -> list[Any]:
    return raw if isinstance(raw, list) else [raw]


def _texts(raw: Any) -> tuple[str, ...]:
    """One value or a list, as texts the way AWS compares them: `true` and `"true"` are the same."""
    if raw is None:
        return ()
    return tuple(str(item).lower() if isinstance(item, bool) else str(item) for item in _many(raw))
