"""A saved preview (`pulumi preview --json`) as the state that it would lead to.

What is not known yet is `UNKNOWN` in it, so that all that judges a state judges a preview too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from trainyard.policies.sdk_outputs import outputs_before
from trainyard.policies.values import UNKNOWN, shown
from trainyard.policies.wire import UNKNOWN_KINDS

SECRET = "[secret]"  # noqa: S105  # what the engine writes in the place of one
_GONE = frozenset(
    {"delete", "delete-replaced", "discard-replaced", "read-discard", "remove-pending-replace", "discard"}
)
_KEPT = frozenset({"same", "refresh", "update"})


class UnusablePreviewError(ValueError):
    """The preview does not tell of every resource; the message says how to save one that does."""


def is_preview(document: Any) -> bool:
    return isinstance(document, Mapping) and isinstance(document.get("steps"), list)


def as_export(document: Mapping[str, Any]) -> dict[str, Any]:
    """The preview in the shape of `pulumi stack export`. Raises `UnusablePreviewError`."""
    _require_success(document)
    states: dict[str, dict[str, Any]] = {}
    for step in document["steps"]:
        if not isinstance(step, Mapping) or not isinstance(step.get("urn"), str):
            raise UnusablePreviewError("a step of it names no resource: it is no output of pulumi preview --json")
        if step.get("op") not in _GONE and isinstance(step.get("newState"), Mapping):
            states[step["urn"]] = _state(step)  # the last step of a resource knows most
    _require_all(document.get("changeSummary") or {}, len(states))
    return {"version": 3, "deployment": {"resources": list(states.values())}}


def _require_success(document: Mapping[str, Any]) -> None:
    said = [one for one in document.get("diagnostics") or () if isinstance(one, Mapping)]
    for one in said:
        if one.get("severity") == "error":
            raise UnusablePreviewError(f"the preview failed, so it holds only a part: {shown(one.get('message'))}")
    if "changeSummary" not in document:
        raise UnusablePreviewError("it has no changeSummary: the preview did not come to its end")


def _require_all(counted: Mapping[str, Any], seen: int) -> None:
    stay = sum(count for what, count in counted.items() if what not in _GONE and isinstance(count, int))
    if stay > seen:
        raise UnusablePreviewError(
            f"it leaves out {stay - seen} of {stay} resources, those that do not change, and what refers to them "
            "cannot be judged; save it with them: pulumi preview --json --show-sames"
        )


def _state(step: Mapping[str, Any]) -> dict[str, Any]:
    new, old = step["newState"], step.get("oldState") or {}
    inputs = _known(new.get("inputs") or {})
    state = {**new, "inputs": inputs, "outputs": dict(_outputs(step["op"], new, old))}
    # Which properties were given tells rules which of the unknown ones are the provider's to choose.
    state["propertyDependencies"] = {**dict.fromkeys(inputs, ()), **(new.get("propertyDependencies") or {})}
    if step["op"] in _KEPT and "id" in old:
        state["id"] = old["id"]
    return state


def _outputs(operation: str, new: Mapping[str, Any], old: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """What the engine would tell rules. For what stays, the preview has the outputs only with the earlier state."""
    inputs, told = _known(new.get("inputs") or {}), _known(new.get("outputs") or {})
    if told:
        yield from told.items()
        return
    if operation in _KEPT and old.get("outputs"):
        before = _known(old["outputs"])
        dropped = set(old.get("inputs") or ()) - set(inputs)
        yield from {**{name: one for name, one in before.items() if name not in dropped}, **inputs}.items()
        return
    yield from outputs_before(str(new.get("type")), inputs).items()


def _known(value: Any) -> Any:
    if isinstance(value, str):
        return UNKNOWN if value in UNKNOWN_KINDS or value == SECRET else value
    if isinstance(value, Mapping):
        return {key: _known(item) for key, item in value.items()}
    return [_known(item) for item in value] if isinstance(value, list) else value
