"""When two values of a property mean the same: the base of diff, update, refresh and the check after create."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from trainyard.local.aws.row import Row
from trainyard.local.aws.values import has_unknown, is_zero, prune, without_paths

DEFAULTS_KEY = "__defaults"
"""In a resource's inputs: the names of those that Check filled in, as the official provider keeps them."""


@dataclass(frozen=True)
class Comparison:
    """Compares properties of `row`'s type by meaning."""

    row: Row

    def same(self, name: str, wanted: Any, actual: Any) -> bool:
        """Whether `actual` is all that `wanted` asks for and nothing beyond that AWS did not choose itself."""
        if (wanted is None and self.is_computed(name)) or (is_zero(wanted) and is_zero(actual)):
            return True
        if has_unknown(wanted) or has_unknown(actual):
            return False
        field = self.row.fields.get(name)
        canonical = field.canonical if field else prune
        left, right = canonical(wanted), canonical(self._without_chosen(name, wanted, actual))
        return left == right or (is_zero(left) and is_zero(right))

    def differing(self, names: Iterable[str], wanted: Mapping[str, Any], actual: Mapping[str, Any]) -> frozenset[str]:
        """Those of `names` whose values do not mean the same."""
        return frozenset(name for name in names if not self.same(name, wanted.get(name), actual.get(name)))

    def as_written(self, name: str, given: Any, observed: Any) -> Any:
        """What was `given`, where `observed` means the same, with what AWS chose inside of it."""
        chosen = any(path.startswith((f"{name}.", f"{name}[]")) for path in self.row.computed)
        return _completed(given, observed) if chosen else given

    def is_computed(self, name: str) -> bool:
        """Whether AWS, or auto-naming, chooses `name` where the program does not."""
        naming = self.row.name
        return name in self.row.computed or (naming is not None and name == naming.property) or name == "region"

    def inputs_from(
        self, observed: Mapping[str, Any], prior: Mapping[str, Any], names: Iterable[str]
    ) -> dict[str, Any]:
        """The inputs that describe what was `observed`.

        Where that means the same as the `prior` input, the prior one stays as it was written. With no prior inputs at
        all (an import) everything readable is an input; else what AWS chose by itself stays out.
        """
        inputs: dict[str, Any] = {}
        for name in names:
            if name not in self.row.told:
                if name in prior or name in observed:
                    inputs[name] = prior.get(name, observed.get(name))
                continue
            value = observed.get(name)
            if name in prior and self.same(name, prior[name], value):
                inputs[name] = prior[name]
            elif prior and name not in prior and (self.is_computed(name) or is_zero(value)):
                continue
            elif prior and value is not None:
                inputs[name] = self._without_chosen(name, prior.get(name), value)
            elif not is_zero(value):
                inputs[name] = value
        if DEFAULTS_KEY in prior:
            inputs[DEFAULTS_KEY] = [name for name in prior[DEFAULTS_KEY] if inputs.get(name) == prior.get(name)]
        return inputs

    def _without_chosen(self, name: str, wanted: Any, actual: Any) -> Any:
        nested = frozenset(path for path in self.row.computed if path.startswith((f"{name}.", f"{name}[]")))
        return without_paths(actual, nested, prune(wanted), name) if nested else actual


def _completed(given: Any, observed: Any) -> Any:
    """`given`, and where it says nothing, `observed`."""
    if given is None:
        return observed
    if isinstance(given, Mapping) and isinstance(observed, Mapping):
        return {**observed, **{key: _completed(item, observed.get(key)) for key, item in given.items()}}
    if isinstance(given, list) and isinstance(observed, list) and len(given) == len(observed):
        return [_completed(*pair) for pair in zip(given, observed, strict=True)]
    return given
