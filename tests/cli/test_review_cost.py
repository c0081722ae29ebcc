"""What a change costs by the month and by the hour: figures with what was assumed, nothing without a price as 0."""

from __future__ import annotations

import ast
import io
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from trainyard.cli import environments
from trainyard.cli.review import cost_kinds, cost_words, markdown, page, text
from trainyard.cli.review.cost import Cost, Estimate, Nature, compared, estimate
from trainyard.cli.review.cost_lines import Amount, Line, gib_of, number
from trainyard.cli.review.model import Environment, Review
from trainyard.policies.graph import Graph, Resource
from trainyard.policies.values import UNKNOWN
from trainyard.stacks.prices import REFERENCE_REGION, SOURCES, hourly_usd, price
from trainyard.stacks.regions import REGIONS

ROOT = Path(__file__).parents[2]
FREE, USAGE = cost_kinds._table()
KNOWN = {*cost_kinds._RECKONED, *FREE, *USAGE}
NODES, TEMPLATE = "aws:eks/nodeGroup:NodeGroup", "aws:ec2/launchTemplate:LaunchTemplate"
SCHEDULE = "aws:autoscaling/schedule:Schedule"
LUSTRE = "aws:fsx/lustreFileSystem:LustreFileSystem"
STACK = "urn:pulumi:dev::trainyard::pulumi:pulumi:Stack::trainyard-dev"


def raw(type_: str, name: str, parent: str = STACK, **props: Any) -> dict[str, Any]:
    return {
        "urn": f"urn:pulumi:dev::trainyard::{type_}::{name}",
        "type": type_,
        "custom": ":" in type_,
        "parent": parent,
        "id": props.pop("id", name),
        "inputs": props,
        "outputs": props,
    }


def state(*resources: dict[str, Any]) -> dict[str, Any]:
    return {"deployment": {"resources": [{"urn": STACK, "type": "pulumi:pulumi:Stack"}, *resources]}}


def group(
    capacity: str = "ON_DEMAND", least: int = 0, most: int = 4, region: str = "us-east-1", **more: Any
) -> list[Any]:
    """Nodes of one type with their template, whose disk costs 56 USD a month."""
    disk = {"volumeSize": 200, "volumeType": "gp3", "iops": 4000, "throughput": 1000}
    template = {"instanceType": more.pop("type", "p4d.24xlarge"), "blockDeviceMappings": [{"ebs": disk}]}
    sizes = {"minSize": least, "maxSize": most, "desiredSize": least}
    named = {"launchTemplate": {"id": "lt-1"}, "resources": [{"autoscalingGroups": [{"name": "asg"}]}]}
    return [
        raw(TEMPLATE, "nodes", id="lt-1", region=region, **template, **more),
        raw(NODES, "nodes", capacityType=capacity, scalingConfig=sizes, region=region, **named),
    ]


def of(found: Estimate, nature: Nature) -> list[Line]:
    return [one for one in found.lines if one.nature is nature]


def only(found: Estimate, nature: Nature) -> Line:
    (one,) = of(found, nature)
    return one


# The tables.


def test_every_price_is_said_where_it_is_from() -> None:
    rows = cost_kinds_prices()

    assert len(rows) > 100
    for one in rows:
        assert one.source in SOURCES
        assert one.region in REGIONS
        assert one.unit
        assert 0 < one.low <= one.high < 1000
    assert all(source.text and source.date for source in SOURCES.values())


def cost_kinds_prices() -> list[Any]:
    from trainyard.stacks import prices

    return list(prices._PRICES.values())


@pytest.mark.parametrize(
    ("kind", "region"), [("p5.48xlarge", "us-east-2"), ("p4d.24xlarge", "us-west-2"), ("g6.12xlarge", "me-central-1")]
)
def test_what_is_seen_on_spot_is_less_than_on_demand(kind: str, region: str) -> None:
    seen, asked = price(f"spot {kind}", region, elsewhere=False), hourly_usd(kind, region)

    assert seen is not None
    assert asked is not None
    assert seen.high < asked


def test_another_regions_price_stands_in_but_not_for_spot() -> None:
    assert price("eks-cluster", "me-central-1") == price("eks-cluster", REFERENCE_REGION)
    assert price("spot p5en.48xlarge", "me-central-1", elsewhere=False) is None
    assert hourly_usd("p5en.48xlarge", "me-central-1") == pytest.approx(75.96, abs=0.01)
    assert hourly_usd("m6i.xlarge", "us-east-2") == 0.192
    assert hourly_usd("no.such", "us-east-1") is None


@pytest.mark.parametrize("name", ["dev", "local", "prod-uae", "prod-us", "research"])
def test_what_the_environments_buy_has_a_price(name: str) -> None:
    _, found = environments.read(name, environments.environment_file(name, ROOT))
    what = {"spot": "spot", "capacity-block": "capacity-block"}

    for one in found.gpu_groups:
        item = f"{what.get(one.capacity, 'on-demand')} {one.instance_type}"
        known = price(item, found.region, elsewhere=one.capacity != "spot")
        assert known is not None, item
        assert known.region == found.region or one.capacity == "capacity-block", item
    for one in found.cpu_groups:
        for kind in one.instance_types:
            assert price(f"on-demand {kind}", found.region, elsewhere=False) is not None, kind


def test_items_that_kinds_name_have_prices() -> None:
    named = [row["item"] for rows in USAGE.values() for row in rows]

    assert [one for one in named if price(one, REFERENCE_REGION) is None] == []
    assert not {*FREE} & {*USAGE, *cost_kinds._RECKONED}


def test_every_kind_that_the_modules_make_is_known() -> None:
    assert (
        sorted(
            kind for kind in set(_made()) if kind.rpartition(":")[2] not in {one.rpartition(":")[2] for one in KNOWN}
        )
        == []
    )
    assert len(set(_made())) > 60


def _made() -> Iterator[str]:
    """`aws.s3.Bucket(…)` and `kubernetes.core.v1.Namespace(…)` in the modules."""
    for file in [*ROOT.glob("modules/*.py"), *ROOT.glob("stacks/*.py")]:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            steps = ast.unparse(node.func).split(".")
            made = steps[0] in ("aws", "kubernetes") and len(steps) > 2 and steps[-1][0].isupper()
            if made and not steps[-1].endswith(("Args", "Patch")):
                yield f"{'.'.join(steps[:-1])}:{steps[-1]}"


# The estimate.


@pytest.mark.parametrize("name", ["platform_export.json", "slice_export.json"])
def test_every_resource_of_a_platform_is_priced_or_free_or_said_to_be_neither(name: str) -> None:
    export = json.loads((ROOT / "tests" / "cli" / name).read_text(encoding="utf-8"))
    found = estimate(export)
    held = [one for one in export["deployment"]["resources"] if not one["type"].startswith(("pulumi:", "trainyard:"))]

    assert {(one.type, one.name) for one in found.lines} == {(one["type"], one["urn"].split("::")[-1]) for one in held}
    for one in found.lines:
        assert (one.amount is None) is (one.nature in (Nature.FREE, Nature.UNPRICED))
        assert one.what
        assert one.amount is None or one.assumptions
    assert found.idle == sum((one.amount for one in of(found, Nature.IDLE) if one.amount), Amount()).rounded()


def test_nodes_on_demand_cost_by_the_hour_and_nothing_while_idle() -> None:
    found = estimate(state(*group()))
    one, whole = of(found, Nature.TRAINING)
    disk = 56 / 730

    assert found.idle == Amount(0, 0)
    assert one.amount is not None
    assert one.amount.low == one.amount.high == pytest.approx(21.9576 + disk)
    assert whole.amount is not None
    assert whole.amount.low == pytest.approx(4 * (21.9576 + disk))
    assert one.per == "hour"
    assert any(
        "on-demand p4d.24xlarge: 21.9576 USD per hour in us-east-1 [catalog]" in said for said in one.assumptions
    )


def test_nodes_that_are_always_there_cost_by_the_month() -> None:
    found = estimate(state(*group(least=2, type="m7i.xlarge")))

    assert found.idle.low == pytest.approx(2 * (0.2016 * 730 + 56))
    assert of(found, Nature.TRAINING) == []
    assert only(found, Nature.USAGE).per == "hour of a further m7i.xlarge"


def test_spot_is_a_range_and_has_no_price_where_none_was_seen() -> None:
    seen = estimate(state(*group("SPOT", region="us-west-2")))
    unseen = estimate(state(*group("SPOT", region="me-central-1")))
    one = of(seen, Nature.TRAINING)[0]

    assert one.amount is not None
    assert one.amount.low < one.amount.high < 21.9576
    assert any("changes by the hour" in said for said in one.assumptions)
    assert of(unseen, Nature.TRAINING) == []
    assert "no price of spot p4d.24xlarge in me-central-1" in of(unseen, Nature.UNPRICED)[0].what


def test_a_capacity_block_is_paid_by_the_accelerator_and_as_a_whole() -> None:
    times = [
        raw(SCHEDULE, "start", autoscalingGroupName="asg", desiredCapacity=4, startTime="2031-01-15T11:30:00Z"),
        raw(SCHEDULE, "drain", autoscalingGroupName="asg", desiredCapacity=0, startTime="2031-01-16T10:45:00Z"),
        raw(SCHEDULE, "other", autoscalingGroupName="another", desiredCapacity=0, startTime="2041-01-16T10:45:00Z"),
    ]
    found = estimate(state(*group("CAPACITY_BLOCK", type="p5.48xlarge"), *times))
    node, whole, block = of(found, Nature.TRAINING)

    assert node.amount is not None
    assert whole.amount is not None
    assert block.amount is not None
    assert node.amount.low == pytest.approx(8 * 3.933 + 56 / 730)
    assert block.amount.low == pytest.approx(4 * 8 * 3.933 * 24)
    assert block.per == "block"
    assert any("paid in advance" in said for said in block.assumptions)


def test_accelerators_that_nobody_counted_make_no_free_block() -> None:
    found = estimate(state(*group("CAPACITY_BLOCK", type="trn9.48xlarge")))

    assert all(one.amount in (None, Amount(0, 0)) for one in found.lines)
    assert any("accelerators are not known" in one.what for one in of(found, Nature.UNPRICED))


def test_a_reservation_is_paid_while_nothing_trains() -> None:
    target = {"capacityReservationTarget": {"capacityReservationId": "cr-1"}}
    found = estimate(state(*group(capacityReservationSpecification=target)))

    assert found.idle.low == pytest.approx(4 * 21.9576 * 730, rel=1e-6)
    assert any("whether they run or not" in said for said in only(found, Nature.IDLE).assumptions)
    assert all("in the monthly cost already" in one.assumptions[0] for one in of(found, Nature.TRAINING)[:1])


def test_another_regions_price_is_said_beside_the_figure() -> None:
    found = estimate(state(raw("aws:ec2/natGateway:NatGateway", "way", region="me-central-1")))

    assert any("in us-east-1 instead of me-central-1" in said for said in only(found, Nature.IDLE).assumptions)


@pytest.mark.parametrize(
    ("type_", "props", "usd"),
    [
        (LUSTRE, {"storageCapacity": 4800, "deploymentType": "PERSISTENT_2", "perUnitStorageThroughput": 250}, 1008),
        (LUSTRE, {"storageCapacity": 1200, "deploymentType": "SCRATCH_2"}, 168),
        ("aws:ec2/vpcEndpoint:VpcEndpoint", {"vpcEndpointType": "Interface", "subnetIds": ["a", "b", "c"]}, 21.9),
        ("aws:ec2/natGateway:NatGateway", {}, 32.85),
        ("aws:ec2/eip:Eip", {}, 3.65),
        ("aws:eks/cluster:Cluster", {"upgradePolicy": {"supportType": "EXTENDED"}}, 73),
        ("aws:kms/key:Key", {"enableKeyRotation": True}, 1),
        ("aws:cloudwatch/metricAlarm:MetricAlarm", {"period": 10}, 0.3),
        ("aws:secretsmanager/secret:Secret", {}, 0.4),
        ("aws:ebs/volume:Volume", {"size": 100, "type": "io2", "iops": 1000}, 77.5),
    ],
)
def test_what_a_month_of_it_costs(type_: str, props: dict[str, Any], usd: float) -> None:
    found = estimate(state(raw(type_, "one", region="us-east-1", **props)))

    assert found.idle.low == found.idle.high == pytest.approx(usd)


@pytest.mark.parametrize(
    ("type_", "props"),
    [
        ("aws:made/up:Thing", {}),
        (NODES, {"scalingConfig": {"minSize": 1, "maxSize": 2}}),
        (NODES, {"instanceTypes": ["no.such"], "scalingConfig": {"minSize": 1, "maxSize": 1}}),
        (LUSTRE, {"storageCapacity": UNKNOWN}),
        (LUSTRE, {"storageCapacity": 1200, "deploymentType": "PERSISTENT_9", "perUnitStorageThroughput": 3}),
        ("aws:ec2/vpcEndpoint:VpcEndpoint", {"vpcEndpointType": "GatewayLoadBalancer", "subnetIds": ["a"]}),
        ("aws:eks/addon:Addon", {"addonName": "seller_product"}),
        ("aws:cloudwatch/eventRule:EventRule", {"eventBusName": "own"}),
        ("aws:ebs/volume:Volume", {"size": 100, "type": "fast9"}),
        ("kubernetes:core/v1:PersistentVolumeClaim", {"spec": {"storageClassName": "elsewhere"}}),
        ("kubernetes:core/v1:Service", {"spec": {"type": "LoadBalancer"}}),
    ],
)
def test_what_has_no_price_is_said_and_never_free(type_: str, props: dict[str, Any]) -> None:
    found = estimate(state(raw(type_, "one", **props)))

    assert of(found, Nature.UNPRICED)
    assert {one.nature for one in found.lines} == {Nature.UNPRICED}


@pytest.mark.parametrize(
    ("type_", "props", "per", "usd"),
    [
        (
            LUSTRE,
            {"storageCapacity": 1200, "automaticBackupRetentionDays": 14},
            "TB of files in backups for a month",
            50,
        ),
        ("aws:cloudwatch/logGroup:LogGroup", {"logGroupClass": "INFREQUENT_ACCESS"}, "100 GB of logs written", 25),
        ("aws:ec2/flowLog:FlowLog", {"logDestinationType": "s3"}, "100 GB of flow logs to a bucket", 25),
        ("aws:ec2/natGateway:NatGateway", {}, "TB through NAT", 45),
        ("aws:eks/cluster:Cluster", {}, "month in extended support", 438),
        ("aws:s3/bucket:Bucket", {}, "TB stored for a month", 23),
        ("aws:sns/topicSubscription:TopicSubscription", {"protocol": "email"}, "100,000 mails", 2),
    ],
)
def test_what_depends_on_use_has_a_unit_price(type_: str, props: dict[str, Any], per: str, usd: float) -> None:
    found = estimate(state(raw(type_, "one", region="us-east-1", **props)))
    (one,) = (line for line in of(found, Nature.USAGE) if line.per == per)

    assert one.amount is not None
    assert one.amount.low == pytest.approx(usd)
    assert len(one.assumptions) > 1


def test_a_claim_costs_what_its_class_makes_of_it() -> None:
    made = raw(
        "kubernetes:storage.k8s.io/v1:StorageClass",
        "fast",
        metadata={"name": "fast"},
        provisioner="ebs.csi.aws.com",
        parameters={"type": "io2", "iopsPerGB": "10"},
    )
    spec = {"storageClassName": "fast", "resources": {"requests": {"storage": "100Gi"}}}
    found = estimate(state(made, raw("kubernetes:core/v1:PersistentVolumeClaim", "one", spec=spec)))

    assert found.idle.low == pytest.approx(100 * 0.125 + 1000 * 0.065)


@pytest.mark.parametrize(("written", "read"), [("1Ti", 1024), ("512Mi", 0.5), ("1.5Gi", 1.5), ("x", None), (3, None)])
def test_quantities(written: Any, read: float | None) -> None:
    assert gib_of(written) == read


@pytest.mark.parametrize(
    ("written", "read"), [("30", 30), (True, None), ("nan", None), (-1, None), (10**400, None), ([], None)]
)
def test_numbers(written: Any, read: float | None) -> None:
    assert number(written) == read


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.just(UNKNOWN)
    | st.sampled_from(["asg", "lt-1"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
NAMES = st.sampled_from(
    [
        "scalingConfig",
        "minSize",
        "maxSize",
        "launchTemplate",
        "instanceTypes",
        "instanceType",
        "capacityType",
        "resources",
        "ebs",
        "region",
        "name",
        "blockDeviceMappings",
        "autoscalingGroups",
        "storageCapacity",
        "deploymentType",
        "subnetIds",
        "vpcEndpointType",
        "startTime",
        "desiredCapacity",
        "autoscalingGroupName",
        "parameters",
        "spec",
        "metadata",
        "size",
        "type",
        "iops",
        "environment",
        "computeType",
        "period",
        "upgradePolicy",
        "volumeSize",
        "volumeType",
        "provisioner",
        "labels",
        "addonName",
    ]
)
PROPS = st.dictionaries(
    NAMES, VALUES | st.dictionaries(NAMES, VALUES, max_size=3) | st.lists(st.dictionaries(NAMES, VALUES), max_size=2)
)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(sorted({*cost_kinds._RECKONED, TEMPLATE, SCHEDULE})), PROPS), max_size=4))
def test_no_property_whatever_makes_it_fall_over(given_: list[tuple[str, dict[str, Any]]]) -> None:
    graph = Graph(Resource(f"urn:{place}", kind, str(place), props) for place, (kind, props) in enumerate(given_))
    for resource in graph.resources:
        found = list(cost_kinds.lines_of(resource, graph, ""))

        assert found
        for one in found:
            assert (one.amount is None) is (one.nature in (Nature.FREE, Nature.UNPRICED))
            if one.amount:
                assert math.isfinite(one.amount.high)
                assert 0 <= one.amount.low <= one.amount.high


# Before and after.


BEFORE = state(*group(), raw(LUSTRE, "files", region="us-east-1", storageCapacity=1200, deploymentType="SCRATCH_2"))
AFTER = state(
    *group(most=8),
    raw(LUSTRE, "files", region="us-east-1", storageCapacity=2400, deploymentType="SCRATCH_2"),
    raw("aws:ec2/natGateway:NatGateway", "way", region="us-east-1"),
    raw("aws:made/up:Thing", "thing"),
)


def change() -> Cost:
    found = compared(BEFORE, AFTER)
    assert found is not None
    return found


def test_a_change_is_told_by_component_and_by_kind() -> None:
    found = change()
    rows = {one.name: one for one in found.by_kind}

    assert found.total.difference.low == pytest.approx(168 + 32.85)
    assert rows["LustreFileSystem"].what == "1200 GiB SCRATCH_2 → 2400 GiB SCRATCH_2"
    assert rows["LustreFileSystem"].difference == Amount(168, 168)
    assert rows["NatGateway"].before is None
    assert sum(one.difference.low for one in found.by_component) == pytest.approx(found.total.difference.low)
    assert [one.what for one in found.training] == [
        "1 × p4d.24xlarge, on demand",
        "4 × p4d.24xlarge, on demand",
        "8 × p4d.24xlarge, on demand",
    ]
    assert found.unpriced == (("1 Thing", "nothing is known of what this kind costs"),)
    assert set(found.sources) == {"catalog", "estimates", "page"}


def test_a_price_that_only_the_earlier_figure_rests_on_is_said() -> None:
    here, there = (state(*group(least=1, region=region)) for region in ("us-east-1", "eu-north-1"))
    found = compared(here, there)

    assert found is not None
    assert any(said.startswith("before: on-demand p4d.24xlarge: 21.9576") for said in found.by_kind[0].assumptions)


def test_resources_are_counted_to_their_outermost_component() -> None:
    keys = raw("trainyard:keys:Keys", "platform")
    key = raw("trainyard:keys:CustomerKey", "data", keys["urn"])
    found = estimate(state(keys, key, raw("aws:kms/key:Key", "data", key["urn"])))

    assert {one.component for one in found.lines} == {"Keys platform"}


def test_nothing_on_either_side_costs_nothing_to_tell() -> None:
    assert compared({}, {}) is None


def test_what_did_not_change_is_said_to_be_as_before() -> None:
    found = compared(BEFORE, BEFORE)

    assert found is not None
    assert cost_words.total_line(found) == "168.00 USD per month while nothing trains, as before"
    assert not any(map(cost_words.changed, (*found.by_component, *found.training, *found.usage)))


@pytest.mark.parametrize(
    ("amount", "said"),
    [
        (None, "–"),
        (Amount(0, 0), "0.00 USD"),
        (Amount(0.012, 0.012), "0.0120 USD"),
        (Amount(31.536, 39.4), "31.54 to 39.40 USD"),
        (Amount(169150.4, 169150.4), "169,150 USD"),
    ],
)
def test_amounts_are_said_as_exactly_as_they_are_known(amount: Amount | None, said: str) -> None:
    assert cost_words.usd(amount) == said


def test_no_format_shows_a_figure_without_its_assumptions() -> None:
    told = Review("main", "working tree", (Environment("dev", "us-east-1", cost=change(), apply_error="quota"),))
    said = io.StringIO()
    text.show(told, Console(file=said, width=400))
    shown = page.render(told).replace("&#39;", "'")

    for written in (said.getvalue(), markdown.render(told), shown, json.dumps(told.as_json(), ensure_ascii=False)):
        assert "nothing trains: each group of nodes is at its smallest" in written
        assert "lustre-scratch_2-ssd: 0.14 USD per GB-month in us-east-1 [page]" in written
        assert "on-demand p4d.24xlarge: 21.9576 USD per hour in us-east-1 [catalog]" in written
        assert SOURCES["catalog"].text in written
        assert "nothing is known of what this kind costs" in written
    for written in (said.getvalue(), markdown.render(told), shown):
        assert "at least 168.00 USD → 368.85 USD per month while nothing trains (+200.85 USD)" in written


def test_json_holds_amounts_before_and_after() -> None:
    told = Review("main", "working tree", (Environment("dev", "us-east-1", cost=change()),)).as_json()
    found = json.loads(json.dumps(told, default=str))["environments"][0]["cost"]

    assert found["total"]["before"] == {"low": 168.0, "high": 168.0}
    assert found["total"]["difference"]["low"] == pytest.approx(200.85)
    assert {one["nature"] for one in found["after"]["lines"]} == {"idle", "training", "usage", "free", "not priced"}
    assert all(one["assumptions"] for one in found["by_component"])


def test_costs_give_way_where_a_comment_would_be_cut() -> None:
    many = tuple(Environment(f"dev{place}", "us-east-1", cost=change(), apply_error="x") for place in range(60))
    whole, cut = (markdown.render(Review("main", "working tree", some)) for some in (many[:2], many))

    assert "on-demand p4d.24xlarge: 21.9576" in whole
    assert "on-demand p4d.24xlarge: 21.9576" not in cut
    assert len(cut) < markdown.LONGEST + 100
    assert cut.count("**Cost: ") > 2
