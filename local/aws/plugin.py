"""The executable behind `pulumi-resource-aws`: a gRPC server that the Pulumi engine starts, for the emulated account.

`python -m trainyard.local.aws.plugin [ENGINE_ADDRESS]` prints its port on stdout and serves until its parent ends.
The account is the one that AWS_ENDPOINT_URL names.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import grpc
from google.protobuf.empty_pb2 import Empty  # ty: ignore[import-not-found]
from pulumi.runtime import proto

from trainyard.local.aws import service_models
from trainyard.local.aws.provider import Provider, check_configuration, configuration_replaces
from trainyard.local.aws.sdk import sdk_version
from trainyard.local.aws.wire import from_struct, secret_properties, to_struct
from trainyard.local.provider_protocol import (
    EngineServicer,
    Problem,
    called,
    diff_response,
    serve,
    top_property,
    type_of,
)

_THREADS = 32


class Servicer(EngineServicer[Provider]):
    """Translates the engine's requests for `Provider`."""

    package = "aws"

    def version(self) -> str:
        return sdk_version()

    def configure(self, properties: Mapping[str, Any]) -> Provider:
        return Provider.configure(properties)

    def check_configuration(self, properties: Mapping[str, Any]) -> list[Problem]:
        return check_configuration(properties)

    def configuration_replaces(self, old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
        return configuration_replaces(old, new)

    def Invoke(self, request: Any, context: grpc.ServicerContext) -> Any:
        arguments = from_struct(request.args)
        found = self.guard(context, lambda: self.configured().invoke(request.tok, arguments), request.tok)
        return proto.InvokeResponse(**{"return": to_struct(found)})  # ty: ignore[unknown-argument]

    def Diff(self, request: Any, context: grpc.ServicerContext) -> Any:
        outputs, new, old = from_struct(request.olds), from_struct(request.news), from_struct(request.old_inputs)
        found = self.guard(context, lambda: self.configured().diff(type_of(request.urn), old, outputs, new))
        return diff_response(found, request.ignoreChanges, top_property)

    def Create(self, request: Any, context: grpc.ServicerContext) -> Any:
        inputs, secret = from_struct(request.properties), secret_properties(request.properties)
        resource_id, outputs = self.guard(
            context,
            lambda: self.working().create(type_of(request.urn), inputs, preview=request.preview),
            f"creating {called(request.urn)}",
            secret,
        )
        return proto.CreateResponse(id=resource_id, properties=to_struct(outputs, secret))

    def Read(self, request: Any, context: grpc.ServicerContext) -> Any:
        outputs, inputs = from_struct(request.properties), from_struct(request.inputs)
        found = self.guard(
            context,
            lambda: self.working().read(type_of(request.urn), request.id, outputs, inputs),
            f"reading {called(request.urn)}",
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
            provider, kind = self.working(), type_of(request.urn)
            if request.ignoreChanges and not request.preview:
                found = provider.read(kind, request.id, olds, old_inputs)
                _keep_ignored(request.ignoreChanges, news, old_inputs, found[2] if found else {})
            return provider.update(kind, request.id, news, old_inputs, olds, preview=request.preview)

        outputs = self.guard(
            context,
            update,
            f"updating {called(request.urn)}",
            secret,
        )
        return proto.UpdateResponse(properties=to_struct(outputs, secret))

    def Delete(self, request: Any, context: grpc.ServicerContext) -> Any:
        old_inputs, outputs = from_struct(request.old_inputs), from_struct(request.properties)
        self.guard(
            context,
            lambda: self.working().delete(type_of(request.urn), request.id, old_inputs, outputs),
            f"deleting {called(request.urn)}",
        )
        return Empty()


def main() -> None:
    """Serve as the engine expects of its plugins."""
    service_models.keep()
    serve(Servicer(), _THREADS)


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
