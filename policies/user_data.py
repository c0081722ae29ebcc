"""Secrets in the text that a machine, a build or a function is started with."""

from __future__ import annotations

import base64
import binascii
import math
import re
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

_MOST = 2**20
"""Characters looked at: EC2 takes 16 KiB, compressed."""

# Forms that name their own kind, each after its issuer's documentation.
_FORMS = {
    "an AWS access key": re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"),
    "a private key": re.compile(r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----"),
    "a GitHub token": re.compile(r"\b(?:gh[pousr]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9_]{22,})"),
    "a GitLab token": re.compile(r"\bglpat-[A-Za-z0-9_-]{20,}"),
    "a Hugging Face token": re.compile(r"\bhf_[A-Za-z0-9]{30,}\b"),
    "a Slack token": re.compile(r"\bxox[abprs]-[A-Za-z0-9-]{10,}"),
    "an API key": re.compile(r"\bsk-[A-Za-z0-9_-]{20,}"),
    "a JSON Web Token": re.compile(r"\beyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}"),
    "a password in an address": re.compile(
        r"\b[a-z][a-z0-9+.-]{1,20}://[^\s:/@'\"]{1,100}:(?![$<{*])[^\s@/'\"]{3,200}@"
    ),
}
# What a name says about the value beside it: NAME=value, "name": "value", --name value.
_NAMED = re.compile(
    r"(?P<name>[A-Za-z0-9_.-]{0,40}(?:passw(?:or)?d|passphrase|secret|token|api[_-]?key|access[_-]?key|private[_-]?key))"
    r"[\"']?(?:\s*[:=]\s*|\s+)(?P<quote>[\"']?)(?P<value>[^\s\"',;&|]{6,})",
    re.IGNORECASE,
)
_PASSWORD = re.compile(r"passw(or)?d$|passphrase$", re.IGNORECASE)
# The value is fetched, pointed to, or a placeholder: there is nothing to steal.
_REFERENCE = re.compile(r"^(?:[$`<{%(/~.!\[]|arn:|https?:|file:|s3:|ssm:|resolve:|\*+$|x+$)", re.IGNORECASE)
_WORDS = re.compile(r"(?:[a-z]+|[A-Z]+|\d{1,4})(?:[-_.:/](?:[a-z]+|[A-Z]+|\d{1,4}))*")
_LEAST_ENTROPY = 3.3
"""Bits a character: words of a language have less, keys in base64 and hexadecimal more."""


@dataclass(frozen=True)
class Secret:
    """A secret's kind and line. The secret itself is in no message."""

    kind: str
    line: int


def plain_text(data: str) -> str:
    """User data as the machine reads it: base64 and gzip undone where they are there."""
    try:
        raw = base64.b64decode("".join(data.split()), validate=True)
    except (binascii.Error, ValueError):
        return data[:_MOST]
    if raw[:2] == b"\x1f\x8b":
        try:
            raw = zlib.decompressobj(wbits=31).decompress(raw, _MOST)
        except zlib.error:
            return data[:_MOST]
    try:
        return raw.decode()[:_MOST]
    except UnicodeDecodeError:
        return raw.decode("latin-1")[:_MOST]


def secrets_in(text: str) -> Iterator[Secret]:
    """At most one for each line, the surest first."""
    for number, line in enumerate(text.splitlines(), 1):
        kinds = [kind for kind, form in _FORMS.items() if form.search(line)] or list(_named(line))
        if kinds:
            yield Secret(kinds[0], number)


def _named(line: str) -> Iterator[str]:
    if line.lstrip().startswith("#"):
        return
    for match in _NAMED.finditer(line):
        name, value = match["name"], match["value"]
        if _REFERENCE.match(value):
            continue
        # `PASSWORD=x` and `--password x` give a value; `passwd -l root` and "the password is" do not.
        given = name.startswith("-") or match[0][len(name) :].lstrip("\"' ")[:1] in ("=", ":")
        sure = given and _PASSWORD.search(name) and not value.startswith("-")
        random = len(value) >= 16 and _entropy(value) >= _LEAST_ENTROPY and not _WORDS.fullmatch(value)
        if sure or random:
            yield f"a value for {name.lstrip('-')!r}"


def _entropy(text: str) -> float:
    """Shannon's, in bits a character."""
    counts = Counter(text).values()
    return -sum(count / len(text) * math.log2(count / len(text)) for count in counts)
