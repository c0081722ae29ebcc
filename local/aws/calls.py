"""The operations a row is made of: calls that change, reads that tell, and functions for what neither expresses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from trainyard.local.aws.fields import Map, Named

if TYPE_CHECKING:
    from trainyard.local.aws.context import Context


@dataclass(frozen=True)
class Call:
    """One AWS operation that changes something; `operation` is the boto3 method, `request` the map of its parameters.

    `when_set` and `when_unset` restrict a call to the property being there or not (two operations for one property).
    `needs` names parameters without which the call says nothing and is left out (tags to add, items to remove).
    `failures` is a JMESPath to a list of errors in an answer that is no error itself (`Unsuccessful[].Error`).
    `ignore` are error codes that mean there is nothing left to do.
    """

    operation: str
    request: Map = field(default_factory=dict)
    when_set: str = ""
    when_unset: str = ""
    needs: tuple[str, ...] = ()
    failures: str = ""
    ignore: tuple[str, ...] = ()


@dataclass(frozen=True)
class Do:
    """What no operation expresses: `function(context)`, made when one of the properties `on` has to change."""

    function: Callable[[Context], Any]
    on: tuple[str, ...] = ()


@dataclass(frozen=True)
class Read:
    """One AWS operation that tells properties.

    `path` is a JMESPath to the item in the answer, with `$id` and other facts filled in. Where nothing is there, or
    the error code is in `gone`: for the first read of a row the resource does not exist; for the others the
    properties are not set.
    """

    operation: str
    request: Map
    result: Map
    path: str = ""
    gone: tuple[str, ...] = ()


@dataclass(frozen=True)
class Derive:
    """What no read expresses: `function(context, observed)` returns more properties, those in `properties`.

    As a row's first read it may return `None`: the resource does not exist.
    """

    function: Callable[[Context, Mapping[str, Any]], Mapping[str, Any] | None]
    properties: tuple[Named | str, ...] = ()


Step = Call | Do
