"""Where a stack's state and the key of its secrets may be."""

from __future__ import annotations

import pytest

from trainyard.policies.residency.backend import judge_backend
from trainyard.policies.rule import Verdict

HOME_STATE = "s3://state?region=me-central-1"
KEY = "arn:aws:kms:{}:123456789012:key/1"


@pytest.mark.parametrize(
    ("backend", "secrets_provider", "expected"),
    [
        (HOME_STATE, "awskms://alias/state?region=me-central-1", []),
        (HOME_STATE, "awskms:///" + KEY.format("me-central-1"), []),
        (HOME_STATE, "passphrase", []),
        ("file://~", "passphrase", []),
        ("s3://state?region=eu-west-1", "passphrase", [Verdict.VIOLATION]),
        ("s3://state", "passphrase", [Verdict.UNVERIFIED]),
        ("s3://state?region=somewhere", "passphrase", [Verdict.UNVERIFIED]),
        ("https://api.pulumi.com", "default", [Verdict.VIOLATION]),
        ("", "", [Verdict.VIOLATION]),
        ("gs://state", "passphrase", [Verdict.VIOLATION]),
        (HOME_STATE, "awskms://alias/state?region=us-east-1", [Verdict.VIOLATION]),
        (HOME_STATE, "awskms:///" + KEY.format("us-east-1"), [Verdict.VIOLATION]),
        (HOME_STATE, "awskms://alias/state", [Verdict.UNVERIFIED]),
        (HOME_STATE, "gcpkms://projects/p", [Verdict.VIOLATION]),
        ("s3://state?region=us-east-1", "awskms://alias/state?region=us-east-1", [Verdict.VIOLATION] * 2),
    ],
)
def test_state_and_key_stay_at_home(backend: str, secrets_provider: str, expected: list[Verdict]) -> None:
    found = list(judge_backend("prod-uae", "personal", backend, secrets_provider))

    assert [finding.verdict for finding in found] == expected


def test_state_of_public_data_may_be_anywhere() -> None:
    assert list(judge_backend("prod-uae", "public", "https://api.pulumi.com", "gcpkms://p")) == []


def test_message_says_what_is_where() -> None:
    (found,) = judge_backend("prod-uae", "personal", "s3://state?region=eu-west-1", "passphrase")

    assert found.message.startswith("the stack's state is in eu-west-1: personal data of the United Arab Emirates")
