"""Which events mean that an instance goes."""

from __future__ import annotations

import json

import pytest
from trainer.preemption import interrupted_instance

WARNING = {
    "version": "0",
    "detail-type": "EC2 Spot Instance Interruption Warning",
    "source": "aws.ec2",
    "region": "us-east-1",
    "resources": ["arn:aws:ec2:us-east-1a:instance/i-1234567890abcdef0"],
    "detail": {"instance-id": "i-1234567890abcdef0", "instance-action": "terminate"},
}


def test_spot_warning_names_the_instance() -> None:
    assert interrupted_instance(json.dumps(WARNING)) == "i-1234567890abcdef0"


@pytest.mark.parametrize(
    "body",
    [
        "no JSON",
        "[]",
        "3",
        json.dumps({**WARNING, "detail-type": "EC2 Instance Rebalance Recommendation"}),
        json.dumps({**WARNING, "detail": None}),
        json.dumps({key: value for key, value in WARNING.items() if key != "detail"}),
    ],
)
def test_anything_else_names_none(body: str) -> None:
    assert interrupted_instance(body) is None
