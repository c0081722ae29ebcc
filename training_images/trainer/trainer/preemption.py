"""Knowing that this gang has to go, and by when: a signal to any rank, the interruption queue, or the machines' end.

Hearing is all that happens here. The loop asks at every micro-batch boundary whether any rank has heard something, and
all leave together, before the same micro-batch. Nothing here imports torch, so that signals are caught from a process's
first moment on.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from types import FrameType
from typing import TYPE_CHECKING

from trainer.config_sections import PreemptionConfig
from trainer.errors import UserError

if TYPE_CHECKING:
    from trainer.gang import Gang
    from trainer.interruption_queue import QueueListener

INSTANCE_ID_VARIABLE = "TRAINER_INSTANCE_ID"
RESERVATION_VARIABLE = "TRAINER_CAPACITY_RESERVATION_ID"
"""Of the Capacity Block the instance is part of: its warning names no instance."""
ENDS_AT_VARIABLE = "TRAINER_ENDS_AT"

SECONDS_TO_END = 15.0
"""What leaving takes beside saving: the micro-batch under way, the last lines, the processes' end."""

_HURRY_SECONDS = 300.0
"""An end that is nearer is a reason to leave at once; for one further away, the run trains on until it must go."""


@dataclass(frozen=True)
class Leaving:
    """What the ranks have agreed on."""

    reason: str
    deadline: float
    """Until when a save has to be done, on the clock of time.monotonic()."""

    @property
    def seconds_left(self) -> float:
        return max(0.0, self.deadline - time.monotonic())


class Notice:
    """What this process has heard. What was once heard stays true."""

    def __init__(self) -> None:
        self.reason: str | None = None
        self._told: list[tuple[float, float | None]] = []
        """When it was told, and when the machine goes if that is known (time.monotonic())."""
        self._planned: tuple[float, str] | None = None
        """When the machine goes (time.time()), and why."""
        self._warned: str | None = None
        self._seconds_for_saving = 0.0
        self._lock = threading.RLock()  # a signal handler may interrupt its holder, in the same thread

    @property
    def received(self) -> bool:
        """Whether it is time to leave."""
        planned = self._planned
        if planned is not None and time.time() >= planned[0] - self._seconds_for_saving - SECONDS_TO_END:
            self.give(planned[1], planned[0] - time.time())
            self._planned = None
        return self.reason is not None

    def give(self, reason: str, machine_goes_in: float | None = None) -> None:
        """Leave now; `machine_goes_in` seconds, where that is known."""
        now = time.monotonic()
        with self._lock:
            self.reason = self.reason or reason
            self._told.append((now, None if machine_goes_in is None else now + machine_goes_in))

    def plan(self, reason: str, ends_at: datetime) -> None:
        """The machines go at `ends_at`: leave now if that is soon, else in time to save."""
        left = ends_at.timestamp() - time.time()
        if left <= _HURRY_SECONDS:
            self.give(reason, left)
            return
        with self._lock:
            if self._planned is None or ends_at.timestamp() < self._planned[0]:
                self._planned = ends_at.timestamp(), reason

    def warn(self, reason: str) -> None:
        """Something may come: worth a checkpoint, and no reason to leave."""
        self._warned = reason

    @property
    def warned(self) -> bool:
        return self._warned is not None

    def take_warning(self) -> str | None:
        """What was warned of since the last call."""
        warning, self._warned = self._warned, None
        return warning

    def seconds_left(self) -> float:
        """How long a save may take from now on, by the most pressing of what was heard."""
        now = time.monotonic()
        ends = [told + self._seconds_for_saving if goes is None else goes - SECONDS_TO_END for told, goes in self._told]
        return min(ends, default=now + self._seconds_for_saving) - now

    def configure(self, settings: PreemptionConfig) -> None:
        """Sets how long saving may take and when the machines go. Raises UserError if there is no time to train."""
        self._seconds_for_saving = settings.seconds_for_saving
        ends_at = machines_end(settings)
        if ends_at is not None:
            with self._lock:
                self._planned = ends_at.timestamp(), f"the machines' end at {ends_at.isoformat()}"

    def listen_for_signals(self) -> None:
        """SIGTERM, from the launcher, Kubernetes or a person, and the first Ctrl-C; a second one ends the process."""
        signal.signal(signal.SIGTERM, self._on_signal)
        signal.signal(signal.SIGINT, self._on_signal)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        self.give(signal.Signals(number).name)
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.default_int_handler)


def machines_end(settings: PreemptionConfig, environment: Mapping[str, str] = os.environ) -> datetime | None:
    """The earlier of preemption.ends_at and TRAINER_ENDS_AT. Raises UserError where it leaves no time to train."""
    ends = [] if settings.ends_at is None else [("preemption.ends_at", settings.ends_at)]
    if said := environment.get(ENDS_AT_VARIABLE):
        try:
            when = datetime.fromisoformat(said.replace("Z", "+00:00"))
        except ValueError:
            when = None
        if when is None or when.tzinfo is None:
            raise UserError(f"{ENDS_AT_VARIABLE} is {said!r}: expected a time with its zone, 2027-01-15T11:30:00Z")
        ends.append((ENDS_AT_VARIABLE, when))
    if not ends:
        return None
    name, ends_at = min(ends, key=lambda end: end[1])
    needed = settings.seconds_for_saving + SECONDS_TO_END
    left = (ends_at - datetime.now(UTC)).total_seconds()
    if left <= needed:
        when = f"was {-left:.0f} s ago" if left < 0 else f"is in {left:.0f} s"
        raise UserError(
            f"{name} {ends_at.isoformat()} {when}; saving and ending takes {needed:.0f} s "
            "(preemption.seconds_for_saving), so there is no time to train. Start it where the machines stay longer"
        )
    return ends_at


def own_names() -> tuple[str, ...]:
    """What messages may call the machine this rank runs on: its instance, its Capacity Block's reservation."""
    variables = (INSTANCE_ID_VARIABLE, RESERVATION_VARIABLE)
    return tuple(os.environ[variable] for variable in variables if os.environ.get(variable))


def listen(settings: PreemptionConfig, gang: Gang, notice: Notice) -> QueueListener | None:
    """Begins to hear of ends and interruptions; called by all ranks. One of them reads the queue for all.

    Raises UserError, on every rank, for what can't be listened to and for machines that go too soon.
    """
    gang.together(lambda: notice.configure(settings))
    url = settings.queue_url
    if url is None:
        return None
    names = {name for names in gang.gather(own_names()) for name in names}

    def open_queue() -> QueueListener | None:
        from trainer.interruption_queue import QueueListener

        return QueueListener(url, names, notice, settings.wait_seconds) if gang.leads else None

    return gang.together(open_queue)


def agree_to_leave(gang: Gang, notice: Notice) -> Leaving:
    """Why, and by when, once any rank has heard something: the most pressing time of all. Called by all ranks."""
    heard = gang.gather((notice.reason, notice.seconds_left()) if notice.received else None)
    told = [(rank, *one) for rank, one in enumerate(heard) if one is not None]
    reason = ", ".join(f"{reason} (rank {rank})" for rank, reason, _ in told)
    return Leaving(reason, time.monotonic() + min(left for *_, left in told))
