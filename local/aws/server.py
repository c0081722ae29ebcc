"""The emulated AWS account: `python -m trainyard.local.aws.server --host 127.0.0.1 --port N`.

Serves every service on one address until SIGTERM, SIGINT or the end of its parent. The account lives in memory: it is
empty at the start and gone at the end. Prints one line when it is ready; requests are not logged, what EventBridge
drops is.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import threading
from typing import Any

from trainyard.local.process import die_with_parent

# Told to moto before it is imported: it looks the environment up once.
os.environ.setdefault("MOTO_EC2_LOAD_DEFAULT_AMIS", "false")
os.environ.setdefault("MOTO_IAM_LOAD_MANAGED_POLICIES", "true")  # roles attach policies that AWS keeps


def serve(host: str, port: int) -> None:
    """Serve on `host`:`port` (0: a free one) until told to stop."""
    from werkzeug.serving import make_server

    from trainyard.local.aws import moto_adapter

    moto_adapter.install()
    moto_adapter.preload()
    handler = _quiet(moto_adapter.request_handler())
    server = make_server(host, port, moto_adapter.application(), threaded=True, request_handler=handler)

    def stop(signal_number: int, frame: Any) -> None:
        del signal_number, frame
        threading.Thread(target=server.shutdown).start()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    print(f"emulated AWS account at http://{host}:{server.port}", flush=True)
    server.serve_forever()


def _quiet(handler: Any) -> Any:
    class QuietHandler(handler):
        disable_nagle_algorithm = True
        # Connections stay open between requests, which spares the provider a new one for each.
        protocol_version = "HTTP/1.1"

        def log_request(self, *arguments: Any) -> None:
            """A line per request would bury what matters."""

    return QuietHandler


def main(arguments: list[str] | None = None) -> int:
    """The command line; exit code 2 when the address cannot be had."""
    parser = argparse.ArgumentParser(
        prog="python -m trainyard.local.aws.server", description="An emulated AWS account."
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 for a free one, which is printed")
    chosen = parser.parse_args(arguments)
    die_with_parent()
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(message)s", stream=sys.stderr)
    try:
        serve(chosen.host, chosen.port)
    except (OSError, SystemExit) as error:
        print(f"cannot serve on {chosen.host}:{chosen.port}: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
