"""Patterns of resources: which keys of a bucket they mean, one that they fit, and where two of them meet."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator

from trainyard.policies.iam import documents
from trainyard.policies.iam.conditions import Context
from trainyard.policies.iam.documents import Statement

_ANYTHING = "~any~"
"""Stands for what a wildcard may be: a name that no policy has."""
_OBJECT = re.compile(r"arn:[^:]*:s3:::(?P<bucket>[^/]*)(?:/(?P<key>.*))?", re.DOTALL)
_VARIABLE = re.compile(r"\$\{([^}]*)\}")


class Meant:
    """Which of many identities' statements may allow something on a resource, told cheaply for each resource."""

    def __init__(self, identities: Iterable[tuple[int, Iterable[Statement]]]) -> None:
        self._exact: defaultdict[str, set[int]] = defaultdict(set)
        self._prefixes: defaultdict[str, set[int]] = defaultdict(set)
        for number, statements in identities:
            for base in {base for one in statements if one.effect == "Allow" for base in _bases(one)}:
                fixed = re.split(r"[*?$]", base, maxsplit=1)[0]
                if fixed == base:
                    self._exact[base].add(number)
                else:
                    # Partitions and accounts may be wild: nothing is told by a prefix so short.
                    self._prefixes[fixed if fixed.count(":") > 2 else ""].add(number)
        self._lengths = sorted({len(prefix) for prefix in self._prefixes})

    def by(self, arn: str | None) -> set[int]:
        """Numbers of the identities; of all that allow anything, where the ARN is not known."""
        if arn is None:
            return set().union(*self._prefixes.values(), *self._exact.values())
        starts = (arn[:length] for length in self._lengths if length <= len(arn))
        return set(self._exact.get(arn, ())).union(*(self._prefixes.get(start, ()) for start in starts))


def _bases(statement: Statement) -> Iterator[str]:
    """Patterns of whole resources: of a bucket, without the keys."""
    for pattern in ("*",) if statement.not_resources else statement.resources:
        yield pattern.partition("/")[0] if ":s3:::" in pattern else pattern


def key_pattern(pattern: str, bucket: str, context: Context) -> str | None:
    """The part of a pattern that is about the keys of a bucket, with what is known for its variables; None where it is
    about another bucket or about the bucket alone."""
    pattern = _VARIABLE.sub(lambda one: (context.known.get(one[1].partition(",")[0].lower()) or (one[0],))[0], pattern)
    found = _OBJECT.fullmatch(pattern)
    if found is None:
        return "*" if "*" in pattern else None
    if not documents.covers(found["bucket"], bucket.rpartition(":")[2]):
        return None
    if found["key"] is not None:
        return found["key"]
    return "*" if found["bucket"].endswith("*") else None


def instance(pattern: str) -> str:
    """A text that a pattern fits, and that no narrower pattern is likely to."""

    def value(one: re.Match[str]) -> str:
        name = one[1]
        if name is None:
            return _ANYTHING if one[0] == "*" else "~"
        return name if name in ("*", "?", "$") else _ANYTHING

    return re.sub(r"\$\{([^}]*)\}|[*?]", value, pattern)


def meeting(one: str, other: str) -> str | None:
    """A text that two patterns with `*` and `?` both fit; None where there is none."""
    done: set[tuple[int, int]] = set()
    waiting: list[tuple[int, int, str]] = [(0, 0, "")]
    while waiting:
        i, j, text = waiting.pop()
        if (i, j) in done:
            continue
        done.add((i, j))
        if i == len(one) and j == len(other):
            return text
        a, b = one[i : i + 1], other[j : j + 1]
        # In the order in which they are tried: a wildcard stands for nothing only where it must.
        if a == "*":
            waiting.append((i + 1, j, text))
        if b == "*":
            waiting.append((i, j + 1, text))
        if a == "*" and b not in ("", "*"):
            waiting.append((i, j + 1, text + ("~" if b == "?" else b)))
        if b == "*" and a not in ("", "*"):
            waiting.append((i + 1, j, text + ("~" if a == "?" else a)))
        if a == b == "*":
            waiting.append((i + 1, j + 1, text + _ANYTHING))
        if a not in ("", "*") and b not in ("", "*") and (a == b or "?" in (a, b)):
            waiting.append((i + 1, j + 1, text + ((b if a == "?" else a).replace("?", "~"))))
    return None
