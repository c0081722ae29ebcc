"""The policy evaluation that the other tests ask: where IAM's rules surprise, it must surprise alike."""

from __future__ import annotations

import pytest
from iam_evaluation import Request, allows, decide

OWN = "arn:aws:s3:::box/own/model"


def _policy(*statements: dict) -> dict:
    return {"Version": "2012-10-17", "Statement": list(statements)}


def _allow(**parts: object) -> dict:
    return {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::box/own/*", **parts}


def test_only_what_a_statement_names_is_allowed() -> None:
    policy = _policy(_allow())
    assert allows(policy, Request("s3:GetObject", OWN))
    assert allows(policy, Request("S3:getobject", OWN))
    assert decide(policy, Request("s3:PutObject", OWN)) == "nothing"
    assert decide(policy, Request("s3:GetObject", "arn:aws:s3:::box/other/model")) == "nothing"


def test_deny_wins() -> None:
    policy = _policy(_allow(), _allow(Effect="Deny"))
    assert decide(policy, Request("s3:GetObject", OWN)) == "deny"


@pytest.mark.parametrize(
    ("operator", "expected", "actual", "holds"),
    [
        ("StringEquals", "a", None, False),
        ("StringNotEquals", "a", None, True),
        ("StringNotEquals", ["a", "b"], "b", False),
        ("Null", "true", None, True),
        ("Null", "false", None, False),
        ("Null", "false", "a", True),
        ("StringLike", ["own/*"], "own/x", True),
        ("StringLike", "own/*", "", False),
        ("ArnLike", "arn:aws:events:*:1:rule/*", "arn:aws:events:us-east-1:1:rule/r", True),
        ("ArnEquals", "arn:aws:s3:::box", None, False),
        ("Bool", "false", "true", False),
        ("NumericLessThan", "1.2", "1.1", True),
        ("NumericLessThan", "1.2", "1.3", False),
        ("NumericLessThan", "1.2", None, False),
    ],
)
def test_conditions(operator: str, expected: object, actual: str | None, holds: bool) -> None:
    policy = _policy(_allow(Condition={operator: {"aws:Key": expected}}))
    context = {} if actual is None else {"AWS:key": actual}
    assert allows(policy, Request("s3:GetObject", OWN, context=context)) is holds


def test_every_condition_must_hold() -> None:
    policy = _policy(_allow(Condition={"StringEquals": {"aws:A": "1", "aws:B": "2"}}))
    assert allows(policy, Request("s3:GetObject", OWN, context={"aws:A": "1", "aws:B": "2"}))
    assert not allows(policy, Request("s3:GetObject", OWN, context={"aws:A": "1"}))


def test_principals() -> None:
    root = _policy(_allow(Principal={"AWS": "arn:aws:iam::1:root"}))
    assert allows(root, Request("s3:GetObject", OWN, principal="arn:aws:iam::1:role/r"))
    assert not allows(root, Request("s3:GetObject", OWN, principal="arn:aws:iam::2:role/r"))
    service = _policy(_allow(Principal={"Service": "events.amazonaws.com"}))
    assert allows(service, Request("s3:GetObject", OWN, principal="events.amazonaws.com"))
    assert not allows(service, Request("s3:GetObject", OWN, principal="sns.amazonaws.com"))


def test_what_a_statement_excepts() -> None:
    policy = _policy({"Effect": "Deny", "NotAction": "s3:Get*", "NotResource": OWN})
    assert decide(policy, Request("s3:PutObject", "arn:aws:s3:::other/x")) == "deny"
    assert decide(policy, Request("s3:GetObject", "arn:aws:s3:::other/x")) == "nothing"
    assert decide(policy, Request("s3:PutObject", OWN)) == "nothing"


def test_what_it_does_not_know_is_an_error() -> None:
    with pytest.raises(AssertionError, match="Principle"):
        decide(_policy({"Effect": "Allow", "Principle": "*", "Action": "s3:*"}), Request("s3:GetObject"))
    with pytest.raises(AssertionError, match="stringresembles"):
        decide(_policy(_allow(Condition={"StringResembles": {"aws:Key": "x"}})), Request("s3:GetObject", OWN))
