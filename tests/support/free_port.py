"""A port for a server that cannot be asked to choose one itself."""

from __future__ import annotations

import random
import socket

_PORTS = range(15_000, 32_000)
"""Below those that the kernel gives to outgoing connections: none of these can take it before the server does."""


def free_port() -> int:
    """One that nothing listens at on this machine. Drawn, so that tests side by side do not draw the same."""
    while True:
        port = random.SystemRandom().choice(_PORTS)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
