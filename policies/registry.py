"""All rules of the pack, found in the modules of their subjects."""

from __future__ import annotations

from types import ModuleType

from trainyard.policies import (
    encryption,
    preflight_capacity,
    preflight_limits,
    preflight_placement,
    preflight_pods,
    preflight_storage,
    public_access,
    regions,
    tags,
    transport,
)
from trainyard.policies.rule import Rule

SUBJECTS = (
    regions,
    encryption,
    transport,
    public_access,
    tags,
    preflight_placement,
    preflight_capacity,
    preflight_storage,
    preflight_pods,
    preflight_limits,
)


def rules_in(*modules: ModuleType) -> tuple[Rule, ...]:
    """The rules that modules define, in the order written. Raises ValueError where two share an id."""
    rules = tuple(item for module in modules for item in vars(module).values() if isinstance(item, Rule))
    seen: set[str] = set()
    for one in rules:
        if one.id in seen:
            raise ValueError(f"two rules have the id {one.id!r}; the id names a rule in reports and exemptions")
        seen.add(one.id)
    return rules


RULES = rules_in(*SUBJECTS)
