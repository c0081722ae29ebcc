"""What a command says in the end: to programs JSON on standard output, one object and nothing else, also when it fails;
to people what went wrong, on standard error."""

from __future__ import annotations

import json
import os
import re
import sys
from typing import IO, Any

# Characters that are not seen but turn the text around them, end it, or steer a terminal.
_UNSEEN = re.compile("[\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff\x00-\x08\x0b-\x1f\x7f-\x9f]")
_told = False


class UnwritableError(Exception):
    """The result is there, and standard output does not take it."""

    exit_status = 3


def begin() -> None:
    """A command line begins: it has said nothing yet."""
    global _told
    _told = False


def open_standard_streams() -> None:
    """A stream that the caller has closed leads nowhere: its number would go to the next file that is opened."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # takes the lowest number that is free
    for name, number in (("stdout", 1), ("stderr", 2)):
        if getattr(sys, name) is None:  # as Python has it where the number was closed
            setattr(sys, name, open(number, "w", encoding="utf-8", closefd=False))  # noqa: SIM115  # for good


def tell(content: dict[str, Any]) -> None:
    """Print `content` as JSON. A reader that has gone away does not change how the command ends."""
    global _told
    _told = True
    try:
        print(json.dumps(content), flush=True)
    except BrokenPipeError:
        give_up(sys.stdout)
    except OSError as failed:
        give_up(sys.stdout)
        raise UnwritableError(f"standard output cannot be written: {failed.strerror}") from None


def give_up(stream: IO[str]) -> None:
    """Send all that is still to be written to `stream` nowhere: what Python flushes at its end would fail again."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def complain(message: str) -> None:
    """Say to a person, on standard error, what went wrong."""
    try:
        print(written_out(message), file=sys.stderr, flush=True)
    except OSError:  # nobody listens, or the disk of the log is full: the exit status still tells
        give_up(sys.stderr)


def written_out(text: str) -> str:
    """`text` with each character that nobody sees written as `\\u202e`: a name in somebody's file hides no finding."""
    return _UNSEEN.sub(lambda one: f"\\u{ord(one[0]):04x}", text)


def is_told() -> bool:
    """Whether the command has said its JSON already."""
    return _told


def is_wanted(arguments: list[str]) -> bool:
    """Whether the command line asks for JSON; what stands behind `local exec` is another command's."""
    own = arguments[: arguments.index("--")] if "--" in arguments else arguments
    return "--json" in own and own[:2] != ["local", "exec"]
