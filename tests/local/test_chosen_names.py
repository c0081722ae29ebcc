"""Names and ids that an account chose are written as the program's own, and what a program wrote out is left alone."""

from __future__ import annotations

from typing import Any

import pytest

from trainyard.local.chosen_names import logical


def export(*resources: tuple[str, str, dict[str, Any]]) -> dict[str, Any]:
    return {
        "deployment": {
            "resources": [
                {"urn": f"urn:pulumi:dev::p::aws:s3/bucket:Bucket::{name}", "id": id_, "outputs": outputs}
                for name, id_, outputs in resources
            ]
        }
    }


STATE = export(
    ("data", "data-d0698c3", {"bucket": "data-d0698c3"}),
    ("key", "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0", {}),
    ("vpc", "vpc-885612071fa477ad9", {}),
    ("queue", "https://sqs.us-east-1.amazonaws.com/123456789012/queue-6c29c46", {"name": "queue-6c29c46"}),
    ("written", "our-own-1234567", {"bucket": "our-own-1234567"}),
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("arn:aws:s3:::data-d0698c3/runs/*", "arn:aws:s3:::data/runs/*"),
        ("aws:SourceVpc is vpc-885612071fa477ad9", "aws:SourceVpc is vpc"),
        ("arn:aws:kms:us-east-1:123456789012:key/0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0", None),
        ("arn:aws:sqs:us-east-1:123456789012:queue-6c29c46", "arn:aws:sqs:us-east-1:123456789012:queue"),
        ("data-d0698c4 and other-data-d0698c3", "data-d0698c4 and other-data-d0698c3"),  # not those
        ("our-own-1234567", "our-own-1234567"),
    ],
)
def test_what_was_chosen_is_told_from_what_was_written(text: str, said: str | None) -> None:
    assert logical(STATE)(text) == (said or "arn:aws:kms:us-east-1:123456789012:key/key")


@pytest.mark.parametrize("broken", [{}, {"deployment": None}, {"deployment": {"resources": [{}, {"outputs": None}]}}])
def test_of_a_state_that_has_none_nothing_is_changed(broken: dict[str, Any]) -> None:
    assert logical(broken)("data-d0698c3") == "data-d0698c3"
