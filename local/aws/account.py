"""The emulated account as the plugin sees it: its address, its clients, and errors in AWS's own words."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from urllib.parse import urlsplit

from trainyard.local.aws.errors import AwsError, ProviderError

ENDPOINT_VARIABLE = "AWS_ENDPOINT_URL"
_CREDENTIALS = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing"}
_MAX_CONNECTIONS = 32


def endpoint_from_environment() -> str:
    """The emulated account's address; without one, or with one in AWS, an error: no real account is ever touched."""
    endpoint = os.environ.get(ENDPOINT_VARIABLE, "")
    if not endpoint:
        raise ProviderError(
            f"{ENDPOINT_VARIABLE} is not set: this aws provider only talks to an emulated account. "
            "Run the stack with `trainyard local up`, or install the official provider for a real account"
        )
    host = urlsplit(endpoint).hostname or ""
    if not host or host.endswith(("amazonaws.com", "amazonaws.com.cn", "api.aws")):
        raise ProviderError(
            f"{ENDPOINT_VARIABLE} is {endpoint!r}: this aws provider only talks to an emulated account, "
            "such as http://127.0.0.1:5000"
        )
    return endpoint


@dataclass
class Account:
    """Clients of one emulated account, one per service and region, made once and shared by all threads."""

    endpoint: str
    _clients: dict[tuple[str, str], Any] = field(default_factory=dict)
    _lock: threading.RLock = field(default_factory=threading.RLock)
    _session: Any = None
    _id: str = ""

    def client(self, service: str, region: str) -> Any:
        """The boto3 client of `service` in `region`."""
        key = (service, region)
        client = self._clients.get(key)
        if client is None:
            with self._lock:
                client = self._clients.get(key) or self._make(service, region)
                self._clients[key] = client
        return client

    def call(
        self, service: str, region: str, operation: str, request: Mapping[str, Any], *, all_pages: bool = False
    ) -> Any:
        """Make one operation; `AwsError` with AWS's code and words when it is refused."""
        from botocore.exceptions import BotoCoreError, ClientError, ConnectionError, HTTPClientError  # noqa: A004

        client = self.client(service, region)
        try:
            if all_pages and client.can_paginate(operation):
                return client.get_paginator(operation).paginate(**request).build_full_result()
            return getattr(client, operation)(**request)
        except ClientError as error:
            details = error.response.get("Error", {})
            if details.get("Code") == "500":  # moto's own trouble; it answers with a page of HTML
                details = {"Code": "InternalError", "Message": "a fault of the emulated account, whose log has more"}
            raise AwsError(
                _api_name(client, operation), details.get("Code", "Unknown"), details.get("Message", "")
            ) from None
        except (ConnectionError, HTTPClientError) as error:
            raise ProviderError(
                f"the emulated account at {self.endpoint} does not answer ({error}). "
                "`trainyard local status` tells whether it runs"
            ) from None
        except BotoCoreError as error:
            raise AwsError(_api_name(client, operation), type(error).__name__, " ".join(str(error).split())) from None

    @property
    def id(self) -> str:
        """The account's 12 digits."""
        with self._lock:
            if not self._id:
                self._id = self.call("sts", "us-east-1", "get_caller_identity", {})["Account"]
            return self._id

    def _make(self, service: str, region: str) -> Any:
        import boto3
        from botocore.config import Config

        if self._session is None:
            self._session = boto3.Session(**_CREDENTIALS)
        config = Config(
            max_pool_connections=_MAX_CONNECTIONS,
            connect_timeout=5,
            read_timeout=60,
            retries={"mode": "standard", "max_attempts": 3},
            s3={"addressing_style": "path"},
        )
        return self._session.client(service, region_name=region, endpoint_url=self.endpoint, config=config)


@cache
def partition_of(region: str) -> str:
    """`aws`, `aws-cn`, `aws-us-gov`: the first part of ARNs in `region`."""
    for prefix, partition in (("cn-", "aws-cn"), ("us-gov-", "aws-us-gov")):
        if region.startswith(prefix):
            return partition
    return "aws"


@cache
def dns_suffix_of(region: str) -> str:
    """The domain that service names in `region` end with."""
    return "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"


def _api_name(client: Any, operation: str) -> str:
    service = client.meta.service_model.service_name
    return f"{service}:{client.meta.method_to_api_mapping.get(operation, operation)}"
