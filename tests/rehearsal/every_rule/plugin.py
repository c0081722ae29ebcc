"""A provider for resources of every type, to which the engine talks as to any other: it accepts what it is given.

`python plugin.py FILE` prints its port and serves until its parent ends. FILE holds, by URN, what a resource gets
beside what the program says: `checked` before policies see its inputs (merged tags), `made` once it is made, or that is
previewed (an ARN).
"""

# ruff: noqa: ARG002  (gRPC's signatures)

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from google.protobuf.empty_pb2 import Empty
from google.protobuf.struct_pb2 import Struct
from pulumi.runtime import proto
from pulumi.runtime.proto import provider_pb2_grpc

from trainyard.local.provider_protocol import serve

_THREADS = 8


class AnyResource(provider_pb2_grpc.ResourceProviderServicer):
    def __init__(self, file: Path) -> None:
        self._file = file
        self._read: tuple[int, Mapping[str, Mapping[str, Any]]] = (0, {})

    def Handshake(self, request: Any, context: Any) -> Any:
        return proto.ProviderHandshakeResponse(accept_secrets=True)

    def Attach(self, request: Any, context: Any) -> Any:
        return Empty()

    def GetPluginInfo(self, request: Any, context: Any) -> Any:
        return proto.PluginInfo(version="0.0.0")

    def CheckConfig(self, request: Any, context: Any) -> Any:
        return proto.CheckResponse(inputs=request.news)

    def Configure(self, request: Any, context: Any) -> Any:
        return proto.ConfigureResponse(acceptSecrets=True, supportsPreview=True)

    def Check(self, request: Any, context: Any) -> Any:
        return proto.CheckResponse(inputs=self._with("checked", request.urn, request.news))

    def Create(self, request: Any, context: Any) -> Any:
        made = self._with("made", request.urn, request.properties)
        return proto.CreateResponse(id="" if request.preview else request.urn, properties=made)

    def Delete(self, request: Any, context: Any) -> Any:
        return Empty()

    def Cancel(self, request: Any, context: Any) -> Any:
        return Empty()

    def _with(self, when: str, urn: str, given: Struct) -> Struct:
        whole = Struct()
        whole.CopyFrom(given)
        whole.update(self._added().get(urn, {}).get(when, {}))
        return whole

    def _added(self) -> Mapping[str, Mapping[str, Any]]:
        """The file as it is: each run has one of its own."""
        written = self._file.stat().st_mtime_ns
        if self._read[0] != written:
            self._read = written, json.loads(self._file.read_text(encoding="utf-8"))
        return self._read[1]


if __name__ == "__main__":
    serve(AnyResource(Path(sys.argv[1])), _THREADS)
