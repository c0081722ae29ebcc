"""The architecture picture: what is in it, how it is laid out, and that it is the same for the same graph."""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
from itertools import combinations
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from waiting import WAIT_SECONDS

from trainyard.cli.architecture import NotAnExportError, draw, svg
from trainyard.cli.architecture.layers import LAYER_OF, LAYERS
from trainyard.cli.architecture.layout import arrange, fitted, text_width, wrapped
from trainyard.cli.architecture.model import read

SVG = "{http://www.w3.org/2000/svg}"
STACK = "urn:pulumi:dev::platform::pulumi:pulumi:Stack::platform-dev"


@pytest.fixture(scope="module")
def export() -> dict[str, Any]:
    """The data layer, as `pulumi stack export` gives it."""
    return json.loads(Path(__file__).with_name("slice_export.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def platform() -> dict[str, Any]:
    """All of an environment: what `trainyard local up` left, less secrets and what no picture reads."""
    return json.loads(Path(__file__).with_name("platform_export.json").read_text(encoding="utf-8"))


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


@pytest.mark.parametrize(("which", "least"), [("export", 60), ("platform", 270)])
def test_every_resource_is_in_the_picture_once(which: str, least: int, request: pytest.FixtureRequest) -> None:
    state = request.getfixturevalue(which)
    told = [block for title in titles(svg(state)) for block in title.split("\n\n")]
    drawn = [tuple(block.split("\n")[:2]) for block in told if block.startswith(("aws:", "kubernetes:"))]
    deployed = [
        (raw["type"], raw["urn"].rpartition("::")[2])
        for raw in state["deployment"]["resources"]
        if raw.get("custom") and not raw["type"].startswith("pulumi:")
    ]

    assert len(deployed) > least
    assert sorted(drawn) == sorted(deployed)
    assert any(text.startswith(f"{len(deployed)} resources in") for text in texts(svg(state)))


def test_components_are_titled_and_their_resources_told_apart(export: dict[str, Any]) -> None:
    shown = texts(svg(export))

    assert {"Network", "Keys", "Object store", "Interruption queue", "Training role"} <= set(shown)
    assert {"10.64.0.0/16", "10.64.0.0/19 · us-east-1a", "datasets", "checkpoints"} <= set(shown)
    assert {"TLS only", "versioned", "not public"} <= set(shown)
    assert "Trainyard · local" in shown
    assert "us-east-1" in shown


def test_layers_stand_on_each_other_and_add_up(platform: dict[str, Any]) -> None:
    drawing = arrange(read(platform))

    assert [band.layer.title for band in drawing.bands] == ["Workloads", "Cluster", "Data"]
    assert sum(band.resources for band in drawing.bands) == read(platform).resources
    for above, below in zip(drawing.bands, drawing.bands[1:], strict=False):
        assert above.y + above.height < below.y


def test_every_component_of_the_modules_has_a_layer() -> None:
    modules = Path(__file__).parents[2] / "modules"
    types = {
        found
        for file in modules.glob("*.py")
        for found in re.findall(r'super\(\).__init__\("(trainyard:[^"]+)"', file.read_text(encoding="utf-8"))
    }

    assert len(types) > 20
    assert set(LAYER_OF) == types
    assert set(LAYER_OF.values()) <= set(LAYERS)


def test_what_an_engineer_asks_first_stands_on_the_component(platform: dict[str, Any]) -> None:
    told = {component.title: list(component.facts) for component in read(platform).components}

    assert told["GPU group p4d"] == [
        "p4d.24xlarge",
        "0–4 nodes · on demand",
        "4 EFA interfaces each · one cluster placement group",
    ]
    assert told["GPU group p5-block"][1] == "0–8 nodes · Capacity Block · cr-0123456789abcdef0"
    assert told["GPU group g5-spot"][1] == "0–4 nodes · spot"
    assert told["Cluster"][1:] == ["endpoint private", "secrets under own key"]
    assert told["Network"][0] == "10.64.0.0/16 · 2 zones · no way to the internet"
    assert "ecr.dkr" in told["Network"][2]
    assert told["Team vision"][0].startswith("at most 32 GPUs, ")
    assert told["Lustre"][0] == "1200 GiB · 250 MB/s per TiB"


def test_uses_are_told(platform: dict[str, Any], export: dict[str, Any]) -> None:
    assert "Training role uses 2 KMS keys of Keys." in (
        ElementTree.fromstring(svg(export)).findtext(f"{SVG}desc") or ""
    )
    feet = {
        box.title: " ".join(text for *_, text in box.foot)
        for band in arrange(read(platform)).bands
        for box in band.boxes
    }
    assert feet["GPU group p4d"] == "on Cluster, Keys, Network"
    assert feet["Keys"] == ""


def test_secrets_of_the_state_stay_in_the_state() -> None:
    marked = {"4dabf18193072939515e22adb298388d": "1b47061264138c4ac30d75fd1eb44270", "value": "hunter2"}
    picture = svg(
        small(
            resource("aws:s3/bucket:Bucket", "data", "Store", bucket=marked, password="hunter2"),
            resource("aws:ssm/parameter:Parameter", "token", "Store", name=marked, description=marked, value="hunter2"),
        )
    )

    assert "token" in picture
    assert "hunter2" not in picture


def test_layers_that_are_stacks_of_their_own_give_one_picture(platform: dict[str, Any]) -> None:
    whole = platform["deployment"]["resources"]
    of_layer: dict[str, list[dict[str, Any]]] = {"data": [], "cluster": [], "workloads": []}
    by_urn = {raw["urn"]: raw for raw in whole}

    def layer(raw: dict[str, Any]) -> str:
        while raw["type"] not in LAYER_OF and raw.get("parent") in by_urn:
            raw = by_urn[raw["parent"]]
        return LAYER_OF.get(raw["type"], "data")

    for raw in whole:
        of_layer[layer(raw)].append(raw)
    exports = []
    for name, raws in of_layer.items():
        text = json.dumps(raws).replace("urn:pulumi:local::", f"urn:pulumi:local-{name}::")
        exports.append({"deployment": {"resources": json.loads(text)}})

    drawing, shown = arrange(read(*exports)), texts(svg(*exports))
    assert [band.layer.title for band in drawing.bands] == ["Workloads", "Cluster", "Data"]
    assert "Trainyard · local" in shown
    assert read(*exports).resources == read(platform).resources


def test_what_is_in_no_component_is_drawn_too() -> None:
    alone = {**resource("aws:s3/bucket:Bucket", "data", "Store"), "parent": STACK}
    stack = {"urn": STACK, "type": "pulumi:pulumi:Stack", "custom": False}

    shown = texts(svg({"deployment": {"resources": [stack, alone]}}))

    assert {"Not in a component", "Other", "data"} <= set(shown)


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


def _apart(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]


def _inside(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return other[0] <= one[0] and one[2] <= other[2] + 0.01 and other[1] <= one[1] and one[3] <= other[3] + 0.01


def _frame(one: Any) -> tuple[float, float, float, float]:
    return (one.x, one.y, one.x + one.width, one.y + getattr(one, "height", 20))


def _assert_well_placed(picture: dict[str, Any]) -> None:
    drawing = arrange(read(picture))
    page = (0, 0, drawing.width, drawing.height)
    for band in drawing.bands:
        assert _inside(_frame(band), page)
        assert all(_apart(_frame(one), _frame(other)) for one, other in combinations(band.boxes, 2))
        for box in band.boxes:
            assert _inside(_frame(box), _frame(band))
            pieces = [*map(_frame, box.cards), *map(_frame, box.labels)]
            pieces += [(x, y - 9, x + text_width(text, 11), y) for x, y, text in (*box.facts, *box.foot)]
            assert all(_apart(one, other) for one, other in combinations(pieces, 2))
            assert all(_inside(piece, _frame(box)) for piece in pieces)
            for view in box.cards:
                assert all(_inside(_frame(label), _frame(view)) for label in view.labels)
                assert all(_apart(_frame(one), _frame(other)) for one, other in combinations(view.labels, 2))
            for label in (*box.labels, *(label for view in box.cards for label in view.labels)):
                assert text_width(label.text, 11) <= label.width


@pytest.mark.parametrize("which", ["export", "platform"])
def test_nothing_overlaps_or_leaves_its_box(which: str, request: pytest.FixtureRequest) -> None:
    state = request.getfixturevalue(which)
    _assert_well_placed(state)
    drawing = arrange(read(state))
    assert drawing.width <= 2000
    assert drawing.height <= 1700


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


def test_components_that_use_each_other_both_say_so() -> None:
    bucket, key = "aws:s3/bucket:Bucket", "aws:kms/key:Key"
    picture = small(
        resource(bucket, "data", "Store", f"urn:pulumi:dev::platform::{key}::key"),
        resource(key, "key", "Safe", f"urn:pulumi:dev::platform::{bucket}::data"),
    )

    told = ElementTree.fromstring(svg(picture)).findtext(f"{SVG}desc") or ""

    assert "Store dev-store uses 1 KMS key of Safe dev-safe." in told
    assert "Safe dev-safe uses 1 S3 bucket of Store dev-store." in told
    assert {"on Safe dev-safe", "on Store dev-store"} <= set(texts(svg(picture)))


def test_resource_in_another_region_is_marked() -> None:
    picture = svg(small(resource("aws:s3/bucket:Bucket", "data", "Store", region="eu-west-1", bucket="data")))

    assert "eu-west-1" in texts(picture)


def test_names_are_escaped_and_cut_to_their_card() -> None:
    name = "<script>" + "very-" * 20
    shown = texts(svg(small(resource("aws:s3/bucket:Bucket", name, "Store", bucket=name))))

    assert any(text.startswith("<script>very-") and text.endswith("…") for text in shown)
    assert text_width(fitted(name, 100, 13), 13) <= 100
    assert all(text_width(line, 11) <= 100 for line in wrapped(f"{name} and {name}", 100, 11, most=3))


def test_a_stack_with_nothing_in_it_still_gives_a_picture() -> None:
    assert any(text.startswith("0 resources in 0 components") for text in texts(svg({"deployment": {"resources": []}})))


@pytest.mark.parametrize("wrong", [{}, [], {"deployment": None}, {"deployment": {"resources": 5}}])
def test_what_is_no_export_is_refused(wrong: Any) -> None:
    with pytest.raises(NotAnExportError, match="pulumi stack export"):
        svg(wrong)


def test_command_writes_the_picture_and_refuses_with_status_2(tmp_path: Path) -> None:
    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "trainyard.cli.architecture", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, timeout=WAIT_SECONDS, check=False)

    source, target = Path(__file__).with_name("slice_export.json"), tmp_path / "a.svg"
    broken = tmp_path / "broken.json"
    broken.write_text("{", encoding="utf-8")

    assert run(source, target).returncode == 0
    draw(tmp_path / "b.svg", json.loads(source.read_text(encoding="utf-8")))
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
