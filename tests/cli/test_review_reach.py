"""What a review says of who reaches what."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from typing import Any

from rich.console import Console

from trainyard.cli.review import markdown, page, text
from trainyard.cli.review.model import Environment, Review
from trainyard.cli.review.reach import MOST_LINES, Reaching, compared
from trainyard.policies.reach.rows import Certainty

ROLE = "arn:aws:iam::111122223333:role/trainer"


def resource(kind: str, name: str, /, **props: Any) -> dict[str, Any]:
    return {"urn": f"urn:pulumi:dev::trainyard::{kind}::{name}", "type": kind, "inputs": props, "outputs": props}


def export(*actions: str, where: str = "arn:aws:s3:::data/runs/*", **condition: Any) -> dict[str, Any]:
    """A stack with a bucket, and a role that may do this there."""
    statement = {"Effect": "Allow", "Action": list(actions), "Resource": where, **condition}
    resources = [
        resource("aws:s3/bucket:Bucket", "data", bucket="data", arn="arn:aws:s3:::data"),
        resource("aws:iam/role:Role", "trainer", arn=ROLE, name="trainer", assumeRolePolicy='{"Statement": []}'),
        resource(
            "aws:iam/rolePolicy:RolePolicy", "policy", role="trainer", policy=json.dumps({"Statement": [statement]})
        ),
    ]
    return {"deployment": {"resources": resources}}


def told(reach: Reaching) -> dict[str, str]:
    review = Review(
        "main", "working tree", (replace(Environment("dev", "us-east-1"), reach=reach, apply_error="it did not"),)
    )
    console = Console(file=io.StringIO(), width=200)
    text.show(review, console)
    assert isinstance(console.file, io.StringIO)
    return {
        "text": console.file.getvalue(),
        "markdown": markdown.render(review),
        "page": page.render(review),
        "json": json.dumps(review.as_json()),
    }


def test_what_a_change_adds_and_takes() -> None:
    found = compared(export("s3:GetObject", "s3:PutObject"), export("s3:GetObject", where="arn:aws:s3:::data/*"))

    assert found.lines == [
        "− trainer can read runs/* in bucket data",
        "+ trainer can read bucket data",
        "− trainer can write runs/* in bucket data",
    ]
    assert [one.certainty for one in found.rows] == [Certainty.CERTAIN] * 3


def test_a_condition_that_falls_is_a_change() -> None:
    bound: dict[str, Any] = {"Condition": {"StringEquals": {"aws:SourceVpce": "vpce-1"}}}
    found = compared(export("s3:GetObject", **bound), export("s3:GetObject"))

    assert sorted(found.lines) == [
        "+ trainer can read runs/* in bucket data",
        "− trainer can read runs/* in bucket data, if aws:SourceVpce is vpce-1",
    ]


def test_every_format_says_it() -> None:
    formats = told(compared(export("s3:PutObject"), export("s3:GetObject")))

    for name in ("text", "markdown", "page"):
        assert "Who reaches what" in formats[name]
    assert "+ trainer can read" in formats["text"]
    assert "trainer can write" in formats["markdown"]
    assert "2 ways of access, 2 changed" in formats["page"]
    assert '"standing": "gone"' in formats["json"]


def test_what_stays_is_in_the_page_and_the_json_alone() -> None:
    same = compared(export("s3:GetObject"), export("s3:GetObject"))
    formats = told(same)

    assert same.lines == []
    assert "Who reaches what" not in formats["text"] + formats["markdown"]
    assert "1 way of access" in formats["page"]


def test_a_new_environment_is_not_told_line_by_line() -> None:
    assert compared({}, export("s3:GetObject")).lines == ["1 way of access, all new: the page has them"]
    assert compared({}, {}).lines == []


def test_no_more_lines_than_anybody_reads() -> None:
    one = compared({}, export("s3:GetObject")).rows[0]
    many = Reaching(tuple(replace(one, resource=f"data-{number}") for number in range(MOST_LINES + 2)), first=False)

    assert len(many.lines) == MOST_LINES + 1
    assert many.lines[-1] == "and 2 more: the page has them"


def test_what_cannot_be_read_is_said() -> None:
    head = export("s3:GetObject")
    head["deployment"]["resources"][2]["outputs"]["policy"] = "no policy"
    found = compared(export("s3:GetObject"), head)

    assert found.lines[0] == (
        "+ trainer may reach anything: cannot be verified, a policy cannot be read: "
        "this is not a policy document: it is not JSON"
    )


def test_the_same_conditions_in_another_order_are_no_change() -> None:
    def either(*tags: str) -> dict[str, Any]:
        made = export("s3:GetObject")
        statements = [
            {
                "Effect": "Allow",
                "Action": "s3:GetObject",
                "Resource": "arn:aws:s3:::data/*",
                "Condition": {"StringEquals": {f"aws:PrincipalTag/{tag}": "yes"}},
            }
            for tag in tags
        ]
        made["deployment"]["resources"][2]["inputs"]["policy"] = json.dumps({"Statement": statements})
        made["deployment"]["resources"][2]["outputs"]["policy"] = json.dumps({"Statement": statements})
        return made

    found = compared(either("vision", "language"), either("language", "vision"))

    assert [len(one.conditions) for one in found.rows] == [2]
    assert found.changed == []


def test_the_names_that_an_account_chose_are_no_change() -> None:
    """Where the later side stands in an account of its own, everything has another id there."""

    def endpoint(chosen: str) -> dict[str, Any]:
        made = export("s3:GetObject", Condition={"StringEquals": {"aws:SourceVpce": chosen}})
        made["deployment"]["resources"].append(resource("aws:ec2/vpcEndpoint:VpcEndpoint", "s3", id=chosen))
        return made

    found = compared(endpoint("vpce-0a1b2c3d4e5f60718"), endpoint("vpce-18f7e6d5c4b3a2910"))

    assert found.changed == []
    assert found.rows[0].conditions == ("aws:SourceVpce is s3",)
