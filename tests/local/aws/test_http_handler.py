"""Many requests over one connection, whatever the application reads of them."""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from werkzeug.serving import WSGIRequestHandler, make_server

from trainyard.local.aws.http_handler import keeping_open


def _application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    path = environ["PATH_INFO"]
    if path == "/fault":
        raise RuntimeError("a fault of the application")
    body = b"" if path == "/unread" else environ["wsgi.input"].read()
    start_response("204 No Content" if path == "/nothing" else "200 OK", [("X-Was", environ["REQUEST_METHOD"])])
    return [] if path == "/nothing" else [b"read ", body]


@pytest.fixture
def connection() -> Iterator[http.client.HTTPConnection]:
    """A connection that cannot be opened a second time."""
    server = make_server("127.0.0.1", 0, _application, threaded=True, request_handler=keeping_open(WSGIRequestHandler))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=180)
    connection.connect()
    connection.auto_open = 0
    yield connection
    connection.close()
    server.shutdown()
    server.server_close()


def _ask(connection: http.client.HTTPConnection, method: str, path: str, body: Any = None, **more: Any) -> Any:
    connection.request(method, path, body, **more)
    answer = connection.getresponse()
    return answer.status, answer.read()


def test_what_is_not_read_of_a_request_is_not_taken_for_the_next(connection: http.client.HTTPConnection) -> None:
    assert _ask(connection, "PUT", "/unread", b"GET /nothing HTTP/1.1\r\n\r\n") == (200, b"read ")
    assert _ask(connection, "POST", "/", b"text") == (200, b"read text")


def test_answers_without_a_body_and_requests_in_chunks(connection: http.client.HTTPConnection) -> None:
    assert _ask(connection, "HEAD", "/") == (200, b"")
    assert _ask(connection, "DELETE", "/nothing") == (204, b"")
    assert _ask(connection, "PUT", "/", iter([b"one ", b"two"]), encode_chunked=True) == (200, b"read one two")
    assert _ask(connection, "GET", "/") == (200, b"read ")


def test_a_fault_of_the_application_is_answered_and_the_log_says_which(
    connection: http.client.HTTPConnection, capfd: pytest.CaptureFixture[str]
) -> None:
    status, _ = _ask(connection, "POST", "/fault", b"unread")
    assert status == 500
    assert "a fault of the application" in capfd.readouterr().err
    assert _ask(connection, "GET", "/") == (200, b"read ")


def _said_to(connection: http.client.HTTPConnection, request: bytes) -> bytes:
    """All that is answered, until the other side closes, to what no client library would send."""
    with socket.create_connection((connection.host, connection.port), timeout=180) as wire:
        wire.sendall(request)
        wire.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: wire.recv(1 << 16), b""))


@pytest.mark.parametrize(
    "request_",
    [
        b"Content-Length: many\r\n\r\nbody",
        b"Content-Length: -1\r\n\r\nbody",
        b"Content-Length: 100\r\n\r\nbroken off",
        b"Transfer-Encoding: chunked\r\n\r\n10\r\nbroken off",
        b"Transfer-Encoding: chunked\r\n\r\nno length\r\n",
    ],
)
def test_a_body_that_is_not_whole_never_gets_to_the_application(
    connection: http.client.HTTPConnection, request_: bytes
) -> None:
    answer = _said_to(connection, b"PUT / HTTP/1.1\r\nHost: a\r\n" + request_)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"X-Was" not in answer


def test_who_asks_whether_to_go_on_is_told_once(connection: http.client.HTTPConnection) -> None:
    head = b"PUT / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n"
    with socket.create_connection((connection.host, connection.port), timeout=180) as wire:
        wire.sendall(head)
        assert wire.recv(1 << 16) == b"HTTP/1.1 100 Continue\r\n\r\n"
        wire.sendall(b"text")
        assert b"".join(iter(lambda: wire.recv(1 << 16), b"")).startswith(b"HTTP/1.1 200 OK\r\n")


def test_requests_that_do_not_wait_for_answers_get_them_in_order(connection: http.client.HTTPConnection) -> None:
    several = b"".join(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n%s" % body for body in (b"one", b"two"))
    answer = _said_to(connection, several)
    assert 0 < answer.index(b"read one") < answer.index(b"read two")
