"""EC2 instances and what they are launched from: metadata, addresses, keys to log in with, user data."""

from __future__ import annotations

import re
from collections.abc import Iterator

from trainyard.policies.graph import Resource
from trainyard.policies.preflight import LAUNCH_TEMPLATES, gpu_type, number, yes
from trainyard.policies.rule import Finding, Severity, each, resource_rule, unverified, violation
from trainyard.policies.user_data import plain_text, secrets_in
from trainyard.policies.values import UnverifiedError, Value, shown

INSTANCES = frozenset({"aws:ec2/instance:Instance", "aws:ec2/spotInstanceRequest:SpotInstanceRequest"})
CONFIGURATIONS = frozenset({"aws:ec2/launchConfiguration:LaunchConfiguration"})
_ADDRESSES = frozenset({"aws:ec2/eip:Eip", "aws:ec2/eipAssociation:EipAssociation"})
# Accelerated families, new ones included: P, G, Trn, Inf, DL.
_ACCELERATED = re.compile(r"^(p\d|g\d|gr\d|trn\d|inf\d|dl\d)")

_NETWORK = {"NIST 800-53": ("SC-7", "AC-4"), "ISO 27001": ("A.8.20", "A.8.22")}


@resource_rule(
    "instance-imds-tokens-one-hop",
    title="An instance's metadata needs a session token and ends at the instance",
    severity=Severity.HIGH,
    applies=INSTANCES | CONFIGURATIONS,
    controls={
        "FSBP": ("EC2.8", "AutoScaling.3"),
        "Checkov": ("CKV_AWS_79", "CKV_AWS_341"),
        "Trivy": ("AWS-0028", "AWS-0130"),
        "NIST 800-53": ("AC-6", "SC-7"),
        "ISO 27001": ("A.8.2",),
    },
    why="Without a token, a request that a program is tricked into gets the role; a second hop gives it to containers.",
    remedy="""
metadata_options={"http_tokens": "required", "http_put_response_hop_limit": 1}
""",
)
def instance_metadata(instance: Resource) -> Iterator[Finding]:
    options = instance["metadataOptions"]
    if options["httpEndpoint"].text() == "disabled":
        return
    if not options.present and instance["launchTemplate"].present:
        yield unverified("the launch template decides; say it on the instance too, where it can be read", options)
        return
    if (tokens := options["httpTokens"].text()) != "required":
        yield violation(f"tokens are {shown(tokens or 'not asked for')}", options["httpTokens"])
    if (hops := number(options["httpPutResponseHopLimit"])) != 1:
        yield violation(f"the hop limit is {hops or 'left to the image'}; 1 ends at the instance", options)


@resource_rule(
    "instance-no-public-address",
    title="No instance has, or is launched with, a public address",
    severity=Severity.HIGH,
    applies=INSTANCES | CONFIGURATIONS | LAUNCH_TEMPLATES | _ADDRESSES,
    controls={
        "FSBP": ("EC2.9", "EC2.25", "AutoScaling.5"),
        "Checkov": ("CKV_AWS_88",),
        "Trivy": ("AWS-0009",),
        **_NETWORK,
    },
    why="What has a public address is found by scanners within minutes; one wrong group rule then opens it.",
    remedy="""
aws.ec2.Instance(name, associate_public_ip_address=False, ...)      # reached by Session Manager; out by a NAT gateway
""",
)
def no_public_address(resource: Resource) -> Iterator[Finding]:
    if resource.type in _ADDRESSES:
        for name in ("instance", "instanceId", "networkInterface", "networkInterfaceId"):
            value = resource[name]
            # Which machine it is does not matter: it gets an address that the internet reaches.
            if value.present and value.raw != "":
                yield violation("this public address is given to a machine", value)
        return
    switches = [resource["associatePublicIpAddress"]]
    if resource.type in LAUNCH_TEMPLATES:
        switches = [one["associatePublicIpAddress"] for one in resource["networkInterfaces"].items()]

    def check(switch: Value) -> Iterator[Finding]:
        if switch.present and yes(switch):
            yield violation("a public address is asked for", switch)

    yield from each(switches, check)


@resource_rule(
    "instance-no-key-pair",
    title="No machine with accelerators can be logged in to with an SSH key pair",
    severity=Severity.MEDIUM,
    applies=INSTANCES | CONFIGURATIONS | LAUNCH_TEMPLATES,
    controls={"NIST 800-53": ("AC-17", "IA-5"), "ISO 27001": ("A.5.17", "A.8.5")},
    why="A key pair has no owner, no end and no record of who used it. Session Manager asks IAM, and writes it down.",
    remedy="""
key_name=None                     # and AmazonSSMManagedInstanceCore on the role, for: aws ssm start-session
""",
)
def no_key_pair(machine: Resource) -> Iterator[Finding]:
    key = machine["keyName"]
    if not key.present or key.raw == "":
        return
    kind = machine["instanceType"].text()
    if kind is None and machine.type in LAUNCH_TEMPLATES:
        yield unverified("a key pair is named; which machines the template is for is said elsewhere", key)
    elif gpu_type(kind) or _ACCELERATED.match(kind or ""):
        yield violation(f"whoever holds {shown(key.raw)} may log in to {kind}", key)


@resource_rule(
    "instance-no-secret-in-user-data",
    title="User data holds no secret",
    severity=Severity.CRITICAL,
    applies=INSTANCES | CONFIGURATIONS | LAUNCH_TEMPLATES,
    controls={
        "Checkov": ("CKV_AWS_46",),
        "Trivy": ("AWS-0029", "AWS-0129"),
        "NIST 800-53": ("IA-5", "SC-28"),
        "ISO 27001": ("A.5.17", "A.8.24"),
    },
    why="Every process on the machine reads it from the metadata service, and so does whoever may describe instances.",
    remedy="""
user_data = "token=$(aws secretsmanager get-secret-value --secret-id trainer --query SecretString --output text)"
""",
)
def no_secret_in_user_data(machine: Resource) -> Iterator[Finding]:
    def check(data: Value) -> Iterator[Finding]:
        text = data.text()
        if not text:
            return
        # Terraform-style providers keep a digest of what was given where it was marked secret.
        if re.fullmatch(r"[0-9a-f]{40}", text):
            raise UnverifiedError(data, "this is a digest: the user data itself cannot be read here")
        for found in secrets_in(plain_text(text)):
            yield violation(f"line {found.line} holds {found.kind}", data)

    yield from each([machine["userData"], machine["userDataBase64"]], check)
