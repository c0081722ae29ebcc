"""What does not fit together in an environment's settings: which key is told, and what may stand there instead."""

from __future__ import annotations

import copy
import json
import re
from datetime import UTC, datetime
from typing import Any

import pytest
from setting_examples import (
    BASE,
    BLOCK,
    GROUP,
    ISRAEL,
    NOW,
    SPOT,
    UAE,
    block,
    changed,
    group,
    kubernetes,
    lustre,
    problems,
    team,
)
from wrong_settings import WRONG

from trainyard.stacks import setting_checks
from trainyard.stacks.setting_advice import advice
from trainyard.stacks.setting_draft import as_far_as_known
from trainyard.stacks.setting_group_checks import CPU_GROUP_CHECKS, GROUP_CHECKS, Placed
from trainyard.stacks.settings import Settings, SettingsError, parse_settings


def test_the_base_has_no_problem() -> None:
    assert problems() == {}


@pytest.mark.parametrize(("changes", "key", "says"), [one[1:] for one in WRONG], ids=[one[0] for one in WRONG])
def test_one_mistake_is_told_once_by_its_key_with_what_may_stand_there(
    changes: dict[str, Any], key: str, says: str
) -> None:
    told = problems(**changes)
    assert list(told) == [key]
    assert says in told[key]


@pytest.mark.parametrize(
    "changes",
    [
        block(),
        block(starts_at=datetime(2031, 1, 15, 11, 30, tzinfo=UTC)),
        block(starts_at="2026-11-15T11:30:00Z", ends_at="2026-11-21T08:00:01Z"),
        block(starts_at="2031-01-15T12:00:00Z", ends_at="2031-01-16T11:30:00Z"),
        {"network": {"nat": "single", "interface_endpoints": ["ecr.api", "sts", "bedrock-runtime"]}},
        {"access": {"administrators": ["arn:aws:iam::123456789012:role/admin", "PlatformAdministrator"]}},
        kubernetes(service_cidr="192.168.0.0/20"),
        group(zones=["us-east-1a"], placement="cluster"),
        {"gpu_groups": [{**SPOT, "zones": ["us-east-1a", "us-east-1b"]}]},
        {
            **UAE,
            **group(instance_type="p5en.48xlarge", zones=["me-central-1a"]),
            "data_class": "personal",
            "jurisdiction": "AE",
        },
        {"data_class": "personal", "jurisdiction": "AE", "transfer_basis": "Contract 2026-014"},
        {"data_class": "public", "jurisdiction": "AE"},
        {"kubernetes": {"public_access_cidrs": ["8.8.8.0/24", "52.0.0.1/32"]}},
        lustre(storage_gib=19200, efa=True),
        lustre(storage_gib=1200),
        lustre(linked=False, backup_retention_days=7),
        {**ISRAEL, **group(zones=["il-central-1a"]), **lustre(zone="il-central-1a")},
        {"region": "eu-west-1", "availability_zones": ["eu-west-1a", "eu-west-1b"], **group(zones=["eu-west-1a"])},
        {"teams": [{"name": "a", "gpu_quota": 32}, {"name": "b", "gpu_quota": 32}]},
        team(cpu_quota=792, memory_gib=8288),
        {"backups": {"schedule": "cron(15 1,13 ? * MON-FRI 2026-2030)"}},
    ],
    ids=str,
)
def test_what_fits_is_taken(changes: dict[str, Any]) -> None:
    assert problems(**changes) == {}


def test_every_check_is_tried() -> None:
    """A check that no wrong example reaches may as well be missing."""
    reached = set()
    for _, changes, _, _ in WRONG:
        try:
            model = Settings.model_validate(changed(changes))
        except ValueError:
            continue
        for whole in (*setting_checks.WHOLE_CHECKS, *setting_checks.SIZED_CHECKS):
            reached |= {whole} if list(whole(model)) else set()
        for gpu_group in model.gpu_groups:
            reached |= {one for one in GROUP_CHECKS if list(one(Placed("", gpu_group, model, NOW)))}
        for cpu_group in model.cpu_groups:
            reached |= {one for one in CPU_GROUP_CHECKS if list(one(Placed("", cpu_group, model, NOW)))}
        if list(setting_checks.backups_lie_ahead(model, NOW)):
            reached.add(setting_checks.backups_lie_ahead)
    every = {*setting_checks.WHOLE_CHECKS, *setting_checks.SIZED_CHECKS, *GROUP_CHECKS, *CPU_GROUP_CHECKS}
    assert reached == every | {setting_checks.backups_lie_ahead}


@pytest.mark.parametrize("days_after", range(-2, 16))
def test_a_block_is_refused_from_its_end_on(days_after: int) -> None:
    starts = datetime(2026, 11, 10, 11, 30, tzinfo=UTC)
    now = starts.replace(day=10 + days_after) if days_after < 20 else starts
    told = problems(now=now, **block(starts_at=starts, ends_at=starts.replace(day=20)))
    assert list(told) == (["gpu_groups[0].ends_at"] if days_after >= 10 else [])


@pytest.mark.parametrize("throughput", [125, 250, 500, 1000])
@pytest.mark.parametrize("efa", [False, True])
@pytest.mark.parametrize("size", [1201, 2399, 2401, 3600, 10_000, 50_000, 2_147_483_647])
def test_the_sizes_that_are_recommended_are_taken(size: int, efa: bool, throughput: int) -> None:
    told = problems(**lustre(storage_gib=size, efa=efa, throughput_mbps_per_tib=throughput))
    near = [int(one) for one in re.findall(r"[0-9]+", told["lustre.storage_gib"].partition("near it")[2])]
    assert near
    for one in near:
        assert problems(**lustre(storage_gib=one, efa=efa, throughput_mbps_per_tib=throughput)) == {}


def test_the_clock_tells_the_time_where_no_other_is_given() -> None:
    with pytest.raises(SettingsError, match="The Capacity Block ended then"):
        parse_settings(
            changed(block(starts_at="2001-01-01T11:30:00Z", ends_at="2001-01-08T11:30:00Z")),
            namespace="trainyard",
            stack="lab",
        )


def test_pulumi_hands_objects_over_as_text() -> None:
    as_text = {key: value if isinstance(value, str) else json.dumps(value) for key, value in BASE.items()}
    parsed = parse_settings(as_text, namespace="trainyard", stack="lab")
    assert parsed == parse_settings(BASE, namespace="trainyard", stack="lab")
    as_text["gpu_groups"] = json.dumps([{**GROUP, "placment": "none"}])
    with pytest.raises(SettingsError, match=r"trainyard:gpu_groups\[0\].placment: There is no such setting"):
        parse_settings(as_text, namespace="trainyard", stack="lab")


MANY: dict[str, tuple[dict[str, Any], str]] = {
    "region": ({"region": "moon"}, "region"),
    "a team": ({"teams": [{"name": "kube-system"}, {"name": "b", "gpu_quota": 999}]}, "teams[0].name"),
    "another team": ({"teams": [{"name": "kube-system"}, {"name": "b", "gpu_quota": 999}]}, "teams[1].gpu_quota"),
    "a missing quota": ({"teams": [{"name": "kube-system"}, {"name": "b", "gpu_quota": 999}]}, "teams[0].gpu_quota"),
    "services": ({"kubernetes": {"service_cidr": "10.64.0.0/16", "version": 1.35}}, "kubernetes.service_cidr"),
    "version": ({"kubernetes": {"service_cidr": "10.64.0.0/16", "version": 1.35}}, "kubernetes.version"),
    "nobody": ({"kubernetes": {"service_cidr": "10.64.0.0/16", "version": 1.35}}, "kubernetes.private_access_cidrs"),
    "owner": ({"owner": None}, "owner"),
    "half a character": ({"cost_centre": "\ud800"}, "cost_centre"),
    "unknown": ({"colour": "red"}, "colour"),
    "a second group": ({"gpu_groups": [{**GROUP, "zones": 5}, {**BLOCK, "placement": "cluster"}]},
        "gpu_groups[1].placement"),
    "a first group": ({"gpu_groups": [{**GROUP, "zones": 5}, {**BLOCK, "placement": "cluster"}]},
        "gpu_groups[0].zones"),
    "lustre": ({"lustre": {"storage_gib": 2000, "zone": 5}}, "lustre.storage_gib"),
    "lustre's zone": ({"lustre": {"storage_gib": 2000, "zone": 5}}, "lustre.zone"),
}  # fmt: skip


def test_all_mistakes_are_told_at_once_whether_of_one_setting_or_between_them() -> None:
    changes: dict[str, Any] = {}
    for one, _ in MANY.values():
        changes |= one
    values = {key: value for key, value in {**copy.deepcopy(BASE), **changes}.items() if value is not None}
    with pytest.raises(SettingsError) as refused:
        parse_settings(values, namespace="trainyard", stack="lab", now=NOW)
    told = [problem.key.removeprefix("trainyard:") for problem in refused.value.problems]
    assert sorted(told) == sorted({key for _, key in MANY.values()})


@pytest.mark.parametrize(
    ("changes", "keys"),
    [
        (team(gpu_quota="many"), ["teams[0].gpu_quota"]),
        ({**group(maximum_nodes=0), **team(gpu_quota=999)}, ["gpu_groups[0].maximum_nodes"]),
        ({**group(minimum_nodes=9, maximum_nodes=1), **team(gpu_quota=32)}, ["gpu_groups[0].minimum_nodes"]),
        ({**group(instance_type="p6-b300.48xlarge"), **team(gpu_quota=999)}, ["gpu_groups[0].instance_type"]),
        ({**block(maximum_nodes=65), "vpc_cidr": "10.64.0.0/20"}, ["gpu_groups[0].maximum_nodes"]),
        ({"region": None, **group(instance_type="p9")}, ["region", "gpu_groups[0].instance_type"]),
        ({"vpc_cidr": "ten", **kubernetes(service_cidr="10.64.0.0/16")}, ["vpc_cidr"]),
        ({"lustre": {"efa": "yes"}, "checkpoints": {"location": "lustre"}},
            ["lustre.storage_gib", "lustre.efa", "lustre.zone"]),
    ],
    ids=str,
)  # fmt: skip
def test_a_wrong_setting_is_not_held_against_others(changes: dict[str, Any], keys: list[str]) -> None:
    assert list(problems(**changes)) == keys


def test_a_check_ends_where_a_setting_is_not_known_and_tells_what_it_has_found() -> None:
    told = problems(region="moon", **lustre(storage_gib=2000))
    assert list(told) == ["region", "lustre.storage_gib"]


def test_a_mistake_in_a_check_is_no_unknown_setting() -> None:
    def broken() -> Any:
        yield "a", "b"
        raise AttributeError("a slip in the program")

    with pytest.raises(AttributeError):
        list(as_far_as_known(broken()))


@pytest.mark.parametrize(
    ("kubernetes_settings", "advised"),
    [({"private_access_cidrs": ["10.0.0.0/16"]}, True), ({"public_access_cidrs": ["8.8.8.8/32"]}, False)],
)
def test_a_way_to_the_api_that_is_still_to_be_made_is_told(kubernetes_settings: dict, advised: bool) -> None:
    settings = parse_settings({**BASE, "kubernetes": kubernetes_settings}, namespace="trainyard", stack="lab", now=NOW)
    assert any("join the VPC to that network" in str(one) for one in advice(settings)) is advised


def test_quotas_that_add_up_to_more_are_taken_and_told() -> None:
    def told(quotas: list[int]) -> list[str]:
        teams = [{"name": f"team-{index}", "gpu_quota": quota} for index, quota in enumerate(quotas)]
        settings = parse_settings({**BASE, "teams": teams}, namespace="trainyard", stack="lab", now=NOW)
        return [text for text in map(str, advice(settings)) if ":teams:" in text]

    assert told([16, 16]) == []
    assert told([32, 32]) == [
        "trainyard:teams: Their GPU quotas add up to 64, and all GPU groups grow to 32. That may be meant: a quota is "
        "a ceiling, and pods beyond what there is wait until others end."
    ]
