"""How tests wait: for what has to come, however long it takes on a busy machine."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

WAIT_SECONDS = 180.0
"""Ends a wait for what never comes. It says nothing of how fast anything is: nothing has to be."""
T = TypeVar("T")


def wait_until(condition: Callable[[], T], seconds: float = WAIT_SECONDS, every: float = 0.02) -> T:
    """What `condition` gives, once that counts as true; an AssertionError where it has not after `seconds`."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"waited {seconds:g} s in vain"
        time.sleep(every)
    return found
