"""Conditions of IAM policies over a request of which not everything is known: they hold, they don't, or it depends.

The rules are those of the IAM user guide, "Condition operators", "Multivalued context keys" and "Policy variables".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import IntEnum
from functools import lru_cache
from ipaddress import ip_address, ip_network


class Truth(IntEnum):
    """Ordered, so that "and" is `min` and "or" is `max`."""

    NO = 0
    DEPENDS = 1
    YES = 2

    def __invert__(self) -> Truth:
        return _OPPOSITE[self]


_OPPOSITE = {Truth.NO: Truth.YES, Truth.DEPENDS: Truth.DEPENDS, Truth.YES: Truth.NO}


@dataclass(frozen=True)
class Context:
    """Condition keys of a request, in lower case.

    Attributes:
        known: keys with their values.
        closed: whether every other key is absent. If not, it is unknown.
        absent: keys that are absent all the same; one that ends in `/`, `:` or `-` stands for all that begin so.
    """

    known: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    closed: bool = True
    absent: tuple[str, ...] = ()

    def values(self, key: str) -> tuple[str, ...] | None:
        """None where they are not known, nothing where the key is absent."""
        found = self.known.get(key)
        if found is not None:
            return found
        return () if self.closed or _is_among(key, self.absent) else None


@lru_cache(maxsize=16_384)
def _is_among(key: str, absent: tuple[str, ...]) -> bool:
    return any(key == one or (one[-1] in "/:-" and key.startswith(one)) for one in absent)


class UnknownOperatorError(ValueError):
    """A condition that AWS would refuse, or that came later than this."""


def holds(operator: str, key: str, expected: tuple[str, ...], context: Context) -> Truth:
    """Whether one key's condition holds; `operator` and `key` in lower case. Raises UnknownOperatorError."""
    asked = _read(operator)
    values = context.values(key)
    if asked.test is None:
        return Truth.DEPENDS if values is None else _truth(any((not values) == (one == "true") for one in expected))
    if values is None:
        return Truth.DEPENDS
    test, negated, quantifier = asked.test, asked.negated, asked.quantifier
    if not values:
        if quantifier == "foranyvalue":
            return _truth(asked.if_exists)
        return _truth(asked.if_exists or negated or quantifier == "forallvalues")
    fits = [max((test(value, one, context) for one in expected), default=Truth.NO) for value in values]
    if quantifier == "foranyvalue":
        return max(~one if negated else one for one in fits)
    if quantifier == "forallvalues":
        return min(~one if negated else one for one in fits)
    return ~max(fits) if negated else max(fits)


@dataclass(frozen=True)
class _Operator:
    """`ForAnyValue:StringNotLikeIfExists` in its parts. No test: it asks whether the key is absent."""

    quantifier: str
    test: Callable[[str, str, Context], Truth] | None
    negated: bool
    if_exists: bool


@lru_cache(maxsize=1_024)
def _read(operator: str) -> _Operator:
    quantifier, separator, name = operator.rpartition(":")
    if_exists = name.endswith("ifexists")
    name = name.removesuffix("ifexists")
    if separator and quantifier not in ("foranyvalue", "forallvalues"):
        raise UnknownOperatorError(operator)
    if name == "null":
        return _Operator(quantifier, None, negated=False, if_exists=if_exists)
    positive = _POSITIVE.get(name, name)
    if (test := _TESTS.get(positive)) is None:
        raise UnknownOperatorError(operator)
    return _Operator(quantifier, test, positive != name, if_exists)


def matched(pattern: str, text: str, context: Context, *, wild: bool = True, ignore_case: bool = False) -> Truth:
    """Whether a pattern with `*`, `?` and policy variables fits a text."""
    if "$" not in pattern:
        if not wild or ("*" not in pattern and "?" not in pattern):
            return _truth(pattern.lower() == text.lower() if ignore_case else pattern == text)
        return _truth(_compiled(_glob(pattern), ignore_case).fullmatch(text) is not None)
    expression, sure = "", True
    for kind, part in _pieces(pattern):
        if kind == "text":
            expression += _glob(part) if wild else re.escape(part)
        elif kind == "character":
            expression += re.escape(part)
        else:
            key, _, default = part.partition(",")
            values = context.values(key.strip().lower())
            if values is None:
                expression, sure = f"{expression}.*", False
            elif values:
                expression += re.escape(values[0])
            elif default:
                expression += re.escape(default.strip().strip("'"))
            else:
                return Truth.NO
    if _compiled(expression, ignore_case).fullmatch(text) is None:
        return Truth.NO
    return Truth.YES if sure else Truth.DEPENDS


@lru_cache(maxsize=16_384)
def said(operator: str, key: str, expected: tuple[str, ...]) -> str:
    """A condition in words: `kms:ViaService is s3.eu-west-1.amazonaws.com`."""
    name = operator.rpartition(":")[2].removesuffix("ifexists")
    written = _WRITTEN.get(key, key)
    for lower, proper in _FAMILIES.items():
        if key.startswith(lower):
            written = proper + key[len(lower) :]
    if name == "null":
        return f"{written} is {'absent' if 'true' in expected else 'present'}"
    phrase = next((word for ending, word in _PHRASES if name.endswith(ending)), "is")
    if name in _POSITIVE:
        phrase = "is not" if phrase == "is" else f"is not {phrase.removeprefix('is ')}"
    if operator.endswith("ifexists"):
        phrase = f"(where given) {phrase}"
    return f"{written} {phrase} {' or '.join(expected)}"


def _truth(value: bool) -> Truth:
    return Truth.YES if value else Truth.NO


@lru_cache(maxsize=16_384)
def _compiled(expression: str, ignore_case: bool) -> re.Pattern[str]:
    return re.compile(expression, re.DOTALL | (re.IGNORECASE if ignore_case else 0))


@lru_cache(maxsize=16_384)
def _glob(text: str) -> str:
    return re.sub(r"(?:\.\*)+", ".*", re.escape(text).replace(r"\*", ".*").replace(r"\?", "."))


@lru_cache(maxsize=16_384)
def _pieces(pattern: str) -> tuple[tuple[str, str], ...]:
    """Plain text, characters that a variable such as `${*}` means literally, and the variables' names."""
    found: list[tuple[str, str]] = []
    end = 0
    for one in re.finditer(r"\$\{([^}]*)\}", pattern):
        found.append(("text", pattern[end : one.start()]))
        found.append(("character" if one[1] in ("*", "?", "$") else "variable", one[1]))
        end = one.end()
    return (*found, ("text", pattern[end:]))


def _text(*, wild: bool, ignore_case: bool = False) -> Callable[[str, str, Context], Truth]:
    return lambda value, one, context: matched(one, value, context, wild=wild, ignore_case=ignore_case)


def _arn(value: str, one: str, context: Context) -> Truth:
    """Each of the six parts by itself, so that a wildcard does not reach over a colon."""
    parts, patterns = value.split(":", 5), _arn_parts(one)
    if len(patterns) < 6 or len(parts) < 6:
        return matched(one, value, context)
    return min(matched(pattern, part, context) for pattern, part in zip(patterns, parts, strict=True))


@lru_cache(maxsize=16_384)
def _arn_parts(pattern: str) -> list[str]:
    """A colon inside of a variable's name divides nothing."""
    hidden = re.sub(r"\$\{[^}]*\}", lambda one: one[0].replace(":", "\0"), pattern)
    return [part.replace("\0", ":") for part in hidden.split(":", 5)]


def _bool(value: str, one: str, _: Context) -> Truth:
    return _truth(value.lower() == one.lower())


def _ip(value: str, one: str, _: Context) -> Truth:
    try:
        return _truth(ip_address(value) in ip_network(one, strict=False))
    except ValueError:
        return Truth.NO


def _ordered(read: Callable[[str], float], compare: Callable[[float, float], bool]) -> Callable[..., Truth]:
    def test(value: str, one: str, _: Context) -> Truth:
        try:
            return _truth(compare(read(value), read(one)))
        except (ValueError, OverflowError):
            return Truth.NO

    return test


def _moment(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


_COMPARED: dict[str, Callable[[float, float], bool]] = {
    "equals": lambda a, b: a == b,
    "lessthan": lambda a, b: a < b,
    "lessthanequals": lambda a, b: a <= b,
    "greaterthan": lambda a, b: a > b,
    "greaterthanequals": lambda a, b: a >= b,
}
_TESTS: dict[str, Callable[[str, str, Context], Truth]] = {
    "stringequals": _text(wild=False),
    "stringequalsignorecase": _text(wild=False, ignore_case=True),
    "stringlike": _text(wild=True),
    "binaryequals": _text(wild=False),
    "arnequals": _arn,
    "arnlike": _arn,
    "bool": _bool,
    "ipaddress": _ip,
    **{f"numeric{name}": _ordered(float, compare) for name, compare in _COMPARED.items()},
    **{f"date{name}": _ordered(_moment, compare) for name, compare in _COMPARED.items()},
}
_POSITIVE = {
    "stringnotequals": "stringequals",
    "stringnotequalsignorecase": "stringequalsignorecase",
    "stringnotlike": "stringlike",
    "arnnotequals": "arnequals",
    "arnnotlike": "arnlike",
    "notipaddress": "ipaddress",
    "numericnotequals": "numericequals",
    "datenotequals": "dateequals",
}
_PHRASES = (
    ("lessthanequals", "is at most"),
    ("lessthan", "is below"),
    ("greaterthanequals", "is at least"),
    ("greaterthan", "is above"),
    ("ipaddress", "is in"),
)
_WRITTEN = {
    key.lower(): key
    for key in (
        *("aws:MultiFactorAuthAge", "aws:MultiFactorAuthPresent", "aws:PrincipalAccount", "aws:PrincipalArn"),
        *("aws:PrincipalOrgID", "aws:PrincipalOrgPaths", "aws:RequestedRegion", "aws:SecureTransport"),
        *("aws:SourceAccount", "aws:SourceArn", "aws:SourceIp", "aws:SourceOrgID", "aws:SourceVpc", "aws:SourceVpce"),
        *("aws:ViaAWSService", "aws:CalledVia", "aws:VpcSourceIp", "kms:CallerAccount", "kms:GrantIsForAWSResource"),
        *("kms:GranteePrincipal", "kms:ResourceAliases", "kms:ViaService", "s3:DataAccessPointArn", "s3:TlsVersion"),
        *(
            "kms:EncryptionContextKeys",
            "aws:SourceOwner",
            "s3:ResourceAccount",
            "sts:ExternalId",
            "secretsmanager:VersionStage",
        ),
    )
}
_FAMILIES = {
    one.lower(): one
    for one in (
        *(
            "kms:EncryptionContext:",
            "aws:PrincipalTag/",
            "aws:ResourceTag/",
            "aws:RequestTag/",
            "s3:ExistingObjectTag/",
        ),
        "secretsmanager:ResourceTag/",
    )
}
