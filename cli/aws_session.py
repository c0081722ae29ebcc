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
    CredentialRetrievalError,
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

FIRST_REGION = "us-east-1"
"""Of the partition `aws`: it is always on."""

NO_CREDENTIALS = (
    NoCredentialsError,
    PartialCredentialsError,
    CredentialRetrievalError,
    ProfileNotFound,
    SSOError,
    TokenRetrievalError,
)
NO_NETWORK = (NoConnectionError, HTTPClientError)
REFUSED_CREDENTIALS = (
    "AuthFailure",
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidClientTokenId",
    "InvalidToken",
    "RequestExpired",
    "TokenRefreshRequired",
    "UnrecognizedClientException",
)
"""Codes by which one service or another says that the credentials are no longer, or not at all, good."""
WRONG_CLOCK = ("InvalidSignatureException", "RequestTimeTooSkewed", "SignatureDoesNotMatch")


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
    region_answers: bool = True
    """False where only the partition's first region takes the credentials: the account has not opted in to its own."""

    def client(self, service: str, region: str | None = None) -> Any:
        return self.session.client(
            service, region_name=region or self.region, config=Config(retries={"mode": "standard", "max_attempts": 5})
        )


def account(region: str, expected: str | None = None) -> Account:
    """The caller's account. Raises `AccountError` where there are no credentials, or `expected` is another account."""
    with told():
        try:
            session = boto3.Session(region_name=region)
            said, region_answers = _identity(session, region)
        except (ClientError, *NO_CREDENTIALS, *NO_NETWORK):
            raise
        except (BotoCoreError, ResponseParserError, ValueError, OSError) as unusable:
            raise AccountError(
                f"your AWS settings cannot be used: {str(unusable)[:300]}. `aws configure list` shows their sources"
            ) from None
    found = said["Account"]
    if expected is not None and found != expected:
        raise AccountError(
            f"these credentials lead to account {found}, and the environment's account_id is {expected}: "
            "choose another profile (AWS_PROFILE), or correct the setting"
        )
    return Account(found, said["Arn"], said["Arn"].split(":")[1], region, session, region_answers)


def _identity(session: boto3.Session, region: str) -> tuple[dict[str, Any], bool]:
    """Who asks, as `region` has it; where it knows no such caller, as the first region has it, and False.

    A region that the account has not opted in to takes no credentials at all, and says so in the words for wrong ones.
    """
    try:
        return session.client("sts", region_name=region).get_caller_identity(), True
    except ClientError as refused:
        code = refused.response["Error"]["Code"]
        if code != "InvalidClientTokenId" or session.get_partition_for_region(region) != "aws":
            raise
        try:
            return session.client("sts", region_name=FIRST_REGION).get_caller_identity(), False
        except ClientError:
            raise refused from None


def region_is_off(region: str) -> str:
    """What to do about a region that does not take credentials which another one takes."""
    return (
        f"aws account enable-region --region-name {region} (takes minutes to hours); where the account has opted in "
        "already, the session is of STS's global endpoint, which such regions refuse: log in by a regional one"
    )


@contextmanager
def told() -> Generator[None]:
    """Turn what goes wrong between here and AWS into a sentence that says what to do."""
    try:
        yield
    except NO_CREDENTIALS as missing:
        raise AccountError(
            f"no AWS credentials that work: {missing}. Log in (aws sso login) or set AWS_PROFILE. Without an account, "
            "`trainyard preview` needs none."
        ) from None
    except NO_NETWORK as unreachable:
        raise AccountError(
            f"AWS cannot be reached: {unreachable}. Is there a network, and does a proxy stand between (HTTPS_PROXY)?"
        ) from None
    except ClientError as refused:
        error = refused.response["Error"]
        if error["Code"] in REFUSED_CREDENTIALS:
            raise AccountError(f"AWS does not take these credentials ({error['Code']}): log in again") from None
        if error["Code"] in WRONG_CLOCK:
            raise AccountError(
                f"AWS does not take the signature ({error['Code']}): is this machine's clock right, and the secret key "
                "whole?"
            ) from None
        raise RefusedByAwsError(f"{refused.operation_name}: {error['Code']}: {error.get('Message', '')}") from None
    except (BotoCoreError, ResponseParserError) as failed:
        raise RefusedByAwsError(str(failed)) from None
