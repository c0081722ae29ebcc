"""What nodes and pods agree on: labels, taints and extended resources. Needs no Pulumi."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

_OURS = "trainyard.dev"
GROUP_LABEL, INSTANCE_TYPE_LABEL, POOL_LABEL = (f"{_OURS}/{what}" for what in ("group", "instance-type", "pool"))
TEAM_LABEL, JOB_LABEL = (f"{_OURS}/{what}" for what in ("team", "job"))

CPU_NODES: Mapping[str, str] = MappingProxyType({POOL_LABEL: "cpu"})
"""Node selector of the nodes that `cpu_group` makes: controllers run there."""

GPU_TAINT = ("nvidia.com/gpu", "true")
"""Key and value. Of all nodes with GPUs, so that nothing runs there that does not ask for one."""
RETIRING_TAINT = (f"{_OURS}/retiring", "true")
"""Of the nodes of a group that takes no new pods."""

GPU_RESOURCE, EFA_RESOURCE, HUGEPAGES_RESOURCE = "nvidia.com/gpu", "vpc.amazonaws.com/efa", "hugepages-2Mi"
"""As the device plugins and the kubelet announce them."""

HUGEPAGES_MIB, NODE_HUGEPAGES_MIB = 5120, 5128 * 2
"""2 MiB pages: what a training pod asks for, because libfabric's EFA provider takes its memory from them, and the 5128
of them that the EFA driver sets aside on a node. Source: EKS user guide, "Run machine learning training on Amazon EKS
with Elastic Fabric Adapter", prerequisites and example, read 2026-11."""
