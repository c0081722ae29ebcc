"""Who reaches what in a stack: the rows, and the tables that they come from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainyard.policies.cases import stack
from trainyard.policies.graph import Graph
from trainyard.policies.iam.documents import covers
from trainyard.policies.reach import table
from trainyard.policies.reach.patterns import instance, meeting
from trainyard.policies.reach.rows import Certainty, Row, reach

ACCOUNT = "111122223333"
KEY = f"arn:aws:kms:us-east-1:{ACCOUNT}:key/k"
BUCKET = {"arn": "arn:aws:s3:::data", "bucket": "data", "region": "us-east-1"}


def document(*statements: dict[str, Any]) -> str:
    return json.dumps({"Statement": [{"Effect": "Allow", "Resource": "*", **one} for one in statements]})


def arn(role: str) -> str:
    return f"arn:aws:iam::{ACCOUNT}:role/{role}"


def role(name: str, service: str = "pods.eks.amazonaws.com", **props: Any) -> dict[str, Any]:
    trust = document({"Principal": {"Service": service}, "Action": "sts:AssumeRole", "Resource": ()})
    return made("aws:iam/role:Role", name, name=name, arn=arn(name), **{"assumeRolePolicy": trust, **props})


def made(kind: str, name_: str, **props: Any) -> dict[str, Any]:
    return {"type": kind, "name": name_, "props": props}


def policy(of: str, *statements: dict[str, Any]) -> dict[str, Any]:
    return made("aws:iam/rolePolicy:RolePolicy", f"{of}-policy", role=of, policy=document(*statements))


def rows(*resources: dict[str, Any]) -> tuple[Row, ...]:
    return reach(Graph(stack(list(resources), "dev"))).rows


def bucket() -> dict[str, Any]:
    return made("aws:s3/bucket:Bucket", "data", **BUCKET)


def key(*statements: dict[str, Any]) -> dict[str, Any]:
    account = {"Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}, "Action": "kms:*"}
    return made("aws:kms/key:Key", "key", arn=KEY, keyId="k", policy=document(account, *statements))


def told(found: tuple[Row, ...]) -> list[tuple[str, str, tuple[str, ...], str]]:
    return [(one.principal, one.access, one.where, str(one.certainty)) for one in found]


def test_prefixes_and_what_a_denial_takes_out_of_them() -> None:
    found = rows(
        bucket(),
        role("trainer"),
        policy(
            "trainer",
            {"Action": "s3:GetObject", "Resource": "arn:aws:s3:::data/*"},
            {"Action": "s3:Put*", "Resource": ["arn:aws:s3:::data/runs/*", "arn:aws:s3:::other/*"]},
            {"Effect": "Deny", "Action": "s3:*", "Resource": "arn:aws:s3:::data/secret/*"},
        ),
    )

    assert told(found) == [
        ("trainer", "read", ("* except secret/*",), "certain"),
        ("trainer", "write", ("runs/*",), "certain"),
    ]


def test_the_narrower_of_policy_and_boundary() -> None:
    edge = f"arn:aws:iam::{ACCOUNT}:policy/edge"
    found = rows(
        bucket(),
        made(
            "aws:iam/policy:Policy",
            "edge",
            arn=edge,
            policy=document({"Action": "s3:*", "Resource": "arn:aws:s3:::data/team/*"}),
        ),
        role("trainer", permissionsBoundary=edge),
        policy("trainer", {"Action": "s3:GetObject"}),
    )

    assert told(found) == [("trainer", "read", ("team/*",), "certain")]


def test_behind_a_boundary_that_is_not_seen_nothing_is_sure() -> None:
    boundary = f"arn:aws:iam::{ACCOUNT}:policy/elsewhere"
    (found,) = rows(bucket(), role("a", permissionsBoundary=boundary), policy("a", {"Action": "s3:GetObject"}))

    assert found.certainty is Certainty.UNVERIFIED
    assert found.conditions == ("its permissions boundary lets it, which is not in this stack",)


def test_pods_that_an_association_names_and_their_session_tags() -> None:
    tagged = "arn:aws:s3:::data/${aws:PrincipalTag/kubernetes-namespace}/*"
    association = made(
        "aws:eks/podIdentityAssociation:PodIdentityAssociation",
        "association",
        clusterName="yard",
        namespace="vision",
        serviceAccount="trainer",
        roleArn=arn("trainer"),
    )
    administrator = made(
        "aws:eks/accessPolicyAssociation:AccessPolicyAssociation",
        "admins",
        principalArn=arn("admin"),
        policyArn="arn:aws:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy",
        accessScope={"type": "cluster"},
    )
    (found,) = rows(
        bucket(),
        role("trainer"),
        association,
        administrator,
        policy("trainer", {"Action": "s3:GetObject", "Resource": tagged}),
    )

    assert found.how == ("pods of vision/trainer", "role/admin (may make pods there)")
    assert (found.where, found.certainty) == (("vision/*",), Certainty.CERTAIN)


def test_an_association_that_the_trust_refuses_takes_nothing() -> None:
    trust = document(
        {
            "Principal": {"Service": "pods.eks.amazonaws.com"},
            "Action": "sts:AssumeRole",
            "Condition": {"StringEquals": {"aws:RequestTag/kubernetes-namespace": "vision"}},
        }
    )
    association = made(
        "aws:eks/podIdentityAssociation:PodIdentityAssociation",
        "association",
        namespace="language",
        serviceAccount="trainer",
        roleArn=arn("trainer"),
    )
    (found,) = rows(
        bucket(), role("trainer", assumeRolePolicy=trust), association, policy("trainer", {"Action": "s3:GetObject"})
    )

    assert found.how == ()


def test_reading_takes_the_key_as_well() -> None:
    encryption = made(
        "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration",
        "encryption",
        bucket="data",
        rules=[{"applyServerSideEncryptionByDefault": {"kmsMasterKeyId": KEY, "sseAlgorithm": "aws:kms"}}],
    )
    decrypt = {
        "Action": "kms:Decrypt",
        "Resource": KEY,
        "Condition": {
            "StringEquals": {"kms:ViaService": "s3.us-east-1.amazonaws.com"},
            "ArnLike": {"kms:EncryptionContext:aws:s3:arn": "arn:aws:s3:::data/*"},
        },
    }
    read = {"Action": "s3:GetObject", "Resource": "arn:aws:s3:::data/*"}
    without = rows(bucket(), key(), encryption, role("a"), policy("a", read))
    with_key = rows(bucket(), key(), encryption, role("a"), policy("a", read, decrypt))

    assert without[0].conditions == ("the objects are not encrypted with key",)
    assert told(with_key) == [("a", "read", ("*",), "certain"), ("a", "decrypt", (), "conditional")]


def test_grants_services_and_other_accounts() -> None:
    grant = made(
        "aws:kms/grant:Grant", "grant", keyId=KEY, granteePrincipal=arn("trainer"), operations=["Decrypt", "Encrypt"]
    )
    logs = {
        "Principal": {"Service": "logs.us-east-1.amazonaws.com"},
        "Action": "kms:Decrypt*",
        "Condition": {"StringEquals": {"aws:SourceAccount": ACCOUNT}},
    }
    other = {"Principal": {"AWS": "arn:aws:iam::444455556666:role/x"}, "Action": "kms:Decrypt"}
    found = rows(key(logs, other), grant, role("trainer"))

    assert [(one.principal, one.access, one.conditions) for one in found] == [
        ("trainer", "decrypt", ()),
        ("trainer", "write", ()),
        ("AWS service logs.us-east-1", "decrypt", (f"aws:SourceAccount is {ACCOUNT}",)),
        ("role/x of account 444455556666", "decrypt", ("its own policies allow it, which are not in this stack",)),
    ]


def test_roles_are_followed_through_roles() -> None:
    trusts = document({"Principal": {"AWS": arn("middle")}, "Action": "sts:AssumeRole"})
    middle = document({"Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}, "Action": "sts:AssumeRole"})
    found = rows(
        bucket(),
        role("last", assumeRolePolicy=trusts),
        policy("last", {"Action": "s3:GetObject"}),
        role("middle", assumeRolePolicy=middle),
        role("first"),
        policy("first", {"Action": "sts:AssumeRole", "Resource": arn("middle")}),
    )

    assert [(one.principal, one.via) for one in found] == [("last", ""), ("middle", "last"), ("first", "last")]


def test_users_have_what_their_groups_have() -> None:
    user = made("aws:iam/user:User", "ann", name="ann", arn=f"arn:aws:iam::{ACCOUNT}:user/ann")
    group = made("aws:iam/group:Group", "readers", name="readers", arn=f"arn:aws:iam::{ACCOUNT}:group/readers")
    inline = made(
        "aws:iam/groupPolicy:GroupPolicy", "policy", group="readers", policy=document({"Action": "s3:GetObject"})
    )
    by_user = made("aws:iam/userGroupMembership:UserGroupMembership", "in", user="ann", groups=["readers"])
    by_group = made("aws:iam/groupMembership:GroupMembership", "in", group="readers", users=["ann"])

    for membership in (by_user, by_group):
        assert told(rows(bucket(), user, group, inline, membership)) == [("ann", "read", ("*",), "certain")]
    assert rows(bucket(), user, group, inline) == ()


def test_a_control_policy_of_the_stack_denies() -> None:
    found = rows(
        bucket(),
        role("a"),
        policy("a", {"Action": "s3:GetObject"}),
        made(
            "aws:organizations/policy:Policy",
            "guard",
            id="p-1",
            type="SERVICE_CONTROL_POLICY",
            content=document({"Effect": "Deny", "Action": "s3:*"}),
        ),
        made("aws:organizations/policyAttachment:PolicyAttachment", "here", policyId="p-1", targetId=ACCOUNT),
    )

    assert found == ()


def test_what_cannot_be_read_is_a_row_of_its_own() -> None:
    attached = made(
        "aws:iam/rolePolicyAttachment:RolePolicyAttachment",
        "attached",
        role="a",
        policyArn=f"arn:aws:iam::{ACCOUNT}:policy/shared",
    )
    (found,) = rows(bucket(), role("a"), attached)

    assert (found.resource, found.certainty) == ("", Certainty.UNVERIFIED)
    assert found.conditions == ("a policy cannot be read: what shared allows is not in this stack",)


def test_policies_of_aws_and_what_they_say_here() -> None:
    assert table.managed_policy("arn:aws-cn:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole") == ()
    assert table.managed_policy(f"arn:aws:iam::{ACCOUNT}:policy/AdministratorAccess") is None
    assert table.managed_policy("arn:aws:iam::aws:policy/AdministratorAccess")


@pytest.mark.parametrize(
    ("old", "new", "wrong"),
    [
        ("excepted:", "except:", "keys"),
        ("[pod,", "[people,", "may_read_data"),
        ("sns:Subscribe", "subscribe", "actions"),
    ],
)
def test_a_broken_table_stops(tmp_path: Path, old: str, new: str, wrong: str) -> None:
    text = (Path(table.__file__).parents[1] / "reach.yaml").read_text(encoding="utf-8")
    path = tmp_path / "reach.yaml"
    path.write_text(text.replace(old, new), encoding="utf-8")

    with pytest.raises(ValueError, match=wrong):
        table.load(path)


_PATTERN = st.text("ab/*?", max_size=6)


@settings(deadline=None)
@given(_PATTERN, _PATTERN)
def test_where_patterns_meet_both_fit(one: str, other: str) -> None:
    met = meeting(one, other)

    assert met is None or (covers(one, met) and covers(other, met))
    assert met is not None or not (covers(one, instance(other)) or covers(other, instance(one)))


@settings(deadline=None)
@given(_PATTERN, st.text("ab/", max_size=6))
def test_patterns_meet_where_a_text_fits_both(one: str, text: str) -> None:
    assert (meeting(one, text) is not None) == covers(one, text)
