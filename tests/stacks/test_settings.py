"""Settings: what is taken, and what a person reads who got one wrong."""

from __future__ import annotations

import ipaddress
import types
import typing
from pathlib import Path
from typing import Any

import pulumi
import pytest
import yaml
from pydantic import BaseModel, ValidationError

from trainyard.stacks.regions import REGIONS
from trainyard.stacks.settings import EMPTY, Settings, SettingsError, parse_settings

ROOT = Path(__file__).parents[2]

GOOD: dict[str, Any] = {
    "environment": "research",
    "region": "eu-north-1",
    "availability_zones": '["eu-north-1a", "eu-north-1b"]',
    "vpc_cidr": "10.64.0.0/16",
    "owner": "ml-platform@example.com",
    "cost_centre": "research 2026",
    "data_class": "internal",
    "protect_data": "true",
    "key_deletion_window_days": "14",
    "log_retention_days": "365",
    "kubernetes": '{"private_access_cidrs": ["10.0.0.0/16"]}',
    "gpu_groups": '[{"name": "p5", "instance_type": "p5.48xlarge", "zones": ["eu-north-1a"], "maximum_nodes": 4}]',
    "teams": '[{"name": "vision", "gpu_quota": 16}]',
    "budget": '{"monthly_limit_usd": 1000}',
}


def _parse(**changes: Any) -> Settings:
    values = {key: value for key, value in (GOOD | changes).items() if value is not None}
    return parse_settings(values, namespace="trainyard", stack="research")


def _problems(**changes: Any) -> dict[str, str]:
    with pytest.raises(SettingsError) as refused:
        _parse(**changes)
    return {problem.key: problem.message for problem in refused.value.problems}


def test_values_come_as_text_and_become_what_they_mean() -> None:
    settings = _parse()
    assert settings.availability_zones == ("eu-north-1a", "eu-north-1b")
    assert settings.vpc_cidr == ipaddress.IPv4Network("10.64.0.0/16")
    assert settings.protect_data is True
    assert settings.key_deletion_window_days == 14


def test_values_may_come_typed_as_from_a_yaml_file() -> None:
    typed = _parse(availability_zones=["eu-north-1a", "eu-north-1b"], protect_data=True, key_deletion_window_days=14)
    assert typed == _parse()


def test_what_is_left_out_takes_the_careful_default() -> None:
    settings = _parse(protect_data=None, key_deletion_window_days=None, log_retention_days=None)
    assert (settings.protect_data, settings.key_deletion_window_days, settings.log_retention_days) == (True, 30, 365)


def test_settings_do_not_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        _parse().region = "us-east-1"  # ty: ignore[invalid-assignment]


def test_the_tags_name_owner_and_class() -> None:
    assert _parse().tags == {
        "environment": "research",
        "owner": "ml-platform@example.com",
        "cost-centre": "research 2026",
        "data-class": "internal",
        "managed-by": "pulumi",
    }


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("environment", "Prod_US", ["Prod_US won't do.", "small letters", "prod-us"]),
        ("environment", "a" * 17, ["at most 16"]),
        ("environment", "prod--us", ["single hyphens"]),
        ("region", "eu-norht-1", ["eu-norht-1 won't do.", "Did you mean eu-north-1?", "me-central-1"]),
        ("region", "moon", ["No such AWS region. There are"]),
        ("availability_zones", '["eu-north-1a"]', ['["eu-north-1a"] won\'t do.', "2 to 6", "not 1"]),
        ("availability_zones", '["eu-north-1a", "eu-north-1a"]', ["twice"]),
        ("availability_zones", '["eu-north-1a", "us-east-1b"]', ["No zone of eu-north-1: us-east-1b."]),
        ("availability_zones", "eu-north-1a", ['["us-east-1a", "us-east-1b"]']),
        ("vpc_cidr", "ten", ["ten won't do. It is an IPv4 block such as 10.64.0.0/16."]),
        ("vpc_cidr", "10.64.1.0/16", ["not the first of its block", "10.64.0.0/16 would be"]),
        ("vpc_cidr", "10.64.0.0/24", ["/16", "/20"]),
        ("vpc_cidr", "10.0.0.0/8", ["/16", "/20"]),
        ("vpc_cidr", "8.8.0.0/16", ["not private", "100.64.0.0/10"]),
        (
            "availability_zones",
            "[1, 2]",
            ["[1, 2] won't do. It is not of the right kind.", '["us-east-1a", "us-east-1b"]'],
        ),
        ("owner", " ", ['" " won\'t do.', "value of a tag"]),
        ("owner", "me; drop", ["1 to 256"]),
        ("cost_centre", " padded ", ['" padded " won\'t do.', "spaces inside"]),
        (
            "data_class",
            "secret",
            ["secret won't do. It may be public, internal, personal, health, financial or government."],
        ),
        ("protect_data", "maybe", ["maybe won't do. It may be true or false."]),
        ("protect_data", "1", ["It may be true or false."]),
        ("key_deletion_window_days", "3", ["3 won't do. It may be a whole number from 7 to 30."]),
        ("key_deletion_window_days", "soon", ["7 to 30"]),
        ("key_deletion_window_days", "7.5", ["7 to 30"]),
        ("log_retention_days", "31", ["31 won't do. It may be 30, 60, 90"]),
    ],
)
def test_a_wrong_setting_is_named_with_what_it_was_and_what_may_stand_there(
    key: str, value: str, says: list[str]
) -> None:
    problems = _problems(**{key: value})
    assert list(problems) == [f"trainyard:{key}"]
    for words in says:
        assert words in problems[f"trainyard:{key}"]


@pytest.mark.parametrize("absent", [None, ""])
@pytest.mark.parametrize("key", [key for key, field in Settings.model_fields.items() if field.is_required()])
def test_a_missing_setting_is_named_with_what_it_is_for(key: str, absent: str | None) -> None:
    problems = _problems(**{key: absent})
    assert problems[f"trainyard:{key}"].startswith(f"It is missing. {Settings.model_fields[key].description}, such as ")


def test_an_unknown_key_is_refused_with_the_one_that_was_meant() -> None:
    problems = _problems(vpc_cdir="10.0.0.0/16")
    assert problems["trainyard:vpc_cdir"].startswith("There is no such setting. Did you mean vpc_cidr? There are ")


def test_all_wrong_settings_are_reported_at_once_without_a_traceback() -> None:
    with pytest.raises(SettingsError) as refused:
        _parse(region="moon", data_class="secret", owner=None, colour="red")
    assert isinstance(refused.value, pulumi.RunError)
    lines = str(refused.value).splitlines()
    assert lines[0] == "4 settings of the stack research are wrong, so nothing was made or changed:"
    assert [line.split(": ")[0] for line in lines[1:]] == [
        "  trainyard:region",
        "  trainyard:owner",
        "  trainyard:data_class",
        "  trainyard:colour",
    ]


def test_a_wrong_region_does_not_make_its_zones_wrong_too() -> None:
    assert list(_problems(region="moon")) == ["trainyard:region"]


@pytest.mark.parametrize("region", REGIONS)
def test_every_region_of_the_table_is_taken(region: str) -> None:
    zones = [f"{region}a", f"{region}b"]
    alone = [{"name": "vision", "gpu_quota": 0}]
    assert _parse(region=region, availability_zones=zones, gpu_groups=None, teams=alone).region == region


def test_the_table_knows_the_law_of_the_uae_region() -> None:
    assert REGIONS["me-central-1"].country == "AE"


PULUMI_YAML = yaml.safe_load((ROOT / "Pulumi.yaml").read_text())
PULUMI_TYPES = {str: "string", bool: "boolean", int: "integer", ipaddress.IPv4Network: "string"}


def _pulumi_type(annotation: Any) -> str:
    if typing.get_origin(annotation) in (types.UnionType, typing.Union):
        annotation = next(one for one in typing.get_args(annotation) if one is not type(None))
    if typing.get_origin(annotation) is tuple:
        return "array"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "object"
    if typing.get_origin(annotation) is typing.Literal:
        return PULUMI_TYPES[type(typing.get_args(annotation)[0])]
    return PULUMI_TYPES[annotation]


def test_pulumis_own_list_of_settings_is_the_same() -> None:
    declared = PULUMI_YAML["config"]
    assert list(declared) == list(Settings.model_fields)
    for key, field in Settings.model_fields.items():
        assert declared[key]["description"] == field.description
        assert declared[key]["type"] == _pulumi_type(field.annotation)
        assert declared[key]["default"] in EMPTY or declared[key]["default"] == field.default
        assert (declared[key]["default"] in EMPTY) is (
            field.is_required() or field.default is None or isinstance(field.default, BaseModel | tuple)
        )


@pytest.mark.parametrize(
    "path", sorted((ROOT / "stacks/environments").glob("Pulumi.*.yaml")), ids=lambda path: path.name
)
def test_every_environments_file_is_good_and_names_itself(path: Path) -> None:
    config = yaml.safe_load(path.read_text())["config"]
    values = {key.removeprefix("trainyard:"): value for key, value in config.items() if key.startswith("trainyard:")}
    settings = parse_settings(values, namespace="trainyard", stack=path.name)
    assert path.name == f"Pulumi.{settings.environment}.yaml"


def test_only_local_and_dev_leave_their_data_unprotected() -> None:
    for path in (ROOT / "stacks/environments").glob("Pulumi.*.yaml"):
        config = yaml.safe_load(path.read_text())["config"]
        protected = config.get("trainyard:protect_data", True)
        assert protected or config["trainyard:environment"] in ("local", "dev")
