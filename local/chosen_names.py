"""What the engine and the cloud choose anew each time that something is made.

A name's random end and an id are other ones in another account, where the same thing was made from the same program.
Said in the words of two accounts, the same fact reads like two.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

_WORD = re.compile(r"[\w.-]+")
_ID = re.compile(r"[a-z]+-[0-9a-f]{8,17}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_END = re.compile(r"-[0-9a-f]{7}")
_NAMED_BY = ("name", "bucket", "id")


def logical(export: Mapping[str, Any]) -> Callable[[str], str]:
    """Of an exported state: a function that writes a text with the logical name in the place of each name and id that
    was chosen for one of its resources. What a program wrote out itself stays, whatever it looks like."""
    known = _chosen(export)
    return lambda text: _WORD.sub(lambda word: known.get(word[0], word[0]), text) if known else text


def _chosen(export: Mapping[str, Any]) -> dict[str, str]:
    found: dict[str, str] = {}
    for raw in (export.get("deployment") or {}).get("resources") or []:
        name = str(raw.get("urn", "")).rpartition("::")[2]
        outputs = raw.get("outputs") or {}
        for value in (raw.get("id"), *(outputs.get(key) for key in _NAMED_BY)):
            if isinstance(value, str) and _is_chosen(value, name):
                found.setdefault(value, name)
    return found


def _is_chosen(value: str, name: str) -> bool:
    ended = value.startswith(name) and _END.fullmatch(value[len(name) :])
    return bool(name) and bool(ended or _ID.fullmatch(value))
