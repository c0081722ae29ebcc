"""What the account does not emulate, noted as it is written: for who wants to judge a program, and not to try it.

A change under review may bring any resource of the SDK, such as a copy of a machine image or a peering. Where the
rehearsal would refuse it, the review has to say what the rules say of it. So with `NOTING_VARIABLE` set, a type without
a row stands as the program writes it, and so does a property that its row refuses: the inputs are checked against the
SDK and kept, an id and an ARN are made, and nothing comes of it in the account.
"""

from __future__ import annotations

import os
import secrets
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Any

from trainyard.local.aws.calls import Derive, Do
from trainyard.local.aws.compare import DEFAULTS_KEY
from trainyard.local.aws.context import Context
from trainyard.local.aws.row import Name, Row
from trainyard.local.aws.rows import row_for, rows
from trainyard.local.aws.sdk import UnknownTypeError, sdk_type
from trainyard.local.aws.tags import Tagging
from trainyard.local.process import NOTING_VARIABLE


def noting() -> bool:
    """Whether this process notes what it cannot emulate, and does not refuse it."""
    return os.environ.get(NOTING_VARIABLE) == "true"


def row_or_note(token: str) -> Row:
    """The row of a type; where there is none and `noting`, one that only keeps what is written.

    Raises `UnsupportedTypeError` where there is none and nothing is noted, or the SDK has no such type.
    """
    if token in rows() or not noting():
        return row_for(token)
    try:
        return _note(token)
    except UnknownTypeError:
        return row_for(token)


def is_noted(row: Row, name: str) -> bool:
    """Whether a property that a row refuses, or does not have, is kept as it is written."""
    return noting() and name in sdk_type(row.token).inputs


@cache
def _note(token: str) -> Row:
    sdk = sdk_type(token)
    _, module, kind = token.split(":")
    service = module.partition("/")[0]
    arn = {"arn": f"arn:{{partition}}:{service}:{{region}}:{{account}}:{kind[0].lower()}{kind[1:]}/{{id}}"}
    return Row(
        token,
        service=service,
        id=lambda facts: facts.get("id") or f"noted-{secrets.token_hex(8)}",
        create=Do(lambda _: None),
        read=(Derive(_as_written),),
        local=tuple(sdk.inputs),
        name=Name() if "name" in sdk.inputs and "name" not in sdk.required else None,
        tags=Tagging() if "tags" in sdk.inputs else None,
        outputs=arn if "arn" in sdk.outputs and "arn" not in sdk.inputs else {},
    )


def _as_written(context: Context, _: Mapping[str, Any]) -> Mapping[str, Any]:
    return {**context.known, **context.wanted}


def noted_in(resources: Iterable[tuple[str, str, Mapping[str, Any]]]) -> tuple[str, ...]:
    """What of a state is noted only: `AmiCopy nodes`, `VpcEndpoint sts.serviceRegion`. Of each resource its type, name
    and inputs are given."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for token, name, inputs in resources:
        if token.startswith("aws:"):
            for part in _noted(token, inputs):
                found[token.rpartition(":")[2]].append(f"{name}{part}")
    return tuple(f"{kind} {', '.join(names)}" for kind, names in found.items())


def _noted(token: str, inputs: Mapping[str, Any]) -> Iterator[str]:
    row = rows().get(token)
    if row is None:
        yield ""
        return
    for name in sorted(set(inputs) - {DEFAULTS_KEY}):
        if name in row.not_emulated or not row.knows(name):
            yield f".{name}"
