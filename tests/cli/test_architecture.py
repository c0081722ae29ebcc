"""The architecture picture: what is in it, how it is laid out, and that it is the same for the same graph."""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainyard.cli.architecture import NotAnExportError, draw, svg
from trainyard.cli.architecture.layout import Box, arrange, fitted, text_width
from trainyard.cli.architecture.model import read

SVG = "{http://www.w3.org/2000/svg}"
STACK = "urn:pulumi:dev::platform::pulumi:pulumi:Stack::platform-dev"


@pytest.fixture(scope="module")
def export() -> dict[str, Any]:
    """The first slice, as `pulumi stack export` gives it."""
    return json.loads(Path(__file__).with_name("slice_export.json").read_text(encoding="utf-8"))


def texts(picture: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(picture).iter(f"{SVG}text")]


def titles(picture: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(picture).iter(f"{SVG}title")]


def small(*resources: dict[str, Any]) -> dict[str, Any]:
    """An export of a stack with one component `Box` of the type `team:Kind` for each prefix of a resource's name."""
    parents = sorted({one["parent"] for one in resources})
    components = [{"urn": urn, "type": urn.split("::")[2], "custom": False, "parent": STACK} for urn in parents]
    stack = {"urn": STACK, "type": "pulumi:pulumi:Stack", "custom": False, "outputs": {"region": "us-east-1"}}
    return {"deployment": {"resources": [stack, *components, *resources]}}


def component(name: str) -> str:
    return f"urn:pulumi:dev::platform::team:{name}:{name}::dev-{name.lower()}"


def resource(kind: str, name: str, parent: str, /, *uses: str, **outputs: Any) -> dict[str, Any]:
    return {
        "urn": f"urn:pulumi:dev::platform::{kind}::{name}",
        "type": kind,
        "custom": True,
        "id": name,
        "parent": component(parent),
        "outputs": outputs,
        "dependencies": list(uses),
    }


def test_every_resource_is_in_the_picture_once(export: dict[str, Any]) -> None:
    drawn = [title.split("\n")[1] for title in titles(svg(export)) if title.startswith("aws:")]
    deployed = [
        raw["urn"].rpartition("::")[2]
        for raw in export["deployment"]["resources"]
        if raw.get("custom") and raw["type"].startswith("aws:")
    ]

    assert len(deployed) > 60
    assert sorted(drawn) == sorted(deployed)


def test_components_are_titled_and_their_resources_told_apart(export: dict[str, Any]) -> None:
    shown = texts(svg(export))

    assert {"Network", "Keys", "Object store", "Interruption queue", "Training role"} <= set(shown)
    assert {"10.64.0.0/16", "10.64.0.0/19 · us-east-1a", "datasets", "checkpoints", "spot-interruption"} <= set(shown)
    assert {"TLS only", "versioned", "not public", "→ interruptions"} <= set(shown)
    assert "Trainyard · local" in shown
    assert "us-east-1" in shown
    assert "6 of 7 encrypted under own keys" in shown


def test_arrows_are_the_real_uses_without_those_that_others_imply(export: dict[str, Any]) -> None:
    used = [title for title in titles(svg(export)) if " uses " in title]

    assert sorted(set(used)) == [
        "Interruption queue uses 1 KMS key of Keys",
        "Network uses 1 KMS key of Keys",
        "Object store uses 1 KMS key of Keys",
        "Training role uses 1 SQS queue of Interruption queue",
        "Training role uses 3 S3 buckets of Object store",
    ]


def test_words_say_what_the_picture_shows(export: dict[str, Any]) -> None:
    root = ElementTree.fromstring(svg(export))

    assert root.get("role") == "img"
    assert root.get("aria-labelledby") == "title description"
    assert root.findtext(f"{SVG}title") == "Architecture of trainyard in the environment local"
    assert "Training role uses 2 KMS keys of Keys." in str(root.findtext(f"{SVG}desc"))


def test_same_graph_same_bytes_in_whatever_order_it_is_listed(export: dict[str, Any]) -> None:
    expected = svg(export)
    for seed in range(3):
        shuffled = list(export["deployment"]["resources"])
        random.Random(seed).shuffle(shuffled)
        assert svg({"deployment": {"resources": shuffled}}) == expected


def test_picture_stands_alone(export: dict[str, Any]) -> None:
    picture = svg(export)

    assert "<image" not in picture
    assert "@import" not in picture
    assert set(re.findall(r"https?://[^\s\"<]+", re.sub(r"<title>.*?</title>", "", picture, flags=re.DOTALL))) == {
        "http://www.w3.org/2000/svg"
    }


def _boxes(boxes: list[Box]) -> Iterator[tuple[Box, list[tuple[float, float, float, float]]]]:
    for top in boxes:
        for box in top.everything():
            inside = [(one.x, one.y, one.x + one.width, one.y + one.height) for one in (*box.cards, *box.inner)]
            yield box, inside


def _apart(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]


def _assert_well_placed(picture: dict[str, Any]) -> None:
    drawing = arrange(read(picture))
    frames = [(box.x, box.y, box.right, box.y + box.height) for box in drawing.boxes]
    assert all(_apart(one, other) for one, other in combinations(frames, 2))
    assert all(
        0 <= left < right <= drawing.width and 0 <= top < low <= drawing.height for left, top, right, low in frames
    )
    for box, inside in _boxes(drawing.boxes):
        assert all(_apart(one, other) for one, other in combinations(inside, 2))
        for left, top, right, low in inside:
            assert box.x < left < right < box.right
            assert box.y < top < low < box.y + box.height
        for view in box.cards:
            for chip in view.chips:
                assert view.x < chip.x < chip.x + chip.width < view.x + view.width + 0.01
                assert chip.y + 19 < view.y + view.height


def test_nothing_overlaps_or_leaves_its_box(export: dict[str, Any]) -> None:
    _assert_well_placed(export)


names = st.text("abc-é<&\"' ", min_size=1, max_size=40)
kinds = st.sampled_from(
    ["aws:s3/bucket:Bucket", "aws:kms/key:Key", "aws:iam/role:Role", "aws:eks/addon:Addon", "kubernetes:core/v1:Pod"]
)


@st.composite
def exports(draw_value: st.DrawFn) -> dict[str, Any]:
    """Stacks of any shape: components that use each other in circles, long names, unknown types."""
    owners = ["A", "B", "C", "D", "E"]
    rows = draw_value(st.lists(st.tuples(kinds, names, st.sampled_from(owners)), min_size=1, max_size=25))
    made: list[dict[str, Any]] = []
    for number, (kind, name, owner) in enumerate(rows):
        made.append(resource(kind, f"{name}{number}", owner, name=name, region=name))
    for one in made:
        one["dependencies"] = draw_value(st.lists(st.sampled_from([other["urn"] for other in made]), max_size=3))
    return small(*made)


@settings(max_examples=60, deadline=None)
@given(exports())
def test_any_stack_gives_a_well_placed_picture(picture: dict[str, Any]) -> None:
    _assert_well_placed(picture)
    ElementTree.fromstring(svg(picture))


def test_components_that_use_each_other_both_get_an_arrow() -> None:
    bucket, key = "aws:s3/bucket:Bucket", "aws:kms/key:Key"
    picture = small(
        resource(bucket, "data", "Store", f"urn:pulumi:dev::platform::{key}::key"),
        resource(key, "key", "Safe", f"urn:pulumi:dev::platform::{bucket}::data"),
    )

    used = {title for title in titles(svg(picture)) if " uses " in title}

    assert used == {"Store uses 1 KMS key of Safe", "Safe uses 1 S3 bucket of Store"}


def test_resource_in_another_region_is_marked() -> None:
    picture = svg(small(resource("aws:s3/bucket:Bucket", "data", "Store", region="eu-west-1", bucket="data")))

    assert "eu-west-1" in texts(picture)


def test_names_are_escaped_and_cut_to_their_card() -> None:
    name = "<script>" + "very-" * 20
    shown = texts(svg(small(resource("aws:s3/bucket:Bucket", name, "Store", bucket=name))))

    assert any(text.startswith("<script>very-") and text.endswith("…") for text in shown)
    assert text_width(fitted(name, 100, 13), 13) <= 100


def test_a_stack_with_nothing_in_it_still_gives_a_picture() -> None:
    assert "0 resources in 0 components, drawn from the deployed state" in texts(svg({"deployment": {"resources": []}}))


@pytest.mark.parametrize("wrong", [{}, [], {"deployment": None}, {"deployment": {"resources": 5}}])
def test_what_is_no_export_is_refused(wrong: Any) -> None:
    with pytest.raises(NotAnExportError, match="pulumi stack export"):
        svg(wrong)


def test_command_writes_the_picture_and_refuses_with_status_2(tmp_path: Path) -> None:
    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "trainyard.cli.architecture", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    source, target = Path(__file__).with_name("slice_export.json"), tmp_path / "a.svg"
    broken = tmp_path / "broken.json"
    broken.write_text("{", encoding="utf-8")

    assert run(source, target).returncode == 0
    draw(json.loads(source.read_text(encoding="utf-8")), tmp_path / "b.svg")
    assert target.read_bytes() == (tmp_path / "b.svg").read_bytes()
    for refused in (run(broken, target), run(tmp_path / "absent.json", target), run(source)):
        assert refused.returncode == 2
        assert "Traceback" not in refused.stderr


def test_labels_promise_only_what_the_settings_say() -> None:
    bucket = "aws:s3/bucket:Bucket"
    urn = f"urn:pulumi:dev::platform::{bucket}::data"

    def part(kind: str, name: str, **outputs: Any) -> dict[str, Any]:
        return {**resource(kind, name, "Store", **outputs), "propertyDependencies": {"bucket": [urn]}}

    allow = json.dumps({"Statement": [{"Effect": "Allow", "Principal": "*", "Action": "s3:*", "Resource": "*"}]})
    sse = {"applyServerSideEncryptionByDefault": {"sseAlgorithm": "aws:kms", "kmsMasterKeyId": "alias/aws/s3"}}
    shown = texts(
        svg(
            small(
                resource(bucket, "data", "Store", bucket="data"),
                part("aws:s3/bucketVersioning:BucketVersioning", "v", versioningConfiguration={"status": "Suspended"}),
                part("aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock", "b", blockPublicAcls=True),
                part("aws:s3/bucketPolicy:BucketPolicy", "p", policy=allow),
                part(
                    "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration",
                    "e",
                    rules=[sse],
                ),
            )
        )
    )

    assert {"versioning off", "public access block", "policy", "AWS key"} <= set(shown)
    assert not {"versioned", "not public", "TLS only", "KMS"} & set(shown)
    assert "0 of 1 encrypted under own keys" in shown
