"""What the executables behind `pulumi-resource-aws` and `-kubernetes` have in common: the engine's side of the talk.

`EngineServicer` translates the requests that read alike for both, keeps the configured provider, and turns whatever
goes wrong into words for a person; `serve` runs one as the engine expects of its plugins.
"""

from __future__ import annotations

import gc
import signal
import sys
import threading
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from concurrent import futures
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import grpc
from google.protobuf.empty_pb2 import Empty  # ty: ignore[import-not-found]
from pulumi.runtime import proto
from pulumi.runtime.proto import provider_pb2_grpc

from trainyard.local.aws.errors import HalfMadeError, ProviderError
from trainyard.local.aws.naming import Autonaming
from trainyard.local.aws.wire import from_struct, half_made_status, secret_properties, to_struct
from trainyard.local.process import die_with_engine

_MAX_MESSAGE_BYTES = 400 * 1024 * 1024
_COLLECT_AFTER = 50_000
"""Allocations between two collections of garbage; Python's 700 are for programs that make fewer objects."""
_DIFF_KINDS = {"add": "ADD", "delete": "DELETE", "update": "UPDATE"}

Problem = tuple[str, str]
"""A property's path, and what is wrong with it."""


class Checking(Protocol):
    """A provider, as far as its kind does not matter here."""

    def check(
        self,
        token: str,
        name: str,
        news: Mapping[str, Any],
        olds: Mapping[str, Any],
        seed: bytes,
        autonaming: Autonaming | None,
        /,
    ) -> tuple[Mapping[str, Any], list[Problem]]:
        """The inputs with defaults and names filled in, and what is wrong with them."""
        ...


class Difference(Protocol):
    """What a provider says of old and new inputs.

    Attributes:
        changes: `add`, `delete` or `update`, by path.
        replaces: paths, or top properties, that cannot change in place.
        delete_before_replace: whether the old one has to go first.
    """

    @property
    def changes(self) -> Mapping[str, str]: ...
    @property
    def replaces(self) -> frozenset[str] | set[str]: ...
    @property
    def delete_before_replace(self) -> bool: ...


P = TypeVar("P", bound=Checking)


class EngineServicer(provider_pb2_grpc.ResourceProviderServicer, ABC, Generic[P]):
    """Answers the engine's requests with a provider `P`; runs many at once."""

    package: ClassVar[str]
    """Whose provider it is, for messages: `aws`."""

    def __init__(self) -> None:
        self.cancelled = threading.Event()
        self._provider: P | None = None

    @abstractmethod
    def version(self) -> str:
        """Of the SDK that programs use with this plugin."""

    @abstractmethod
    def configure(self, properties: Mapping[str, Any]) -> P:
        """The provider for these settings."""

    @abstractmethod
    def check_configuration(self, properties: Mapping[str, Any]) -> list[Problem]:
        """What is wrong with settings of the provider."""

    @abstractmethod
    def configuration_replaces(self, old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
        """The changed settings after which all its resources would be others."""

    def secret(self, urn: str, *structs: Any) -> frozenset[str]:
        """The properties of a resource to be marked as secret: those that came marked."""
        return secret_properties(*structs)

    def Handshake(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Secret inputs come marked, and the outputs of the same name go back marked."""
        return proto.ProviderHandshakeResponse(
            accept_secrets=True,
            accept_resources=False,
            accept_outputs=False,
            supports_autonaming_configuration=True,
        )

    def Attach(self, request: Any, context: grpc.ServicerContext) -> Any:
        """An engine that did not start this plugin uses it, as PULUMI_DEBUG_PROVIDERS says."""
        return Empty()

    def GetPluginInfo(self, request: Any, context: grpc.ServicerContext) -> Any:
        return proto.PluginInfo(version=self.version())

    def CheckConfig(self, request: Any, context: grpc.ServicerContext) -> Any:
        problems = self.guard(context, lambda: self.check_configuration(from_struct(request.news)))
        return proto.CheckResponse(inputs=request.news, failures=_failures(problems))

    def DiffConfig(self, request: Any, context: grpc.ServicerContext) -> Any:
        old, new = from_struct(request.old_inputs or request.olds), from_struct(request.news)
        replaces = self.guard(context, lambda: self.configuration_replaces(old, new))
        changes = proto.DiffResponse.DIFF_SOME if old != new else proto.DiffResponse.DIFF_NONE
        return proto.DiffResponse(changes=changes, replaces=replaces)

    def Configure(self, request: Any, context: grpc.ServicerContext) -> Any:
        properties = from_struct(request.args) or dict(request.variables)
        self._provider = self.guard(context, lambda: self.configure(properties))
        return proto.ConfigureResponse(
            acceptSecrets=True,
            supportsPreview=True,
            acceptResources=False,
            acceptOutputs=False,
            supports_autonaming_configuration=True,
        )

    def Check(self, request: Any, context: grpc.ServicerContext) -> Any:
        news, olds = from_struct(request.news), from_struct(request.olds)
        autonaming = None
        if request.HasField("autonaming"):
            mode = proto.CheckRequest.AutonamingOptions.Mode.Name(request.autonaming.mode).lower()
            autonaming = Autonaming(request.autonaming.proposed_name, mode)
        kind, name = type_of(request.urn), name_of(request.urn)
        inputs, problems = self.guard(
            context, lambda: self.configured().check(kind, name, news, olds, request.randomSeed, autonaming)
        )
        return proto.CheckResponse(
            inputs=to_struct(inputs, self.secret(request.urn, request.news)), failures=_failures(problems)
        )

    def Cancel(self, request: Any, context: grpc.ServicerContext) -> Any:
        """What waits stops waiting, what is short finishes; nothing is begun any more."""
        self.cancelled.set()
        return Empty()

    def configured(self) -> P:
        """The provider. Raises ProviderError before there is one."""
        if self._provider is None:
            raise ProviderError(f"the {self.package} provider is used before it is configured")
        return self._provider

    def working(self) -> P:
        """The provider, for an operation that changes or reads something. Raises ProviderError once cancelled."""
        if self.cancelled.is_set():
            raise ProviderError("cancelled")
        return self.configured()

    def guard(
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
                f"{prefix}a fault of the emulated {self.package} provider, not of the program: "
                f"{type(error).__name__}: {error}",
            )


def diff_response(found: Difference, ignored: Iterable[str], replaced_by: Callable[[str], str]) -> Any:
    """The answer to Diff, without the paths that the program ignores.

    `replaced_by` gives what of a path stands in `found.replaces`: the path itself, or its top property.
    """
    kept = {path: kind for path, kind in found.changes.items() if not _is_ignored(path, ignored)}
    replaces = {replaced_by(path) for path in kept} & found.replaces
    detailed = {}
    for path, kind in kept.items():
        name = _DIFF_KINDS[kind] + ("_REPLACE" if replaced_by(path) in replaces else "")
        detailed[path] = proto.PropertyDiff(kind=getattr(proto.PropertyDiff, name), inputDiff=True)
    return proto.DiffResponse(
        changes=proto.DiffResponse.DIFF_SOME if detailed else proto.DiffResponse.DIFF_NONE,
        diffs=sorted({top_property(path) for path in detailed}),
        replaces=sorted(replaces),
        deleteBeforeReplace=found.delete_before_replace and bool(replaces),
        detailedDiff=detailed,
        hasDetailedDiff=True,
    )


def type_of(urn: str) -> str:
    """The resource's type, such as `aws:s3/bucket:Bucket`."""
    return urn.split("::")[2].split("$")[-1]


def name_of(urn: str) -> str:
    """What the program calls the resource."""
    return urn.split("::", 3)[3]


def called(urn: str) -> str:
    """The resource, for a person: `lake (aws:s3/bucket:Bucket)`."""
    return f"{name_of(urn)} ({type_of(urn)})"


def top_property(path: str) -> str:
    """`tags` of `tags.team` and of `tags[0]`."""
    return path.split(".")[0].split("[")[0]


def _failures(problems: list[Problem]) -> list[Any]:
    return [proto.CheckFailure(property=path, reason=reason) for path, reason in problems]


def _is_ignored(path: str, ignored: Iterable[str]) -> bool:
    return any(path == entry or path.startswith((f"{entry}.", f"{entry}[")) for entry in ignored)


def serve(servicer: provider_pb2_grpc.ResourceProviderServicer, threads: int) -> None:
    """Serve on a free port of the loopback interface and print it, until the engine ends."""
    die_with_engine()
    # Whatever a library prints must not come before or after the port.
    stdout, sys.stdout = sys.stdout, sys.stderr
    options = [
        ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
        ("grpc.max_send_message_length", _MAX_MESSAGE_BYTES),
    ]
    gc.set_threshold(_COLLECT_AFTER)
    gc.freeze()  # what is loaded by now stays: no collection needs to look through it
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=threads), options=options)
    provider_pb2_grpc.add_ResourceProviderServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    # The engine ends its plugins with SIGINT and waits seconds for those that do not go. Ctrl-C does not come here: the
    # engine gives its plugins a process group of their own.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: server.stop(grace=None))
    stdout.write(f"{port}\n")
    stdout.flush()
    server.wait_for_termination()
