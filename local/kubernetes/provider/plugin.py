"""The executable behind `pulumi-resource-kubernetes`: a gRPC server that the Pulumi engine starts.

It prints its port on stdout and serves until its parent ends.
"""

from __future__ import annotations

import signal
import sys
import threading
import traceback
from collections.abc import Callable
from concurrent import futures
from importlib import metadata
from typing import Any

import grpc
from google.protobuf.empty_pb2 import Empty  # ty: ignore[import-not-found]
from pulumi.runtime import proto
from pulumi.runtime.proto import engine_pb2_grpc, provider_pb2_grpc

from trainyard.local.aws.errors import HalfMadeError, ProviderError
from trainyard.local.aws.naming import Autonaming
from trainyard.local.aws.wire import from_struct, half_made_status, secret_properties, to_struct
from trainyard.local.kubernetes.provider.configuration import (
    Configuration,
    check_configuration,
    configuration_replaces,
)
from trainyard.local.kubernetes.provider.provider import Provider, Told
from trainyard.local.process import die_with_engine

_THREADS = 512
"""One for each resource that waits at the same time; threads are only made when needed."""
_MAX_MESSAGE_BYTES = 400 * 1024 * 1024
_DIFF_KINDS = {"add": "ADD", "delete": "DELETE", "update": "UPDATE"}
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


class Servicer(provider_pb2_grpc.ResourceProviderServicer):
    """Translates the engine's requests for `Provider`; runs many at once."""

    def __init__(self, engine_address: str = "") -> None:
        self._provider: Provider | None = None
        self._cancelled = threading.Event()
        self._log = EngineLog(engine_address)

    def Handshake(self, request: Any, context: grpc.ServicerContext) -> Any:
        if request.engine_address:
            self._log = EngineLog(request.engine_address)
        return proto.ProviderHandshakeResponse(
            accept_secrets=True,
            accept_resources=False,
            accept_outputs=False,
            supports_autonaming_configuration=True,
        )

    def Attach(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._log = EngineLog(request.address)
        return Empty()

    def GetPluginInfo(self, request: Any, context: grpc.ServicerContext) -> Any:
        return proto.PluginInfo(version=metadata.version("pulumi-kubernetes"))

    def CheckConfig(self, request: Any, context: grpc.ServicerContext) -> Any:
        problems = self._guard(context, lambda: check_configuration(from_struct(request.news)))
        return proto.CheckResponse(inputs=request.news, failures=_failures(problems))

    def DiffConfig(self, request: Any, context: grpc.ServicerContext) -> Any:
        old, new = from_struct(request.old_inputs or request.olds), from_struct(request.news)
        replaces = self._guard(context, lambda: configuration_replaces(old, new))
        changes = proto.DiffResponse.DIFF_SOME if old != new else proto.DiffResponse.DIFF_NONE
        return proto.DiffResponse(changes=changes, replaces=replaces)

    def Configure(self, request: Any, context: grpc.ServicerContext) -> Any:
        properties = from_struct(request.args) or dict(request.variables)
        self._provider = self._guard(context, lambda: Provider(Configuration.parse(properties), self._cancelled))
        return proto.ConfigureResponse(
            acceptSecrets=True,
            supportsPreview=True,
            acceptResources=False,
            acceptOutputs=False,
            supports_autonaming_configuration=True,
        )

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

    def Check(self, request: Any, context: grpc.ServicerContext) -> Any:
        news, olds = from_struct(request.news), from_struct(request.olds)
        autonaming = None
        if request.HasField("autonaming"):
            mode = proto.CheckRequest.AutonamingOptions.Mode.Name(request.autonaming.mode).lower()
            autonaming = Autonaming(request.autonaming.proposed_name, mode)
        inputs, problems = self._guard(
            context,
            lambda: self._configured().check(
                _type_of(request.urn), _name_of(request.urn), news, olds, request.randomSeed, autonaming
            ),
        )
        secret = _secret(request.urn, request.news)
        return proto.CheckResponse(inputs=to_struct(inputs, secret), failures=_failures(problems))

    def Diff(self, request: Any, context: grpc.ServicerContext) -> Any:
        outputs, new, old = from_struct(request.olds), from_struct(request.news), from_struct(request.old_inputs)
        found = self._guard(
            context, lambda: self._configured().diff(_type_of(request.urn), old, outputs, new), _called(request.urn)
        )
        detailed = {
            path: proto.PropertyDiff(
                kind=getattr(proto.PropertyDiff, _DIFF_KINDS[kind] + ("_REPLACE" if path in found.replaces else "")),
                inputDiff=True,
            )
            for path, kind in found.changes.items()
            if not _is_ignored(path, request.ignoreChanges)
        }
        replaces = sorted(found.replaces & set(detailed))
        return proto.DiffResponse(
            changes=proto.DiffResponse.DIFF_SOME if detailed else proto.DiffResponse.DIFF_NONE,
            diffs=sorted({path.split(".")[0].split("[")[0] for path in detailed}),
            replaces=replaces,
            deleteBeforeReplace=found.delete_before_replace and bool(replaces),
            detailedDiff=detailed,
            hasDetailedDiff=True,
        )

    def Create(self, request: Any, context: grpc.ServicerContext) -> Any:
        inputs, secret = from_struct(request.properties), _secret(request.urn, request.properties)
        told = self._log.for_resource(request.urn)
        resource_id, outputs = self._guard(
            context,
            lambda: self._working().create(
                _type_of(request.urn), inputs, told, request.timeout, preview=request.preview
            ),
            f"creating {_called(request.urn)}",
            secret,
        )
        return proto.CreateResponse(id=resource_id, properties=to_struct(outputs, secret))

    def Read(self, request: Any, context: grpc.ServicerContext) -> Any:
        outputs, inputs = from_struct(request.properties), from_struct(request.inputs)
        secret = _secret(request.urn, request.inputs, request.properties)
        told = self._log.for_resource(request.urn)
        found = self._guard(
            context,
            lambda: self._working().read(_type_of(request.urn), request.id, inputs, outputs, told),
            f"reading {_called(request.urn)}",
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
        secret = _secret(request.urn, request.news)
        told = self._log.for_resource(request.urn)
        outputs = self._guard(
            context,
            lambda: self._working().update(
                _type_of(request.urn), request.id, news, olds, told, request.timeout, preview=request.preview
            ),
            f"updating {_called(request.urn)}",
            secret,
        )
        return proto.UpdateResponse(properties=to_struct(outputs, secret))

    def Delete(self, request: Any, context: grpc.ServicerContext) -> Any:
        old = from_struct(request.old_inputs) or from_struct(request.properties)
        told = self._log.for_resource(request.urn)
        self._guard(
            context,
            lambda: self._working().delete(_type_of(request.urn), request.id, old, told, request.timeout),
            f"deleting {_called(request.urn)}",
        )
        return Empty()

    def Cancel(self, request: Any, context: grpc.ServicerContext) -> Any:
        """What waits stops waiting and says so; nothing is begun any more."""
        self._cancelled.set()
        return Empty()

    def _configured(self) -> Provider:
        if self._provider is None:
            raise ProviderError("the kubernetes provider is used before it is configured")
        return self._provider

    def _working(self) -> Provider:
        if self._cancelled.is_set():
            raise ProviderError("cancelled")
        return self._configured()

    def _guard(
        self,
        context: grpc.ServicerContext,
        work: Callable[[], Any],
        doing: str = "",
        secret: frozenset[str] = frozenset(),
    ) -> Any:
        """Do the work; what goes wrong ends the request with words for a person; a bug leaves a trace in the log."""
        prefix = f"{doing}: " if doing else ""
        try:
            return work()
        except HalfMadeError as error:
            reasons = [prefix + reason for reason in error.reasons]
            message, trailer = half_made_status(error.resource_id, error.outputs, error.inputs, reasons, secret)
            context.set_trailing_metadata(trailer)
            context.abort(grpc.StatusCode.UNKNOWN, message)
        except ProviderError as error:
            context.abort(grpc.StatusCode.UNKNOWN, f"{prefix}{error}".strip())
        except Exception as error:  # noqa: BLE001 - the engine gets an answer whatever happens
            traceback.print_exc()
            context.abort(
                grpc.StatusCode.INTERNAL,
                f"{prefix}a fault of the emulated kubernetes provider, not of the program: "
                f"{type(error).__name__}: {error}",
            )


def _secret(urn: str, *structs: Any) -> frozenset[str]:
    """The properties to mark: those that came marked, and what a Secret holds."""
    return secret_properties(*structs) | (_SECRET_KIND if _type_of(urn) == "kubernetes:core/v1:Secret" else frozenset())


def _failures(problems: list[tuple[str, str]]) -> list[Any]:
    return [proto.CheckFailure(property=path, reason=reason) for path, reason in problems]


def _type_of(urn: str) -> str:
    return urn.split("::")[2].split("$")[-1]


def _name_of(urn: str) -> str:
    return urn.split("::", 3)[3]


def _called(urn: str) -> str:
    return f"{_name_of(urn)} ({_type_of(urn)})"


def _called_by(request: Any) -> str:
    return f"{request.name} ({request.type})"


def _is_ignored(path: str, ignored: Any) -> bool:
    return any(path == entry or path.startswith((f"{entry}.", f"{entry}[")) for entry in ignored)


def main() -> None:
    """Serve on a free port of the loopback interface and print it, as the engine expects of its plugins."""
    die_with_engine()
    # Whatever a library prints must not come before or after the port.
    stdout, sys.stdout = sys.stdout, sys.stderr
    options = [
        ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
        ("grpc.max_send_message_length", _MAX_MESSAGE_BYTES),
    ]
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=_THREADS), options=options)
    servicer = Servicer(sys.argv[1] if len(sys.argv) > 1 else "")
    provider_pb2_grpc.add_ResourceProviderServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    # The engine ends its plugins with SIGINT and waits seconds for those that do not go.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: server.stop(grace=None))
    stdout.write(f"{port}\n")
    stdout.flush()
    server.wait_for_termination()


if __name__ == "__main__":
    main()
