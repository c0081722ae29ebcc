"""Where things lie: the checkout, what runs leave in it, and the per-user cache of built tools."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RUNS = ROOT / ".trainyard"


class NotACheckoutError(Exception):
    """The rehearsal was started from an installed wheel; it needs the repository's program and tools."""


def require_checkout() -> Path:
    """Return the root of the checkout, or raise `NotACheckoutError` where there is none."""
    if not (ROOT / "Pulumi.yaml").is_file():
        raise NotACheckoutError(
            f"no Pulumi.yaml in {ROOT}: the rehearsal runs in a checkout of the repository, installed with `make setup`"
        )
    return ROOT


class NoCacheError(Exception):
    """No folder of the user's own is known."""


def cache_directory() -> Path:
    """Per-user cache, shared by all checkouts: `$TRAINYARD_CACHE_DIR`, else `trainyard` in the user's cache folder.

    Absolute, since tools are built in other folders than the caller's. Raises `NoCacheError`.
    """
    chosen = os.environ.get("TRAINYARD_CACHE_DIR")
    if chosen:
        return Path(chosen).absolute()
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if base.is_absolute():  # others are to be ignored (XDG Base Directory Specification)
        return base / "trainyard"
    try:
        return Path.home() / ".cache" / "trainyard"
    except RuntimeError:
        raise NoCacheError(
            "this user has no home folder: set HOME, or TRAINYARD_CACHE_DIR to a folder for built tools"
        ) from None
