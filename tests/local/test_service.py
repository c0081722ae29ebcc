"""What is told of services that do not start, and that those that do not want to end are ended."""

from __future__ import annotations

import socket
import sys
import threading
from contextlib import suppress

import pytest

from trainyard.local import supervisor
from trainyard.local.service import PortTakenError, Service, ServiceError, Services, free_ports

LISTEN = """
import http.server, sys
http.server.test(http.server.SimpleHTTPRequestHandler, port=int(sys.argv[1]), bind="127.0.0.1")
"""
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + LISTEN


def _service(program: str, port: int) -> Service:
    return Service("one", (sys.executable, "-c", program, str(port)), f"http://127.0.0.1:{port}")


def test_the_error_holds_the_end_of_the_log_which_may_soon_be_gone(tmp_path):
    (port,) = free_ports(1)
    services = Services((_service("raise SystemExit('the disk is full')", port),), tmp_path)
    with pytest.raises(ServiceError, match=r"one ended with status 1[\s\S]*one\.log ends with\n  the disk is full"):
        services.start()


def test_a_port_that_another_program_took_is_told_from_other_failures(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as other:
        services = Services((_service(LISTEN, other.getsockname()[1]),), tmp_path)
        with pytest.raises(PortTakenError):
            services.start()


def test_a_program_that_took_the_port_and_speaks_no_http_is_told_as_one_that_took_it(tmp_path):
    def greet(listening: socket.socket) -> None:
        with suppress(OSError):
            while True:
                connection, _ = listening.accept()
                with connection:
                    connection.recv(1 << 16)
                    connection.sendall(b"220 mail\r\n")

    with socket.create_server(("127.0.0.1", 0)) as other:
        threading.Thread(target=greet, args=(other,), daemon=True).start()
        services = Services((_service(f"import time\ntime.sleep(1){LISTEN}", other.getsockname()[1]),), tmp_path)
        with pytest.raises(PortTakenError):
            services.start()
        other.shutdown(socket.SHUT_RDWR)


def test_after_a_port_was_taken_others_are_tried(tmp_path, monkeypatch):
    (free,) = free_ports(1)
    with socket.create_server(("127.0.0.1", 0)) as other:
        ports = iter((other.getsockname()[1], free))
        monkeypatch.setattr(supervisor, "_services", lambda *_: (_service(LISTEN, next(ports)),))
        (tmp_path / "logs").mkdir()
        begun = supervisor._Supervisor(tmp_path, 0, kubernetes=False)
        monkeypatch.setattr(begun, "_owner_is_gone", lambda: False)
        (running,) = begun._start()
        assert running.url.endswith(f":{free}")
        assert begun.services is not None
        begun.services.end()


def test_no_port_is_given_twice_nor_to_who_asks_for_any_and_a_server_that_names_it_gets_it():
    ports = [port for _ in range(200) for port in free_ports(5)]
    assert len(set(ports)) == len(ports)
    for reuse in (0, 1):
        for _ in range(1000):
            with socket.socket() as other:
                other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, reuse)
                other.bind(("127.0.0.1", 0))
                assert other.getsockname()[1] not in ports
    with socket.create_server(("127.0.0.1", ports[0])) as server:
        assert server.getsockname()[1] == ports[0]


def test_a_service_that_does_not_end_by_itself_is_ended(tmp_path):
    (port,) = free_ports(1)
    services = Services((_service(STUBBORN, port),), tmp_path)
    services.start()
    services.end()
    assert "status -9" in str(services.ended())


@pytest.mark.parametrize("content", ["", "[]", '{"supervisor": 1}', '{"supervisor": {}, "services": []}', "\x00"])
def test_a_record_that_is_none_means_that_nothing_runs(tmp_path, content):
    (tmp_path / "services.json").write_text(content)
    assert supervisor.running(tmp_path) is None
    assert not supervisor._Supervisor(tmp_path, 0, kubernetes=False)._record_is_mine()
    assert not supervisor.stop(tmp_path)
