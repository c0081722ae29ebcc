"""How policy documents are read: who is anyone, which conditions keep strangers out, what a pattern covers."""

from __future__ import annotations

import json
from typing import Any

import pytest

from trainyard.policies.iam.documents import Statement, covers, denies_plain_transport, statements
from trainyard.policies.values import UnverifiedError, Value


def statement(**parts: Any) -> Statement:
    base = {"Effect": "Allow", "Principal": "*", "Action": "s3:*", "Resource": "*"}
    (only,) = statements(Value(json.dumps({"Statement": [{**base, **parts}]}), ("policy",)))
    return only


@pytest.mark.parametrize(
    ("condition", "narrowed"),
    [
        ({"StringEquals": {"aws:PrincipalOrgID": "o-1"}}, True),
        ({"stringequals": {"AWS:SOURCEACCOUNT": ["1", "2"]}}, True),
        ({"ArnLike": {"aws:SourceArn": "arn:aws:events:us-east-1:1:rule/x"}}, True),
        ({"ForAnyValue:StringLike": {"aws:PrincipalOrgPaths": "o-1/*"}}, True),
        ({"IpAddress": {"aws:SourceIp": "203.0.113.0/24"}}, True),
        ({"StringEquals": {"kms:CallerAccount": "1"}, "Bool": {"aws:SecureTransport": "true"}}, True),
        ({}, False),
        ({"Bool": {"aws:SecureTransport": "true"}}, False),
        ({"StringLike": {"aws:SourceArn": "arn:*"}}, False),
        ({"StringLike": {"aws:SourceArn": ["arn:aws:sns:us-east-1:1:x", "*"]}}, False),
        ({"StringNotEquals": {"aws:PrincipalAccount": "1"}}, False),
        ({"StringEqualsIfExists": {"aws:SourceAccount": "1"}}, False),
        ({"ForAllValues:StringEquals": {"aws:PrincipalOrgID": "o-1"}}, False),
        ({"IpAddress": {"aws:SourceIp": "0.0.0.0/0"}}, False),
        ({"IpAddress": {"aws:SourceIp": "home"}}, False),
        ({"StringEquals": {"aws:UserAgent": "curl"}}, False),
        ({"StringEquals": {"aws:PrincipalOrgID": []}}, False),
    ],
)
def test_condition_keeps_strangers_out(condition: dict[str, Any], narrowed: bool) -> None:
    assert statement(Condition=condition).narrowed is narrowed


@pytest.mark.parametrize(
    ("principal", "anyone"),
    [
        ({"Principal": "*"}, True),
        ({"Principal": {"AWS": "*"}}, True),
        ({"Principal": {"AWS": ["arn:aws:iam::1:root", "*"]}}, True),
        ({"Principal": {"Service": "events.amazonaws.com"}}, False),
        ({"Principal": None, "NotPrincipal": {"AWS": "arn:aws:iam::1:root"}}, True),
    ],
)
def test_principal_is_anyone(principal: dict[str, Any], anyone: bool) -> None:
    assert statement(**principal).for_anyone is anyone


@pytest.mark.parametrize(
    ("parts", "denies"),
    [
        ({}, True),
        ({"Action": ["s3:GetObject", "S3:*"]}, True),
        ({"Condition": {"Bool": {"aws:SecureTransport": ["false", "true"]}}}, True),
        ({"Condition": {"Bool": {"aws:SecureTransport": "true"}}}, False),
        ({"Condition": {"Null": {"aws:SecureTransport": "false"}}}, False),
        ({"Condition": {"Bool": {"aws:SecureTransport": "false", "aws:ViaAWSService": "false"}}}, False),
        ({"Effect": "Allow"}, False),
        ({"Action": "sqs:*"}, False),
        ({"Action": None, "NotAction": "s3:GetObject"}, False),
        ({"Principal": {"AWS": "arn:aws:iam::1:root"}}, False),
    ],
)
def test_statement_denies_plain_transport(parts: dict[str, Any], denies: bool) -> None:
    base = {"Effect": "Deny", "Condition": {"Bool": {"aws:SecureTransport": "false"}}}

    assert denies_plain_transport(statement(**{**base, **parts}), "s3") is denies


@pytest.mark.parametrize(
    ("pattern", "arn", "covered"),
    [
        ("*", "arn:aws:s3:::data", True),
        ("arn:aws:s3:::data/*", "arn:aws:s3:::data/a/b", True),
        ("arn:aws:s3:::da?a", "arn:aws-cn:s3:::data", True),
        ("arn:aws:s3:::data", "arn:aws:s3:::data2", False),
        ("arn:aws:s3:::data.*", "arn:aws:s3:::dataxy", False),
    ],
)
def test_pattern_covers_arn(pattern: str, arn: str, covered: bool) -> None:
    assert covers(pattern, arn) is covered


@pytest.mark.parametrize("text", ["nonsense", "[]", "7", "{}", '{"Statement": [7]}', '{"Statement": "Allow"}'])
def test_what_is_no_policy_cannot_be_verified(text: str) -> None:
    with pytest.raises(UnverifiedError) as caught:
        statements(Value(text, ("policy",)))

    assert caught.value.value.path == ("policy",)


def test_an_absent_policy_has_no_statements() -> None:
    assert statements(Value(None)) == []
    assert statements(Value("")) == []
