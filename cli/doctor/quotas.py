"""Service quotas against what the environment may grow to.

Quota codes: of instances, AWS General Reference, "Amazon EC2 instance type quotas", whose defaults for G and P families
are 0; of the others, accounts' listings of Service Quotas in public repositories (secondary). Both read 2026-11.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from trainyard.cli.aws_session import Account
from trainyard.cli.doctor.finding import NO_ANSWER, Finding, Verdict, reason
from trainyard.modules.instance_types import INSTANCE_TYPES
from trainyard.stacks.settings import Settings

CHECK = "quota"


@dataclass(frozen=True)
class Quota:
    """A quota of Service Quotas, by its two codes."""

    service: str
    code: str
    name: str
    unit: str


_STANDARD = "standard"
ON_DEMAND: Mapping[str, Quota] = MappingProxyType(
    {
        "p": Quota("ec2", "L-417A185B", "Running On-Demand P instances", "vCPU"),
        "g": Quota("ec2", "L-DB2E81BA", "Running On-Demand G and VT instances", "vCPU"),
        _STANDARD: Quota("ec2", "L-1216C47A", "Running On-Demand Standard instances", "vCPU"),
    }
)
SPOT: Mapping[str, Quota] = MappingProxyType(
    {
        "p4": Quota("ec2", "L-7212CCBC", "All P4, P3 and P2 Spot Instance Requests", "vCPU"),
        "p5": Quota("ec2", "L-C4BD4855", "All P5 Spot Instance Requests", "vCPU"),
        "g": Quota("ec2", "L-3819A6DF", "All G and VT Spot Instance Requests", "vCPU"),
        _STANDARD: Quota("ec2", "L-34B43A08", "All Standard Spot Instance Requests", "vCPU"),
    }
)
ELASTIC_IPS = Quota("ec2", "L-0263D0A3", "EC2-VPC Elastic IPs", "addresses")
VPCS = Quota("vpc", "L-F678F1CE", "VPCs per Region", "VPCs")
LUSTRE_CAPACITY = Quota("fsx", "L-8F1B9C74", "Lustre Persistent_2 storage capacity", "GiB")
NETWORK_INTERFACES = Quota("vpc", "L-DF5E4CA3", "Network interfaces per Region", "interfaces")
EKS_CLUSTERS = Quota("eks", "L-1194D53C", "Clusters", "clusters")


def vcpu_quota(instance_type: str, capacity: str) -> Quota | None:
    """The quota that vCPUs of this type and capacity count against; a reservation counts as on demand, used or not.

    None: of a Capacity Block, which was held against a quota of its own when it was bought; and where AWS lists no spot
    quota for the family, as for P6.
    """
    family = instance_type.partition(".")[0]
    if capacity == "capacity-block":
        return None
    if capacity == "spot":
        for prefix, quota in SPOT.items():
            if family.startswith(prefix):
                return quota
        return None if family[0] in "pg" and family[1].isdigit() else SPOT[_STANDARD]
    group = family[0] if family[0] in "pg" and family[1].isdigit() else _STANDARD
    return ON_DEMAND[group]


def needs(settings: Settings) -> dict[Quota, int]:
    """What the environment takes at most, by quota."""
    wanted: dict[Quota, int] = {}

    def add(quota: Quota | None, amount: int) -> None:
        if quota is not None and amount:
            wanted[quota] = wanted.get(quota, 0) + amount

    for group in settings.gpu_groups:
        kind = INSTANCE_TYPES[group.instance_type]
        add(vcpu_quota(group.instance_type, group.capacity), kind.vcpus * group.maximum_nodes)
        add(NETWORK_INTERFACES, max(kind.efa_interfaces, 1) * group.maximum_nodes)
    for group in settings.cpu_groups:
        largest = max(INSTANCE_TYPES[name].vcpus for name in group.instance_types)
        add(ON_DEMAND[_STANDARD], largest * group.maximum_nodes)
    if settings.network.existing is None:
        add(VPCS, 1)
        gateways = {"none": 0, "single": 1, "per-zone": len(settings.availability_zones)}[settings.network.nat]
        add(ELASTIC_IPS, gateways)
    if settings.lustre is not None:
        add(LUSTRE_CAPACITY, settings.lustre.storage_gib)
    add(EKS_CLUSTERS, 1)
    return wanted


def check(account: Account, settings: Settings) -> Iterator[Finding]:
    """Every quota that the environment touches, against its full growth."""
    for name in sorted({group.instance_type for group in settings.gpu_groups if group.capacity == "spot"}):
        if vcpu_quota(name, "spot") is None:
            yield Finding(
                CHECK,
                f"spot vCPUs of {name}",
                Verdict.UNKNOWN,
                "no quota of this family's spot instances is known here",
                "look for the family in the Service Quotas console, under Amazon EC2",
            )
    client = account.client("service-quotas")
    for quota, wanted in needs(settings).items():
        subject = f"{quota.name} ({quota.service} {quota.code})"
        try:
            value = client.get_service_quota(ServiceCode=quota.service, QuotaCode=quota.code)["Quota"]["Value"]
        except NO_ANSWER as refused:
            yield Finding(
                CHECK,
                subject,
                Verdict.UNKNOWN,
                f"the environment takes up to {wanted} {quota.unit}; asking for the quota gave {reason(refused)}",
                "allow servicequotas:GetServiceQuota, or look in the Service Quotas console",
            )
            continue
        said = f"{value:g} {quota.unit}; the environment takes up to {wanted}, beside what the account uses already"
        if value >= wanted:
            yield Finding(CHECK, subject, Verdict.FINE, said)
        else:
            yield Finding(
                CHECK,
                subject,
                Verdict.FAILED,
                said,
                f"aws service-quotas request-service-quota-increase --region {account.region} "
                f"--service-code {quota.service} --quota-code {quota.code} --desired-value {wanted}",
            )
