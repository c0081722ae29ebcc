"""What does not fit together in an environment's settings: which key is told, and what may stand there instead."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trainyard.stacks.schema import schema
from trainyard.stacks.setting_checks import _CHECKS
from trainyard.stacks.settings import Settings, SettingsError, parse_settings

ROOT = Path(__file__).parents[2]
BLOCK = {
    "name": "block",
    "instance_type": "p5.48xlarge",
    "zones": ["us-east-1a"],
    "capacity": "capacity-block",
    "reservation_id": "cr-0123456789abcdef0",
    "starts_at": "2031-01-15T11:30:00Z",
    "ends_at": "2031-01-29T11:30:00Z",
    "maximum_nodes": 8,
}
GROUP = {"name": "p5", "instance_type": "p5.48xlarge", "zones": ["us-east-1a"], "maximum_nodes": 4}
SPOT = {**GROUP, "capacity": "spot"}
BASE: dict[str, Any] = {
    "environment": "lab",
    "region": "us-east-1",
    "availability_zones": ["us-east-1a", "us-east-1b"],
    "vpc_cidr": "10.64.0.0/16",
    "owner": "team",
    "cost_centre": "lab",
    "data_class": "internal",
    "kubernetes": {"private_access_cidrs": ["10.0.0.0/16"]},
    "gpu_groups": [GROUP],
    "teams": [{"name": "vision", "gpu_quota": 8}],
    "budget": {"monthly_limit_usd": 1000},
}
UAE = {"region": "me-central-1", "availability_zones": ["me-central-1a", "me-central-1b"]}


def _problems(**changes: Any) -> dict[str, str]:
    values = {key: value for key, value in {**copy.deepcopy(BASE), **changes}.items() if value is not None}
    try:
        parse_settings(values, namespace="trainyard", stack="lab")
    except SettingsError as refused:
        return {problem.key.removeprefix("trainyard:"): problem.message for problem in refused.problems}
    return {}


def _group(**changes: Any) -> dict[str, Any]:
    return {"gpu_groups": [{**GROUP, **changes}]}


def _block(**changes: Any) -> dict[str, Any]:
    made = {key: value for key, value in {**BLOCK, **changes}.items() if value is not None}
    return {"gpu_groups": [made]}


def test_the_base_has_no_problem():
    assert _problems() == {}


WRONG: list[tuple[str, dict[str, Any], str, str]] = [
    ("p5 in the UAE", {**UAE, **_group(zones=["me-central-1a"])}, "gpu_groups[0].instance_type", "p5en.48xlarge"),
    ("p5 in the UAE: g6", {**UAE, **_group(zones=["me-central-1a"])}, "gpu_groups[0].instance_type", "g6.48xlarge"),
    ("no such type", _group(instance_type="p9.48xlarge"), "gpu_groups[0].instance_type", "p5.48xlarge"),
    ("a type without GPU", _group(instance_type="m7i.large"), "gpu_groups[0].instance_type", "p5.48xlarge"),
    (
        "placement over zones",
        _group(zones=["us-east-1a", "us-east-1b"], placement="cluster"),
        "gpu_groups[0].placement",
        "name one zone",
    ),
    (
        "EFA over zones",
        _group(zones=["us-east-1a", "us-east-1b"]),
        "gpu_groups[0].zones",
        "make a group for each zone",
    ),
    ("placement with a block", _block(placement="cluster"), "gpu_groups[0].placement", "write none"),
    ("block without id", _block(reservation_id=None), "gpu_groups[0].reservation_id", "cr-0123456789abcdef0"),
    ("block without start", _block(starts_at=None), "gpu_groups[0].starts_at", "2027-01-15T11:30:00Z"),
    ("block without end", _block(ends_at=None), "gpu_groups[0].ends_at", "30 minutes before its end"),
    ("block ends first", _block(ends_at="2031-01-14T11:30:00Z"), "gpu_groups[0].ends_at", "not after starts_at"),
    ("block without zone of time", _block(ends_at="2031-01-29T11:30:00"), "gpu_groups[0].ends_at", "time zone"),
    ("block with a word", _block(ends_at="soon"), "gpu_groups[0].ends_at", "2027-01-15T11:30:00Z"),
    ("block of 65", _block(maximum_nodes=65), "gpu_groups[0].maximum_nodes", "at most 64"),
    ("block with a minimum", _block(minimum_nodes=1), "gpu_groups[0].minimum_nodes", "It is 0"),
    ("block in two zones", _block(zones=["us-east-1a", "us-east-1b"]), "gpu_groups[0].zones", "name that one"),
    ("dates without block", _group(ends_at="2031-01-29T11:30:00Z"), "gpu_groups[0].ends_at", "leave it out"),
    ("reservation without id", _group(capacity="reservation"), "gpu_groups[0].reservation_id", "cr-0123456789abcdef0"),
    ("id without reservation", _group(reservation_id="cr-0123456789abcdef0"), "gpu_groups[0].reservation_id", "leave"),
    ("id of another kind", _group(reservation_id="i-0123"), "gpu_groups[0].reservation_id", "cr-0123456789abcdef0"),
    ("minimum above maximum", _group(minimum_nodes=5), "gpu_groups[0].minimum_nodes", "0 to maximum_nodes"),
    ("strange zone", _group(zones=["us-east-1c"]), "gpu_groups[0].zones", "us-east-1a and us-east-1b"),
    (
        "spot that saves nowhere",
        {"gpu_groups": [SPOT], "checkpoints": {"location": "none"}},
        "checkpoints.location",
        "bucket or lustre",
    ),
    ("saves to no file system", {"checkpoints": {"location": "lustre"}}, "checkpoints.location", "under lustre"),
    (
        "services in the VPC",
        {"kubernetes": {**BASE["kubernetes"], "service_cidr": "10.64.0.0/20"}},
        "kubernetes.service_cidr",
        "172.20.0.0/16",
    ),
    (
        "public services",
        {"kubernetes": {**BASE["kubernetes"], "service_cidr": "8.8.0.0/16"}},
        "kubernetes.service_cidr",
        "a private block of /24 to /12",
    ),
    ("VPC in a reserved block", {"network": {"reserved_cidrs": ["10.64.0.0/12"]}}, "vpc_cidr", "choose another"),
    ("half a block", {"network": {"reserved_cidrs": ["10.0.0.1/12"]}}, "network.reserved_cidrs", "10.0.0.0/12"),
    ("too few addresses", {**_group(maximum_nodes=60), "vpc_cidr": "10.64.0.0/20"}, "vpc_cidr", "up to /16"),
    (
        "personal data abroad",
        {"data_class": "personal", "jurisdiction": "AE"},
        "transfer_basis",
        "A region of AE (me-central-1) would",
    ),
    ("health data abroad", {"data_class": "health", "jurisdiction": "DE"}, "transfer_basis", "no legal advice"),
    ("financial data abroad", {"data_class": "financial", "jurisdiction": "SA"}, "transfer_basis", "documented basis"),
    ("government data abroad", {"data_class": "government", "jurisdiction": "GB"}, "transfer_basis", "eu-west-2"),
    (
        "nobody reaches the API",
        {"kubernetes": {"version": "1.35"}},
        "kubernetes.private_access_cidrs",
        "or public_access_cidrs",
    ),
    (
        "all the internet reaches it",
        {"kubernetes": {"public_access_cidrs": ["0.0.0.0/0"]}},
        "kubernetes.public_access_cidrs[0]",
        "203.0.113.0/24",
    ),
    (
        "private as public",
        {"kubernetes": {"public_access_cidrs": ["10.0.0.0/16"]}},
        "kubernetes.public_access_cidrs[0]",
        "private_access_cidrs",
    ),
    (
        "unknown version",
        {"kubernetes": {**BASE["kubernetes"], "version": "1.20"}},
        "kubernetes.version",
        "1.34 and 1.35",
    ),
    (
        "version as a number",
        {"kubernetes": {**BASE["kubernetes"], "version": 1.35}},
        "kubernetes.version",
        "in quotation marks",
    ),
    ("its size", {"lustre": {"storage_gib": 2000, "zone": "us-east-1a"}}, "lustre.storage_gib", "1200 and 2400"),
    (
        "file system with EFA",
        {"lustre": {"storage_gib": 2400, "zone": "us-east-1a", "efa": True}},
        "lustre.storage_gib",
        "multiple of 19200",
    ),
    (
        "file system with EFA for nobody",
        {
            "lustre": {"storage_gib": 19200, "zone": "us-east-1a", "efa": True},
            **_group(instance_type="g5.xlarge"),
            "teams": [{"name": "vision", "gpu_quota": 1}],
        },
        "lustre.efa",
        "leave it false",
    ),
    (
        "file system with EFA in the UAE",
        {
            **UAE,
            "lustre": {"storage_gib": 19200, "zone": "me-central-1a", "efa": True},
            **_group(instance_type="p5en.48xlarge", zones=["me-central-1a"]),
        },
        "lustre.efa",
        "leave it false",
    ),
    (
        "backups of a linked file system",
        {"lustre": {"storage_gib": 2400, "zone": "us-east-1a", "backup_retention_days": 7}},
        "lustre.backup_retention_days",
        "lustre.linked to false",
    ),
    ("file system elsewhere", {"lustre": {"storage_gib": 2400, "zone": "us-east-1f"}}, "lustre.zone", "us-east-1a"),
    ("two of a name", {"gpu_groups": [GROUP, GROUP]}, "gpu_groups[1].name", "its own"),
    (
        "a name of Kubernetes's own",
        {"teams": [{"name": "default", "gpu_quota": 1}]},
        "teams[0].name",
        "namespace of that name",
    ),
    (
        "a role twice",
        {"access": {"administrators": ["Ml"]}, "teams": [{"name": "vision", "gpu_quota": 1, "people": ["Ml"]}]},
        "teams",
        "access.administrators names it too",
    ),
    ("more GPUs than there are", {"teams": [{"name": "vision", "gpu_quota": 64}]}, "teams[0].gpu_quota", "0 to 32"),
    (
        "a VPC without a zone's subnet",
        {"network": {"existing": {"vpc_id": "vpc-01234567", "private_subnet_ids_by_zone": {"us-east-1a": "subnet-1"}}}},
        "network.existing.private_subnet_ids_by_zone",
        "us-east-1b",
    ),
    ("unknown key inside", _group(placment="none"), "gpu_groups[0].placment", "Did you mean placement?"),
    ("unknown key deeper", {"network": {"existing": {"vpc": "x"}}}, "network.existing.vpc", "Did you mean vpc_id?"),
    ("wrong type inside", _group(maximum_nodes="many"), "gpu_groups[0].maximum_nodes", "a whole number from 1 to 450"),
    ("missing inside", {"teams": [{"name": "vision"}]}, "teams[0].gpu_quota", "It is missing. GPUs its pods"),
    ("a word for an object", {"network": "none"}, "network", "not of the right kind"),
    ("no teams", {"teams": []}, "teams", "It is missing."),
    ("a price of nothing", {"budget": {"monthly_limit_usd": 0}}, "budget.monthly_limit_usd", "above 0"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "key", "says"), [one[1:] for one in WRONG], ids=[one[0] for one in WRONG])
def test_what_does_not_fit_is_told_by_its_key_with_what_may_stand_there(changes, key, says):
    problems = _problems(**changes)
    assert key in problems, problems
    assert says in problems[key]


@pytest.mark.parametrize(
    "changes",
    [
        _block(),
        _group(zones=["us-east-1a"], placement="cluster"),
        {"gpu_groups": [{**SPOT, "zones": ["us-east-1a", "us-east-1b"]}]},
        {**UAE, **_group(instance_type="p5en.48xlarge", zones=["me-central-1a"]), "data_class": "personal"},
        {"data_class": "personal", "jurisdiction": "AE", "transfer_basis": "Contract 2026-014"},
        {"data_class": "public", "jurisdiction": "AE"},
        {"kubernetes": {"public_access_cidrs": ["203.0.113.0/24"]}},
        {"lustre": {"storage_gib": 19200, "zone": "us-east-1a", "efa": True}},
        {"lustre": {"storage_gib": 2400, "zone": "us-east-1a", "linked": False, "backup_retention_days": 7}},
        {"region": "eu-west-1", "availability_zones": ["eu-west-1a", "eu-west-1b"], **_group(zones=["eu-west-1a"])},
    ],
    ids=str,
)
def test_what_fits_is_taken(changes):
    assert _problems(**changes) == {}


def test_every_check_is_tried():
    """A check that no wrong example reaches may as well be missing."""
    reached = set()
    for _, changes, _, _ in WRONG:
        values = {**copy.deepcopy(BASE), **changes}
        try:
            model = Settings.model_validate(values)
        except ValueError:
            continue
        reached |= {check.__name__ for check in _CHECKS if list(check(model))}
    assert reached == {check.__name__ for check in _CHECKS}


def test_pulumi_hands_objects_over_as_text():
    as_text = {key: value if isinstance(value, str) else json.dumps(value) for key, value in BASE.items()}
    parsed = parse_settings(as_text, namespace="trainyard", stack="lab")
    assert parsed == parse_settings(BASE, namespace="trainyard", stack="lab")
    as_text["gpu_groups"] = json.dumps([{**GROUP, "placment": "none"}])
    with pytest.raises(SettingsError, match=r"trainyard:gpu_groups\[0\].placment: There is no such setting"):
        parse_settings(as_text, namespace="trainyard", stack="lab")


def test_one_wrong_entry_does_not_make_its_list_wrong_too():
    assert list(_problems(teams=[{"name": "vision", "gpu_quota": "many"}])) == ["teams[0].gpu_quota"]


def test_the_schema_for_editors_is_current():
    kept = json.loads((ROOT / "stacks" / "settings.schema.json").read_text())
    assert kept == json.loads(json.dumps(schema())), "python -m trainyard.stacks.schema > stacks/settings.schema.json"


def test_the_environments_obey_the_schema():
    import jsonschema

    validator = jsonschema.Draft202012Validator(schema())
    for file in (ROOT / "stacks" / "environments").glob("Pulumi.*.yaml"):
        assert list(validator.iter_errors(yaml.safe_load(file.read_text()))) == [], file.name


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(key=st.sampled_from(sorted(Settings.model_fields)), value=_JSON)
def test_whatever_stands_there_it_is_taken_or_refused_in_words(key, value):
    told = _problems(**{key: value})
    assert all(message.endswith((".", "?")) for message in told.values())
