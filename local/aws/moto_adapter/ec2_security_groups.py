"""Security groups in moto: it loses the description of a rule whose source is another group."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from moto.ec2.models.security_groups import SecurityGroupBackend, SecurityGroupRule

from trainyard.local.aws.moto_adapter.expectations import require_mentions, require_parameters, wrap


def require_expected() -> None:
    """What this module relies on."""
    require_mentions(SecurityGroupRule.__init__, "self.ip_range", "self.source_group")
    require_parameters(SecurityGroupBackend.modify_security_group_rules, "self", "group_id", "rules")


def install() -> None:
    """Answer with the description that was given, and keep it beside its source when it is changed."""
    # moto's own property reads the address range, which such a rule does not have.
    SecurityGroupRule.description = property(_description)  # ty: ignore[invalid-assignment]
    wrap(SecurityGroupBackend, "modify_security_group_rules", _describing_the_source)


def _description(rule: Any) -> str | None:
    return (rule.source_group if rule.source_group else rule.ip_range).get("Description")


def _describing_the_source(moto_modify: Callable[..., Any]) -> Callable[..., Any]:
    def modify_security_group_rules(backend: Any, group_id: str, rules: Any) -> Any:
        answer = moto_modify(backend, group_id, rules)
        group = backend.get_security_group_from_id(group_id)
        for rule in [*group.ingress_rules, *group.egress_rules]:
            # moto has just written it beside an address range that isn't there.
            if rule.id in rules and rule.source_group and "Description" in rule.ip_range:
                rule.source_group["Description"] = rule.ip_range.pop("Description")
        return answer

    return modify_security_group_rules
