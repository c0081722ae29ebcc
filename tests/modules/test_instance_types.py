"""The table of instance types, against what EC2 says of them (as moto publishes DescribeInstanceTypes)."""

from __future__ import annotations

import pytest
from moto.ec2.models.instance_types import INSTANCE_TYPES as DESCRIBED

from trainyard.modules.instance_types import INSTANCE_TYPES, NetworkInterface, instance_type, network_interfaces

WITH_EFA = [kind.name for kind in INSTANCE_TYPES.values() if kind.efa_interfaces]


@pytest.mark.parametrize("name", INSTANCE_TYPES)
def test_a_row_says_what_ec2_says(name: str) -> None:
    row, ec2 = INSTANCE_TYPES[name], DESCRIBED[name]
    gpu = ec2.get("GpuInfo", {}).get("Gpus", [{}])[0]
    disk = ec2.get("InstanceStorageInfo", {}).get("Disks", [{}])[0]
    assert row.vcpus == ec2["VCpuInfo"]["DefaultVCpus"]
    assert row.memory_gib == ec2["MemoryInfo"]["SizeInMiB"] / 1024
    assert (row.gpus, row.gpu_model) == (gpu.get("Count", 0), gpu.get("Name", ""))
    assert row.gpu_memory_gib == gpu.get("MemoryInfo", {}).get("SizeInMiB", 0) // 1024
    assert (row.nvme_disks, row.nvme_gb) == (disk.get("Count", 0), disk.get("SizeInGB", 0))
    assert row.network_cards == ec2["NetworkInfo"]["MaximumNetworkCards"]
    assert row.efa_interfaces == ec2["NetworkInfo"].get("EfaInfo", {}).get("MaximumEfaInterfaces", 0)


@pytest.mark.parametrize("name", INSTANCE_TYPES)
def test_a_launch_template_has_one_address_and_every_efa_interface(name: str) -> None:
    kind = instance_type(name)
    first, *others = network_interfaces(kind)
    assert first == NetworkInterface(0, 0, "interface")
    assert len(others) == kind.efa_interfaces
    assert {interface.kind for interface in others} <= {"efa-only"}
    places = {(interface.card, interface.device) for interface in (first, *others)}
    assert len(places) == 1 + kind.efa_interfaces
    assert {interface.card for interface in (first, *others)} <= set(range(kind.network_cards))


@pytest.mark.parametrize("name", [name for name in WITH_EFA if name != "p6-b300.48xlarge"])
def test_card_zero_carries_efa_beside_the_address(name: str) -> None:
    kind = instance_type(name)
    on_cards = [(interface.card, interface.device) for interface in network_interfaces(kind)[1:]]
    assert on_cards == [(0, 1), *((card, 0) for card in range(1, kind.network_cards))]


def test_p6_b300_has_no_efa_on_card_zero() -> None:
    on_cards = [
        (interface.card, interface.device) for interface in network_interfaces(instance_type("p6-b300.48xlarge"))
    ]
    assert on_cards == [(card, 0) for card in range(17)]


def test_an_unknown_type_is_refused_with_ones_like_it() -> None:
    with pytest.raises(ValueError, match=r"near it are .*p5\.48xlarge"):
        instance_type("p5.48xlarg")
