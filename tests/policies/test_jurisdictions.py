"""The table of jurisdictions: what it refuses, what a documented transfer allows, and how it fails."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from trainyard.policies.aws import DATA_CLASSES
from trainyard.policies.residency.jurisdictions import JurisdictionTable, jurisdictions, load_jurisdictions
from trainyard.policies.rules.regions import table
from trainyard.stacks.regions import REGIONS

PATH = Path(__file__).parents[2] / "policies/jurisdictions.yaml"
RAW = yaml.safe_load(PATH.read_text(encoding="utf-8"))
TRANSFER = {
    "environment": "prod-uae",
    "from": "AE",
    "to": "EU",
    "classes": ["personal"],
    "basis": "contract-clauses",
    "owner": "privacy-office",
    "reference": "DPA-2026-014",
}


def changed(place: str, value: Any) -> dict[str, Any]:
    """The table with one value changed."""
    raw = copy.deepcopy(RAW)
    *steps, last = place.split(".")
    holder = raw
    for step in steps:
        holder = holder[step]
    holder[last] = value
    return raw


def test_each_environment_has_a_jurisdiction() -> None:
    assert set(jurisdictions().environments) == set(table().environments)


@pytest.mark.parametrize("environment", sorted(table().environments))
def test_regions_of_an_environment_lie_in_its_jurisdiction(environment: str) -> None:
    home = jurisdictions().home(environment)

    assert home is not None
    assert {jurisdictions().of_region(region) for region in table().environments[environment]} == {home[0]}


def test_settings_files_say_the_same() -> None:
    for path in (Path(__file__).parents[2] / "stacks/environments").glob("Pulumi.*.yaml"):
        settings = yaml.safe_load(path.read_text(encoding="utf-8"))["config"]
        row = jurisdictions().environments[settings["trainyard:environment"]]
        country = settings.get("trainyard:jurisdiction") or REGIONS[settings["trainyard:region"]].country

        assert country in jurisdictions().jurisdictions[row.jurisdiction].countries


@pytest.mark.parametrize("code", sorted(jurisdictions().jurisdictions))
def test_regions_stand_where_they_are(code: str) -> None:
    one = jurisdictions().jurisdictions[code]

    assert {REGIONS[region].country for region in one.regions} <= set(one.countries)
    assert {name for name, region in REGIONS.items() if region.country in one.countries} == set(one.regions)


@pytest.mark.parametrize(
    ("environment", "data_class", "destination", "reason"),
    [
        ("prod-uae", "personal", "AE", None),
        ("prod-uae", "public", "CN", None),
        ("prod-uae", "personal", "EU", "Federal Decree-Law No. 45 of 2021 (PDPL), art. 22, art. 23"),
        ("prod-uae", "health", "US", "Federal Law No. 2 of 2019"),
        ("prod-uae", "government", "US", "never leave"),
        ("prod-us", "health", "CN", "on any basis"),
        ("prod-eu", "public", "EU", "'prod-eu' has no row"),
    ],
)
def test_refusal_names_the_law(environment: str, data_class: str, destination: str, reason: str | None) -> None:
    refusal = jurisdictions().refusal(environment, data_class, destination)

    assert refusal is None if reason is None else reason in str(refusal)


def test_recorded_transfer_allows_its_class_its_environment_and_its_way_only() -> None:
    ours = JurisdictionTable.model_validate(changed("transfers", [TRANSFER]))

    assert ours.refusal("prod-uae", "personal", "EU") is None
    assert ours.refusal("prod-uae", "health", "EU")
    assert ours.refusal("prod-uae", "personal", "US")
    assert ours.refusal("prod-us", "personal", "EU")


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ("transfers", [{**TRANSFER, "to": "FR"}], "FR is no other jurisdiction"),
        ("transfers", [{**TRANSFER, "to": "AE"}], "AE is no other jurisdiction"),
        ("transfers", [{**TRANSFER, "from": "US"}], "'prod-uae' is not bound by US"),
        ("transfers", [{**TRANSFER, "environment": "prod"}], "'prod' is not bound by AE"),
        ("transfers", [{**TRANSFER, "basis": "adequacy"}], "AE has not found EU adequate"),
        ("transfers", [{**TRANSFER, "classes": ["health"]}], "'contract-clauses' is no basis for health data of AE"),
        ("transfers", [{**TRANSFER, "classes": ["government"]}], "there may stand nothing"),
        ("transfers", [{**TRANSFER, "classes": []}], "at least 1 item"),
        ("transfers", [{**TRANSFER, "classes": ["secret"]}], "Input should be"),
        ("transfers", [{**TRANSFER, "owner": " "}], "at least 1 character"),
        ("transfers", [{**TRANSFER, "note": "x"}], "Extra inputs"),
        ("transfers", [{name: TRANSFER[name] for name in ("environment", "from", "to", "basis")}], "Field required"),
        ("environments.dev", {"jurisdiction": "XX"}, "XX is not listed under jurisdictions"),
        ("accounts", {"123": "AE"}, "should match pattern"),
        ("accounts", {"123456789012": "XX"}, "XX is not listed under jurisdictions"),
        ("hosts", {"registry.example.com": "XX"}, "XX is not listed under jurisdictions"),
        ("jurisdictions.AE.regions", ["me-central-1", "us-east-1"], "us-east-1 lies in two jurisdictions"),
        ("jurisdictions.AE.regions", ["*"], "should match pattern"),
        ("jurisdictions.AE.adequate", ["XX"], "XX is not listed under jurisdictions"),
        ("jurisdictions.AE.classes.personal", {"leaves": "recorded"}, "needs one at least"),
        ("jurisdictions.AE.classes.government", {"leaves": "never", "bases": ["consent"]}, "bases belong to"),
        (
            "jurisdictions.AE.classes.personal",
            {"leaves": "recorded", "bases": ["luck"]},
            "luck is not listed under bases",
        ),
        ("jurisdictions.AE.classes", {"public": {"leaves": "freely"}}, "classes lacks"),
        ("regions", [], "Extra inputs"),
    ],
)
def test_broken_table_is_refused(tmp_path: Path, place: str, value: Any, message: str) -> None:
    path = tmp_path / "jurisdictions.yaml"
    path.write_text(yaml.safe_dump(changed(place, value)), encoding="utf-8")

    with pytest.raises(ValueError, match=message) as caught:
        load_jurisdictions(path)
    assert str(caught.value).startswith(f"{path}: ")


@pytest.mark.parametrize("text", ["", "- a", "a: [", "1"])
def test_what_is_no_table_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "jurisdictions.yaml"
    path.write_text(text, encoding="utf-8")

    with pytest.raises(ValueError, match=str(path)):
        load_jurisdictions(path)


def test_every_class_of_data_is_decided_everywhere() -> None:
    assert all(set(one.classes) == set(DATA_CLASSES) for one in jurisdictions().jurisdictions.values())
