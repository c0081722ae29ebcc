"""The tables behind the settings: regions and what they offer, countries, endpoint services."""

from __future__ import annotations

import re

import pytest
from setting_examples import BASE, GROUP, NOW, lustre, problems

from trainyard.modules.instance_types import INSTANCE_TYPES
from trainyard.stacks.countries import COUNTRIES
from trainyard.stacks.countries import near as near_country
from trainyard.stacks.endpoint_services import ENDPOINT_SERVICES
from trainyard.stacks.endpoint_services import near as near_service
from trainyard.stacks.offerings import GPU_TYPES
from trainyard.stacks.regions import REGIONS
from trainyard.stacks.settings import parse_settings


def test_the_regions_lie_in_countries() -> None:
    assert {region.country for region in REGIONS.values()} <= set(COUNTRIES)
    assert len(COUNTRIES) == 249
    assert all(re.fullmatch("[A-Z]{2}", code) and name for code, name in COUNTRIES.items())


def test_what_regions_offer_is_known() -> None:
    assert set(GPU_TYPES) <= set(REGIONS)
    assert all(INSTANCE_TYPES[name].gpus for names in GPU_TYPES.values() for name in names)


@pytest.mark.parametrize("region", REGIONS)
def test_a_file_system_is_taken_where_aws_lists_it_and_over_efa_where_it_lists_that(region: str) -> None:
    place = {
        "region": region,
        "availability_zones": [f"{region}a", f"{region}b"],
        "gpu_groups": [{**GROUP, "instance_type": "p5en.48xlarge", "zones": [f"{region}a"]}],
        "jurisdiction": None,
    }
    # What is said of the type is another matter.
    told = problems(**place, **lustre(zone=f"{region}a"))
    over_efa = problems(**place, **lustre(zone=f"{region}a", storage_gib=19200, efa=True))
    offer = REGIONS[region].lustre
    assert ("lustre" in told) is (offer in ("absent", "unlisted"))
    assert [key for key in over_efa if key.startswith("lustre")] == {
        "full": [],
        "limited": ["lustre.efa"],
        "absent": ["lustre"],
        "unlisted": ["lustre"],
    }[offer]


@pytest.mark.parametrize("code", COUNTRIES)
def test_every_country_is_taken(code: str) -> None:
    assert problems(jurisdiction=code) == {}
    assert near_country(code.lower()) == (code,)


def test_countries_are_found_by_name() -> None:
    assert near_country("united arab emirates") == ("AE",)
    assert near_country("Swizerland") == ("CH",)
    assert near_country("UAE") == ("AE",)
    assert near_country("XX") == near_country("") == ()


def test_every_endpoint_service_is_taken_but_the_gateways() -> None:
    names = sorted(ENDPOINT_SERVICES - {"s3"})
    settings = parse_settings(
        {**BASE, "network": {"interface_endpoints": names}}, namespace="trainyard", stack="lab", now=NOW
    )
    assert list(settings.network.interface_endpoints) == names


@pytest.mark.parametrize("name", sorted(ENDPOINT_SERVICES - {"s3"}))
def test_a_service_with_a_letter_too_many_is_still_meant(name: str) -> None:
    misspelt = f"{name}x"
    assert misspelt in ENDPOINT_SERVICES or len(name) < 3 or name in near_service(misspelt)
    assert near_service(f"com.amazonaws.us-east-1.{name}") in ((name,), (name.rpartition(".")[2],))
    assert near_service(name.upper()) == (name,)


def test_what_is_near_never_names_s3_and_never_more_than_three() -> None:
    for name in ("s", "s3", "s33", "sts3", "e", "bedrock", ""):
        near = near_service(name)
        assert "s3" not in near
        assert len(near) <= 3
        assert set(near) <= ENDPOINT_SERVICES
