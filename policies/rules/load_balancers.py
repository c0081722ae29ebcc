"""Load balancers: inside the network unless excused, over TLS, and with a record of requests."""

from __future__ import annotations

from collections.abc import Iterator

from trainyard.policies.graph import Resource
from trainyard.policies.rule import Finding, Severity, each, resource_rule, violation
from trainyard.policies.values import Value, shown

_MODULES = ("lb", "alb")
_BALANCERS = frozenset(f"aws:{module}/loadBalancer:LoadBalancer" for module in _MODULES)
_LISTENERS = frozenset(f"aws:{module}/listener:Listener" for module in _MODULES)
_CLASSIC = frozenset({"aws:elb/loadBalancer:LoadBalancer"})
_SERVICES = frozenset({"kubernetes:core/v1:Service"})
_INGRESSES = frozenset({"kubernetes:networking.k8s.io/v1:Ingress"})
_INGRESS_SCHEME = "alb.ingress.kubernetes.io/scheme"
_SCHEME = "service.beta.kubernetes.io/aws-load-balancer-scheme"
_INTERNAL = "service.beta.kubernetes.io/aws-load-balancer-internal"

_KIND = "service.beta.kubernetes.io/aws-load-balancer-type"
# AWS's own controller makes internal ones unless asked; it takes services of these classes and kinds.
_OWN_CLASSES = ("service.k8s.aws/nlb", "eks.amazonaws.com/nlb")
_OWN_KINDS = ("external", "nlb-ip")

_NETWORK = {"NIST 800-53": ("SC-7", "AC-4"), "ISO 27001": ("A.8.20", "A.8.22")}
_TRANSPORT = {"NIST 800-53": ("SC-8", "SC-13"), "ISO 27001": ("A.8.24", "A.5.14")}


@resource_rule(
    "lb-internal",
    title="A load balancer, one that Kubernetes makes included, has no address on the internet",
    severity=Severity.HIGH,
    applies=_BALANCERS | _CLASSIC | _SERVICES | _INGRESSES,
    controls={"Trivy": ("AWS-0053",), **_NETWORK},
    why=(
        "A platform for training serves nobody outside: dashboards, registries and the API are for people on the VPN. "
        "A service of type LoadBalancer is on the internet unless its annotations or its class say otherwise."
    ),
    remedy="""
aws.lb.LoadBalancer(name, internal=True, ...)
metadata={"annotations": {"service.beta.kubernetes.io/aws-load-balancer-scheme": "internal"}}      # on a Service
""",
)
def lb_internal(balancer: Resource) -> Iterator[Finding]:
    if balancer.type in _SERVICES:
        yield from _service_internal(balancer)
        return
    if balancer.type in _INGRESSES:
        # The controller makes internal ones unless asked.
        scheme = balancer["metadata"]["annotations"][_INGRESS_SCHEME]
        if scheme.text() == "internet-facing":
            yield violation("Kubernetes makes a public load balancer for it", scheme)
        return
    switch = balancer["internal"]
    if not switch.flag():
        yield violation("the load balancer has public addresses", switch)


def _service_internal(service: Resource) -> Iterator[Finding]:
    if service["spec"]["type"].text() != "LoadBalancer":
        return
    annotations = service["metadata"]["annotations"]
    scheme = annotations[_SCHEME]
    if scheme.present:
        internal = scheme.text() == "internal"
    elif service["spec"]["loadBalancerClass"].text() in _OWN_CLASSES or annotations[_KIND].text() in _OWN_KINDS:
        internal = True
    else:
        internal = annotations[_INTERNAL].text() == "true"
    if not internal:
        yield violation("Kubernetes makes a public load balancer for it", scheme if scheme.present else annotations)


@resource_rule(
    "lb-tls",
    title="A load balancer listens over TLS 1.2 or later, and sends plain HTTP there",
    severity=Severity.HIGH,
    applies=_LISTENERS,
    controls={
        "FSBP": ("ELB.1", "ELB.17"),
        "CIS EKS": ("5.4.5",),
        "Checkov": ("CKV_AWS_2", "CKV_AWS_103", "CKV2_AWS_20"),
        "Trivy": ("AWS-0047", "AWS-0054"),
        **_TRANSPORT,
    },
    why="Over plain HTTP whoever sits between reads tokens and changes what is sent; older TLS only looks safe.",
    remedy="""
aws.lb.Listener(name, protocol="HTTPS", port=443, ssl_policy="ELBSecurityPolicy-TLS13-1-2-2021-06",
    certificate_arn=certificate.arn, ...)
aws.lb.Listener(f"{name}-plain", protocol="HTTP", port=80, default_actions=[{"type": "redirect",
    "redirect": {"protocol": "HTTPS", "port": "443", "status_code": "HTTP_301"}}], ...)
""",
)
def lb_tls(listener: Resource) -> Iterator[Finding]:
    protocol = (listener["protocol"].text() or "").upper()
    if protocol == "HTTP":
        actions = listener["defaultActions"]
        if not actions.items():
            yield violation("plain HTTP is answered", actions)
        yield from each(actions.items(), _redirects)
    elif protocol in ("HTTPS", "TLS"):
        policy = listener["sslPolicy"]
        text = policy.text()
        if not text:
            yield violation("no policy is named, and AWS's default for this takes TLS 1.0", policy)
        elif _takes_old_tls(text):
            yield violation(f"{shown(text)} takes TLS before 1.2", policy)


def _redirects(action: Value) -> Iterator[Finding]:
    if action["type"].text() != "redirect":
        yield violation("plain HTTP is answered instead of sent to HTTPS", action["type"])
    elif (action["redirect"]["protocol"].text() or "#{protocol}") != "HTTPS":
        yield violation("the redirect stays with plain HTTP", action["redirect"]["protocol"])


def _takes_old_tls(policy: str) -> bool:
    """The least version stands in the name: `ELBSecurityPolicy-TLS13-1-0-2021-06` takes 1.0 beside 1.3. A name without
    one takes 1.0 (Elastic Load Balancing user guide, "Security policies")."""
    return not any(mark in policy for mark in ("TLS-1-2", "TLS13-1-2", "TLS13-1-3", "FS-1-2"))


@resource_rule(
    "lb-access-logs",
    title="A load balancer records requests in a bucket",
    severity=Severity.MEDIUM,
    applies=_BALANCERS | _CLASSIC,
    controls={
        "FSBP": ("ELB.5",),
        "Checkov": ("CKV_AWS_91", "CKV_AWS_92"),
        "NIST 800-53": ("AU-2", "AU-12"),
        "ISO 27001": ("A.8.15",),
    },
    why="It is the one place that sees who asked for what from outside, refused requests included.",
    remedy="""
aws.lb.LoadBalancer(name, access_logs={"bucket": logs.bucket, "enabled": True}, ...)
""",
)
def lb_access_logs(balancer: Resource) -> Iterator[Finding]:
    if balancer["loadBalancerType"].text() == "gateway":
        return
    logs = balancer["accessLogs"]
    switch = logs["enabled"]
    # A classic one records as soon as a bucket is named.
    on = switch.flag() if switch.present else balancer.type in _CLASSIC
    if not on or logs["bucket"].raw in (None, ""):
        yield violation("requests are not recorded", logs)


@resource_rule(
    "lb-drops-invalid-headers",
    title="An application load balancer drops headers that are none",
    severity=Severity.LOW,
    applies=_BALANCERS,
    controls={
        "FSBP": ("ELB.4",),
        "Checkov": ("CKV_AWS_131",),
        "Trivy": ("AWS-0052",),
        "NIST 800-53": ("SI-10", "SC-8"),
        "ISO 27001": ("A.8.26",),
    },
    why="Headers that two programs read differently smuggle one request inside another, past every check in front.",
    remedy="""
aws.lb.LoadBalancer(name, drop_invalid_header_fields=True, ...)
""",
)
def lb_drops_headers(balancer: Resource) -> Iterator[Finding]:
    if (balancer["loadBalancerType"].text() or "application") != "application":
        return
    switch = balancer["dropInvalidHeaderFields"]
    if not switch.flag():
        yield violation("invalid headers are passed on", switch)
