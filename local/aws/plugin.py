"""The executable behind `pulumi-resource-aws`: a gRPC server that the Pulumi engine starts, for the emulated account.

`python -m trainyard.local.aws.plugin [ENGINE_ADDRESS]` prints its port on stdout and serves until its parent ends.
The account is the one that AWS_ENDPOINT_URL names.
"""

from __future__ import annotations

import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Mapping
from concurrent import futures
from typing import Any

import grpc
from google.protobuf.empty_pb2 import Empty  # ty: ignore[import-not-found]
from pulumi.runtime import proto
from pulumi.runtime.proto import provider_pb2_grpc

from trainyard.local.aws.errors import HalfMadeError, ProviderError
from trainyard.local.aws.naming import Autonaming
from trainyard.local.aws.provider import Provider, check_configuration, configuration_replaces
from trainyard.local.aws.row import Problem
from trainyard.local.aws.sdk import sdk_version
from trainyard.local.aws.wire import from_struct, half_made_status, secret_properties, to_struct
from trainyard.local.process import die_with_engine

_THREADS = 32
_MAX_MESSAGE_BYTES = 400 * 1024 * 1024
_DIFF_KINDS = {"add": "ADD", "delete": "DELETE", "update": "UPDATE"}


class Servicer(provider_pb2_grpc.ResourceProviderServicer):
    """Translates the engine's requests for `Provider`; runs many at once."""

    def __init__(self) -> None:
        self._provider: Provider | None = None
        self._cancelled = threading.Event()

    def Handshake(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Secret inputs come marked, and the outputs of the same name go back marked."""
        return proto.ProviderHandshakeResponse(
            accept_secrets=True,
            accept_resources=False,
            accept_outputs=False,
            supports_autonaming_configuration=True,
        )

    def GetPluginInfo(self, request: Any, context: grpc.ServicerContext) -> Any:
        return proto.PluginInfo(version=sdk_version())

    def CheckConfig(self, request: Any, context: grpc.ServicerContext) -> Any:
        problems = self._guard(context, lambda: check_configuration(from_struct(request.news)))
        return proto.CheckResponse(inputs=request.news, failures=_failures(problems))

    def DiffConfig(self, request: Any, context: grpc.ServicerContext) -> Any:
        old, new = from_struct(request.old_inputs or request.olds), from_struct(request.news)
        replaces = self._guard(context, lambda: configuration_replaces(old, new))
        changed = old != new
        changes = proto.DiffResponse.DIFF_SOME if changed else proto.DiffResponse.DIFF_NONE
        return proto.DiffResponse(changes=changes, replaces=replaces)

    def Configure(self, request: Any, context: grpc.ServicerContext) -> Any:
        properties = from_struct(request.args) or dict(request.variables)
        self._provider = self._guard(context, lambda: Provider.configure(properties))
        return proto.ConfigureResponse(
            acceptSecrets=True,
            supportsPreview=True,
            acceptResources=False,
            acceptOutputs=False,
            supports_autonaming_configuration=True,
        )

    def Invoke(self, request: Any, context: grpc.ServicerContext) -> Any:
        arguments = from_struct(request.args)
        found = self._guard(context, lambda: self._configured().invoke(request.tok, arguments), request.tok)
        return proto.InvokeResponse(**{"return": to_struct(found)})  # ty: ignore[unknown-argument]

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
        return proto.CheckResponse(
            inputs=to_struct(inputs, secret_properties(request.news)), failures=_failures(problems)
        )

    def Diff(self, request: Any, context: grpc.ServicerContext) -> Any:
        old_outputs, new = from_struct(request.olds), from_struct(request.news)
        old = from_struct(request.old_inputs)
        found = self._guard(context, lambda: self._configured().diff(_type_of(request.urn), old, old_outputs, new))
        detailed = {}
        for path, kind in found.changes.items():
            if not _is_ignored(path, request.ignoreChanges):
                suffix = "_REPLACE" if _top(path) in found.replaces else ""
                detailed[path] = proto.PropertyDiff(
                    kind=getattr(proto.PropertyDiff, _DIFF_KINDS[kind] + suffix), inputDiff=True
                )
        tops = {_top(path) for path in detailed}
        return proto.DiffResponse(
            changes=proto.DiffResponse.DIFF_SOME if detailed else proto.DiffResponse.DIFF_NONE,
            diffs=sorted(tops),
            replaces=sorted(tops & found.replaces),
            deleteBeforeReplace=found.delete_before_replace and bool(tops & found.replaces),
            detailedDiff=detailed,
            hasDetailedDiff=True,
        )

    def Create(self, request: Any, context: grpc.ServicerContext) -> Any:
        inputs, secret = from_struct(request.properties), secret_properties(request.properties)
        resource_id, outputs = self._guard(
            context,
            lambda: self._working().create(_type_of(request.urn), inputs, preview=request.preview),
            f"creating {_called(request.urn)}",
            secret,
        )
        return proto.CreateResponse(id=resource_id, properties=to_struct(outputs, secret))

    def Read(self, request: Any, context: grpc.ServicerContext) -> Any:
        outputs, inputs = from_struct(request.properties), from_struct(request.inputs)
        found = self._guard(
            context,
            lambda: self._working().read(_type_of(request.urn), request.id, outputs, inputs),
            f"reading {_called(request.urn)}",
        )
        if found is None:
            return proto.ReadResponse()
        resource_id, inputs, outputs = found
        secret = secret_properties(request.inputs, request.properties)
        return proto.ReadResponse(
            id=resource_id, inputs=to_struct(inputs, secret), properties=to_struct(outputs, secret)
        )

    def Update(self, request: Any, context: grpc.ServicerContext) -> Any:
        news, old_inputs, olds = from_struct(request.news), from_struct(request.old_inputs), from_struct(request.olds)
        secret = secret_properties(request.news)

        def update() -> Any:
            provider, kind = self._working(), _type_of(request.urn)
            if request.ignoreChanges and not request.preview:
                found = provider.read(kind, request.id, olds, old_inputs)
                _keep_ignored(request.ignoreChanges, news, old_inputs, found[2] if found else {})
            return provider.update(kind, request.id, news, old_inputs, olds, preview=request.preview)

        outputs = self._guard(
            context,
            update,
            f"updating {_called(request.urn)}",
            secret,
        )
        return proto.UpdateResponse(properties=to_struct(outputs, secret))

    def Delete(self, request: Any, context: grpc.ServicerContext) -> Any:
        old_inputs, outputs = from_struct(request.old_inputs), from_struct(request.properties)
        self._guard(
            context,
            lambda: self._working().delete(_type_of(request.urn), request.id, old_inputs, outputs),
            f"deleting {_called(request.urn)}",
        )
        return Empty()

    def Cancel(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Operations under way are short and finish; none is begun any more."""
        self._cancelled.set()
        return Empty()

    def _configured(self) -> Provider:
        if self._provider is None:
            raise ProviderError("the aws provider is used before it is configured")
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
            message, metadata = half_made_status(error.resource_id, error.outputs, error.inputs, reasons, secret)
            context.set_trailing_metadata(metadata)
            context.abort(grpc.StatusCode.UNKNOWN, message)
        except ProviderError as error:
            context.abort(grpc.StatusCode.UNKNOWN, f"{prefix}{error}")
        except Exception as error:  # noqa: BLE001 - the engine gets an answer whatever happens
            traceback.print_exc()
            context.abort(
                grpc.StatusCode.INTERNAL,
                f"{prefix}a fault of the emulated aws provider, not of the program: {type(error).__name__}: {error}",
            )


def _failures(problems: list[Problem]) -> list[Any]:
    return [proto.CheckFailure(property=path, reason=reason) for path, reason in problems]


def _type_of(urn: str) -> str:
    return urn.split("::")[2].split("$")[-1]


def _name_of(urn: str) -> str:
    return urn.split("::", 3)[3]


def _called(urn: str) -> str:
    return f"{_name_of(urn)} ({_type_of(urn)})"


def _top(path: str) -> str:
    return path.split(".")[0].split("[")[0]


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
    provider_pb2_grpc.add_ResourceProviderServicer_to_server(Servicer(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    # The engine ends its plugins with SIGINT and waits seconds for those that do not go. Ctrl-C does not come here: the
    # engine gives its plugins a process group of their own.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: server.stop(grace=None))
    stdout.write(f"{port}\n")
    stdout.flush()
    server.wait_for_termination()


def _keep_ignored(
    paths: Iterable[str], news: dict[str, Any], old_inputs: Mapping[str, Any], found: Mapping[str, Any]
) -> None:
    """What the program does not follow stays as the account has it, unless the property it is a part of changes.

    Then the official provider sends that property whole, and with it the value that the state remembers. A refresh
    beforehand brings the state up to date.
    """
    for path in paths:
        *above, last = path.split(".")
        top = path.partition(".")[0]
        if above and news.get(top) != old_inputs.get(top):
            continue
        wanted, there = news, found
        for name in above:
            wanted, there = (one.get(name) if isinstance(one, Mapping) else None for one in (wanted, there))
        if isinstance(wanted, dict) and isinstance(there, Mapping) and last in wanted and last in there:
            wanted[last] = there[last]


if __name__ == "__main__":
    main()
