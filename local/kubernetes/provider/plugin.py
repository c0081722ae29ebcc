"""The executable behind `pulumi-resource-kubernetes`: a gRPC server that the Pulumi engine starts.

It prints its port on stdout and serves until its parent ends.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib import metadata
from typing import Any

import grpc
from google.protobuf.empty_pb2 import Empty  # ty: ignore[import-not-found]
from pulumi.runtime import proto
from pulumi.runtime.proto import engine_pb2_grpc

from trainyard.local.aws.wire import from_struct, secret_properties, to_struct
from trainyard.local.kubernetes.provider.configuration import (
    Configuration,
    check_configuration,
    configuration_replaces,
)
from trainyard.local.kubernetes.provider.provider import Provider, Told
from trainyard.local.provider_protocol import EngineServicer, Problem, called, diff_response, serve, type_of

_THREADS = 512
"""One for each resource that waits at the same time; threads are only made when needed."""
_SECRET_KIND = frozenset({"data", "stringData"})

_REFUSED_CALLS = {
    "yaml": "YAML files are not emulated",
    "helm": "Helm charts are not emulated",
    "kustomize": "Kustomize directories are not emulated",
}
_INSTEAD = "declare the objects themselves, for example with pulumi_kubernetes.apps.v1.Deployment"


class EngineLog:
    """The engine's log, where lines show beside the resource they are about."""

    def __init__(self, address: str) -> None:
        self._stub = engine_pb2_grpc.EngineStub(grpc.insecure_channel(address)) if address else None

    def for_resource(self, urn: str) -> Told:
        """Where to say things about one resource."""
        return Told(
            status=lambda text: self._log("INFO", urn, text, ephemeral=True),
            info=lambda text: self._log("INFO", urn, text),
            warning=lambda text: self._log("WARNING", urn, text),
        )

    def _log(self, severity: str, urn: str, text: str, *, ephemeral: bool = False) -> None:
        if self._stub is None:
            return
        level = proto.LogSeverity.Value(severity)
        try:
            self._stub.Log(proto.LogRequest(severity=level, message=text, urn=urn, ephemeral=ephemeral))
        except grpc.RpcError:
            return  # the engine is going; nothing is left to tell it


class Servicer(EngineServicer[Provider]):
    """Translates the engine's requests for `Provider`."""

    package = "kubernetes"

    def __init__(self, engine_address: str = "") -> None:
        super().__init__()
        self._log = EngineLog(engine_address)

    def version(self) -> str:
        return metadata.version("pulumi-kubernetes")

    def configure(self, properties: Mapping[str, Any]) -> Provider:
        return Provider(Configuration.parse(properties), self.cancelled)

    def check_configuration(self, properties: Mapping[str, Any]) -> list[Problem]:
        return check_configuration(properties)

    def configuration_replaces(self, old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
        return configuration_replaces(old, new)

    def secret(self, urn: str, *structs: Any) -> frozenset[str]:
        """The properties to mark: those that came marked, and what a Secret holds."""
        held = _SECRET_KIND if type_of(urn) == "kubernetes:core/v1:Secret" else frozenset()
        return secret_properties(*structs) | held

    def Handshake(self, request: Any, context: grpc.ServicerContext) -> Any:
        if request.engine_address:
            self._log = EngineLog(request.engine_address)
        return super().Handshake(request, context)

    def Attach(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._log = EngineLog(request.address)
        return Empty()

    def Invoke(self, request: Any, context: grpc.ServicerContext) -> Any:
        package = request.tok.split(":")[1].split("/")[0] if ":" in request.tok else ""
        why = _REFUSED_CALLS.get(package, "functions of the kubernetes provider are not emulated")
        context.abort(grpc.StatusCode.UNIMPLEMENTED, f"{request.tok}: {why}; {_INSTEAD}")

    def Call(self, request: Any, context: grpc.ServicerContext) -> Any:
        self.Invoke(request, context)

    def Construct(self, request: Any, context: grpc.ServicerContext) -> Any:
        package = request.type.split(":")[1].split(".")[0].split("/")[0] if ":" in request.type else ""
        why = _REFUSED_CALLS.get(package, "components of the kubernetes provider are not emulated")
        context.abort(grpc.StatusCode.UNIMPLEMENTED, f"{_called_by(request)}: {why}; {_INSTEAD}")

    def Diff(self, request: Any, context: grpc.ServicerContext) -> Any:
        outputs, new, old = from_struct(request.olds), from_struct(request.news), from_struct(request.old_inputs)
        found = self.guard(
            context, lambda: self.configured().diff(type_of(request.urn), old, outputs, new), called(request.urn)
        )
        return diff_response(found, request.ignoreChanges, str)

    def Create(self, request: Any, context: grpc.ServicerContext) -> Any:
        inputs, secret = from_struct(request.properties), self.secret(request.urn, request.properties)
        told = self._log.for_resource(request.urn)
        resource_id, outputs = self.guard(
            context,
            lambda: self.working().create(type_of(request.urn), inputs, told, request.timeout, preview=request.preview),
            f"creating {called(request.urn)}",
            secret,
        )
        return proto.CreateResponse(id=resource_id, properties=to_struct(outputs, secret))

    def Read(self, request: Any, context: grpc.ServicerContext) -> Any:
        outputs, inputs = from_struct(request.properties), from_struct(request.inputs)
        secret = self.secret(request.urn, request.inputs, request.properties)
        told = self._log.for_resource(request.urn)
        found = self.guard(
            context,
            lambda: self.working().read(type_of(request.urn), request.id, inputs, outputs, told),
            f"reading {called(request.urn)}",
            secret,
        )
        if found is None:
            return proto.ReadResponse()
        resource_id, inputs, outputs = found
        return proto.ReadResponse(
            id=resource_id, inputs=to_struct(inputs, secret), properties=to_struct(outputs, secret)
        )

    def Update(self, request: Any, context: grpc.ServicerContext) -> Any:
        news, olds = from_struct(request.news), from_struct(request.olds)
        secret = self.secret(request.urn, request.news)
        told = self._log.for_resource(request.urn)
        outputs = self.guard(
            context,
            lambda: self.working().update(
                type_of(request.urn), request.id, news, olds, told, request.timeout, preview=request.preview
            ),
            f"updating {called(request.urn)}",
            secret,
        )
        return proto.UpdateResponse(properties=to_struct(outputs, secret))

    def Delete(self, request: Any, context: grpc.ServicerContext) -> Any:
        old = from_struct(request.old_inputs) or from_struct(request.properties)
        told = self._log.for_resource(request.urn)
        self.guard(
            context,
            lambda: self.working().delete(type_of(request.urn), request.id, old, told, request.timeout),
            f"deleting {called(request.urn)}",
        )
        return Empty()


def _called_by(request: Any) -> str:
    return f"{request.name} ({request.type})"


def main() -> None:
    """Serve as the engine expects of its plugins."""
    serve(Servicer(sys.argv[1] if len(sys.argv) > 1 else ""), _THREADS)


if __name__ == "__main__":
    main()
