"""Settings that are right, to be spoiled: the smallest, the fullest, and what is said of a spoiled one."""

from __future__ import annotations

import copy
from datetime import UTC, datetime
from typing import Any

from trainyard.stacks.settings import SettingsError, parse_settings

NOW = datetime(2026, 11, 21, 8, 0, tzinfo=UTC)

GROUP = {"name": "p5", "instance_type": "p5.48xlarge", "zones": ["us-east-1a"], "maximum_nodes": 4}
SPOT = {**GROUP, "capacity": "spot"}
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
BASE: dict[str, Any] = {
    "environment": "lab",
    "account_id": "123456789012",
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
ISRAEL = {"region": "il-central-1", "availability_zones": ["il-central-1a", "il-central-1b"]}
FULL: dict[str, Any] = {
    **BASE,
    "jurisdiction": "US",
    "gpu_groups": [GROUP, BLOCK],
    "cpu_groups": [{"name": "system", "instance_types": ["m7i.xlarge"], "zones": ["us-east-1a"], "minimum_nodes": 2}],
    "lustre": {"storage_gib": 2400, "zone": "us-east-1a", "throughput_mbps_per_tib": 250, "efa": False},
    "checkpoints": {"location": "bucket"},
    "scratch": {"iops_per_gib": 5},
    "access": {"viewers": ["Audit"], "break_glass_principals": ["arn:aws:iam::123456789012:user/break-glass-1"]},
    "network": {
        "interface_endpoints": ["sts"],
        "reserved_cidrs": ["10.0.0.0/16"],
        "existing": {
            "vpc_id": "vpc-01234567",
            "private_subnet_ids_by_zone": {"us-east-1a": "subnet-01234567", "us-east-1b": "subnet-01234568"},
        },
    },
    "kubernetes": {"version": "1.35", "public_access_cidrs": ["8.8.8.0/24"], "service_cidr": "172.20.0.0/16"},
    "teams": [{"name": "vision", "gpu_quota": 8, "people": ["Vision"], "pod_security": "restricted", "cpu_quota": 8}],
    "budget": {"monthly_limit_usd": 1000, "notify": ["a@example.com"], "idle_hours": 2},
    "backups": {"schedule": "cron(0 3 * * ? *)", "retention_days": 3},
}


def changed(changes: dict[str, Any]) -> dict[str, Any]:
    """The smallest settings with `changes`; a key whose value is None is left out."""
    return {key: value for key, value in {**copy.deepcopy(BASE), **changes}.items() if value is not None}


def problems(*, now: datetime = NOW, **changes: Any) -> dict[str, str]:
    """What is said of the smallest settings with `changes`, by key."""
    try:
        parse_settings(changed(changes), namespace="trainyard", stack="lab", now=now)
    except SettingsError as refused:
        told = [(problem.key.removeprefix("trainyard:"), problem.message) for problem in refused.problems]
        assert len(dict(told)) == len(told), f"told twice: {[key for key, _ in told]}"
        return dict(told)
    return {}


def group(**changes: Any) -> dict[str, Any]:
    """A GPU group that is changed."""
    return {"gpu_groups": [{**GROUP, **changes}]}


def block(**changes: Any) -> dict[str, Any]:
    """A Capacity Block's group that is changed; a key whose value is None is left out."""
    return {"gpu_groups": [{key: value for key, value in {**BLOCK, **changes}.items() if value is not None}]}


def team(**changes: Any) -> dict[str, Any]:
    """A team that is changed."""
    return {"teams": [{"name": "vision", "gpu_quota": 8, **changes}]}


def kubernetes(**changes: Any) -> dict[str, Any]:
    """A cluster that is changed."""
    return {"kubernetes": {**BASE["kubernetes"], **changes}}


def lustre(**changes: Any) -> dict[str, Any]:
    """A file system that is changed."""
    return {"lustre": {"storage_gib": 2400, "zone": "us-east-1a", **changes}}
