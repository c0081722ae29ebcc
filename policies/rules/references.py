"""What resources refer to belongs to the stack's own account, or to one that somebody named."""

from __future__ import annotations

import re
from collections.abc import Iterator

from trainyard.policies.accounts import not_known_to_be_own, own_accounts, trusted
from trainyard.policies.graph import Graph, Resource
from trainyard.policies.rule import Finding, Severity, each, stack_rule, unverified, violation
from trainyard.policies.rules.pod_images import approved
from trainyard.policies.values import Value

_REGISTRY = re.compile(r"\b(\d{12})\.dkr[.-]ecr(?:-fips)?\.")
_OTHERS = (
    re.compile(r"\barn:aws[a-z-]*:[a-z0-9-]+:[a-z0-9-]*:(\d{12}):"),
    re.compile(r"\bhttps?://[^/\s]+/(\d{12})/"),  # a queue's address
)
_PROSE = frozenset({"tags", "tagsAll", "description", "metadata"})


def _refers(resource_type: str) -> bool:
    return resource_type.startswith(("aws:", "kubernetes:", "pulumi:providers:aws"))


@stack_rule(
    "reference-known-accounts",
    title="What a resource refers to is in the stack's own account, or in one that compliance named",
    severity=Severity.HIGH,
    applies=_refers,
    controls={
        "NIST 800-53": ("AC-4", "AC-20", "SA-9"),
        "ISO 27001": ("A.5.14", "A.5.19"),
        "UAE PDPL": ("art. 22", "art. 23"),
    },
    why=(
        "A key, a queue, a log group or an image of another account is in other hands: they read what is sent there, "
        "change what is fetched, and end what is encrypted with their key. A mistyped digit is a stranger."
    ),
    remedy="""
kms_key_id=key.arn                  # of this stack; another account's only after compliance named it:
# policies/trusted_accounts.yaml
accounts:
  "111122223333": {owner: Security team, purpose: holds the log archive of every environment}
""",
)
def known_accounts(resource: Resource, graph: Graph) -> Iterator[Finding]:
    own, named = own_accounts(graph), trusted().accounts

    def check(value: Value) -> Iterator[Finding]:
        # What is unknown is residency-unknown-reference's; whom a policy document lets in is policy-known-accounts'.
        if not isinstance(value.raw, str) or '"Statement"' in value.raw:
            return
        found = {account for pattern in _OTHERS for account in pattern.findall(value.raw)}
        registries = set(_REGISTRY.findall(value.raw)) - approved().accounts
        for account in sorted((found | registries) - named - own):
            if own:
                yield violation(f"this leads to account {account}, {_NOT_NAMED}", value)
            elif not own:
                yield unverified(not_known_to_be_own(account), value)

    for name in resource.props:
        if name not in _PROSE:
            yield from each(resource[name].leaves(), check)


_NOT_NAMED = "which is not the stack's own, and policies/trusted_accounts.yaml does not name it"
