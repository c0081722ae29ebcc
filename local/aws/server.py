"""The emulated AWS account: `python -m trainyard.local.aws.server --host 127.0.0.1 --port N`.

Serves every service on one address until SIGTERM, SIGINT or the end of its parent. The account lives in memory: it is
empty at the start and gone at the end. Prints one line when it is ready; requests are not logged, what EventBridge
drops is.

With `--kubernetes` its EKS clusters answer with the address of an API server that runs beside it, and it tells that API
server who the bearer of an `aws eks get-token` token is.
"""

from __future__ import annotations

import argparse
import gc
import logging
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from trainyard.local.aws import service_models
from trainyard.local.process import die_with_parent

# Told to moto before it is imported: it looks the environment up once.
os.environ.setdefault("MOTO_EC2_LOAD_DEFAULT_AMIS", "false")
os.environ.setdefault("MOTO_IAM_LOAD_MANAGED_POLICIES", "true")  # roles attach policies that AWS keeps

_COLLECT_AFTER = 50_000
"""Allocations between two collections of garbage. Python's 700 take a fifth of the start; moto frees most of what it
makes by counting references."""


def serve(host: str, port: int, kubernetes_config: Path | None = None) -> None:
    """Serve on `host`:`port` (0: a free one) until told to stop."""
    from werkzeug.serving import make_server

    gc.set_threshold(_COLLECT_AFTER)
    service_models.keep()
    from trainyard.local.aws import moto_adapter
    from trainyard.local.aws.http_handler import keeping_open

    moto_adapter.install()
    moto_adapter.preload()
    handler = keeping_open(moto_adapter.request_handler())
    application = moto_adapter.application()
    if kubernetes_config is not None:
        from trainyard.local.kubernetes.authenticator import TokenReviews

        application = TokenReviews(application, kubernetes_config)
    gc.freeze()  # moto is large, and here to stay: no collection needs to look through it
    server = make_server(host, port, application, threaded=True, request_handler=handler)

    def stop(signal_number: int, frame: Any) -> None:
        del signal_number, frame
        threading.Thread(target=server.shutdown).start()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    print(f"emulated AWS account at http://{host}:{server.port}", flush=True)
    server.serve_forever()


def main(arguments: list[str] | None = None) -> int:
    """The command line; exit code 2 when the address cannot be had."""
    parser = argparse.ArgumentParser(
        prog="python -m trainyard.local.aws.server", description="An emulated AWS account."
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 for a free one, which is printed")
    parser.add_argument("--kubernetes", metavar="URL", help="address of the API server of its EKS clusters")
    parser.add_argument(
        "--kubernetes-ca", metavar="FILE", help="the authority that signed the API server's certificate"
    )
    parser.add_argument("--kubernetes-config", type=Path, metavar="FILE", help="kubeconfig of its administrator")
    chosen = parser.parse_args(arguments)
    die_with_parent()
    if chosen.kubernetes:
        os.environ["TRAINYARD_KUBERNETES_ENDPOINT"] = chosen.kubernetes
        os.environ["TRAINYARD_KUBERNETES_CA_FILE"] = chosen.kubernetes_ca or ""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(message)s", stream=sys.stderr)
    try:
        serve(chosen.host, chosen.port, chosen.kubernetes_config)
    except (OSError, SystemExit) as error:
        print(f"cannot serve on {chosen.host}:{chosen.port}: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
