"""How the adapter finds out that moto is not what it was written for."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import ModuleType
from typing import Any

import moto

TESTED_VERSION = "5.2.5"


class MotoChangedError(RuntimeError):
    """moto is not built as this package expects."""


def require_parameters(function: Callable[..., Any], *parameters: str) -> None:
    """`function` has to take `parameters`."""
    function = _moto_s_own(function)
    found = inspect.signature(function).parameters
    _require(function, [parameter for parameter in parameters if parameter not in found])


def require_mentions(function: Callable[..., Any], *mentions: str) -> None:
    """`function` has to be written with `mentions` in it: attributes it sets, parameters of the request it reads."""
    function = _moto_s_own(function)
    source = inspect.getsource(function)
    _require(function, [mention for mention in mentions if mention not in source])


def wrap(owner: type | ModuleType, name: str, wrapper: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    """Let `wrapper`, given moto's own function, make the one that takes its place; a second time changes nothing."""
    original = getattr(owner, name)
    if not hasattr(original, "moto_s_own"):
        replacement: Any = wrapper(original)
        replacement.moto_s_own = original
        setattr(owner, name, replacement)


def _moto_s_own(function: Callable[..., Any]) -> Callable[..., Any]:
    """What stood in the place of `function` before `wrap`."""
    return getattr(function, "moto_s_own", function)


def add(owner: type, name: str, method: Callable[..., Any]) -> None:
    """Give `owner` a method that moto lacks; `MotoChangedError` once moto has one of its own."""
    existing = getattr(owner, name, None)
    if existing is not None and existing is not method:
        raise MotoChangedError(
            f"moto {moto.__version__} has {owner.__qualname__}.{name} of its own: take it out of "
            "trainyard/local/aws/moto_adapter if moto's does"
        )
    setattr(owner, name, method)


def _require(function: Any, missing: list[str]) -> None:
    if missing:
        raise MotoChangedError(
            f"{function.__module__}.{function.__qualname__} of moto {moto.__version__} has no {', '.join(missing)}; "
            f"trainyard/local/aws/moto_adapter was written for moto {TESTED_VERSION} and has to be adapted"
        )
