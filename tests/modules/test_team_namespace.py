"""A team's namespace: what its quota, network rules and people's role let through, and what they don't."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any

import pytest
from mocked_pulumi import Deployment, run

from trainyard.modules.instance_types import INSTANCE_TYPES
from trainyard.modules.team_namespace import TeamNamespace, TeamNamespaceArgs

VISION = TeamNamespaceArgs(
    team="vision", gpu_quota=16, cpu_quota=512, memory_gib=4096, vpc_cidr="10.64.0.0/16", labels={"cost": "a"}
)
POLICY = "kubernetes:networking.k8s.io/v1:NetworkPolicy"


@pytest.fixture(scope="module")
def deployment() -> Deployment:
    return run(lambda: TeamNamespace("yard-vision", VISION))


def test_the_namespace_enforces_a_pinned_pod_security_level(deployment: Deployment) -> None:
    labels = deployment.one("kubernetes:core/v1:Namespace").inputs["metadata"]["labels"]
    for mode in ("enforce", "audit", "warn"):
        assert labels[f"pod-security.kubernetes.io/{mode}"] == "restricted"
        assert labels[f"pod-security.kubernetes.io/{mode}-version"] == "v1.35"
    assert labels["trainyard.dev/team"] == "vision"
    assert labels["cost"] == "a"


def test_a_team_with_baseline_is_still_told_what_restricted_would_refuse() -> None:
    args = TeamNamespaceArgs("v", 0, 1, 1, vpc_cidr="10.0.0.0/16", pod_security="baseline")
    labels = run(lambda: TeamNamespace("v", args)).one("kubernetes:core/v1:Namespace").inputs["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "baseline"
    assert labels["pod-security.kubernetes.io/warn"] == "restricted"


def test_the_quota_bounds_what_costs_money(deployment: Deployment) -> None:
    hard = deployment.one("kubernetes:core/v1:ResourceQuota").inputs["spec"]["hard"]
    assert hard["requests.nvidia.com/gpu"] == "16"
    assert hard["requests.cpu"] == "512"
    assert hard["limits.memory"] == hard["requests.memory"] == "4096Gi"
    assert hard["services.loadbalancers"] == hard["services.nodeports"] == "0"


@pytest.mark.parametrize(
    "kind", [kind for kind in INSTANCE_TYPES.values() if kind.efa_interfaces], ids=lambda k: k.name
)
def test_gpus_within_the_quota_can_be_used_with_all_their_efa(kind) -> None:
    args = TeamNamespaceArgs("v", 2 * kind.gpus, 999, 9999, vpc_cidr="10.0.0.0/16")
    hard = run(lambda: TeamNamespace("v", args)).one("kubernetes:core/v1:ResourceQuota").inputs["spec"]["hard"]
    assert int(hard["requests.vpc.amazonaws.com/efa"]) >= 2 * kind.efa_interfaces
    assert int(hard["requests.hugepages-2Mi"].removesuffix("Mi")) >= 2 * 5120


def _reaches(deployment: Deployment, address: str, port: int, protocol: str = "TCP") -> bool:
    """Whether a NetworkPolicy lets the team's pods open a connection to an address."""
    for policy in deployment.of_type(POLICY):
        for rule in policy.inputs["spec"].get("egress", []):
            ports = rule.get("ports")
            if ports is not None and {"protocol": protocol, "port": port} not in ports:
                continue
            if any(_within(peer, address) for peer in rule["to"]):
                return True
    return False


def _within(peer: Mapping[str, Any], address: str) -> bool:
    block = peer.get("ipBlock")
    if block is None:
        return False
    inside = [ipaddress.ip_network(text) for text in (block["cidr"], *block.get("except", []))]
    here = ipaddress.ip_address(address)
    return here in inside[0] and not any(here in network for network in inside[1:])


def test_the_network_is_closed_both_ways_but_for_what_training_needs(deployment: Deployment) -> None:
    specs = {policy.name: policy.inputs["spec"] for policy in deployment.of_type(POLICY)}
    closed = specs["yard-vision-deny-all"]
    assert closed == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    # Everything that comes in comes from the team's own pods.
    sources = [peer for spec in specs.values() for rule in spec.get("ingress", []) for peer in rule["from"]]
    assert sources == [{"podSelector": {}}]
    assert _reaches(deployment, "10.64.3.4", 443)
    assert _reaches(deployment, "52.216.1.1", 443)
    assert _reaches(deployment, "169.254.170.23", 80)
    assert not _reaches(deployment, "169.254.169.254", 80)
    assert not _reaches(deployment, "10.64.3.4", 22)
    assert not _reaches(deployment, "8.8.8.8", 53, "UDP")


def test_without_https_blocks_nothing_beyond_the_vpc_is_reached() -> None:
    args = TeamNamespaceArgs("v", 0, 1, 1, vpc_cidr="10.64.0.0/16", https_cidrs=())
    deployment = run(lambda: TeamNamespace("v", args))
    assert _reaches(deployment, "10.64.3.4", 443)
    assert not _reaches(deployment, "52.216.1.1", 443)


def test_pods_have_no_token_of_kubernetes(deployment: Deployment) -> None:
    account = deployment.one("kubernetes:core/v1:ServiceAccount").inputs
    assert account["automountServiceAccountToken"] is False
    assert account["metadata"]["name"] == "trainer"


def _people_may(deployment: Deployment, verb: str, group: str, resource: str) -> bool:
    rules = deployment.one("kubernetes:rbac.authorization.k8s.io/v1:Role").inputs["rules"]
    return any(verb in rule["verbs"] and group in rule["apiGroups"] and resource in rule["resources"] for rule in rules)


def test_people_run_jobs_and_get_no_further(deployment: Deployment) -> None:
    assert _people_may(deployment, "create", "batch", "jobs")
    assert _people_may(deployment, "create", "policy", "poddisruptionbudgets")
    assert _people_may(deployment, "get", "", "configmaps")
    assert _people_may(deployment, "get", "", "pods/log")
    assert not _people_may(deployment, "create", "", "pods/exec")
    assert not _people_may(deployment, "get", "", "secrets")
    assert not _people_may(deployment, "update", "", "resourcequotas")
    rules = deployment.one("kubernetes:rbac.authorization.k8s.io/v1:Role").inputs["rules"]
    assert "*" not in {word for rule in rules for words in rule.values() for word in words}
    binding = deployment.one("kubernetes:rbac.authorization.k8s.io/v1:RoleBinding").inputs
    assert [subject["name"] for subject in binding["subjects"]] == ["trainyard:vision"]


def test_pods_can_start_only_after_quota_and_limits_stand(deployment: Deployment) -> None:
    account = deployment.one("kubernetes:core/v1:ServiceAccount")
    for kind in ("ResourceQuota", "LimitRange"):
        assert deployment.one(f"kubernetes:core/v1:{kind}").urn in account.dependencies


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"team": "Vision"}, "lower-case"),
        ({"team": "kube-system"}, "belongs to the cluster"),
        ({"gpu_quota": -1}, "gpu_quota is -1"),
        ({"cpu_quota": 0}, "cpu_quota is 0"),
        ({"pod_security": "privileged"}, "baseline or restricted"),
        ({"pod_security_version": "1.35"}, "such as v1.35"),
        ({"https_cidrs": ["everywhere"]}, "everywhere"),
    ],
)
def test_wrong_arguments_are_refused(args: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TeamNamespaceArgs(**{**vars(VISION), **args})
