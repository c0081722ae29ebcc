"""Blocks of networks: what a message recommends is free, and is taken when it is put in."""

from __future__ import annotations

import re
from ipaddress import IPv4Network
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from setting_examples import GROUP, kubernetes, problems

from trainyard.stacks.setting_network_checks import NOBODYS, PRIVATE_BLOCKS, SERVICE_BLOCKS, free_block

_WITHIN = st.sampled_from(PRIVATE_BLOCKS)


@st.composite
def _blocks(draw: st.DrawFn, shortest: int = 8, longest: int = 24) -> IPv4Network:
    whole = draw(_WITHIN)
    prefix = draw(st.integers(max(shortest, whole.prefixlen), longest))
    last = (1 << (prefix - whole.prefixlen)) - 1
    # Often among the first ones, where a free one is looked for.
    place = draw(st.integers(0, min(4, last)) | st.integers(0, last))
    return IPv4Network((int(whole.network_address) + (place << (32 - prefix)), prefix))


@given(st.lists(_blocks(8, 16), max_size=12), st.integers(8, 16))
def test_a_free_block_is_private_and_overlaps_nothing_and_is_found_where_there_is_one(
    taken: list[IPv4Network], prefix: int
) -> None:
    all_of_them = [
        block for whole in SERVICE_BLOCKS if whole.prefixlen <= prefix for block in whole.subnets(new_prefix=prefix)
    ]
    free = [block for block in all_of_them if not any(block.overlaps(other) for other in taken)]
    assert free_block(SERVICE_BLOCKS, prefix, taken) == (free[0] if free else None)


def test_there_is_none_where_all_is_taken() -> None:
    assert free_block(SERVICE_BLOCKS, 16, SERVICE_BLOCKS) is None
    assert free_block((IPv4Network("10.0.0.0/24"),), 16, ()) is None


def _recommended(message: str) -> str:
    found = re.search(r"; ([0-9./]+) would\.", message)
    assert found is not None, message
    return found[1]


@settings(max_examples=200, deadline=None)
@given(_blocks(16, 20), _blocks(12, 24), st.lists(_blocks(9, 16), max_size=5))
def test_what_is_recommended_instead_of_an_overlap_is_taken(
    vpc: IPv4Network, service: IPv4Network, reserved: list[IPv4Network]
) -> None:
    changes: dict[str, Any] = {
        "vpc_cidr": str(vpc),
        "network": {"reserved_cidrs": [str(block) for block in reserved]},
        **kubernetes(service_cidr=str(service)),
    }
    for _ in range(3):
        told = problems(**changes)
        if "vpc_cidr" in told and "would." in told["vpc_cidr"] and "overlaps" in told["vpc_cidr"]:
            changes["vpc_cidr"] = _recommended(told["vpc_cidr"])
        elif "kubernetes.service_cidr" in told and "overlaps" in told["kubernetes.service_cidr"]:
            assert "shrink" not in told["kubernetes.service_cidr"]
            changes |= kubernetes(service_cidr=_recommended(told["kubernetes.service_cidr"]))
    told = problems(**changes)
    assert not any("overlaps" in message for message in told.values())


@pytest.mark.parametrize("nodes", [10, 60, 120, 240, 400])
def test_a_larger_block_that_is_recommended_suffices(nodes: int) -> None:
    changes: dict[str, Any] = {"vpc_cidr": "10.64.0.0/20", "gpu_groups": [{**GROUP, "maximum_nodes": nodes}]}
    told = problems(**changes).get("vpc_cidr")
    assert (told is None) is (nodes == 10)
    if told is not None:
        larger = re.search(r"such as ([0-9./]+), or", told)
        assert larger is not None
        assert problems(**{**changes, "vpc_cidr": larger[1]}) == {}


@pytest.mark.parametrize("nobodys", [block for block, _ in NOBODYS], ids=str)
@pytest.mark.parametrize("side", ["public", "private"])
def test_nobody_reaches_the_api_from_a_block_that_is_nobodys(side: str, nobodys: IPv4Network) -> None:
    block = nobodys if nobodys.prefixlen >= 8 else IPv4Network((nobodys.network_address, 8))
    told = problems(kubernetes={f"{side}_access_cidrs": [str(block)]})
    assert list(told) == [f"kubernetes.{side}_access_cidrs[0]"]
    assert "nobody has an address in it" in told[f"kubernetes.{side}_access_cidrs[0]"]


@pytest.mark.parametrize("reserved", [[], ["10.0.0.0/8"], ["10.64.0.0/16"], ["172.16.0.0/12", "10.0.0.0/12"]])
def test_the_block_that_is_recommended_for_the_private_side_is_taken(reserved: list[str]) -> None:
    changes: dict[str, Any] = {"vpc_cidr": "192.168.0.0/16", "network": {"reserved_cidrs": reserved}}
    told = problems(**changes, kubernetes={"service_cidr": "172.20.0.0/16"})
    example = re.search(r"such as ([0-9./]+), or", told["kubernetes.private_access_cidrs"])
    assert example is not None
    assert not IPv4Network(example[1]).overlaps(IPv4Network("192.168.0.0/16"))
    after = problems(**changes, kubernetes={"service_cidr": "172.20.0.0/16", "private_access_cidrs": [example[1]]})
    assert "kubernetes.private_access_cidrs" not in {key.partition("[")[0] for key in after}
