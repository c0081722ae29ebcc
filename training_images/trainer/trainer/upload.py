"""Brings files to a place that may be busy, silent or forgetful, and sees to it that they have arrived."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import TypeVar

from trainer.storage import Storage, StorageError

T = TypeVar("T")

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.5, 30.0

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Part:
    """A file to be."""

    name: str
    data: memoryview
    sha256: str


class Persistence:
    """Tries again what may pass, after pauses that double, until nothing has succeeded for `patience_seconds`."""

    def __init__(self, patience_seconds: float, tell: Tell, given_up: threading.Event | None = None) -> None:
        """`tell` hears the reason of each further attempt, from any thread. Nothing is tried once `given_up` is set."""
        self._patience_seconds = patience_seconds
        self._tell = tell
        self._progress = time.monotonic()
        self._given_up = given_up or threading.Event()

    def __call__(self, action: Callable[[], T]) -> T:
        """Raises StorageError for what does not pass, or has not."""
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                result = action()
            except StorageError as error:
                waited = time.monotonic() - self._progress
                if not error.may_pass or waited + pause > self._patience_seconds or self._given_up.is_set():
                    raise
                self._tell(str(error))
                # Many ranks are told to slow down at once; they should not come back at once.
                self._given_up.wait(random.uniform(0.5, 1.0) * pause)  # noqa: S311
                pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
            else:
                self._progress = time.monotonic()
                return result

    def give_up(self) -> None:
        """Whatever is tried is tried no more."""
        self._given_up.set()


def put_all(storage: Storage, folder: str, parts: Sequence[Part], threads: int, persist: Persistence) -> None:
    """Writes `parts` below `folder` and has the place confirm each. Raises StorageError for the first that can't be."""

    def put(part: Part) -> None:
        def written_and_there() -> None:
            storage.write_checked(f"{folder}/{part.name}", part.data, part.sha256)
            storage.check(f"{folder}/{part.name}", part.data, part.sha256)

        persist(written_and_there)

    with ThreadPoolExecutor(threads) as pool:
        # The largest first, so that no thread is left alone with one at the end.
        pending = [pool.submit(put, part) for part in sorted(parts, key=lambda part: -len(part.data))]
        done, left = wait(pending, return_when=FIRST_EXCEPTION)
        for future in left:
            future.cancel()
        failed = [future for future in done if future.exception() is not None]
        if failed:
            persist.give_up()
            failed[0].result()
