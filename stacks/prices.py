"""On-demand prices, US dollars by the hour, for estimates and alarms; never for a bill.

Source: the public catalog of the SkyPilot project, catalogs/v8/aws/vms.csv (secondary, undated), read 2026-11. Prices
of reservations, Capacity Blocks and spot are not in it: a spot price equal to the price, a tenth of it, blank or 0 is a
placeholder there, and was dropped.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

REFERENCE_REGION = "us-east-1"

ON_DEMAND_USD: Mapping[str, Mapping[str, float]] = MappingProxyType(
    {
        "us-east-1": {
            "p4d.24xlarge": 21.9576,
            "p4de.24xlarge": 27.4471,
            "p5.48xlarge": 55.04,
            "p5en.48xlarge": 63.296,
            "p6-b200.48xlarge": 113.9328,
            "g5.12xlarge": 5.672,
            "g6.12xlarge": 4.6016,
            "g4dn.xlarge": 0.526,
        },
        "me-central-1": {"p5en.48xlarge": 75.96, "g5.12xlarge": 6.9575, "g6.12xlarge": 5.65045},
    }
)


def hourly_usd(instance_type: str, region: str) -> float | None:
    """What an instance costs by the hour there; the reference region's price where there is no other, None where
    there is none at all."""
    here = ON_DEMAND_USD.get(region, {})
    return here.get(instance_type, ON_DEMAND_USD[REFERENCE_REGION].get(instance_type))
