"""What AWS charges, for estimates and alarms, never for a bill. The figures and their sources are in prices.yaml.

    price("eks-cluster", "us-east-1").low          # 0.10, by the hour
    price("spot p4d.24xlarge", "us-west-2").high   # the highest that was seen there
    hourly_usd("p5.48xlarge", "us-east-2")         # on demand

Items of instances are `on-demand TYPE`, `spot TYPE` and `capacity-block TYPE`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml


@dataclass(frozen=True)
class Price:
    """One price in one region, in US dollars. Where nobody knows it better, it is a range."""

    item: str
    unit: str
    region: str
    low: float
    high: float
    source: str
    """A key of `SOURCES`."""


@dataclass(frozen=True)
class Source:
    text: str
    date: str


def price(item: str, region: str, *, elsewhere: bool = True) -> Price | None:
    """What an item costs in a region; where that is not known and `elsewhere` may stand in, in the reference region."""
    return _PRICES.get((item, region)) or (_PRICES.get((item, REFERENCE_REGION)) if elsewhere else None)


def hourly_usd(instance_type: str, region: str) -> float | None:
    """What an instance costs by the hour there on demand; the reference region's price where there is no other, None
    where there is none at all."""
    known = price(f"on-demand {instance_type}", region)
    return known.low if known else None


def _prices(raw: Mapping[str, Any]) -> Iterator[Price]:
    for row in raw["services"]:
        yield Price(row["item"], row["unit"], row["region"], *_range(row["usd"]), row["source"])
    for table, what in (("on_demand", "on-demand"), ("spot", "spot"), ("capacity_blocks", "capacity-block")):
        for kind, row in raw[table]["usd"].items():
            source = row.get("source") or raw[table]["source"]
            for region, usd in row.items():
                if region != "source":
                    yield Price(f"{what} {kind}", raw[table]["unit"], region, *_range(usd), source)


def _by_size(raw: Mapping[str, Any], known: Mapping[tuple[str, str], Price]) -> Iterator[Price]:
    """Prices of sizes that follow from another size of the same family."""
    table = raw["on_demand_by_size"]
    for kind, of in table["of"].items():
        for (item, region), one in known.items():
            if item == f"on-demand {of['type']}" and (f"on-demand {kind}", region) not in known:
                times = of["times"]
                yield Price(
                    f"on-demand {kind}",
                    one.unit,
                    region,
                    round(one.low * times, 6),
                    round(one.high * times, 6),
                    one.source,
                )


def _range(usd: float | list[float]) -> tuple[float, float]:
    return (usd[0], usd[1]) if isinstance(usd, list) else (usd, usd)


_RAW = yaml.safe_load(Path(__file__).with_name("prices.yaml").read_text(encoding="utf-8"))
REFERENCE_REGION: str = _RAW["reference_region"]
SOURCES: Mapping[str, Source] = MappingProxyType({key: Source(**one) for key, one in _RAW["sources"].items()})
_WRITTEN = {(one.item, one.region): one for one in _prices(_RAW)}
_PRICES = {**_WRITTEN, **{(one.item, one.region): one for one in _by_size(_RAW, _WRITTEN)}}


def _on_demand() -> dict[str, Mapping[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for (item, region), one in _PRICES.items():
        if item.startswith("on-demand "):
            found.setdefault(region, {})[item.removeprefix("on-demand ")] = one.low
    return {region: MappingProxyType(usd) for region, usd in found.items()}


ON_DEMAND_USD: Mapping[str, Mapping[str, float]] = MappingProxyType(_on_demand())
"""By region, then type."""
