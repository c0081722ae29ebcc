"""The loopback interface, brought up where it is down: a new network namespace has nothing else.

Example: `ensure_up()` before the first socket; nothing happens where loopback is up already. Raises `LoopbackError`.
"""

from __future__ import annotations

import fcntl
import socket
import struct

_GET_FLAGS = 0x8913  # SIOCGIFFLAGS
_SET_FLAGS = 0x8914  # SIOCSIFFLAGS
_UP = 0x1
_REQUEST = struct.Struct("16sH14x")  # struct ifreq, as far as the flags


class LoopbackError(Exception):
    """The loopback interface is down and may not be brought up."""


def ensure_up(interface: str = "lo") -> bool:
    """Bring `interface` up; whether that was needed. Raises `LoopbackError` where this user may not."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = _REQUEST.pack(interface.encode(), 0)
        try:
            _, flags = _REQUEST.unpack(fcntl.ioctl(any_socket, _GET_FLAGS, request))
        except OSError:
            return False  # no such interface here: binding to 127.0.0.1 will tell
        if flags & _UP:
            return False
        try:
            fcntl.ioctl(any_socket, _SET_FLAGS, _REQUEST.pack(interface.encode(), flags | _UP))
        except OSError as refused:
            raise LoopbackError(
                f"the network interface {interface} is down and this user may not bring it up ({refused.strerror}). "
                f"Run `ip link set {interface} up` as root in this network namespace, or start the command with "
                "`unshare --net --map-root-user`"
            ) from None
    return True
