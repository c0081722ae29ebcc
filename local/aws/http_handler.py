"""One HTTP connection to the emulated account: many requests, one after the other.

werkzeug's own handler closes each connection after its answer, since it cannot know whether an application has read a
request to its end. Here each is read before the application is asked; a preview makes two thousand.
"""

from __future__ import annotations

import io
import traceback
from http import HTTPStatus
from typing import Any

from werkzeug.exceptions import InternalServerError
from werkzeug.serving import WSGIRequestHandler
from werkzeug.test import run_wsgi_app

_BODILESS = (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED)


def keeping_open(handler: Any) -> type[WSGIRequestHandler]:
    """`handler`, of werkzeug's, as one that speaks HTTP/1.1 in full and logs no requests."""

    class KeepingOpen(handler):
        disable_nagle_algorithm = True
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # an answer goes out in one piece

        def run_wsgi(self) -> None:
            """Answer one request."""
            environ = self.make_environ()
            body = self._body(environ)
            if body is None:
                self.close_connection = True  # where the next request begins nobody knows
                self._send("400 Bad Request", [("Connection", "close")], b"the body is not as long as it is said to be")
                return
            environ["wsgi.input"] = io.BytesIO(body)
            try:
                answer, status, headers = run_wsgi_app(self.server.app, environ, buffered=True)
            except Exception:  # noqa: BLE001  # whatever it is, the caller gets an answer and the log says why
                traceback.print_exc()
                answer, status, headers = run_wsgi_app(InternalServerError(), environ, buffered=True)
            self._send(status, list(headers), b"".join(answer))

        def handle_expect_100(self) -> bool:
            """The caller waits for this before it sends the body."""
            super().handle_expect_100()
            self.wfile.flush()
            return True

        def _body(self, environ: dict[str, Any]) -> bytes | None:
            """None where it is not whole, so that half an object is never kept as a whole one."""
            if environ.get("wsgi.input_terminated"):  # it came in chunks
                try:
                    return environ["wsgi.input"].read()
                except (OSError, ValueError):
                    return None
            said = environ.get("CONTENT_LENGTH") or "0"
            if not (said.isascii() and said.isdigit()):
                return None
            body = self.rfile.read(int(said))
            return body if len(body) == int(said) else None

        def _send(self, status: str, headers: list[tuple[str, str]], body: bytes) -> None:
            code, _, reason = status.partition(" ")
            self.send_response(int(code), reason)
            for name, value in headers:
                self.send_header(name, value)
            bodiless = self.command == "HEAD" or int(code) in _BODILESS
            if not bodiless and not any(name.lower() == "content-length" for name, _ in headers):
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if not bodiless:
                self.wfile.write(body)
            self.wfile.flush()

        def log_request(self, *_: Any) -> None:
            """A line per request would bury what matters."""

    return KeepingOpen
