"""Which instance types a region offers. An offering is no promise of capacity; `trainyard doctor` asks the account.

Source: the public catalog of the SkyPilot project, catalogs/v8/aws/vms.csv (secondary), read 2026-11. Only regions that
the catalog covers have a row; for another region nothing is known, and nothing is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

_G5 = ("g5.xlarge", "g5.2xlarge", "g5.12xlarge", "g5.48xlarge")
_G6 = ("g6.xlarge", "g6.2xlarge", "g6.12xlarge", "g6.48xlarge")
_G6E = ("g6e.xlarge", "g6e.2xlarge", "g6e.12xlarge", "g6e.48xlarge")
_G4DN = ("g4dn.xlarge", "g4dn.2xlarge", "g4dn.12xlarge")

GPU_TYPES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "us-east-1": (
            "p4d.24xlarge", "p4de.24xlarge", "p5.4xlarge", "p5.48xlarge", "p5en.48xlarge", "p6-b200.48xlarge",
            *_G4DN, *_G5, *_G6, *_G6E,
        ),
        "us-east-2": (
            "p4d.24xlarge", "p5.4xlarge", "p5.48xlarge", "p5e.48xlarge", "p5en.48xlarge", "p6-b200.48xlarge",
            *_G4DN, *_G5, *_G6, *_G6E,
        ),
        "us-west-2": (
            "p4d.24xlarge", "p4de.24xlarge", "p5.4xlarge", "p5.48xlarge", "p5e.48xlarge", "p5en.48xlarge",
            "p6-b200.48xlarge", "p6-b300.48xlarge", *_G4DN, *_G5, *_G6, *_G6E,
        ),
        "eu-west-2": ("p4d.24xlarge", "p5.48xlarge", *_G4DN, *_G5, *_G6),
        "eu-north-1": ("p5.48xlarge", "p5en.48xlarge", *_G4DN, *_G5, *_G6, *_G6E),
        "ap-northeast-1": ("p4d.24xlarge", "p5.48xlarge", "p5en.48xlarge", *_G4DN, *_G5, *_G6, *_G6E),
        "me-central-1": ("p5en.48xlarge", *_G5, *_G6),
    }
)  # fmt: skip
"""GPU types by region, of those in modules/instance_types.py."""


def offered(region: str) -> tuple[str, ...] | None:
    """The GPU types of a region, or None where the table says nothing of it."""
    return GPU_TYPES.get(region)
