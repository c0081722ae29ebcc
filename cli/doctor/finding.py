"""What a check of an account found."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from trainyard.cli.aws_session import NO_CREDENTIALS, REFUSED_CREDENTIALS, WRONG_CLOCK

NO_ANSWER = (ClientError, BotoCoreError, ResponseParserError)
"""What a call that gave no answer raises."""


class Verdict(StrEnum):
    """How it stands; only FAILED keeps an `up` from succeeding."""

    FINE = "fine"
    WARNING = "warning"
    FAILED = "failed"
    UNKNOWN = "unknown"
    """The caller may not ask, or AWS does not tell."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. `remedy` says what to do, and is empty where nothing is."""

    check: str
    subject: str
    verdict: Verdict
    said: str
    remedy: str = ""


def reason(refused: Exception) -> str:
    """Why a call gave no answer, in a word where AWS has one. Credentials that AWS does not take are no answer to any
    call, so their refusal is raised again."""
    if isinstance(refused, ClientError):
        code = refused.response["Error"]["Code"]
        if code in (*REFUSED_CREDENTIALS, *WRONG_CLOCK):
            raise refused
        return code
    if isinstance(refused, NO_CREDENTIALS):
        raise refused
    return "no answer that can be read" if isinstance(refused, ResponseParserError) else str(refused)
