"""An S3 endpoint that misbehaves as told: a front in this process before an emulated account.

with FaultyS3("http://127.0.0.1:5000") as s3:
    s3.fail("PUT", r"\\.distcp$", THROTTLE, times=3)
    ... AWS_ENDPOINT_URL=s3.url ...
    s3.met      # [("PUT", "/bucket/step-00000004/__0_0.distcp"), ...]
"""

from __future__ import annotations

import http.client
import re
import threading
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes


Forward = Callable[[bytes], Answer]
Fault = Callable[["FaultyS3", bytes, Forward], Answer | None]
"""Given the request's body and the way to the real account: the answer, or None to end the connection without one."""


def _refusal(status: int, code: str, message: str) -> Fault:
    xml = f'<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code><Message>{message}</Message></Error>'
    return lambda _front, _body, _forward: Answer(status, {"Content-Type": "application/xml"}, xml.encode())


THROTTLE = _refusal(503, "SlowDown", "Please reduce your request rate.")
ERROR = _refusal(500, "InternalError", "We encountered an internal error. Please try again.")
EXPIRED = _refusal(400, "ExpiredToken", "The provided token has expired.")
DENIED = _refusal(403, "AccessDenied", "Access Denied")
UNKNOWN_KEY = _refusal(403, "InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist in our records.")
WRONG_SECRET = _refusal(403, "SignatureDoesNotMatch", "The request signature we calculated does not match.")
SKEWED = _refusal(
    403, "RequestTimeTooSkewed", "The difference between the request time and the current time is too large."
)
NOT_IMPLEMENTED = _refusal(501, "NotImplemented", "A header you provided implies functionality that is not implemented")
BAD_DIGEST = _refusal(400, "BadDigest", "The SHA256 you specified did not match the calculated checksum.")


def hang(front: FaultyS3, _body: bytes, _forward: Forward) -> None:
    """No answer, for as long as anybody may wait."""
    front.closing.wait(600)


def lose(_front: FaultyS3, _body: bytes, _forward: Forward) -> Answer:
    """Acknowledged, and forgotten."""
    return Answer(200, {"ETag": '"d41d8cd98f00b204e9800998ecf8427e"'}, b"")


def corrupt(_front: FaultyS3, body: bytes, forward: Forward) -> Answer:
    """Stored with a bit turned, and acknowledged."""
    return forward(body[:-1] + bytes([body[-1] ^ 1]))


def cut(_front: FaultyS3, body: bytes, forward: Forward) -> Answer:
    """The connection breaks in the middle of what is read."""
    answer = forward(body)
    return Answer(answer.status, answer.headers, answer.body[: len(answer.body) // 2])


def without_checksums(_front: FaultyS3, body: bytes, forward: Forward) -> Answer:
    """As endpoints that keep none."""
    answer = forward(body)
    kept = {name: value for name, value in answer.headers.items() if not name.lower().startswith("x-amz-checksum")}
    return Answer(answer.status, kept, answer.body)


class FaultyS3:
    def __init__(self, upstream: str) -> None:
        self._upstream = urllib.parse.urlsplit(upstream).netloc
        self._rules: list[list] = []
        self._lock = threading.Lock()
        self.closing = threading.Event()
        self.met: list[tuple[str, str]] = []
        """Method and path of each request that met a fault."""
        self.requests: list[tuple[str, str]] = []
        """Of each request."""

    def fail(self, method: str, path: str, fault: Fault, times: int | None = None, signed_by: str = "") -> None:
        """The next `times` requests (None: all, until `mend`) with this method whose path matches meet `fault`; only
        those signed by the access key `signed_by` if there is one."""
        with self._lock:
            self._rules.append([method, re.compile(path), fault, times, f"Credential={signed_by}"])

    def mend(self) -> None:
        with self._lock:
            self._rules.clear()

    def __enter__(self) -> FaultyS3:
        front = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                front._handle(self)

            do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = handle_any  # noqa: N815

            def log_message(self, *_: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()

    def _handle(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers.get("Content-Length", 0)))
        method, path = request.command, urllib.parse.unquote(urllib.parse.urlsplit(request.path).path)

        def forward(content: bytes) -> Answer:
            connection = http.client.HTTPConnection(self._upstream, timeout=60)
            try:
                headers = {name: value for name, value in request.headers.items() if name.lower() != "expect"}
                connection.request(method, request.path, body=content, headers=headers)
                answer = connection.getresponse()
                return Answer(answer.status, dict(answer.getheaders()), answer.read())
            finally:
                connection.close()

        fault = self._fault(method, path, request.headers.get("Authorization", "Credential="))
        answer = fault(self, body, forward) if fault else forward(body)
        if answer is None:
            request.close_connection = True
            return
        whole = answer.headers.get("Content-Length", str(len(answer.body)))
        request.send_response_only(answer.status)
        for name, value in answer.headers.items():
            if name.lower() not in ("content-length", "connection", "transfer-encoding"):
                request.send_header(name, value)
        request.send_header("Content-Length", whole if method == "HEAD" or len(answer.body) else "0")
        request.end_headers()
        request.wfile.write(answer.body)
        if method != "HEAD" and int(whole) != len(answer.body):
            request.close_connection = True

    def _fault(self, method: str, path: str, authorization: str) -> Fault | None:
        with self._lock:
            self.requests.append((method, path))
            for rule in self._rules:
                wanted, pattern, fault, times, signer = rule
                if wanted == method and pattern.search(path) and signer in authorization and times != 0:
                    if times is not None:
                        rule[3] -= 1
                    self.met.append((method, path))
                    return fault
        return None
