"""An S3 server in memory that does next to nothing: what is measured against it is the client.

It keeps what it is sent and gives it back, whole or a range of it, in parts or not. It checks no signature and no hash
(it repeats the SHA-256 the client has named, as S3 does after checking it), and copies bytes once each way. moto's
server takes several times as long for a file as a client does.

    python -m benchmarks.s3_server     # prints its URL, serves until it is killed
"""

from __future__ import annotations

import re
import threading
import urllib.parse
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

SEND_BYTES = 4 << 20


@dataclass
class Stored:
    parts: list[bytearray]
    sha256: str | None = None

    @property
    def size(self) -> int:
        return sum(map(len, self.parts))


@dataclass
class Contents:
    lock: threading.Lock = field(default_factory=threading.Lock)
    objects: dict[str, Stored] = field(default_factory=dict)
    uploads: dict[str, dict[int, bytearray]] = field(default_factory=dict)


CONTENTS = Contents()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    rbufsize = 1 << 16

    def do_PUT(self) -> None:
        body = self._body()
        number = self._query.get("partNumber")
        if number is not None:
            CONTENTS.uploads[self._query["uploadId"]][int(number)] = body
        elif "/" in self._path.strip("/"):  # otherwise the bucket itself
            CONTENTS.objects[self._path] = Stored([body], self.headers.get("x-amz-checksum-sha256"))
        self._answer(200, {"ETag": '"none"'})

    def do_POST(self) -> None:
        body = self._body()
        if "delete" in self._query:
            bucket = self._path.strip("/")
            for key in re.findall(r"<Key>(.*?)</Key>", body.decode()):
                CONTENTS.objects.pop(f"/{bucket}/{key}", None)
            self._answer(200, text="<DeleteResult/>")
        elif "uploads" in self._query:
            with CONTENTS.lock:
                upload = f"upload-{len(CONTENTS.uploads)}"
                CONTENTS.uploads[upload] = {}
            self._answer(
                200,
                text=f"<InitiateMultipartUploadResult><UploadId>{upload}</UploadId></InitiateMultipartUploadResult>",
            )
        else:
            parts = CONTENTS.uploads.pop(self._query["uploadId"])
            CONTENTS.uploads[self._query["uploadId"]] = {}  # its number is not given again
            CONTENTS.objects[self._path] = Stored([parts[number] for number in sorted(parts)])
            self._answer(200, text='<CompleteMultipartUploadResult><ETag>"none"</ETag></CompleteMultipartUploadResult>')

    def do_HEAD(self) -> None:
        if "/" in self._path.strip("/"):
            self._give(with_body=False)
        else:
            self._answer(200)  # every bucket is there

    def do_GET(self) -> None:
        if "list-type" in self._query:
            self._list()
        else:
            self._give(with_body=True)

    def _give(self, with_body: bool) -> None:
        stored = CONTENTS.objects.get(self._path)
        if stored is None:
            missing = "" if not with_body else "<Error><Code>NoSuchKey</Code><Message>none</Message></Error>"
            self._answer(404, text=missing)
            return
        first, last = 0, stored.size - 1
        headers = {"ETag": '"none"', "Last-Modified": "Sat, 01 Jan 2000 00:00:00 GMT", "Accept-Ranges": "bytes"}
        if stored.sha256:
            headers["x-amz-checksum-sha256"] = stored.sha256
        ranged = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if ranged:
            first, last = int(ranged[1]), min(int(ranged[2] or last), last)
            headers["Content-Range"] = f"bytes {first}-{last}/{stored.size}"
        self._answer(206 if ranged else 200, headers, length=last + 1 - first)
        if not with_body:
            return
        begin = 0
        for part in stored.parts:
            view = memoryview(part)[max(first - begin, 0) : max(last + 1 - begin, 0)]
            for position in range(0, len(view), SEND_BYTES):
                self.connection.sendall(view[position : position + SEND_BYTES])
            begin += len(part)

    def _list(self) -> None:
        start = f"{self._path.rstrip('/')}/"
        found = {path: one for path, one in list(CONTENTS.objects.items()) if path.startswith(start)}
        prefix = self._query.get("prefix", "")
        entries = "".join(
            f"<Contents><Key>{path[len(start) :]}</Key><Size>{one.size}</Size></Contents>"
            for path, one in sorted(found.items())
            if path[len(start) :].startswith(prefix)
        )
        self._answer(200, text=f"<ListBucketResult><IsTruncated>false</IsTruncated>{entries}</ListBucketResult>")

    @property
    def _path(self) -> str:
        return urllib.parse.unquote(urllib.parse.urlsplit(self.path).path)

    @property
    def _query(self) -> dict[str, str]:
        return dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(self.path).query, keep_blank_values=True))

    def _body(self) -> bytearray:
        body = bytearray(int(self.headers.get("Content-Length", 0)))
        view, position = memoryview(body), 0
        while position < len(body):
            count = self.rfile.readinto(view[position:])
            if not count:
                raise ConnectionError("the client left in mid-body")
            position += count
        return body

    def _answer(self, status: int, headers: dict[str, str] | None = None, text: str = "", length: int = 0) -> None:
        body = text.encode()
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(length or len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None: ...  # noqa: A002


def main() -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
