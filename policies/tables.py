"""Whether the tables beside the rules can be read. One with a mistake in it stops the pack at its start, rather than
each rule that comes to ask it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import yaml

from trainyard.policies import accounts, preflight, retention
from trainyard.policies.reach import table as reach
from trainyard.policies.residency import jurisdictions
from trainyard.policies.rules import cluster_versions, pod_images, regions

_TABLES: dict[str, Callable[[], object]] = {
    "regions.yaml": regions.table,
    "jurisdictions.yaml": jurisdictions.jurisdictions,
    "trusted_accounts.yaml": accounts.trusted,
    "retention.yaml": retention.table,
    "registries.yaml": pod_images.approved,
    "eks_versions.yaml": cluster_versions.table,
    "offerings.yaml": preflight.offerings,
    "reach.yaml": reach.table,
}


def wrong_with() -> Iterator[str]:
    """What is wrong with each table that cannot be read, naming its file."""
    for name, read in _TABLES.items():
        try:
            read()
        except (ValueError, TypeError, KeyError, AttributeError, OSError, RecursionError, yaml.YAMLError) as wrong:
            said = " ".join(str(wrong).split())
            file = Path(__file__).with_name(name)
            yield said if said.startswith(str(file)) else f"{file}: {type(wrong).__name__}: {said}"


def environments() -> tuple[str, ...] | None:
    """The environments that there are; None where their table cannot be read."""
    try:
        return tuple(regions.table().environments)
    except ValueError:
        return None
