"""What pods may reach, and what may reach them, is said: nothing first, and then what they need."""

from __future__ import annotations

from collections.abc import Iterator

import yaml

from trainyard.policies.graph import Graph, Resource
from trainyard.policies.pod_templates import NAMESPACES
from trainyard.policies.preflight import number
from trainyard.policies.rule import Finding, Severity, each, resource_rule, stack_rule, unverified, violation
from trainyard.policies.rules.namespaces import inside, submitted_to
from trainyard.policies.values import UnverifiedError, Value

_POLICIES = frozenset({"kubernetes:networking.k8s.io/v1:NetworkPolicy"})
_SERVICES = frozenset({"kubernetes:core/v1:Service", "kubernetes:core/v1:ServicePatch"})
_INGRESSES = frozenset({"kubernetes:networking.k8s.io/v1:Ingress", "kubernetes:networking.k8s.io/v1:IngressPatch"})

# By which annotation each of AWS's controllers is told where a load balancer stands, and what keeps it inside.
_INSIDE = {
    "service.beta.kubernetes.io/aws-load-balancer-scheme": ("internal",),
    "service.beta.kubernetes.io/aws-load-balancer-internal": ("true", "0.0.0.0/0"),
    "alb.ingress.kubernetes.io/scheme": ("internal",),
}
_TLS = 443
_EVERYWHERE = ("0.0.0.0/0", "::/0", "0.0.0.0/1", "128.0.0.0/1")

_NETWORK = {"NIST 800-53": ("SC-7", "AC-4"), "ISO 27001": ("A.8.20", "A.8.22")}


@stack_rule(
    "namespace-default-deny",
    title="A namespace lets nothing in that no policy names, and where people start pods nothing out",
    severity=Severity.HIGH,
    applies=NAMESPACES,
    controls={"CIS EKS": ("4.3.2", "5.4.4"), "Checkov": ("CKV2_K8S_6",), **_NETWORK},
    why=(
        "Without a policy every pod of the cluster reaches every other one, and each sends data wherever it likes. "
        "One that is for all pods and lets everyone through a port is no default: it isolates in name only."
    ),
    remedy="""
kubernetes.networking.v1.NetworkPolicy(name, metadata={"name": "deny-all", "namespace": team},
    spec={"pod_selector": {}, "policy_types": ["Ingress", "Egress"]})      # and further ones for what pods need
""",
)
def default_deny(namespace: Resource, graph: Graph) -> Iterator[Finding]:
    """Policies add up, and a direction is closed as soon as one policy is for it. So there must be one for all pods
    that by itself lets through nothing, or nothing but peers that it names. What others add is a matter of their own
    (network-policy-not-for-all), and in sight."""
    people = submitted_to(namespace, graph)
    policies = list(inside(namespace, graph, _POLICIES))
    for direction in ("Ingress", "Egress"):
        if direction == "Egress" and people is False:
            continue
        found = [_both(place, _denies(one, direction)) for one, place in policies]
        if True in found:
            continue
        if None in found or (direction == "Egress" and people is None):
            yield unverified(f"whether a policy isolates all pods of the namespace ({direction}) is not known yet")
        else:
            open_ones = [one.name for one, place in policies if place and _isolates(one, direction)]
            but = f"; open to everybody: {', '.join(sorted(open_ones))}" if open_ones else ""
            yield violation(f"no policy isolates all pods of the namespace ({direction}){but}")


def _both(one: bool | None, other: bool | None) -> bool | None:
    if one is False or other is False:
        return False
    return True if one and other else None


def _denies(policy: Resource, direction: str) -> bool | None:
    """Whether a policy isolates all pods of its namespace in a direction and opens it to named peers at most; None
    where that is not known yet."""
    try:
        return _isolates(policy, direction) and all(_named(rule, direction) for rule in _rules(policy, direction))
    except UnverifiedError:
        return None


def _rules(policy: Resource, direction: str) -> list[Value]:
    return policy["spec"][direction.lower()].items()


def _named(rule: Value, direction: str) -> bool:
    """Whether a rule says whom it is for. One without peers is for everyone, whatever its ports."""
    peers = rule["from" if direction == "Ingress" else "to"].items()
    return bool(peers) and all(_names_somebody(peer) for peer in peers)


def _names_somebody(peer: Value) -> bool:
    if (block := peer["ipBlock"]).present:
        return block["cidr"].text() not in _EVERYWHERE
    # With both selectors each narrows the other; alone, one that selects all namespaces names every pod there is.
    return peer["podSelector"].present or not _all(peer["namespaceSelector"])


def _isolates(policy: Resource, direction: str) -> bool:
    """Whether a policy is for all pods of its namespace and this direction."""
    spec = policy["spec"]
    selector = spec["podSelector"]
    if selector["matchLabels"].fields() or selector["matchExpressions"].items():
        return False
    types = [one.text() for one in spec["policyTypes"].items()]
    if types:
        return direction in types
    # Where the types are not said, Kubernetes takes Ingress, and Egress where there are rules for it.
    return direction == "Ingress" or bool(spec["egress"].items())


@resource_rule(
    "network-policy-not-for-all",
    title="No NetworkPolicy lets everyone in, or lets pods out to everywhere on more than port 443",
    severity=Severity.HIGH,
    applies=_POLICIES,
    controls={"CIS EKS": ("4.3.2",), "Trivy": ("KSV-0038",), **_NETWORK},
    why=(
        "Policies add up: one rule without a peer undoes the default of all others for the pods that it selects. "
        "Whatever port is open to everywhere carries data out, port 53 as well."
    ),
    remedy="""
"ingress": [{"from": [{"pod_selector": {}}]}],                             # pods of the same namespace
"egress": [{"to": [{"ip_block": {"cidr": vpc_cidr}}], "ports": [{"protocol": "TCP", "port": 443}]}]
""",
)
def not_for_all(policy: Resource) -> Iterator[Finding]:
    spec = policy["spec"]
    for name, peers in (("ingress", "from"), ("egress", "to")):
        yield from each([spec[name]], lambda rules, peers=peers: each(rules.items(), lambda one: _rule(one, peers)))


def _rule(rule: Value, peers: str) -> Iterator[Finding]:
    narrowed = bool(rule["ports"].items())
    over_tls = peers == "to" and narrowed and all(_is_tls(one) for one in rule["ports"].items())
    listed = rule[peers].items()
    if not listed and not over_tls:
        yield violation("this names nobody, which means everybody", rule)
    yield from each(listed, lambda one: _peer(one, narrowed, over_tls))


def _is_tls(port: Value) -> bool:
    """Whether an entry is for one port alone on which AWS and nearly everybody speaks TLS."""
    return number(port["port"]) == _TLS and not port["endPort"].present and (port["protocol"].text() or "TCP") == "TCP"


def _peer(peer: Value, narrowed: bool, over_tls: bool) -> Iterator[Finding]:
    block = peer["ipBlock"]
    if block["cidr"].text() in _EVERYWHERE and not over_tls:
        yield violation(f"this is every address, on more than port {_TLS}", block)
    elif not narrowed and not block.present and not peer["podSelector"].present and _all(peer["namespaceSelector"]):
        yield violation("this is every pod of every namespace, on every port", peer)


def _all(selector: Value) -> bool:
    """Whether a selector selects all; an absent one selects nothing."""
    return selector.present and not selector["matchLabels"].fields() and not selector["matchExpressions"].items()


@stack_rule(
    "network-policies-enforced",
    title="Where there are NetworkPolicies, the cluster's network enforces them",
    severity=Severity.HIGH,
    applies={"aws:eks/addon:Addon"},
    controls={"CIS EKS": ("4.3.1",), **_NETWORK},
    why="EKS's network takes NetworkPolicies in and does nothing with them until its add-on is told to.",
    remedy="""
aws.eks.Addon(name, addon_name="vpc-cni", configuration_values=json.dumps({"enableNetworkPolicy": "true"}), ...)
""",
)
def policies_enforced(addon: Resource, graph: Graph) -> Iterator[Finding]:
    if addon["addonName"].text() != "vpc-cni" or not graph.of(_POLICIES):
        return
    values = addon["configurationValues"]
    try:
        said = yaml.safe_load(values.text() or "") or {}  # EKS takes YAML as well as JSON
    except (yaml.YAMLError, ValueError, RecursionError):
        raise UnverifiedError(values, "these are no settings of an add-on: neither JSON nor YAML") from None
    if not isinstance(said, dict) or str(said.get("enableNetworkPolicy")).lower() != "true":
        yield violation("enableNetworkPolicy is not true: no NetworkPolicy of this stack does anything", values)


@resource_rule(
    "service-not-public",
    title="No Service and no Ingress opens the cluster to the internet",
    severity=Severity.HIGH,
    applies=_SERVICES | _INGRESSES,
    controls=_NETWORK,
    why=(
        "A Service of the type LoadBalancer is an address on the internet unless told otherwise, in no security group "
        "of the program's, and a node port is open on every node. A cluster for training serves nobody outside."
    ),
    remedy="""
spec={"type": "ClusterIP"}                      # or a LoadBalancer that stays inside:
metadata={"annotations": {"service.beta.kubernetes.io/aws-load-balancer-scheme": "internal"}}
""",
)
def service_not_public(resource: Resource) -> Iterator[Finding]:
    annotations, spec = resource["metadata"]["annotations"], resource["spec"]
    inside = any((annotations[name].text() or "").lower() in allowed for name, allowed in _INSIDE.items())
    if resource.type in _INGRESSES:
        if (annotations["alb.ingress.kubernetes.io/scheme"].text() or "internal") != "internal":
            yield violation("the load balancer of this Ingress stands on the internet", annotations)
        return
    kind = spec["type"].text()
    if kind == "LoadBalancer" and not inside:
        yield violation("the load balancer of this Service stands on the internet unless its annotations say not", spec)
    elif kind == "NodePort":
        yield violation("a port is opened on every node, past its pods' NetworkPolicies", spec["type"])
    if spec["externalIPs"].items():
        yield violation("whoever names an external address takes its traffic in the whole cluster", spec["externalIPs"])
