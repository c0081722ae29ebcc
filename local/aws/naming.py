"""Auto-naming as the official provider does it: `name-1a2b3c4`, kept for the resource's life, new at replacement."""

from __future__ import annotations

import hashlib
import itertools
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trainyard.local.aws.row import Name

_HEX_DIGITS = 7
_counter = itertools.count()


class NameTooLongError(ValueError):
    """The resource's name leaves no room for the random part."""


@dataclass(frozen=True)
class Autonaming:
    """What the engine proposes where the project or stack configures `pulumi:autonaming`."""

    proposed: str
    mode: str


def auto_name(
    naming: Name, resource: str, inputs: Mapping[str, Any], seed: bytes, autonaming: Autonaming | None = None
) -> str | None:
    """A name for `resource`, the same for the same `seed`; `None` where the stack's configuration turns naming off."""
    if autonaming is not None:
        if autonaming.mode == "disable":
            return None
        if autonaming.mode == "enforce":
            return autonaming.proposed
        return naming.finish(naming.transform(autonaming.proposed), inputs)
    random = (hashlib.sha256(seed).hexdigest() if seed else secrets.token_hex(_HEX_DIGITS))[:_HEX_DIGITS]
    stem = naming.transform(resource)
    name = naming.finish(f"{stem}-{random}", inputs)
    if len(name) > naming.max_length:
        raise NameTooLongError(
            f"the generated name {name!r} has {len(name)} characters; at most {naming.max_length} may stand there. "
            f"Give the resource a shorter name or set {naming.property}"
        )
    return name


def prefixed_name(prefix: str) -> str:
    """A unique name that starts with `prefix`, as the official provider makes it: 18 digits of time, 8 of a counter."""
    moment = time.time_ns()
    stamp = time.strftime("%Y%m%d%H%M%S", time.gmtime(moment // 1_000_000_000)) + f"{moment // 100_000 % 10_000:04d}"
    return f"{prefix}{stamp}{next(_counter) & 0xFFFFFFFF:08x}"
