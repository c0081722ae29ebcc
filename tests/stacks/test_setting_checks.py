"""What does not fit together in an environment's settings: which key is told, and what may stand there instead."""

from __future__ import annotations

import copy
import datetime
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trainyard.stacks.schema import schema
from trainyard.stacks.setting_checks import _CHECKS
from trainyard.stacks.setting_page import page
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
    ("zone named twice", _group(zones=["us-east-1a", "us-east-1a"]), "gpu_groups[0].zones", "once is enough"),
    (
        "CPU minimum above maximum",
        {"cpu_groups": [{"name": "system", "minimum_nodes": 7}]},
        "cpu_groups[0].minimum_nodes",
        "0 to maximum_nodes, which is 6",
    ),
    (
        "GPUs in a CPU group",
        {"cpu_groups": [{"name": "system", "instance_types": ["g5.xlarge"]}]},
        "cpu_groups[0].instance_types",
        "m7i.xlarge would do",
    ),
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
    (
        "services in shared address space",
        {"kubernetes": {**BASE["kubernetes"], "service_cidr": "100.64.0.0/16"}},
        "kubernetes.service_cidr",
        "10.0.0.0/8, 172.16.0.0/12 and 192.168.0.0/16",
    ),
    ("blank basis", {"data_class": "personal", "jurisdiction": "AE", "transfer_basis": " "}, "transfer_basis", "SCC 2"),
    (
        "everybody privately",
        {"kubernetes": {"private_access_cidrs": ["0.0.0.0/0"]}},
        "kubernetes.private_access_cidrs[0]",
        "such as 10.0.0.0/16",
    ),
    ("S3 twice over", {"network": {"interface_endpoints": ["s3"]}}, "network.interface_endpoints", "gateway endpoint"),
    (
        "a full endpoint's name",
        {"network": {"interface_endpoints": ["com.amazonaws.us-east-1.ecr.api"]}},
        "network.interface_endpoints",
        "such as ecr.api",
    ),
    ("an endpoint twice", {"network": {"interface_endpoints": ["sts", "sts"]}}, "network.interface_endpoints", "once"),
    (
        "an address twice",
        {"budget": {"monthly_limit_usd": 1, "notify": ["a@example.com"] * 2}},
        "budget.notify",
        "name each once",
    ),
    ("no address", {"budget": {"monthly_limit_usd": 1, "notify": ["ml"]}}, "budget.notify", "ml@example.com"),
    ("no end of cost", {"budget": {"monthly_limit_usd": float("inf")}}, "budget.monthly_limit_usd", "above 0"),
    ("people of no name", {"access": {"administrators": ["a b"]}}, "access.administrators", "permission set"),
    (
        "an ARN of nobody",
        {"access": {"break_glass_principals": ["me"]}},
        "access.break_glass_principals",
        "role/on-call",
    ),
    ("half a character", {"owner": "\ud800"}, "owner", "UTF-8"),
    ("an address as a number", {"network": {"reserved_cidrs": [5]}}, "network.reserved_cidrs", "10.64.0.0/16"),
    ("a subnet's name", {"network": {"existing": {"vpc_id": "vpc-01234567", "private_subnet_ids_by_zone": {
        "us-east-1a": "private", "us-east-1b": "subnet-01234567"}}}},
        "network.existing.private_subnet_ids_by_zone", "subnet-0123456789abcdef0"),
    ("a date as YAML reads it", _block(starts_at=datetime.date(2031, 1, 15)), "gpu_groups[0].starts_at", "11:30:00Z"),
    ("a time before all", _block(starts_at="0001-01-01T00:00:00+14:00"), "gpu_groups[0].starts_at", "11:30:00Z"),
    ("a list for a word", _group(instance_type=[]), "gpu_groups[0].instance_type", "p5.48xlarge"),
    ("zones as a word", _group(zones="us-east-1a"), "gpu_groups[0].zones", '["us-east-1a"]'),
    ("a word for a switch", {"images": {"build": "yes"}}, "images.build", "true or false"),
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
        {
            "network": {
                "existing": {
                    "vpc_id": "vpc-01234567",
                    "private_subnet_ids_by_zone": {"us-east-1a": "subnet-01234567"},
                }
            }
        },
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
        _block(starts_at=datetime.datetime(2031, 1, 15, 11, 30, tzinfo=datetime.UTC)),
        {"network": {"interface_endpoints": ["ecr.api", "sts"]}},
        {"access": {"administrators": ["arn:aws:iam::123456789012:role/admin", "PlatformAdministrator"]}},
        {"kubernetes": {**BASE["kubernetes"], "service_cidr": "192.168.0.0/20"}},
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


def test_the_page_of_all_settings_is_current():
    kept = (ROOT / "docs" / "settings.md").read_text()
    assert kept == page(), "python -m trainyard.stacks.setting_page > docs/settings.md"


def test_the_page_says_how_to_choose_each_setting():
    told = (ROOT / "docs" / "environments.md").read_text()
    assert [key for key in Settings.model_fields if f"`{key}`" not in told] == []


def test_a_thousand_wrong_entries_are_told_in_a_page():
    with pytest.raises(SettingsError) as refused:
        parse_settings({**BASE, "teams": ["x"] * 1000}, namespace="trainyard", stack="lab")
    lines = str(refused.value).splitlines()
    assert (len(lines), lines[-1].strip()) == (27, "… and 975 more.")


def test_what_is_shown_of_a_wrong_value_is_short():
    assert len(_problems(environment="a" * 100_000)["environment"]) < 500


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path] * bool(path) + [place for key, one in inner for place in _places(one, (*path, key))]


FULL: dict[str, Any] = {
    **BASE,
    "gpu_groups": [GROUP, BLOCK],
    "cpu_groups": [{"name": "system", "instance_types": ["m7i.xlarge"], "zones": ["us-east-1a"], "minimum_nodes": 2}],
    "lustre": {"storage_gib": 2400, "zone": "us-east-1a", "throughput_mbps_per_tib": 250, "efa": False},
    "checkpoints": {"location": "bucket"},
    "scratch": {"iops_per_gib": 5},
    "access": {"viewers": ["Audit"], "break_glass_principals": ["arn:aws:iam::123456789012:role/on-call"]},
    "network": {
        "interface_endpoints": ["sts"],
        "reserved_cidrs": ["10.0.0.0/16"],
        "existing": {
            "vpc_id": "vpc-01234567",
            "private_subnet_ids_by_zone": {"us-east-1a": "subnet-01234567", "us-east-1b": "subnet-01234568"},
        },
    },
    "kubernetes": {"version": "1.35", "public_access_cidrs": ["203.0.113.0/24"], "service_cidr": "172.20.0.0/16"},
    "teams": [{"name": "vision", "gpu_quota": 8, "people": ["Vision"], "pod_security": "restricted"}],
    "budget": {"monthly_limit_usd": 1000, "notify": ["a@example.com"], "idle_hours": 2},
    "backups": {"schedule": "cron(0 3 * * ? *)", "retention_days": 3},
}
# fmt: off
NASTY: tuple[Any, ...] = (
    None, True, 0, -1, 10**400, 1.35, float("nan"), "", " ", "[]", "null", "9" * 5000, "[" * 100_000, "1e999", [], {},
    [None], [[]], [{}], {"a": 1}, {"secure": "v1:x"}, "\x00", "\ud800", "{0}%s", "0.0.0.0/0", "10.0.0.0/33", "::/0",
    datetime.date(2027, 1, 1), datetime.datetime(2027, 1, 1), "0001-01-01T00:00:00+14:00", ["10.0.0.0/8"] * 2000,
)
# fmt: on


@pytest.mark.parametrize("place", _places(FULL), ids=lambda place: ".".join(map(str, place)))
def test_no_value_anywhere_breaks_more_than_the_settings(place):
    for nasty in NASTY:
        values = copy.deepcopy(FULL)
        inside: Any = values
        for step in place[:-1]:
            inside = inside[step]
        inside[place[-1]] = nasty
        as_text = {key: one if isinstance(one, str) else json.dumps(one, default=str) for key, one in values.items()}
        for given_values in (values, as_text):
            told = _problems(**given_values)
            assert all(message.endswith((".", "?")) and "Input should" not in message for message in told.values())


def test_the_full_example_has_no_problem():
    assert _problems(**FULL) == {}


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
