"""All rules of the pack, found in the modules of their subjects."""

from __future__ import annotations

from types import ModuleType

from trainyard.policies.rule import Rule
from trainyard.policies.rules import (
    alarms,
    attachments,
    backups,
    buckets,
    builds,
    capacity,
    cluster,
    cluster_access,
    cluster_roles,
    cluster_versions,
    cost,
    encryption,
    endpoint_policies,
    file_systems,
    gpu_pods,
    identities,
    instances,
    keys,
    limits,
    load_balancers,
    logs,
    lustre_size,
    namespaces,
    network_policies,
    networks,
    nodes,
    own_keys,
    placement,
    plain_secrets,
    pod_accounts,
    pod_images,
    pod_privileges,
    pod_resources,
    pods,
    public_access,
    reach,
    references,
    regions,
    registries,
    role_takers,
    security_groups,
    sharing,
    storage_classes,
    tags,
    training_jobs,
    transfer_identities,
    transfer_keys,
    transfer_pods,
    transfers,
    transport,
    trust,
    volumes,
)

SUBJECTS = (
    regions,
    transfers,
    transfer_identities,
    transfer_keys,
    transfer_pods,
    encryption,
    own_keys,
    transport,
    public_access,
    sharing,
    buckets,
    keys,
    identities,
    attachments,
    trust,
    role_takers,
    reach,
    references,
    registries,
    builds,
    logs,
    alarms,
    cluster,
    cluster_access,
    cluster_versions,
    nodes,
    instances,
    plain_secrets,
    volumes,
    storage_classes,
    file_systems,
    backups,
    networks,
    endpoint_policies,
    security_groups,
    load_balancers,
    pods,
    pod_privileges,
    pod_accounts,
    pod_images,
    pod_resources,
    namespaces,
    network_policies,
    cluster_roles,
    tags,
    cost,
    training_jobs,
    placement,
    capacity,
    lustre_size,
    gpu_pods,
    limits,
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
