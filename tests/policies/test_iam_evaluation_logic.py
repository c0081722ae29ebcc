"""Policies of several kinds together: AWS's documented examples, and what must hold whatever they say."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainyard.policies.iam import documents
from trainyard.policies.iam.conditions import Context, Truth
from trainyard.policies.iam.documents import Statement
from trainyard.policies.iam.evaluation import Policies, Request, Said, evaluate
from trainyard.policies.values import Value

ACCOUNT, OTHER = "111122223333", "444455556666"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/trainer"
STRANGER = f"arn:aws:iam::{OTHER}:role/trainer"
KEY = f"arn:aws:kms:us-east-1:{ACCOUNT}:key/k"
OBJECT = "arn:aws:s3:::amzn-s3-demo-bucket/home/one"


def said(*statements: dict[str, Any]) -> tuple[Statement, ...]:
    return tuple(documents.statements(Value({"Statement": list(statements)})))


def allow(action: Any = "s3:GetObject", resource: Any = "*", **more: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": action, "Resource": resource, **more}


def deny(action: Any = "s3:GetObject", resource: Any = "*", **more: Any) -> dict[str, Any]:
    return {**allow(action, resource, **more), "Effect": "Deny"}


def known(**keys: str | tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    return {key.replace("__", ":"): (value,) if isinstance(value, str) else value for key, value in keys.items()}


def answer(policies: Policies, request: Request, *, own_account: bool = True) -> Truth:
    return evaluate(policies, request, own_account=own_account).truth


READ = Request("s3:GetObject", OBJECT, ROLE)
BY_NAME = {"Principal": {"AWS": ROLE}}
BY_ACCOUNT = {"Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}}


@pytest.mark.parametrize(
    ("policies", "expected"),
    [
        (Policies(), Truth.NO),
        (Policies(identity=said(allow())), Truth.YES),
        (Policies(resource=said(allow(**BY_NAME))), Truth.YES),
        # The account as a principal leaves it to the account's own policies.
        (Policies(resource=said(allow(**BY_ACCOUNT))), Truth.NO),
        (Policies(identity=said(allow()), resource=said(deny(Principal="*"))), Truth.NO),
        (Policies(identity=said(allow()), control=said(deny())), Truth.NO),
    ],
)
def test_within_an_account_either_policy_is_enough_and_a_denial_wins(policies: Policies, expected: Truth) -> None:
    assert answer(policies, READ) is expected


def test_a_boundary_limits_and_grants_nothing() -> None:
    # IAM user guide, "Permissions boundaries for IAM entities": the boundary has S3, the policy has iam:CreateUser.
    boundary = said(allow(["s3:*", "cloudwatch:*", "ec2:*"]))
    create = Request("iam:CreateUser", "*", ROLE)

    assert answer(Policies(said(allow("iam:CreateUser")), boundary), create) is Truth.NO
    assert answer(Policies((), boundary), READ) is Truth.NO
    assert answer(Policies(said(allow()), boundary), READ) is Truth.YES
    assert answer(Policies((), said(allow("ec2:*")), said(allow(**BY_NAME))), READ) is Truth.NO


def test_from_another_account_both_must_allow() -> None:
    theirs = Request("s3:GetObject", OBJECT, STRANGER)
    let_in = said(allow(Principal={"AWS": STRANGER}))
    let_account_in = said(allow(Principal={"AWS": OTHER}))

    for resource in (let_in, let_account_in):
        assert answer(Policies(said(allow()), resource=resource), theirs, own_account=False) is Truth.YES
        assert answer(Policies((), resource=resource), theirs, own_account=False) is Truth.NO
        assert answer(Policies(None, resource=resource), theirs, own_account=False) is Truth.DEPENDS
    assert answer(Policies(said(allow())), theirs, own_account=False) is Truth.NO


def test_a_key_decides_itself_whether_iam_counts() -> None:
    # KMS developer guide, "Default key policy": without the statement for the account, IAM policies have no effect.
    decrypt = Request("kms:Decrypt", KEY, ROLE)
    own = said(allow("kms:Decrypt", KEY))
    account = said(allow("kms:*", **BY_ACCOUNT))

    assert answer(Policies(own, decides_itself=True), decrypt) is Truth.NO
    assert answer(Policies(own, resource=account, decides_itself=True), decrypt) is Truth.YES
    assert answer(Policies((), resource=account, decides_itself=True), decrypt) is Truth.NO
    assert (
        answer(Policies((), resource=said(allow("kms:Decrypt", **BY_NAME)), decides_itself=True), decrypt) is Truth.YES
    )


def test_a_session_that_is_named_is_not_the_whole_role() -> None:
    session = {"Principal": {"AWS": f"arn:aws:sts::{ACCOUNT}:assumed-role/trainer/job-1"}}

    assert answer(Policies(resource=said(allow(**session))), READ) is Truth.DEPENDS


def test_not_principal_means_everybody_else() -> None:
    others = {"NotPrincipal": {"AWS": f"arn:aws:iam::{ACCOUNT}:role/admin"}}
    excepted = {"NotPrincipal": {"AWS": [ROLE, ACCOUNT]}}

    assert answer(Policies(said(allow()), resource=said(deny(**others))), READ) is Truth.NO
    assert answer(Policies(said(allow()), resource=said(deny(**excepted))), READ) is Truth.YES
    assert answer(Policies(resource=said(allow(**others))), READ) is Truth.YES


def test_not_action_with_a_region() -> None:
    # IAM user guide, "Denies access to AWS based on the requested Region".
    outside = {
        "Effect": "Deny",
        "NotAction": ["cloudfront:*", "iam:*"],
        "Resource": "*",
        "Condition": {"StringNotEquals": {"aws:RequestedRegion": ["eu-central-1", "eu-west-1"]}},
    }
    policies = Policies(said(allow("*"), outside))

    for action, region, expected in (
        ("s3:GetObject", "eu-west-1", Truth.YES),
        ("s3:GetObject", "us-east-1", Truth.NO),
        ("iam:ListRoles", "us-east-1", Truth.YES),
    ):
        request = Request(action, OBJECT, ROLE, Context(known(aws__requestedregion=region)))
        assert answer(policies, request) is expected
    assert answer(policies, Request("s3:GetObject", OBJECT, ROLE, Context(closed=False))) is Truth.DEPENDS


@pytest.mark.parametrize(
    ("pattern", "username", "expected"),
    [
        ("arn:aws:s3:::amzn-s3-demo-bucket/home/${aws:username}", "one", Truth.YES),
        ("arn:aws:s3:::amzn-s3-demo-bucket/home/${aws:username}", "two", Truth.NO),
        # A value is text, never a pattern, and a variable without a value fits nothing.
        ("arn:aws:s3:::amzn-s3-demo-bucket/home/${aws:username}", "*", Truth.NO),
        ("arn:aws:s3:::amzn-s3-demo-bucket/home/${aws:userid}", "one", Truth.NO),
        ("arn:aws:s3:::amzn-s3-demo-bucket/home/${aws:userid, 'one'}", "two", Truth.YES),
        ("arn:aws:s3:::amzn-s3-demo-bucket/home/${*}", "one", Truth.NO),
        ("arn:aws-cn:s3:::amzn-s3-demo-bucket/ho?e/*", "one", Truth.YES),
    ],
)
def test_policy_variables(pattern: str, username: str, expected: Truth) -> None:
    request = Request("s3:GetObject", OBJECT, ROLE, Context(known(aws__username=username)))

    assert answer(Policies(said(allow(resource=pattern))), request) is expected


def test_a_variable_that_is_not_known_makes_it_depend() -> None:
    request = Request("s3:GetObject", OBJECT, ROLE, Context(closed=False))
    found = evaluate(Policies(said(allow(resource="arn:aws:s3:::*/home/${aws:username}"))), request)

    assert found == Said(Truth.DEPENDS, ("the request makes it fit arn:aws:s3:::*/home/${aws:username}",))


@pytest.mark.parametrize(
    ("operator", "expected", "values", "holds"),
    [
        ("StringEqualsIgnoreCase", "AB", ("ab",), True),
        ("StringNotLike", ["a*", "b*"], ("c",), True),
        ("StringNotLike", ["a*", "b*"], ("bc",), False),
        ("StringEqualsIfExists", "a", (), True),
        ("StringEqualsIfExists", "a", ("b",), False),
        # IAM user guide, "Set operators for multivalued context keys".
        ("ForAllValues:StringEquals", ["ID", "Message"], ("ID", "Message"), True),
        ("ForAllValues:StringEquals", ["ID", "Message"], ("ID", "Password"), False),
        ("ForAllValues:StringEquals", ["ID", "Message"], (), True),
        ("ForAnyValue:StringEquals", ["ID", "Message"], ("ID", "Password"), True),
        ("ForAnyValue:StringEquals", ["ID", "Message"], (), False),
        ("IpAddress", ["203.0.113.0/24", "2001:db8::/32"], ("203.0.113.7",), True),
        ("NotIpAddress", "203.0.113.0/24", ("198.51.100.1",), True),
        ("DateGreaterThan", "2026-01-01T00:00:00Z", ("2026-06-01T00:00:00Z",), True),
        ("DateLessThan", "2026-01-01T00:00:00Z", ("1893456000",), False),
        ("NumericGreaterThanEquals", "10", ("10",), True),
        # Each part of an ARN by itself: a wildcard reaches over no colon.
        ("ArnLike", "arn:*:s3:*:*:bucket", ("arn:aws:sns:s3:x:y:bucket",), False),
        ("ArnLike", "arn:aws:iam::*:role/*", (ROLE,), True),
        ("ArnNotEquals", f"arn:aws:iam::{ACCOUNT}:role/*", (ROLE,), False),
        ("StringEquals", "${aws:PrincipalTag/team}", ("vision",), True),
        ("Null", ["true"], (), True),
        ("BinaryEquals", "QmFzZTY0", ("QmFzZTY0",), True),
    ],
)
def test_operators(operator: str, expected: Any, values: tuple[str, ...], holds: bool) -> None:
    context = Context({"aws:key": values, "aws:principaltag/team": ("vision",)} if values else {})
    policies = Policies(said(allow(Condition={operator: {"aws:Key": expected}})))

    assert answer(policies, Request("s3:GetObject", OBJECT, ROLE, context)) is (Truth.YES if holds else Truth.NO)


def test_what_depends_is_said_in_words() -> None:
    through = {"StringEquals": {"kms:ViaService": "s3.us-east-1.amazonaws.com"}, "Bool": {"aws:ViaAWSService": "true"}}
    unless = {"StringNotEquals": {"aws:SourceVpce": ["vpce-1", "vpce-2"]}}
    policies = Policies(said(allow("kms:Decrypt", KEY, Condition=through), deny("kms:*", Condition=unless)))

    assert evaluate(policies, Request("kms:Decrypt", KEY, ROLE, Context(closed=False))) == Said(
        Truth.DEPENDS,
        (
            "kms:ViaService is s3.us-east-1.amazonaws.com and aws:ViaAWSService is true "
            "and not where aws:SourceVpce is not vpce-1 or vpce-2",
        ),
    )


def test_an_operator_that_nobody_knows_is_named() -> None:
    policies = Policies(said(allow(Condition={"StringResembles": {"aws:Key": "x"}})))

    assert evaluate(policies, READ).unread == ("stringresembles",)


_KEYS = ("aws:SourceVpce", "aws:PrincipalTag/team", "kms:ViaService", "aws:CalledVia")
_TEXTS = st.sampled_from(["a", "b", "ab", "*", "a*", "${aws:PrincipalTag/team}"])
_OPERATORS = st.sampled_from(
    [
        *("StringEquals", "StringNotEquals", "StringLike", "StringNotLike", "StringEqualsIfExists", "Null", "Bool"),
        *("ForAnyValue:StringLike", "ForAllValues:StringEquals", "ForAllValues:StringNotLike", "ArnLike"),
    ]
)
_CONDITIONS = st.dictionaries(
    _OPERATORS,
    st.dictionaries(st.sampled_from(_KEYS), st.lists(_TEXTS, min_size=1, max_size=2), max_size=2),
    max_size=2,
)
_ACTIONS = st.lists(st.sampled_from(["s3:GetObject", "s3:*", "*", "s3:Put*", "kms:Decrypt"]), min_size=1, max_size=2)
_RESOURCES = st.lists(
    st.sampled_from(
        ["*", OBJECT, "arn:aws:s3:::*/home/*", "arn:aws:s3:::other/*", "arn:aws:s3:::*/${aws:PrincipalTag/team}"]
    ),
    min_size=1,
    max_size=2,
)
_WHO = st.sampled_from(
    [
        {},
        *({"Principal": one} for one in ("*", {"AWS": ROLE}, {"AWS": ACCOUNT}, {"AWS": STRANGER}, {"Service": "s3"})),
        {"NotPrincipal": {"AWS": ROLE}},
    ]
)


@st.composite
def _statement(draw: st.DrawFn, effect: str | None = None) -> Statement:
    raw = {
        "Effect": effect or draw(st.sampled_from(["Allow", "Allow", "Deny"])),
        draw(st.sampled_from(["Action", "Action", "NotAction"])): draw(_ACTIONS),
        draw(st.sampled_from(["Resource", "Resource", "NotResource"])): draw(_RESOURCES),
        "Condition": draw(_CONDITIONS),
        **draw(_WHO),
    }
    return said(raw)[0]


_SET = st.lists(_statement(), max_size=4).map(tuple)
_POLICIES = st.builds(
    Policies, st.none() | _SET, st.none() | _SET, _SET, _SET, decides_itself=st.booleans()
)  # fmt: skip
_KNOWN = st.dictionaries(
    st.sampled_from([key.lower() for key in _KEYS]),
    st.lists(st.sampled_from(["a", "b", "ab", "true"]), min_size=1, max_size=2).map(tuple),
)
_PARTS = ("identity", "boundary", "resource", "control")


def _with(policies: Policies, part: str, statements: tuple[Statement, ...]) -> Policies:
    changes: Any = {part: statements}
    return replace(policies, **changes)


def _ask(policies: Policies, context: Context, own_account: bool) -> Truth:
    return answer(policies, Request("s3:GetObject", OBJECT, ROLE, context), own_account=own_account)


@settings(deadline=None)
@given(_POLICIES, _statement("Deny"), st.sampled_from(_PARTS), _KNOWN, st.booleans(), st.booleans())
def test_one_more_denial_never_widens(
    policies: Policies, more: Statement, part: str, keys: dict[str, Any], closed: bool, own: bool
) -> None:
    statements = getattr(policies, part)
    if statements is None:
        return
    context = Context(keys, closed)

    assert _ask(_with(policies, part, (*statements, more)), context, own) <= _ask(policies, context, own)


@settings(deadline=None)
@given(_POLICIES, st.sampled_from(_PARTS), st.integers(0, 3), _KNOWN, st.booleans(), st.booleans())
def test_one_allow_less_never_widens(
    policies: Policies, part: str, place: int, keys: dict[str, Any], closed: bool, own: bool
) -> None:
    statements = getattr(policies, part) or ()
    fewer = tuple(one for index, one in enumerate(statements) if index != place or one.effect != "Allow")
    if fewer == statements:
        return
    context = Context(keys, closed)

    assert _ask(_with(policies, part, fewer), context, own) <= _ask(policies, context, own)


@settings(deadline=None)
@given(_POLICIES, st.randoms(), _KNOWN, st.booleans(), st.booleans())
def test_order_does_not_matter(policies: Policies, random: Any, keys: dict[str, Any], closed: bool, own: bool) -> None:
    mixed = policies
    for part in _PARTS:
        if (statements := getattr(policies, part)) is not None:
            mixed = _with(mixed, part, tuple(random.sample(statements, len(statements))))
    context = Context(keys, closed)

    assert _ask(mixed, context, own) is _ask(policies, context, own)


@settings(deadline=None)
@given(_POLICIES, _KNOWN, _KNOWN, st.booleans())
def test_what_is_sure_stays_so_whatever_else_the_request_carries(
    policies: Policies, keys: dict[str, Any], more: dict[str, Any], own: bool
) -> None:
    sure = _ask(policies, Context(keys, closed=False), own)
    if sure is Truth.DEPENDS:
        return

    assert _ask(policies, Context({**more, **keys}), own) is sure
