"""One of the rehearsal's providers for many engines, one after the other: `python shared_provider.py aws`.

An engine cancels the providers that it attached to when it ends, and the next may have begun by then: here to be
cancelled means nothing. The account is the same for all of them, and so are the clients that know it.
"""

from __future__ import annotations

import sys
from functools import cache
from typing import Any

from google.protobuf.empty_pb2 import Empty  # ty: ignore[import-not-found]

from trainyard.local.aws import plugin as aws
from trainyard.local.aws import provider as aws_provider
from trainyard.local.aws.account import Account
from trainyard.local.kubernetes.provider import plugin as kubernetes
from trainyard.local.provider_protocol import serve

_THREADS = 512


class _Aws(aws.Servicer):
    def Attach(self, request: Any, context: Any) -> Any:  # noqa: ARG002  # gRPC's signature
        return Empty()

    def Cancel(self, request: Any, context: Any) -> Any:  # noqa: ARG002
        return Empty()


class _Kubernetes(kubernetes.Servicer):
    def Cancel(self, request: Any, context: Any) -> Any:  # noqa: ARG002
        return Empty()


if __name__ == "__main__":
    aws_provider.Account = cache(Account)  # ty: ignore[invalid-assignment]
    serve({"aws": _Aws, "kubernetes": _Kubernetes}[sys.argv[1]](), _THREADS)
