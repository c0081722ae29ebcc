"""A kubeconfig, read into what a connection needs: address, trust and credentials.

Example: `cluster = read_kubeconfig(text)`; `cluster.server` is the address, `cluster.credential.header()` the value of
the Authorization header. Source of the format: https://kubernetes.io/docs/reference/config-api/kubeconfig.v1/
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from trainyard.local.aws.errors import ProviderError

_EXEC_TIMEOUT_SECONDS = 60
_RENEWED_BEFORE_EXPIRY = timedelta(seconds=60)
_LOOPBACK = ("127.", "localhost", "::1")


class KubeconfigError(ProviderError):
    """The kubeconfig does not say how to reach a cluster."""


class Credential(Protocol):
    """Who the provider is to the API server, where a header says so."""

    def header(self) -> str | None: ...

    def renew(self) -> bool:
        """Forget what is cached; whether asking again can help."""
        ...


@dataclass(frozen=True)
class FixedHeader:
    """A header that stays as it is: a token, a name with a password, or none (client certificates)."""

    value: str | None = None

    def header(self) -> str | None:
        return self.value

    def renew(self) -> bool:
        return False


@dataclass
class ExecToken:
    """A token that a command prints, such as `aws eks get-token`; kept until a minute before it expires."""

    command: str
    arguments: tuple[str, ...]
    environment: Mapping[str, str]
    api_version: str
    hint: str = ""
    _token: str = ""
    _expires: datetime | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def header(self) -> str:
        with self._lock:
            if not self._token or (self._expires and datetime.now(UTC) > self._expires - _RENEWED_BEFORE_EXPIRY):
                self._token, self._expires = self._ask()
            return f"Bearer {self._token}"

    def renew(self) -> bool:
        with self._lock:
            self._token = ""
        return True

    def _ask(self) -> tuple[str, datetime | None]:
        said = " ".join([self.command, *self.arguments])
        info = {"apiVersion": self.api_version, "kind": "ExecCredential", "spec": {"interactive": False}}
        environment = {**os.environ, **self.environment, "KUBERNETES_EXEC_INFO": json.dumps(info)}
        try:
            done = subprocess.run(
                [_found(self.command), *self.arguments],
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=_EXEC_TIMEOUT_SECONDS,
                check=False,
            )
        except FileNotFoundError:
            raise ProviderError(
                f"the kubeconfig asks for `{self.command}`, which is not on the PATH. {self.hint}".strip()
            ) from None
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ProviderError(f"the kubeconfig's command `{said}` gave no token: {error}") from None
        if done.returncode != 0:
            raise ProviderError(
                f"the kubeconfig's command `{said}` failed with status {done.returncode}: {done.stderr.strip()[-600:]}"
            )
        try:
            status = json.loads(done.stdout)["status"]
            expires = status.get("expirationTimestamp")
            return status["token"], datetime.fromisoformat(expires) if expires else None
        except (ValueError, KeyError, TypeError, AttributeError):
            raise ProviderError(f"the kubeconfig's command `{said}` printed no ExecCredential with a token") from None


@dataclass(frozen=True)
class Cluster:
    """One cluster and one identity in it. Certificates and keys are PEM; `namespace` is the context's."""

    server: str
    certificate_authority: bytes | None = None
    verified: bool = True
    tls_server_name: str | None = None
    client_certificate: bytes | None = None
    client_key: bytes | None = None
    credential: Credential = FixedHeader()
    namespace: str | None = None


def read_kubeconfig(text: str, context: str | None = None, cluster: str | None = None) -> Cluster:
    """The cluster that `text` (YAML, JSON, or the path of a file) describes; `KubeconfigError` tells what is wrong."""
    document, folder = _parse(text)
    chosen = context or document.get("current-context")
    if not chosen:
        raise KubeconfigError("the kubeconfig has no current-context; name one, or set the provider's `context`")
    entry = _named(document, "contexts", chosen).get("context") or {}
    cluster_name = cluster or entry.get("cluster") or ""
    described = _named(document, "clusters", cluster_name).get("cluster") or {}
    user = _named(document, "users", entry["user"]).get("user") or {} if entry.get("user") else {}
    server = str(described.get("server") or "")
    _require_local(server)
    if described.get("proxy-url"):
        raise KubeconfigError(f"cluster {cluster_name}: proxy-url is not emulated; the rehearsal's cluster needs none")
    return Cluster(
        server=server.rstrip("/"),
        certificate_authority=_pem(described, "certificate-authority", folder),
        verified=not described.get("insecure-skip-tls-verify"),
        tls_server_name=described.get("tls-server-name"),
        client_certificate=_pem(user, "client-certificate", folder),
        client_key=_pem(user, "client-key", folder),
        credential=_credential(user, folder),
        namespace=entry.get("namespace"),
    )


def active_cluster(text: str, context: str | None, cluster: str | None) -> Any:
    """What the kubeconfig says of the cluster in use, to tell whether a changed one means another cluster."""
    document, _ = _parse(text)
    entry = _named(document, "contexts", context or document.get("current-context") or "").get("context") or {}
    return _named(document, "clusters", cluster or entry.get("cluster") or "").get("cluster")


def _parse(text: str) -> tuple[dict[str, Any], Path]:
    folder = Path()
    if "\n" not in text and not text.lstrip().startswith("{"):
        path = Path(text).expanduser()
        try:
            text, folder = path.read_text(), path.parent
        except OSError as error:
            raise KubeconfigError(f"the kubeconfig {str(path)!r} cannot be read: {error.strerror}") from None
    try:
        document = json.loads(text)
    except ValueError:
        import yaml

        try:
            document = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506
        except yaml.YAMLError as error:
            raise KubeconfigError(f"the kubeconfig is neither JSON nor YAML: {error}") from None
    if not isinstance(document, dict):
        raise KubeconfigError("the kubeconfig holds no settings; give its content, or the path of a file")
    return document, folder


def _named(document: Mapping[str, Any], section: str, name: str) -> dict[str, Any]:
    entries = document.get(section) or []
    for entry in entries:
        if entry.get("name") == name:
            return entry
    there = ", ".join(str(entry.get("name")) for entry in entries) or "none"
    raise KubeconfigError(f"the kubeconfig has no {section[:-1]} {name!r}; there is {there}")


def _require_local(server: str) -> None:
    """This provider only works on a rehearsal's own cluster: never on one that a stray kubeconfig names."""
    host = urlsplit(server).hostname or ""
    if not host:
        raise KubeconfigError(f"the kubeconfig's server {server!r} is no address, such as https://127.0.0.1:6443")
    if not host.startswith(_LOOPBACK):
        raise KubeconfigError(
            f"the kubeconfig's server {server} is not on this machine: this kubernetes provider only works on a "
            "rehearsal's cluster. Run the stack with `trainyard local up`, or install the official provider"
        )


def _pem(entry: Mapping[str, Any], key: str, folder: Path) -> bytes | None:
    if data := entry.get(f"{key}-data"):
        try:
            return base64.b64decode(data, validate=False)
        except ValueError:
            raise KubeconfigError(f"the kubeconfig's {key}-data is not base64") from None
    if path := entry.get(key):
        try:
            return (folder / path).read_bytes()
        except OSError as error:
            raise KubeconfigError(f"the kubeconfig's {key} {path!r} cannot be read: {error.strerror}") from None
    return None


def _credential(user: Mapping[str, Any], folder: Path) -> Credential:
    if user.get("auth-provider"):
        raise KubeconfigError("the kubeconfig's auth-provider is gone from Kubernetes since 1.26; use exec")
    if token := user.get("token"):
        return FixedHeader(f"Bearer {token}")
    if path := user.get("tokenFile"):
        return FixedHeader(f"Bearer {(folder / path).read_text().strip()}")
    if user.get("username"):
        pair = f"{user['username']}:{user.get('password', '')}".encode()
        return FixedHeader(f"Basic {base64.b64encode(pair).decode()}")
    if command := user.get("exec"):
        return ExecToken(
            str(command.get("command") or ""),
            tuple(str(one) for one in command.get("args") or ()),
            {one["name"]: one["value"] for one in command.get("env") or ()},
            command.get("apiVersion") or "client.authentication.k8s.io/v1",
            command.get("installHint") or "",
        )
    return FixedHeader()


def _found(command: str) -> str:
    """Commands of the virtual environment are found also where its folder is not on the PATH."""
    return shutil.which(command) or shutil.which(command, path=str(Path(sys.executable).parent)) or command
