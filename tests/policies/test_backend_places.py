"""Where a stack's state and the key of its secrets may be."""

from __future__ import annotations

import pytest

from trainyard.policies.residency.backend import judge_backend
from trainyard.policies.rule import Finding, Level, Verdict

HOME_STATE = "s3://state?region=me-central-1"
KEY = "arn:aws:kms:{}:123456789012:key/1"


def found(backend: str, secrets_provider: str, data_class: str = "personal") -> list[Finding]:
    results = judge_backend("platform", "prod-uae", data_class, backend, secrets_provider)
    return [finding for result in results for finding in result.findings]


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
        ("gs://state", "passphrase", [Verdict.VIOLATION]),
        (HOME_STATE, "awskms://alias/state?region=us-east-1", [Verdict.VIOLATION]),
        (HOME_STATE, "awskms:///" + KEY.format("us-east-1"), [Verdict.VIOLATION]),
        (HOME_STATE, "awskms://alias/state", [Verdict.UNVERIFIED]),
        (HOME_STATE, "gcpkms://projects/p", [Verdict.VIOLATION]),
        ("s3://state?region=us-east-1", "awskms://alias/state?region=us-east-1", [Verdict.VIOLATION] * 2),
    ],
)
def test_state_and_key_stay_at_home(backend: str, secrets_provider: str, expected: list[Verdict]) -> None:
    findings = found(backend, secrets_provider)

    assert [finding.verdict for finding in findings] == expected
    assert not [finding for finding in findings if finding.crashed or finding.level is not Level.MANDATORY]


def test_state_of_public_data_may_be_anywhere() -> None:
    assert found("https://api.pulumi.com", "gcpkms://p", "public") == []


def test_message_says_what_is_where() -> None:
    (one,) = found("s3://state?region=eu-west-1", "passphrase")

    assert one.message.startswith("the stack's state is in eu-west-1: personal data of the United Arab Emirates")
    assert one.place == "backend.url"


def test_a_backend_that_is_not_written_is_told_where_a_law_binds_the_data_and_stops_nothing() -> None:
    (one,) = found("", "")

    assert (one.verdict, one.level) == (Verdict.UNVERIFIED, Level.ADVISORY)
    assert "backend.url there makes it known" in one.message
    assert found("", "", "internal") == []  # no law is listed for those
