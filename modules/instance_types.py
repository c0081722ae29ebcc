"""The EC2 instance types that the platform knows, as one table: GPUs, memory, network cards, EFA, local disks.

    kind = instance_type("p5.48xlarge")
    kind.efa_interfaces                      # 32, which a training pod has to request in full
    network_interfaces(kind)                 # what its launch template has to say

Sources, read 2026-11: what EC2's DescribeInstanceTypes says, as moto 5.2.5 has it in its data; EFA layouts as told in
terraform-aws-eks #3653 and aws-parallelcluster #7262. A correction belongs here and nowhere else.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal


@dataclass(frozen=True)
class InstanceType:
    """One type.

    Attributes:
        name: such as `p5.48xlarge`.
        vcpus: what counts against the vCPU quotas.
        memory_gib: of the host.
        gpus: 0 for a CPU type.
        gpu_model: such as `H100`; empty for a CPU type.
        gpu_memory_gib: of one GPU, in whole GiB: less than the maker's figure in GB where a part of it is kept back.
        network_cards: how many there are.
        efa_interfaces: EC2's MaximumEfaInterfaces, what is left of the cards once the first card's address is served.
        nvme_disks: local disks.
        nvme_gb: size of one of them.
        rdma: whether EFA reaches GPU memory, without which it does not pay to train over several nodes.
    """

    name: str
    vcpus: int
    memory_gib: int
    gpus: int = 0
    gpu_model: str = ""
    gpu_memory_gib: int = 0
    network_cards: int = 1
    efa_interfaces: int = 0
    nvme_disks: int = 0
    nvme_gb: int = 0
    rdma: bool = False

    @property
    def family(self) -> str:
        """`p5` of `p5.48xlarge`."""
        return self.name.partition(".")[0]


@dataclass(frozen=True)
class NetworkInterface:
    """One network interface of a launch template.

    Attributes:
        card: network card index.
        device: device index on that card.
        kind: `interface` has the address; `efa-only` carries EFA and costs no address.
    """

    card: int
    device: int
    kind: Literal["interface", "efa-only"]


def _cpu(family: str, *sizes: tuple[str, int, int]) -> list[InstanceType]:
    return [InstanceType(f"{family}.{size}", vcpus, memory) for size, vcpus, memory in sizes]


_M_SIZES = (("large", 2, 8), ("xlarge", 4, 16), ("2xlarge", 8, 32), ("4xlarge", 16, 64), ("8xlarge", 32, 128))
_C_SIZES = (("large", 2, 4), ("xlarge", 4, 8), ("2xlarge", 8, 16), ("4xlarge", 16, 32), ("8xlarge", 32, 64))

_GPU = [
    InstanceType("p4d.24xlarge", 96, 1152, 8, "A100", 40, 4, 4, 8, 1000, rdma=True),
    InstanceType("p4de.24xlarge", 96, 1152, 8, "A100", 80, 4, 4, 8, 1000, rdma=True),
    InstanceType("p5.4xlarge", 16, 256, 1, "H100", 80, 1, 1, 1, 3800),
    InstanceType("p5.48xlarge", 192, 2048, 8, "H100", 80, 32, 32, 8, 3800, rdma=True),
    InstanceType("p5e.48xlarge", 192, 2048, 8, "H200", 141, 32, 32, 8, 3800, rdma=True),
    InstanceType("p5en.48xlarge", 192, 2048, 8, "H200", 141, 16, 16, 8, 3800, rdma=True),
    InstanceType("p6-b200.48xlarge", 192, 2048, 8, "B200", 179, 8, 8, 8, 3800, rdma=True),
    InstanceType("p6-b300.48xlarge", 192, 4096, 8, "B300", 268, 17, 16, 8, 3800, rdma=True),
    InstanceType("g4dn.xlarge", 4, 16, 1, "T4", 16, 1, 0, 1, 125),
    InstanceType("g4dn.2xlarge", 8, 32, 1, "T4", 16, 1, 0, 1, 225),
    InstanceType("g4dn.12xlarge", 48, 192, 4, "T4", 16, 1, 1, 1, 900),
    InstanceType("g5.xlarge", 4, 16, 1, "A10G", 22, 1, 0, 1, 250),
    InstanceType("g5.2xlarge", 8, 32, 1, "A10G", 22, 1, 0, 1, 450),
    InstanceType("g5.12xlarge", 48, 192, 4, "A10G", 22, 1, 1, 1, 3800),
    InstanceType("g5.48xlarge", 192, 768, 8, "A10G", 22, 1, 1, 2, 3800),
    InstanceType("g6.xlarge", 4, 16, 1, "L4", 22, 1, 0, 1, 250),
    InstanceType("g6.2xlarge", 8, 32, 1, "L4", 22, 1, 0, 1, 450),
    InstanceType("g6.12xlarge", 48, 192, 4, "L4", 22, 1, 1, 4, 940),
    InstanceType("g6.48xlarge", 192, 768, 8, "L4", 22, 1, 1, 8, 940),
    InstanceType("g6e.xlarge", 4, 32, 1, "L40S", 44, 1, 0, 1, 250),
    InstanceType("g6e.2xlarge", 8, 64, 1, "L40S", 44, 1, 0, 1, 450),
    InstanceType("g6e.12xlarge", 48, 384, 4, "L40S", 44, 1, 1, 2, 1900),
    InstanceType("g6e.48xlarge", 192, 1536, 8, "L40S", 44, 4, 4, 4, 1900),
]

INSTANCE_TYPES: Mapping[str, InstanceType] = MappingProxyType(
    {
        kind.name: kind
        for kind in (
            *_GPU,
            *_cpu("m6i", *_M_SIZES),
            *_cpu("m7i", *_M_SIZES),
            *_cpu("c6i", *_C_SIZES),
            *_cpu("c7i", *_C_SIZES),
        )
    }
)


def instance_type(name: str) -> InstanceType:
    """The row of a type. Raises ValueError that names like ones where there is none."""
    if name not in INSTANCE_TYPES:
        near = difflib.get_close_matches(name, INSTANCE_TYPES, n=3)
        raise ValueError(
            f"instance type {name!r} is not in the table of modules/instance_types.py; "
            f"{'near it are' if near else 'there are'} {', '.join(near or INSTANCE_TYPES)}"
        )
    return INSTANCE_TYPES[name]


def network_interfaces(kind: InstanceType) -> tuple[NetworkInterface, ...]:
    """The interfaces of a launch template for the type, the first of them the node's own.

    Card 0 device 0 is an ordinary interface, for it carries the address. An `efa-only` one stands beside it as device 1
    where card 0 has EFA, and as device 0 on every further card. (EC2 user guide; terraform-aws-eks #3653.)
    """
    own = NetworkInterface(0, 0, "interface")
    if not kind.efa_interfaces:
        return (own,)
    first_card_has_efa = kind.efa_interfaces == kind.network_cards
    beside = (NetworkInterface(0, 1, "efa-only"),) if first_card_has_efa else ()
    return (own, *beside, *(NetworkInterface(card, 0, "efa-only") for card in range(1, kind.network_cards)))
