"""Whether a policy lets a service in."""

from __future__ import annotations

import json

import pytest

from trainyard.local.aws.resource_policy import Request, UnsupportedPolicyError, evaluate, is_public

QUEUE = "arn:aws:sqs:us-east-1:123456789012:jobs"
RULE = "arn:aws:events:us-east-1:123456789012:rule/spot"
CONTEXT = {"aws:SourceArn": RULE, "aws:SourceAccount": "123456789012", "aws:SecureTransport": "true"}
REQUEST = Request("events.amazonaws.com", "sqs:SendMessage", QUEUE, CONTEXT)
ALLOW = {
    "Effect": "Allow",
    "Principal": {"Service": "events.amazonaws.com"},
    "Action": "sqs:SendMessage",
    "Resource": QUEUE,
}
DENY_ALL = {"Effect": "Deny", "Principal": "*", "Action": "*", "Resource": "*"}


def allowed(*statements, request: Request = REQUEST) -> bool:
    return evaluate(json.dumps({"Version": "2012-10-17", "Statement": list(statements)}), request).allowed


def test_nothing_is_allowed_without_a_policy():
    assert not evaluate(None, REQUEST).allowed
    assert not evaluate("", REQUEST).allowed
    assert not allowed()


def test_a_statement_that_names_everything_allows():
    assert allowed(ALLOW)


@pytest.mark.parametrize(
    "change",
    [
        {"Principal": {"Service": "sns.amazonaws.com"}},
        {"Principal": {"AWS": "arn:aws:iam::123456789012:root"}},
        {"Action": "sqs:ReceiveMessage"},
        {"Resource": f"{QUEUE}-other"},
        {"Effect": "Deny"},
    ],
)
def test_a_statement_about_something_else_does_not(change):
    assert not allowed({**ALLOW, **change})


@pytest.mark.parametrize(
    "change",
    [
        {"Principal": "*"},
        {"Principal": {"AWS": "*"}},
        {"Principal": {"Service": ["sns.amazonaws.com", "events.amazonaws.com"]}},
        {"Action": ["SQS:SendMessage"]},
        {"Action": "sqs:Send*"},
        {"Resource": ["arn:aws:sqs:*:*:jobs"]},
        {"Resource": "arn:aws:sqs:us-east-1:123456789012:job?"},
    ],
)
def test_wildcards_lists_and_letter_case_of_actions(change):
    assert allowed({**ALLOW, **change})


def test_a_deny_wins_wherever_it_stands():
    assert not allowed(ALLOW, DENY_ALL)
    assert not allowed(DENY_ALL, ALLOW)


def test_the_usual_tls_only_statement_denies_plain_text_only():
    tls_only = {**DENY_ALL, "Condition": {"Bool": {"aws:SecureTransport": "false"}}}
    assert allowed(ALLOW, tls_only)
    plain = Request(REQUEST.principal, REQUEST.action, QUEUE, {**CONTEXT, "aws:SecureTransport": "false"})
    assert not allowed(ALLOW, tls_only, request=plain)


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ({"ArnEquals": {"aws:SourceArn": RULE}}, True),
        ({"ArnLike": {"aws:SourceArn": "arn:aws:events:*:123456789012:rule/*"}}, True),
        ({"ArnLike": {"aws:SourceArn": "arn:aws:events:us-east-1:123456789012:rule/other"}}, False),
        ({"ArnLike": {"aws:SourceArn": "arn:aws:*"}}, False),
        ({"ArnNotEquals": {"aws:SourceArn": RULE}}, False),
        ({"StringEquals": {"aws:SourceAccount": "123456789012"}}, True),
        ({"StringEquals": {"AWS:sourceaccount": ["1", "123456789012"]}}, True),
        ({"StringEquals": {"aws:SourceAccount": "210987654321"}}, False),
        ({"StringNotEquals": {"aws:SourceAccount": "210987654321"}}, True),
        ({"StringLike": {"aws:SourceAccount": "1234*"}}, True),
        ({"StringEquals": {"aws:PrincipalOrgID": "o-1"}}, False),
        ({"StringNotEquals": {"aws:PrincipalOrgID": "o-1"}}, True),
        ({"StringEqualsIfExists": {"aws:PrincipalOrgID": "o-1"}}, True),
        ({"Null": {"aws:PrincipalOrgID": "true"}}, True),
        ({"Null": {"aws:SourceArn": "true"}}, False),
        ({"ForAnyValue:StringEquals": {"aws:PrincipalOrgID": "o-1"}}, False),
        ({"ForAllValues:StringEquals": {"aws:PrincipalOrgID": "o-1"}}, True),
        ({"ArnEquals": {"aws:SourceArn": RULE}, "StringEquals": {"aws:SourceAccount": "1"}}, False),
    ],
)
def test_conditions(condition, expected):
    assert allowed({**ALLOW, "Condition": condition}) is expected


def test_not_principal_denies_everyone_else():
    only_me = {"Effect": "Deny", "NotPrincipal": {"Service": "events.amazonaws.com"}, "Action": "*", "Resource": "*"}
    assert allowed(ALLOW, only_me)
    assert not allowed(ALLOW, {**only_me, "NotPrincipal": {"Service": "sns.amazonaws.com"}})


def test_not_action_and_not_resource():
    assert not allowed(ALLOW, {"Effect": "Deny", "Principal": "*", "NotAction": "sqs:ReceiveMessage", "Resource": "*"})
    assert allowed(ALLOW, {"Effect": "Deny", "Principal": "*", "Action": "*", "NotResource": QUEUE})


def test_an_operator_that_is_not_evaluated_is_an_error_and_no_guess():
    with pytest.raises(UnsupportedPolicyError, match="IpAddress"):
        allowed({**ALLOW, "Condition": {"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}})


def test_the_reason_names_the_statement():
    decision = evaluate({"Statement": [ALLOW, {**DENY_ALL, "Sid": "NobodyAtAll"}]}, REQUEST)
    assert "NobodyAtAll" in decision.reason


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ({"Principal": "*"}, True),
        ({"Principal": {"AWS": ["*"]}}, True),
        ({"Principal": {"AWS": "arn:aws:iam::123456789012:root"}}, False),
        ({"Principal": "*", "Effect": "Deny"}, False),
        ({"Principal": "*", "Condition": {"StringEquals": {"aws:SourceVpce": "vpce-1"}}}, False),
        ({"Principal": "*", "Condition": {"StringLike": {"aws:PrincipalArn": "*"}}}, True),
        ({"Principal": "*", "Condition": {"Bool": {"aws:SecureTransport": "true"}}}, True),
    ],
)
def test_public_policies(statement, expected):
    policy = {"Statement": {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*", **statement}}
    assert is_public(json.dumps(policy)) is expected
