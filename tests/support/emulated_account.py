"""An emulated account in a process of its own, and clients of it."""

from __future__ import annotations

import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import boto3
from waiting import WAIT_SECONDS


@contextmanager
def emulated_account(folder: Path) -> Iterator[str]:
    """The account's address, as long as the block lasts; `folder` keeps its log."""
    log = folder / "aws.log"
    with log.open("w") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "trainyard.local.aws.server", "--port", "0"],
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert "http://" in line, log.read_text()
            yield line.split()[-1]
            process.terminate()
            assert process.wait(WAIT_SECONDS) == 0, log.read_text()
        finally:
            process.kill()


def empty(address: str) -> None:
    """Take everything out of the account."""
    urllib.request.urlopen(urllib.request.Request(f"{address}/moto-api/reset", method="POST")).close()


class Clients:
    """boto3 clients of one account: `aws("s3")`, `aws("s3", "eu-west-1")`."""

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint
        self._make = cache(self._new)

    def __call__(self, service: str, region: str = "us-east-1") -> Any:
        return self._make(service, region)

    def _new(self, service: str, region: str) -> Any:
        return boto3.client(
            service,
            region,
            endpoint_url=self._endpoint,
            aws_access_key_id="testing",
            aws_secret_access_key="testing",
        )
