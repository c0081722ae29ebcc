"""HTTP to one API server: JSON in and out, and what goes wrong in words.

`urllib3` and nothing above it: the `kubernetes` package takes 0.4 s to load, and every run of the engine starts this
plugin. One connection is shared by all threads.
"""

from __future__ import annotations

import json
import ssl
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import urllib3

from trainyard.local.aws.errors import ProviderError
from trainyard.local.kubernetes.provider.kubeconfig import Cluster

_CONNECT_SECONDS = 30.0
_READ_SECONDS = 65.0
_ATTEMPTS = 6
_BUSY = frozenset({429, 503})


class ApiError(ProviderError):
    """The API server refused a request; `causes` are its (field, reason, message)."""

    def __init__(self, status: int, reason: str, message: str, causes: tuple[tuple[str, str, str], ...] = ()) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.message = message
        self.causes = causes


class UnreachableError(ProviderError):
    """No API server answers at the kubeconfig's address."""


class Connection:
    """Requests to the API server of `cluster`."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        options: dict[str, Any] = {}
        if cluster.server.startswith("https"):
            options["ssl_context"] = _tls(cluster)
            if cluster.tls_server_name:
                options["server_hostname"] = options["assert_hostname"] = cluster.tls_server_name
        self._pool = urllib3.PoolManager(
            maxsize=64,
            retries=False,
            timeout=urllib3.Timeout(connect=_CONNECT_SECONDS, read=_READ_SECONDS),
            **options,
        )

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        query: Mapping[str, str] | None = None,
        content_type: str = "application/json",
        accept: str = "application/json",
    ) -> Any:
        """The JSON answer; `ApiError` where it is an error, `UnreachableError` where there is none."""
        url = self.cluster.server + path + (f"?{urlencode(query)}" if query else "")
        data = None if body is None else json.dumps(body).encode()
        renewed = False
        for attempt in range(_ATTEMPTS):
            headers = {"Accept": accept, "User-Agent": "trainyard-rehearsal"}
            if data is not None:
                headers["Content-Type"] = content_type
            if authorization := self.cluster.credential.header():
                headers["Authorization"] = authorization
            try:
                answer = self._pool.request(method, url, body=data, headers=headers)
            except urllib3.exceptions.SSLError as error:
                raise UnreachableError(
                    f"the API server at {self.cluster.server} cannot be trusted: {error}. "
                    "Is the kubeconfig's certificate authority the one of this cluster?"
                ) from None
            except urllib3.exceptions.ProtocolError:
                if attempt == 0:  # a kept connection that the server has closed
                    continue
                raise self._unreachable("it closed the connection") from None
            except urllib3.exceptions.HTTPError as error:
                raise self._unreachable(_short(error)) from None
            if answer.status in _BUSY and attempt < _ATTEMPTS - 1:
                time.sleep(min(float(answer.headers.get("Retry-After") or 1), 2.0))
                continue
            if answer.status == 401 and not renewed and self.cluster.credential.renew():
                renewed = True
                continue
            return self._read(answer)
        raise self._unreachable("it stays too busy")

    def _read(self, answer: Any) -> Any:
        try:
            document = json.loads(answer.data) if answer.data else {}
        except ValueError:
            document = {"message": answer.data.decode("utf-8", "replace").strip()[:500]}
        if answer.status < 400:
            return document
        details = document.get("details") or {}
        causes = tuple(
            (one.get("field", ""), one.get("reason", ""), one.get("message", "")) for one in details.get("causes") or ()
        )
        message = document.get("message") or f"HTTP {answer.status}"
        if answer.status == 401:
            raise ApiError(
                401,
                "Unauthorized",
                f"the API server at {self.cluster.server} does not accept the kubeconfig's credentials: {message}. Do "
                "they belong to this cluster, and has the principal an access entry?",
            )
        raise ApiError(answer.status, document.get("reason") or "", message, causes)

    def _unreachable(self, why: str) -> UnreachableError:
        return UnreachableError(
            f"no API server answers at {self.cluster.server}: {why}. Does the cluster run? "
            "(`trainyard local up` starts a rehearsal's)"
        )


def _tls(cluster: Cluster) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if cluster.certificate_authority is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        try:
            context.load_verify_locations(cadata=cluster.certificate_authority.decode("ascii"))
        except (ssl.SSLError, ValueError):
            raise ProviderError("the kubeconfig's certificate authority holds no PEM certificate") from None
    if not cluster.verified:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if cluster.client_certificate is not None:
        _load_client_certificate(context, cluster)
    return context


def _load_client_certificate(context: ssl.SSLContext, cluster: Cluster) -> None:
    """Python's TLS takes certificates from files only: they lie on disk for that moment, readable by their owner."""
    with tempfile.TemporaryDirectory() as folder:
        certificate, key = Path(folder, "certificate"), Path(folder, "key")
        certificate.write_bytes(cluster.client_certificate or b"")
        key.write_bytes(cluster.client_key or cluster.client_certificate or b"")
        try:
            context.load_cert_chain(certificate, key)
        except ssl.SSLError as error:
            raise ProviderError(f"the kubeconfig's client certificate and key do not fit: {error}") from None


def _short(error: Exception) -> str:
    text = str(getattr(error, "reason", None) or error)
    return text.rsplit(": ", 1)[-1].strip(" '\")")
