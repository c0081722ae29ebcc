"""What goes wrong, said so that the person at the terminal can act on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


class ProviderError(Exception):
    """Anything the person should read instead of a traceback."""


class AwsError(ProviderError):
    """The account refused an operation; `code` is AWS's own."""

    def __init__(self, operation: str, code: str, message: str) -> None:
        super().__init__(f"{operation}: {code}: {message}")
        self.operation = operation
        self.code = code


class RefusedError(ProviderError):
    """AWS would refuse this, though the emulator does not; raised by a row's `before` functions."""


class NotKeptError(ProviderError):
    """The account answers something else than it was asked for."""


class HalfMadeError(ProviderError):
    """The resource exists, but not all of its operations were done: the engine keeps it and the next update goes on.

    `outputs` are what is known of it, `unfinished` the operations that are still to be made.
    """

    def __init__(
        self, resource_id: str, outputs: Mapping[str, Any], inputs: Mapping[str, Any], reasons: Sequence[str]
    ) -> None:
        super().__init__("; ".join(reasons))
        self.resource_id = resource_id
        self.outputs = outputs
        self.inputs = inputs
        self.reasons = list(reasons)
