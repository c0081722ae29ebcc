"""What a review says: of changes, of what is lost, of findings before and after, in every format."""

from __future__ import annotations

import io
import json
import xml.etree.ElementTree as ET
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from trainyard.cli.architecture import svg
from trainyard.cli.review import junit, markdown, page, picture, sarif, text, words
from trainyard.cli.review.model import (
    ChangedResource,
    Consequence,
    Environment,
    Review,
    Standing,
    consequence_of,
    environment_of,
)
from trainyard.cli.review.residency import DataPlace, Residency, Way
from trainyard.local.changes import Change, Operation, PropertyChange, changes_in, steps_of
from trainyard.local.review import Comparison, Side, classified
from trainyard.policies.cases import cases_of
from trainyard.policies.registry import RULES
from trainyard.policies.rule import Level, Result, Verdict, evaluate

UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
SECRET = {"4dabf18193072939515e22adb298388d": "1b47061264138c4ac30d75fd1eb44270", "ciphertext": "…"}


def event(op: str, type_: str, name: str, **told: Any) -> dict[str, Any]:
    states = {side: {"custom": True, "inputs": told.pop(side)} for side in ("old", "new") if side in told}
    urn = f"urn:pulumi:dev::trainyard::{type_}::{name}"
    return {"resourcePreEvent": {"metadata": {"op": op, "urn": urn, "type": type_, **states, **told}}}


REPLACED = event(
    "replace",
    "aws:fsx/lustreFileSystem:LustreFileSystem",
    "files",
    old={"storageCapacity": 1200, "tags": {"a.b": "1"}, "password": SECRET},
    new={"storageCapacity": 2400, "tags": {"a.b": UNKNOWN}, "password": SECRET},
    detailedDiff={
        "storageCapacity": {"diffKind": "update-replace"},
        'tags["a.b"]': {"diffKind": "update"},
        "password": {"diffKind": "update"},
    },
)
EVENTS = [
    event("create", "aws:s3/bucket:Bucket", "data", new={"bucket": "data"}),
    REPLACED,
    event("create-replacement", "aws:fsx/lustreFileSystem:LustreFileSystem", "files", new={}),
    event("delete", "aws:sqs/queue:Queue", "events", old={}),
    event("delete", "aws:made/up:Thing", "thing", old={}),
    event("same", "aws:kms/key:Key", "key", old={}, new={}),
    event("update", "pulumi:providers:aws", "aws", old={}, new={}),
    {"resourcePreEvent": {"metadata": {"op": "create", "urn": "u::team", "type": "trainyard:modules:Team", "new": {}}}},
]


def results(rule_id: str, verdict: Verdict) -> tuple[Result, ...]:
    rule = next(one for one in RULES if one.id == rule_id)
    case = next(one for one in cases_of(rule) if one.verdict is verdict)
    return tuple(one for one in evaluate([rule], case.graph()) if one.findings)


TLS = results("s3-tls-only", Verdict.VIOLATION)
ROTATION = results("kms-rotation", Verdict.VIOLATION)
UNVERIFIED = results("s3-tls-only", Verdict.UNVERIFIED)


def environment(base: tuple[Result, ...] = (), head: tuple[Result, ...] = (), error: str = "") -> Environment:
    sides = Side("main", (), base, {}), Side("working tree", (), head, {})
    return environment_of(Comparison("dev", "us-east-1", *sides, changes_in(EVENTS), error))


def review(*found: Environment) -> Review:
    return Review("main (1a2b3c4)", "working tree", found)


def test_changes_are_told_in_one_order_whatever_that_of_the_engine_is() -> None:
    assert changes_in(reversed(EVENTS)) == changes_in(EVENTS)


def test_changes_are_those_of_resources_with_the_properties_that_make_them() -> None:
    replaced, created, *deleted = changes_in(EVENTS)

    assert (created.name, created.operation, created.properties) == ("data", Operation.CREATE, ())
    assert (replaced.name, replaced.operation) == ("files", Operation.REPLACE)
    assert replaced.properties == (
        PropertyChange("storageCapacity", 1200, 2400, replaces=True),
        PropertyChange('tags["a.b"]', "1", "(known once it is made)"),
        PropertyChange("password", "[secret]", "[secret]"),
    )
    assert [one.name for one in deleted] == ["thing", "events"]


@pytest.mark.parametrize(
    ("path", "steps"),
    [("a", ["a"]), ("a.b[0].c", ["a", "b", 0, "c"]), ('a["x.y"][2]', ["a", "x.y", 2]), (r'["a\"b"]', ['a"b'])],
)
def test_paths_are_read_as_the_engine_writes_them(path: str, steps: list[str | int]) -> None:
    assert steps_of(path) == steps


def test_what_is_lost_comes_with_its_price_the_irreplaceable_first() -> None:
    lost = environment().lost

    assert [one.change.name for one in lost] == ["files", "events", "thing"]
    assert [one.consequence.loses for one in lost if one.consequence] == [True, True, False]
    assert lost[-1].consequence is not None
    assert "look it up" in lost[-1].consequence.data


def test_every_kind_that_the_platform_makes_has_a_price() -> None:
    resources = json.loads(Path(__file__).with_name("platform_export.json").read_text(encoding="utf-8"))["deployment"]
    kinds = {one["type"] for one in resources["resources"] if one.get("custom")}

    unknown = [kind for kind in sorted(kinds) if "not known" in lose(kind).data and not kind.startswith("pulumi:")]

    assert unknown == []


def test_a_key_reads_nothing_while_it_waits_for_its_deletion() -> None:
    """AWS refuses each use of a key from the moment that its deletion is scheduled, not when the window ends."""
    key = lose("aws:kms/key:Key")

    assert "from the moment its deletion is scheduled" in key.downtime
    assert "can be cancelled" in key.data
    assert key.loses


def test_what_is_retained_is_not_lost_and_what_was_only_read_is_no_change() -> None:
    events = [event(op, "aws:s3/bucket:Bucket", op, old={}) for op in ("delete", "replace", "discard")]
    for one in events:
        one["resourcePreEvent"]["metadata"]["old"]["retainOnDelete"] = True

    deleted, replaced = changes_in(events)

    assert deleted.kept
    assert replaced.kept
    for one in map(consequence_of, (deleted, replaced)):
        assert one is not None
        assert not one.loses
        assert "stays in the account" in one.data


def lose(kind: str) -> Consequence:
    found = consequence_of(Change(f"urn:pulumi:dev::p::{kind}::one", kind, "one", Operation.DELETE))
    assert found is not None
    return found


def test_findings_are_new_mended_or_as_before() -> None:
    new, fixed, standing = classified([*TLS, *ROTATION], [*TLS, *UNVERIFIED])

    assert [result.rule.id for result, _ in fixed] == ["kms-rotation"]
    assert [(result.rule.id, one.verdict) for result, one in standing] == [("s3-tls-only", Verdict.VIOLATION)]
    assert [(result.rule.id, one.verdict) for result, one in new] == [("s3-tls-only", Verdict.UNVERIFIED)]


def test_what_is_said_alike_of_several_resources_is_said_once() -> None:
    (one,) = TLS
    second, third = (
        replace(one, resource=replace(one.resource, urn=f"{one.resource.urn}-{name}", name=name)) for name in "bc"
    )
    other = replace(one, findings=(replace(one.findings[0], message="and something else"),))
    told = environment(head=(one, second, third, other))

    groups = words.together(told.of(Standing.NEW))

    assert {group.others for group in groups} == {(), ("c", "data")}
    assert [group.explained for group in groups] == [False, True]
    shown, comment = io.StringIO(), markdown.render(review(told))
    text.show(review(told), Console(file=shown, highlight=False, soft_wrap=True))
    assert shown.getvalue().count("why:") == 1
    assert shown.getvalue().count("also:  c, data") == 1
    assert comment.count("```python") == 1
    assert "also: c, data" in comment


def test_a_second_finding_on_the_same_property_is_new() -> None:
    (one,) = TLS
    worse = replace(one, findings=(*one.findings, replace(one.findings[0], message="and something else")))

    assert [found.message for found in environment(base=TLS, head=(worse,)).of(Standing.NEW)] == ["and something else"]


@pytest.mark.parametrize(
    ("found", "status"),
    [
        (environment(), 0),
        (environment(base=TLS, head=TLS), 0),
        (environment(base=TLS), 0),
        (environment(head=TLS), 1),
        (environment(head=UNVERIFIED), 3),
        (environment(error="quota"), 3),
        (environment(head=TLS, error="quota"), 1),
        (Environment("dev", None, failure="no", bad_settings=True), 2),
        (Environment("dev", None, failure="no"), 3),
    ],
)
def test_exit_status(found: Environment, status: int) -> None:
    assert found.exit_status == status
    assert review(found, environment()).exit_status == status


def test_advice_stops_nothing() -> None:
    advising = tuple(
        replace(one, findings=tuple(replace(finding, level=Level.ADVISORY) for finding in one.findings)) for one in TLS
    )

    assert environment(head=advising).exit_status == 0


def test_people_read_what_happens_and_what_to_write() -> None:
    said = io.StringIO()
    text.show(review(environment(base=ROTATION, head=TLS)), Console(file=said, width=200))
    shown = said.getvalue()

    for part in (
        "main (1a2b3c4) → working tree: it brings violations",
        "1 created, 1 replaced, 2 deleted, 1 new violation, 1 mended",
        "± LustreFileSystem files",
        "data: every file that was not exported to a bucket",
        "storageCapacity: 1200 → 2400  (replaces it)",
        "critical" if TLS[0].rule.severity == "critical" else TLS[0].rule.severity.value,
        TLS[0].rule.why[:60],
        TLS[0].rule.remedy.splitlines()[0][:40],
    ):
        assert part in shown, part


def test_markdown_holds_its_form_whatever_is_in_it() -> None:
    nasty = replace(TLS[0].resource, name="a|b`c\n# <img> @all *")
    written = markdown.render(review(environment(head=(replace(TLS[0], resource=nasty),), error="```\nno quota")))

    assert "\n# <img>" not in written
    assert "@all" not in written
    assert written.count("```") % 2 == 0
    table = [line for line in written.splitlines() if line.startswith("|")]
    assert all(line.endswith("|") for line in table)
    assert "| lost | time | data |" in written


def test_markdown_fits_into_a_comment() -> None:
    written = markdown.render(review(*[environment(head=TLS, error="x" * 30_000)] * 5))

    assert len(written) <= 65_536
    assert written.count("```") % 2 == 0
    assert written.count("<details>") == written.count("</details>")
    assert written.rstrip().endswith("**Cut here**: the page and the JSON have all of it.")


def test_what_is_read_least_goes_first_where_a_comment_has_no_room() -> None:
    """Findings that stop are told with what mends them as long as there is room at all."""
    many = ", ".join(f"{number:04}" * 40 for number in range(60))
    long = Change("u", "aws:sqs/queue:Queue", "q", Operation.UPDATE, (PropertyChange("p", many, many + "!"),) * 200)
    one = environment(base=ROTATION, head=(*TLS, *ROTATION))
    crowded = replace(one, changes=(*one.changes, *[ChangedResource(long)] * 3))

    written = markdown.render(review(*[crowded] * 2))

    assert len(written) <= 65_536
    assert "left out are costs in full, each property that changes. The page" in written
    assert TLS[0].rule.remedy.splitlines()[0] in written
    assert "as before</summary>" in written
    assert "Cut here" not in written
    assert "left out" not in markdown.render(review(one))


class Parsed(HTMLParser):
    """Of a page: the tags that stand open at its end, ids, and what is asked of a server."""

    def __init__(self, written: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.asked: list[str] = []
        self.kinds: set[str] = set()
        self.feed(written)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002
        given = dict(attrs)
        self.ids += filter(None, [given.get("id")])
        self.kinds |= set(filter(None, [given.get("data-kind")]))
        self.asked += [value for name in ("src", "href") if (value := given.get(name)) and not value.startswith("#")]


def test_page_needs_nothing_beside_it_and_escapes_what_it_shows() -> None:
    nasty = replace(TLS[0], resource=replace(TLS[0].resource, name="<script>alert(1)</script>"))
    drawn = '<svg aria-labelledby="title description"><title id="title"></title><desc id="description"></desc></svg>'
    first = replace(environment(base=ROTATION, head=(nasty,)), picture=drawn)
    written = page.render(review(first, replace(first, name="prod", apply_error="no <quota>")))
    parsed = Parsed(written)

    assert "<script>alert" not in written
    assert "no &lt;quota&gt;" in written
    assert parsed.asked == []
    assert len(parsed.ids) == len(set(parsed.ids))
    assert {"violation", "fixed", "create", "replace", "delete"} <= parsed.kinds
    assert 'aria-labelledby="prod-drawn-title prod-drawn-description"' in written


def test_picture_marks_what_changes_and_counts_what_goes() -> None:
    def raw(name: str, type_: str, parent: str = "") -> dict[str, Any]:
        return {"urn": f"urn:pulumi:dev::p::{type_}::{name}", "type": type_, "custom": ":" in type_, "parent": parent}

    stack = raw("p-dev", "pulumi:pulumi:Stack")
    store = raw("store", "trainyard:object_store:ObjectStore", stack["urn"])
    kept, gone = (raw(name, "aws:s3/bucket:Bucket", store["urn"]) for name in ("kept", "gone"))
    before, after = ({"deployment": {"resources": [stack, store, *some]}} for some in ([kept, gone], [kept]))
    changes = [
        Change(kept["urn"], kept["type"], "kept", Operation.UPDATE),
        Change(gone["urn"], gone["type"], "gone", Operation.DELETE),
    ]

    marks = picture.marks_of(before, after, changes)
    drawn = picture.draw(before, after, changes)

    assert {urn: mark.text for urn, mark in marks.items()} == {kept["urn"]: "changed", store["urn"]: "~1 -1"}
    assert drawn.count(">changed<") == 1
    assert drawn.count(">~1 -1<") == 1
    assert svg(after) == svg(after, marks={})


def test_where_data_can_get_now_is_said() -> None:
    found = Residency(
        (DataPlace("health", "me-central-1", 3, 3), DataPlace("health", "us-east-1", 0, 1)),
        (
            Way("health", "us-east-1", "data → its replica (us-east-1)", Verdict.VIOLATION, "no basis", new=True),
            Way("health", "eu-west-1", "data → log", Verdict.PASSED, "", new=False),
        ),
    )
    told = review(replace(environment(), residency=found))
    said = io.StringIO()
    text.show(told, Console(file=said, width=200))

    for written in (said.getvalue(), markdown.render(told)):
        assert "health data: me-central-1 (3 resources), us-east-1 (1 resource); can get to" in written
        assert "health data lies in us-east-1 now (1 resource)" in written
        assert "health data can get to us-east-1: data → its replica (us-east-1)" in written
        assert written.count("eu-west-1") == 1  # on the map; it is no news
    assert page.render(told).count("eu-west-1") == 1
    assert not replace(found, places=found.places[:1], ways=found.ways[1:]).changed


def test_sarif_names_rules_places_and_what_is_new() -> None:
    written = sarif.render(review(environment(base=ROTATION, head=(*TLS, *UNVERIFIED))))
    (run,) = written["runs"]
    rules = [one["id"] for one in run["tool"]["driver"]["rules"]]
    states = {one["ruleId"]: one["baselineState"] for one in run["results"]}

    assert written["version"] == "2.1.0"
    assert states == {"s3-tls-only": "new", "kms-rotation": "absent"}
    assert all(rules[one["ruleIndex"]] == one["ruleId"] for one in run["results"])
    assert {(one["kind"], one["level"]) for one in run["results"]} == {("fail", "error"), ("open", "none")}
    assert run["invocations"][0]["exitCode"] == 1
    json.dumps(written)


def test_sarif_says_what_is_answered_for() -> None:
    exempt = tuple(
        replace(one, findings=tuple(replace(each, exemption="until 2027-01-31: T-1") for each in one.findings))
        for one in TLS
    )
    answered, open_ = (sarif.render(review(environment(head=head)))["runs"][0]["results"][0] for head in (exempt, TLS))

    (said,) = answered["suppressions"]
    assert (said["kind"], said["status"]) == ("external", "accepted")
    assert "until 2027-01-31: T-1" in said["justification"]
    assert "suppressions" not in open_


def test_junit_fails_what_is_new_and_skips_what_stood() -> None:
    broken = Environment("prod", None, failure="it does not come up: \x00 \x1b[31m")
    root = ET.fromstring(junit.render(review(environment(base=ROTATION, head=(*ROTATION, *TLS)), broken)))
    dev, prod = root.findall("testsuite")

    assert (dev.get("failures"), dev.get("errors"), dev.get("skipped")) == (str(len(TLS)), "0", str(len(ROTATION)))
    assert prod.get("errors") == "1"


def test_json_is_whole() -> None:
    told = json.loads(json.dumps(review(environment(base=ROTATION, head=TLS)).as_json(), default=str))
    (one,) = told["environments"]

    assert told["exit_status"] == one["exit_status"] == 1
    assert one["counts"] == {"create": 1, "replace": 1, "delete": 2}
    assert {finding["standing"] for finding in one["findings"]} == {Standing.NEW, Standing.FIXED}
    assert one["changes"][0]["consequence"]["loses"] is True
