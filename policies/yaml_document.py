"""YAML as Pulumi takes it: PyYAML alone lets a key stand twice, where the later one silently wins, and unfolds aliases
without a limit.

Example: `load("a: [1, 2]")` is `{"a": [1, 2]}`; `load("a: 1\\na: 2")` raises `UnreadableError`.
"""

from __future__ import annotations

from typing import Any

import yaml
from yaml.constructor import SafeConstructor

_LARGEST = 20_000
"""Values in a document, aliases unfolded: some hundred times what the largest environment has."""
_DEEPEST = 40
"""Lists and mappings within each other."""
_TIMESTAMP = "tag:yaml.org,2002:timestamp"


class UnreadableError(Exception):
    """The text is no YAML that can be worked with; the message says where and why."""


def load(text: str, kind: type[yaml.SafeLoader] = yaml.SafeLoader) -> Any:
    """The one document in `text`, made of plain values; None where it is empty. Raises `UnreadableError`.

    `kind` may be libyaml's loader, for text that nobody nests without end.
    """
    try:
        loader = kind(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            _size(node, {}, 0)
            return loader.construct_document(node)
        finally:
            loader.dispose()
    except RecursionError:
        raise UnreadableError("its lists and mappings are nested too deeply") from None
    except (yaml.YAMLError, ValueError, OverflowError) as wrong:
        raise UnreadableError(str(wrong)) from None


def _size(node: yaml.Node, known: dict[int, int | None], depth: int) -> int:
    """Values at and below `node`; `known` are those of nodes that were counted, None of those being counted."""
    if id(node) in known:
        size = known[id(node)]
        if size is None:
            raise UnreadableError(f"an alias in line {_line(node)} contains itself")
        return size
    known[id(node)] = None
    if depth > _DEEPEST:
        raise UnreadableError(f"its lists and mappings are nested too deeply in line {_line(node)}")
    size = 1
    if node.tag == _TIMESTAMP:
        _refuse_days_that_are_none(node)
    elif isinstance(node, yaml.MappingNode):
        _refuse_twins(node)
        size += sum(_size(part, known, depth + 1) for pair in node.value for part in pair)
    elif isinstance(node, yaml.SequenceNode):
        size += sum(_size(part, known, depth + 1) for part in node.value)
    if size > _LARGEST:
        raise UnreadableError(f"it holds more than {_LARGEST} values from line {_line(node)} on")
    known[id(node)] = size
    return size


def _refuse_twins(node: yaml.MappingNode) -> None:
    seen: set[tuple[str, str]] = set()
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode):
            continue
        if (key.tag, key.value) in seen:
            raise UnreadableError(f"{key.value} stands in it twice, the second time in line {_line(key)}")
        seen.add((key.tag, key.value))


def _refuse_days_that_are_none(node: yaml.Node) -> None:
    try:
        SafeConstructor().construct_yaml_timestamp(node)
    except ValueError as wrong:
        raise UnreadableError(f"{node.value} in line {_line(node)} is no day that there is: {wrong}") from None


def _line(node: yaml.Node) -> int:
    return node.start_mark.line + 1
