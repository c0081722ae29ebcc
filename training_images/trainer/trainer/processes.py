"""Which of a gang's processes this is; and processes that do not outlive the one that started them."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from trainer.errors import UserError

LAUNCHER_VARIABLE = "TRAINER_LAUNCHER"
"""Process id of the launcher, which its ranks die with."""

_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Place:
    """This process's among all ranks, as the launcher or torchrun tells it in the environment."""

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    local_world_size: int = 1
    node_rank: int = 0

    @classmethod
    def of(cls, environment: Mapping[str, str] = os.environ) -> Place:
        """A process of its own where nothing is said. Raises UserError for what neither of them would say."""

        def number(name: str, otherwise: int, least: int = 0) -> int:
            said = environment.get(name, str(otherwise))
            if not said.isdecimal() or int(said) < least:
                raise UserError(f"the environment's {name} is {said!r}: expected a number from {least}; {_UNSET}")
            return int(said)

        place = cls(
            number("RANK", 0),
            number("WORLD_SIZE", 1, least=1),
            number("LOCAL_RANK", 0),
            number("LOCAL_WORLD_SIZE", 1, least=1),
            number("GROUP_RANK", 0),
        )
        if place.rank >= place.world_size:
            raise UserError(
                f"the environment's RANK is {place.rank}: with WORLD_SIZE {place.world_size} it may be 0 to "
                f"{place.world_size - 1}; {_UNSET}"
            )
        needed = ("RANK", "MASTER_ADDR", "MASTER_PORT") if place.world_size > 1 else ()
        if missing := [name for name in needed if not environment.get(name)]:
            raise UserError(
                f"the environment's WORLD_SIZE is {place.world_size}, and {', '.join(missing)} is not set; {_UNSET}"
            )
        if needed and not 1 <= number("MASTER_PORT", 0) <= 65535:
            raise UserError(f"the environment's MASTER_PORT is {environment['MASTER_PORT']}: it may be 1 to 65535")
        return place


_UNSET = "unset it for one process, or start ranks with `python -m trainer.launch` or torchrun, which set it"


def die_with(parent: int | None) -> None:
    """Lets the kernel kill this process when the thread that started it ends (Linux). `parent` is None for nobody."""
    if parent is None or sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it ended before the kernel was told
        os.kill(os.getpid(), signal.SIGKILL)


def launcher() -> int | None:
    """The launcher this rank was started by, if it was."""
    said = os.environ.get(LAUNCHER_VARIABLE, "")
    return int(said) if said.isdecimal() else None
