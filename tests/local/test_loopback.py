"""Loopback is brought up in a new network namespace, and left alone elsewhere."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

from trainyard.local import loopback

LISTEN = """
import socket
from trainyard.local import loopback
changed = loopback.ensure_up()
socket.create_server(("127.0.0.1", 0))
print(changed, loopback.ensure_up())
"""


def _namespaces_allowed() -> bool:
    command = ["unshare", "--net", "--map-root-user", "true"]
    return bool(shutil.which("unshare")) and subprocess.run(command, capture_output=True, check=False).returncode == 0


new_namespace = pytest.mark.skipif(not _namespaces_allowed(), reason="may not make a network namespace")


def test_loopback_that_is_up_is_left_alone():
    assert loopback.ensure_up() is False


@new_namespace
def test_loopback_of_a_new_network_namespace_is_brought_up_once():
    command = ["unshare", "--net", "--map-root-user", sys.executable, "-c", LISTEN]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "True False\n"


def test_where_it_is_not_allowed_the_error_says_what_to_run(monkeypatch):
    def refuse(_descriptor: object, request: int, content: bytes) -> bytes:
        if request == loopback._SET_FLAGS:
            raise PermissionError(1, "Operation not permitted")
        return loopback._REQUEST.pack(b"lo", 0)

    monkeypatch.setattr(loopback.fcntl, "ioctl", refuse)
    with pytest.raises(loopback.LoopbackError, match="ip link set lo up"):
        loopback.ensure_up()
