"""What is good becomes unknown, or of a wrong kind: no rule passes it that would find something there.

Of each good case every value that its rule reads is hidden, one at a time, given or not. Where the rule then passes
still, nothing that the cases or `_SUSPECTS` put in its place may be a violation: else the pass was silent.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, TypeAlias

import pytest
from sdk_inputs import inputs_of

from trainyard.policies.cases import cases_of
from trainyard.policies.graph import Graph, Resource
from trainyard.policies.registry import RULES
from trainyard.policies.rule import Rule, Scope, Verdict, evaluate
from trainyard.policies.values import UNKNOWN

Path: TypeAlias = tuple[Any, ...]

_SUSPECTS: list[Any] = [
    *(True, False, 0, -1, 100_000, "100000", "x", "*", "0.0.0.0/0", "us-east-1", "eu-west-1"),
    *("arn:aws:kms:eu-west-1:1:key/1", ["*"], ["0.0.0.0/0"], [{}]),
]
"""What rules object to, of every kind, beside the values in the rule's own cases."""

_LISTS_HOLD = "a custom resource's field of this name that holds no list holds no containers"
_NAMED_ONCE = "what refers to the bucket knows its name, so that it cannot be unknown as well"
_BY_ORIGIN = "it is judged by what it is computed from, which the case says"
_SAID_THERE = "transfer-own-place says of each resource that its region is not known"
_OTHER_RULE = "this rule judges what is written; residency-unknown-reference traces the rest"
_WRITTEN = "this rule judges what is written in the program; what is called as a secret is not passed"
_GIVEN = "this rule asks whether the program gives a policy, and not which"

RIGHT: Mapping[tuple[str, str], str] = {
    ("residency-input-region", "kmsKeyId"): _OTHER_RULE,
    ("residency-input-region", "policy"): _OTHER_RULE,
    ("reference-known-accounts", "kmsKeyId"): _OTHER_RULE,
    ("transfer-reach", "region"): _SAID_THERE,
    ("s3-encryption-at-rest", "bucket"): _NAMED_ONCE,
    ("s3-access-logs", "bucket"): _NAMED_ONCE,
    ("kms-policy-explicit", "policy"): _GIVEN,
    ("eks-secrets-own-key", "encryptionConfig"): _BY_ORIGIN,
    ("settings-hold-no-secret", "value"): _WRITTEN,
    ("namespace-default-unused", "spec.containers"): _LISTS_HOLD,
    ("namespace-default-unused", "spec.limits.containers"): _LISTS_HOLD,
}
"""Where a pass is right all the same, by rule and place, with the reason."""


class _Watched(dict[str, Any]):
    """An object that notes which of its fields are asked for, there or not."""

    def __init__(self, value: Mapping[str, Any], path: Path, read: set[Path]) -> None:
        self._path, self._read = path, read
        super().__init__({name: _watched(one, (*path, name), read) for name, one in value.items()})

    def _note(self, *names: str) -> None:
        self._read.update((*self._path, name) for name in names)

    def get(self, key: object, default: Any = None, /) -> Any:
        self._note(str(key))
        return super().get(key, default)

    def __getitem__(self, key: str) -> Any:
        self._note(key)
        return super().__getitem__(key)

    def __contains__(self, key: object) -> bool:
        self._note(str(key))
        return super().__contains__(key)

    def items(self) -> Any:
        self._note(*self)
        return super().items()

    def values(self) -> Any:
        self._note(*self)
        return super().values()


class _WatchedList(list[Any]):
    """A list that notes that it was walked."""

    def __init__(self, value: list[Any], path: Path, read: set[Path]) -> None:
        self._path, self._read = path, read
        super().__init__(_watched(one, (*path, index), read) for index, one in enumerate(value))

    def __iter__(self) -> Iterator[Any]:
        self._read.update((*self._path, index) for index in range(len(self)))
        return super().__iter__()


def _watched(value: Any, path: Path, read: set[Path]) -> Any:
    if isinstance(value, dict):
        return _Watched(value, path, read)
    return _WatchedList(value, path, read) if isinstance(value, list) else value


def _read_by(rule: Rule, resources: list[Resource]) -> list[set[Path]]:
    """The paths that the rule reads of each resource."""
    read: list[set[Path]] = [set() for _ in resources]
    watched = [
        replace(one, props=_watched(dict(one.props), (), notes)) for one, notes in zip(resources, read, strict=True)
    ]
    by_urn = {one.urn: one for one in watched}
    list(evaluate([rule], Graph(_with_provider(one, by_urn) for one in watched)))
    return read


def _with_provider(resource: Resource, by_urn: Mapping[str, Resource]) -> Resource:
    provider = resource.provider
    return resource if provider is None else replace(resource, provider=by_urn.get(provider.urn, provider))


def _put(value: Any, path: Path, new: Any) -> Any:
    if not path:
        return new
    if isinstance(value, list):
        return [_put(one, path[1:], new) if index == path[0] else one for index, one in enumerate(value)]
    return {**value, path[0]: _put(value.get(path[0], {}), path[1:], new)}


def _at(value: Any, path: Path) -> Any:
    """What lies there; None where nothing does."""
    for step in path:
        inside = isinstance(value, list) and isinstance(step, int) and step < len(value)
        value = value[step] if inside else value.get(step) if isinstance(value, Mapping) else None
    return value


def _place(path: Path) -> str:
    return ".".join("#" if isinstance(step, int) else step for step in path)


def _written(value: Any, path: Path = ()) -> Iterator[tuple[str, Any]]:
    yield _place(path), value
    inside = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    for step, one in inside:
        yield from _written(one, (*path, step))


def _known(rule: Rule) -> Mapping[tuple[str, str], list[Any]]:
    """What the rule's cases have at each place."""
    found: defaultdict[tuple[str, str], list[Any]] = defaultdict(list)
    for case in cases_of(rule):
        for resource in case.graph().resources:
            for place, value in _written(dict(resource.props)):
                if value not in (UNKNOWN, None, "", [], {}) and value not in found[resource.type, place]:
                    found[resource.type, place].append(value)
    return found


def _verdicts(rule: Rule, resources: list[Resource], position: int, path: Path, new: Any) -> set[Verdict]:
    """What the rule says once the program gives `new` at a path of one resource."""
    one = resources[position]
    given = {} if rule.scope is Scope.RESOURCE else {path[0]: (), **one.property_dependencies}
    changed = replace(one, props=_put(dict(one.props), path, new), property_dependencies=given)
    stack = {other.urn: other for other in resources} | {one.urn: changed}
    results = list(evaluate([rule], Graph(_with_provider(other, stack) for other in stack.values())))
    assert not [finding for result in results for finding in result.findings if finding.crashed]
    return {result.verdict for result in results}


def _passes(verdicts: set[Verdict]) -> bool:
    return verdicts <= {Verdict.PASSED}


def _fits(suspect: Any, hidden: Any) -> bool:
    """Whether a value is of another kind than what stands in its place, so that this is none that could be meant."""
    return hidden is UNKNOWN or isinstance(suspect, dict | list) == isinstance(hidden, int)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_no_rule_passes_in_silence_what_it_cannot_read(rule: Rule) -> None:
    known = _known(rule)
    silent: set[tuple[str, str]] = set()
    for case in cases_of(rule):
        if case.verdict is not Verdict.PASSED:
            continue
        resources = case.graph().resources
        for position, paths in enumerate(_read_by(rule, resources)):
            kind = resources[position].type
            for path in sorted(paths, key=str):
                if path[0] not in inputs_of(kind) or _at(resources[position].props, path) is UNKNOWN:
                    continue
                for hidden in (UNKNOWN, 7, {"odd": [0]}):
                    if not _passes(_verdicts(rule, resources, position, path, hidden)):
                        continue
                    suspects = [one for one in (*known[kind, _place(path)], *_SUSPECTS) if _fits(one, hidden)]
                    if any(
                        Verdict.VIOLATION in _verdicts(rule, resources, position, path, suspect) for suspect in suspects
                    ):
                        silent.add((rule.id, _place(path)))

    assert silent == {one for one in RIGHT if one[0] == rule.id}
