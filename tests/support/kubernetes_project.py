"""A Pulumi project on a real API server, run by the real engine, and `kubectl`'s view of what it made."""

from __future__ import annotations

import textwrap
import uuid
from pathlib import Path
from typing import Any

from trainyard.local import toolchain
from trainyard.local.engine import Engine
from trainyard.local.kubernetes.provider.connection import Connection
from trainyard.local.kubernetes.provider.kubeconfig import read_kubeconfig

PROGRAM = """
import pulumi
import pulumi_kubernetes as kubernetes
from pulumi import ResourceOptions as Options

provider = kubernetes.Provider("cluster", kubeconfig=open({path!r}).read(){options})
on = Options(provider=provider)
namespace = {namespace!r}
"""


class Project:
    """A Pulumi project whose program a test writes; `namespace` is a name of its own in the cluster."""

    def __init__(self, folder: Path, kubeconfig: Path) -> None:
        self.namespace = f"test-{uuid.uuid4().hex[:8]}"
        self.kubeconfig = kubeconfig
        self.home = folder / "home"
        self._project = folder / "project"
        self._project.mkdir()
        (self._project / "Pulumi.yaml").write_text("name: small\nruntime: python\n")
        (self._project / "__main__.py").write_text("")
        self.engine = Engine(toolchain.find("pulumi"), self._project, "test", self.home, "http://127.0.0.1:9")
        self.engine.ensure_stack()

    def run(self, operation: str, body: str, *arguments: str, options: str = "") -> Any:
        """Write the program and run the engine on it; `options` are further ones of the provider."""
        settings = f", {options}" if options else ""
        head = PROGRAM.format(path=str(self.kubeconfig), namespace=self.namespace, options=settings)
        (self._project / "__main__.py").write_text(head + textwrap.dedent(body))
        return self.engine.run(operation, *arguments)

    def steps(self, result: Any, name: str) -> list[str]:
        """What happened to the resource `name`."""
        return [operation for operation, urn in result.steps if urn.endswith(f"::{name}")]

    def log(self, operation: str) -> str:
        return (self.home / f"{operation}.log").read_text()

    def resource(self, name: str) -> dict[str, Any]:
        resources = self.engine.export()["deployment"]["resources"]
        return next(entry for entry in resources if entry["urn"].endswith(f"::{name}"))


class Cluster:
    """The API server as another client sees it."""

    def __init__(self, kubeconfig: Path) -> None:
        self.kubeconfig = kubeconfig
        self._connection = Connection(read_kubeconfig(str(kubeconfig)))

    def get(self, path: str) -> Any:
        return self._connection.request("GET", path)

    def delete(self, path: str) -> Any:
        return self._connection.request("DELETE", path)

    def post(self, path: str, body: Any) -> Any:
        return self._connection.request("POST", path, body)

    def patch(self, path: str, body: Any, manager: str = "somebody") -> Any:
        return self._connection.request(
            "PATCH", path, body, {"fieldManager": manager}, content_type="application/merge-patch+json"
        )

    def patch_status(self, path: str, status: Any) -> Any:
        return self.patch(f"{path}/status", {"status": status})
