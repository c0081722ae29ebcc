"""A session in the account that the person's own credentials lead to."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    HTTPClientError,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
    SSOError,
    TokenRetrievalError,
)
from botocore.exceptions import (
    ConnectionError as NoConnectionError,
)
from botocore.parsers import ResponseParserError


class AccountError(Exception):
    """The account cannot be reached, or is not the one it should be."""

    exit_status = 2


class RefusedByAwsError(Exception):
    """AWS refused a request; the message says which, and why."""

    exit_status = 3


@dataclass(frozen=True)
class Account:
    """Who asks, and where."""

    id: str
    caller_arn: str
    partition: str
    region: str
    session: boto3.Session

    def client(self, service: str, region: str | None = None) -> Any:
        return self.session.client(
            service, region_name=region or self.region, config=Config(retries={"mode": "standard", "max_attempts": 5})
        )


def account(region: str, expected: str | None = None) -> Account:
    """The caller's account. Raises `AccountError` where there are no credentials, or `expected` is another account."""
    with told():
        session = boto3.Session(region_name=region)
        said = session.client("sts", region_name=region).get_caller_identity()
    found = said["Account"]
    if expected is not None and found != expected:
        raise AccountError(
            f"these credentials lead to account {found}, and the environment's account_id is {expected}: "
            "choose another profile (AWS_PROFILE), or correct the setting"
        )
    return Account(found, said["Arn"], said["Arn"].split(":")[1], region, session)


@contextmanager
def told() -> Generator[None]:
    """Turn what goes wrong between here and AWS into a sentence that says what to do."""
    try:
        yield
    except (NoCredentialsError, PartialCredentialsError, ProfileNotFound, SSOError, TokenRetrievalError) as missing:
        raise AccountError(
            f"no AWS credentials that work: {missing}. Log in (aws sso login) or set AWS_PROFILE. Without an account, "
            "`trainyard preview` needs none."
        ) from None
    except (NoConnectionError, HTTPClientError) as unreachable:
        raise AccountError(
            f"AWS cannot be reached: {unreachable}. Is there a network, and does a proxy stand between (HTTPS_PROXY)?"
        ) from None
    except ClientError as refused:
        error = refused.response["Error"]
        if error["Code"] in ("ExpiredToken", "InvalidClientTokenId", "UnrecognizedClientException", "AuthFailure"):
            raise AccountError(f"AWS does not take these credentials ({error['Code']}): log in again") from None
        raise RefusedByAwsError(f"{refused.operation_name}: {error['Code']}: {error.get('Message', '')}") from None
    except (BotoCoreError, ResponseParserError) as failed:
        raise RefusedByAwsError(str(failed)) from None
