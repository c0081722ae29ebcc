"""What runs, and whom it talks to: images, charts, services outside and ways out of the network."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from ipaddress import ip_network

from trainyard.policies.graph import STACK_REFERENCE, Graph, Resource
from trainyard.policies.pod_templates import Pod, each_pod, has_pods, is_placeholder, over_containers
from trainyard.policies.residency.judging import rule_on, strictest_first, unverified_because
from trainyard.policies.residency.jurisdictions import jurisdictions
from trainyard.policies.residency.places import Place, atlas_of, host_place, place_of, walk
from trainyard.policies.rule import Finding, Severity, Verdict, each, stack_rule, unverified, violation
from trainyard.policies.rules.transfers import CONTROLS
from trainyard.policies.values import Value, shown

# Where resources that are no pods name what they run, or where it comes from.
_SOURCES = {
    "aws:codebuild/project:Project": ("environment.image",),
    "aws:ecr/pullThroughCacheRule:PullThroughCacheRule": ("upstreamRegistryUrl",),
    "aws:lambda/function:Function": ("imageUri",),
    "kubernetes:helm.sh/v3:Release": ("repositoryOpts.repo", "chart"),
    "kubernetes:helm.sh/v4:Chart": ("repositoryOpts.repo", "chart"),
}
_SERVICES = frozenset({"kubernetes:core/v1:Service", "kubernetes:core/v1:ServicePatch"})
_NETWORK_POLICIES = frozenset(
    {"kubernetes:networking.k8s.io/v1:NetworkPolicy", "kubernetes:networking.k8s.io/v1:NetworkPolicyPatch"}
)
_WAYS_OUT = frozenset(
    {
        "aws:ec2/egressOnlyInternetGateway:EgressOnlyInternetGateway",
        "aws:ec2/internetGateway:InternetGateway",
        "aws:ec2/natGateway:NatGateway",
        "aws:ec2/vpcPeeringConnection:VpcPeeringConnection",
        "aws:ec2transitgateway/vpcAttachment:VpcAttachment",
        "aws:ec2/vpnGateway:VpnGateway",
    }
)
_REPOSITORY = "aws:ecr/repository:Repository"
_VPC = frozenset({"aws:ec2/vpc:Vpc"})


@stack_rule(
    "transfer-image-source",
    title="Images and charts come from the jurisdiction of the data that they work on",
    severity=Severity.HIGH,
    applies=lambda kind: kind in _SOURCES or has_pods(kind),
    controls=CONTROLS,
    why="One's own images lie where their registry is, and each pull tells its host who runs what. A registry abroad "
    "is easily written: it is one word in an image's name.",
    remedy="""
"image": f"{account}.dkr.ecr.{settings.region}.amazonaws.com/mirror/alpine:3.20"   # a mirror in the same region
# or name the host under `hosts` in policies/jurisdictions.yaml, with the jurisdiction that it is known to serve from
""",
)
def image_source(resource: Resource, graph: Graph) -> Iterator[Finding]:
    def check(source: Value) -> Iterator[Finding]:
        if not source.known and (repositories := _repositories(source, resource, graph)):
            for one in repositories:
                yield from _judge(f"an image of {one.name} comes", place_of(one), source, resource, graph)
            return
        text = source.text() or ""
        host = _registry(text, resource.type)
        if host:
            yield from _judge(f"{shown(text)} comes", host_place(host, source), source, resource, graph)

    for path in _SOURCES.get(resource.type, ()):
        first, *rest = path.split(".")
        yield from each(walk(resource[first], tuple(rest)), check)
    if has_pods(resource.type):
        yield from each_pod(resource, lambda pod: _images(pod, check))


def _repositories(image: Value, resource: Resource, graph: Graph) -> list[Resource]:
    """The repositories of this stack that an unknown image may be of; none where it may come from another stack."""
    origins = graph.origins(resource, str(image.path[0]))
    if any(one.type == STACK_REFERENCE for one in origins):
        return []
    return [one for one in origins if one.type == _REPOSITORY]


def _images(pod: Pod, check: Callable[[Value], Iterator[Finding]]) -> Iterator[Finding]:
    def of_container(container: Value, _: Pod) -> Iterator[Finding]:
        image = container["image"]
        if image.present and not is_placeholder(image, pod):
            yield from check(image)

    yield from over_containers(pod, of_container)


def _registry(text: str, resource_type: str) -> str:
    """The host that an image, a chart or its repository is fetched from; empty where it is none of those."""
    if text.startswith("aws/codebuild/"):
        return ""  # AWS's own, kept in each region
    if "://" in text:
        return text
    first, separator, _ = text.partition("/")
    named = "." in first or ":" in first or first == "localhost"
    if resource_type.startswith("kubernetes:helm.sh/"):
        return ""  # a chart's name in the repository beside it, or a folder
    if "pullThroughCacheRule" in resource_type:
        return first
    return first if separator and named else "docker.io"


@stack_rule(
    "transfer-pod-endpoint",
    title="A service's name inside the cluster leads to no host of another jurisdiction",
    severity=Severity.HIGH,
    applies=_SERVICES,
    controls=CONTROLS,
    why="An ExternalName makes a host abroad look like a service of the cluster: programs send it data unknowingly.",
    remedy="""
kubernetes.core.v1.Service("tracking", spec={"type": "ClusterIP", "selector": {...}})   # run it in the cluster
# or name the host under `hosts` in policies/jurisdictions.yaml
""",
)
def pod_endpoint(service: Resource, graph: Graph) -> Iterator[Finding]:
    def check(name: Value) -> Iterator[Finding]:
        host = (name.text() or "").rstrip(".")
        if "." in host and not host.endswith((".svc", ".cluster.local")):
            yield from _judge(f"{host} answers", host_place(host, name), name, service, graph)

    yield from each(walk(service["spec"], ("externalName",)), check)


@stack_rule(
    "transfer-pod-egress",
    title="Pods with personal data have no open way to the internet",
    severity=Severity.MEDIUM,
    applies=_NETWORK_POLICIES,
    controls={**CONTROLS, "NIST 800-53": ("SA-9(5)", "AC-4", "SC-7")},
    why="What a pod may reach anywhere in the world, it may send anywhere in the world; no other rule sees that.",
    remedy="""
kubernetes.networking.v1.NetworkPolicy("egress", spec={"policy_types": ["Egress"], "egress": [
    {"to": [{"ip_block": {"cidr": settings.vpc_cidr}}]},   # addresses of endpoints in the VPC, and nothing wider
]})
""",
    advice=True,
)
def pod_egress(policy: Resource, graph: Graph) -> Iterator[Finding]:
    def check(rule: Value) -> Iterator[Finding]:
        peers = rule["to"].items()
        wide = [peer["ipBlock"]["cidr"] for peer in peers if _public(peer["ipBlock"]["cidr"])] if peers else [rule]
        for at in wide:
            yield from _way_out(at, graph)

    classes = atlas_of(graph).classes
    if any(not jurisdictions().free(policy.environment, one) for one in classes) or not classes:
        yield from each(policy["spec"]["egress"].items(), check)


def _way_out(at: Value, graph: Graph) -> Iterator[Finding]:
    """An open rule, if the network leads anywhere. Gateway endpoints of the region need public addresses too."""
    ways = graph.of(_WAYS_OUT)
    if ways:
        names = ", ".join(one.name for one in ways[:3])
        yield violation(f"pods may send to any address, and {names} leads out of the network", at)
    elif not graph.of(_VPC):
        yield unverified("pods may send to any address, and this stack does not tell where their network leads", at)


def _public(cidr: Value) -> bool:
    text = cidr.text()
    if not text:
        return False
    try:
        network = ip_network(text, strict=False)
    except ValueError:
        return True
    return not network.is_private and network.prefixlen < (16 if network.version == 4 else 48)


def _judge(what: str, place: Place, at: Value, resource: Resource, graph: Graph) -> Iterator[Finding]:
    for data_class in strictest_first(atlas_of(graph).classes):
        ruling = rule_on(resource.environment, data_class, place)
        if ruling.unread is not None:
            yield unverified_because(ruling.unread, at, what)
        elif ruling.verdict is Verdict.UNVERIFIED:
            yield unverified(f"{what} from {place.name}: {ruling.reason}", at)
        elif ruling.verdict is Verdict.VIOLATION:
            yield violation(f"{what} from {place.name}, where data of this stack may not go: {ruling.reason}", at)
        if ruling.verdict is not Verdict.PASSED:
            return
