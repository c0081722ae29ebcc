"""Parameters of Systems Manager."""

from __future__ import annotations

from aws_lifecycle import Lifecycle, Step

PARAMETER = "aws:ssm/parameter:Parameter"


class TestLife(Lifecycle):
    region = "me-central-1"
    steps = {  # noqa: RUF012
        "key": Step("aws:kms/key:Key", lambda _: {"deletionWindowInDays": 7}),
        "plain": Step(
            PARAMETER,
            lambda _: {"name": "/trainyard/plain", "type": "String", "value": "one"},
            lambda _: {
                "name": "/trainyard/plain",
                "type": "String",
                "value": "two",
                "description": "d",
                "tags": {"a": "b"},
            },
            by_others=frozenset({"version"}),
        ),
        "secret": Step(
            PARAMETER,
            lambda r: {"type": "SecureString", "value": "hush", "keyId": r["key"]["arn"]},
        ),
    }
