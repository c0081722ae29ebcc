"""EBS volumes, and what they are made from and copied to, are encrypted under keys of the team's own."""

from __future__ import annotations

from collections.abc import Iterator

from trainyard.policies.aws import own_key
from trainyard.policies.backup_plans import backed_up
from trainyard.policies.graph import Graph, Resource
from trainyard.policies.parts import is_providers_choice
from trainyard.policies.preflight import LAUNCH_TEMPLATES, yes
from trainyard.policies.rule import Finding, Severity, each, resource_rule, stack_rule, unverified, violation
from trainyard.policies.values import UNKNOWN, UnverifiedError, Value

_INSTANCES = frozenset({"aws:ec2/instance:Instance", "aws:ec2/spotInstanceRequest:SpotInstanceRequest"})
_CONFIGURATIONS = frozenset({"aws:ec2/launchConfiguration:LaunchConfiguration"})
_SINGLE = frozenset(
    {"aws:ebs/volume:Volume", "aws:ebs/snapshotCopy:SnapshotCopy", "aws:ec2/amiCopy:AmiCopy"}
)  # these have `encrypted` and `kmsKeyId` of their own
_HOLDERS = _INSTANCES | _CONFIGURATIONS | LAUNCH_TEMPLATES | _SINGLE
_DEFAULT = frozenset({"aws:ebs/encryptionByDefault:EncryptionByDefault"})
_DEFAULT_KEY = frozenset({"aws:ebs/defaultKmsKey:DefaultKmsKey"})

_ENCRYPTION = {"NIST 800-53": ("SC-28", "SC-13"), "ISO 27001": ("A.8.24",)}


def _on_by_default(graph: Graph) -> bool:
    """Whether this stack makes the account encrypt every new volume."""
    return any(one["enabled"].raw in (None, True) for one in graph.of(_DEFAULT))


def _devices(holder: Resource, graph: Graph) -> list[Value]:
    """The volumes that a resource describes. Raises UnverifiedError where another describes them, unseen here."""
    if holder.type in _SINGLE:
        return [Value(dict(holder.props), (), holder.urn)]
    if holder.type in LAUNCH_TEMPLATES:
        mappings = holder["blockDeviceMappings"].items()
        return [one["ebs"] for one in mappings if not one["virtualName"].present and one["ebs"].present]
    root = _set(holder, "rootBlockDevice")
    devices = [*([root] if root.present else []), *_set(holder, "ebsBlockDevices").items()]
    template = holder["launchTemplate"]
    if not devices and template.present and not _seen(holder, graph):
        raise UnverifiedError(template, "its volumes are described by a launch template that is no part of this stack")
    return devices


def _set(holder: Resource, name: str) -> Value:
    """A property that the program set. An output that it did not set is unknown at first, and computed from nothing;
    the image's own volumes are then all there is."""
    value = holder[name]
    if is_providers_choice(holder, name):
        return Value(None, value.path, value.urn)
    if not value.known:
        raise UnverifiedError(value, "which volumes these are is not known yet")
    return value


def _seen(instance: Resource, graph: Graph) -> bool:
    """Whether the instance's launch template is judged in this stack."""
    held = instance["launchTemplate"]
    names = [held[key].raw for key in ("id", "name") if held[key].present] if held.known else []
    for template in graph.of(LAUNCH_TEMPLATES):
        arn = template.props.get("arn")
        known = [template.props.get("id"), template.props.get("name")]
        known += [arn.rpartition("/")[2]] if isinstance(arn, str) else []
        if any(name in known for name in names if isinstance(name, str) and name):
            return True
        if template in graph.origins(instance, "launchTemplate"):
            return True
    return False


@stack_rule(
    "ebs-encrypted",
    title="Every volume, and every copy of one, is encrypted",
    severity=Severity.HIGH,
    applies=_HOLDERS,
    controls={
        "FSBP": ("EC2.3", "EC2.181"),
        "Checkov": ("CKV_AWS_3", "CKV_AWS_8", "CKV_AWS_235"),
        "Trivy": ("AWS-0026", "AWS-0131"),
        **_ENCRYPTION,
    },
    why="A disk holds images, caches of datasets and what jobs spill; a snapshot of it is shared in one call.",
    remedy="""
block_device_mappings=[{"device_name": "/dev/xvda", "ebs": {"encrypted": "true", "kms_key_id": key.arn}}]
aws.ebs.EncryptionByDefault("volumes", enabled=True)        # or for every volume of the account and region
""",
)
def ebs_encrypted(holder: Resource, graph: Graph) -> Iterator[Finding]:
    if _on_by_default(graph) and holder.type not in _SINGLE - {"aws:ebs/volume:Volume"}:
        return
    devices = _devices(holder, graph)
    if not devices and not holder["launchTemplate"].present:
        yield violation("its volumes are the image's own, which are encrypted only if the image is")
    yield from each(devices, _encrypted)


def _encrypted(device: Value) -> Iterator[Finding]:
    if device["noDevice"].raw in (True, "true"):
        return
    switch = device["encrypted"]
    if not switch.present or not yes(switch):
        yield violation("the volume is not encrypted", switch)


@stack_rule(
    "ebs-own-key",
    title="Volumes are encrypted with keys of the team's own",
    severity=Severity.MEDIUM,
    applies=LAUNCH_TEMPLATES | _INSTANCES | _SINGLE,
    controls={"Checkov": ("CKV_AWS_183", "CKV_AWS_189", "CKV_AWS_236"), "Trivy": ("AWS-0027",), **_ENCRYPTION},
    why="A snapshot under AWS's key can be read by all who may use the account's EBS; an own key says who.",
    remedy="""
"ebs": {"encrypted": "true", "kms_key_id": key.arn}
""",
)
def ebs_own_key(holder: Resource, graph: Graph) -> Iterator[Finding]:
    default_key = bool(graph.of(_DEFAULT_KEY))

    def check(device: Value) -> Iterator[Finding]:
        switch, key = device["encrypted"], device["kmsKeyId"]
        if switch.raw is not UNKNOWN and not yes(switch):
            return  # another rule's finding
        unset = key.raw in (None, "") or is_providers_choice(holder, str(key.path[0]))
        if unset and default_key:
            return
        yield from own_key(key, holder, graph)

    yield from each(_devices(holder, graph), check)


@resource_rule(
    "ebs-encryption-by-default",
    title="The account's switch that encrypts each new volume is on where the program holds it",
    severity=Severity.HIGH,
    applies=_DEFAULT,
    controls={"FSBP": ("EC2.7",), "Checkov": ("CKV_AWS_106",), **_ENCRYPTION},
    why="Volumes that no program describes, made by hand or by another tool, are encrypted only by this switch.",
    remedy="""
aws.ebs.EncryptionByDefault("volumes", enabled=True)
""",
)
def encryption_by_default(setting: Resource) -> Iterator[Finding]:
    switch = setting["enabled"]
    if switch.flag() is False:
        yield violation("new volumes are not encrypted by default", switch)


@resource_rule(
    "ebs-ends-with-node",
    title="A node's volumes are deleted with the node",
    severity=Severity.LOW,
    applies=LAUNCH_TEMPLATES,
    controls={"NIST 800-53": ("MP-6", "SI-12"), "ISO 27001": ("A.8.10",)},
    why="Nodes come and go. A disk that stays is paid for, has no owner, and still holds the last job's data.",
    remedy="""
"ebs": {"delete_on_termination": "true", ...}
""",
)
def ends_with_node(template: Resource) -> Iterator[Finding]:
    def check(device: Value) -> Iterator[Finding]:
        switch = device["ebs"]["deleteOnTermination"]
        if switch.present and switch.raw != "" and not yes(switch):
            yield violation("the volume stays when the node is gone", switch)

    yield from each(template["blockDeviceMappings"].items(), check)


@resource_rule(
    "image-not-public",
    title="No image and no snapshot is shared with every account",
    severity=Severity.CRITICAL,
    applies={
        "aws:ec2/amiLaunchPermission:AmiLaunchPermission",
        "aws:ec2/imageBlockPublicAccess:ImageBlockPublicAccess",
        "aws:ebs/snapshotBlockPublicAccess:SnapshotBlockPublicAccess",
    },
    controls={
        "FSBP": ("EC2.182",),
        "Checkov": ("CKV_AWS_205",),
        "NIST 800-53": ("AC-3", "AC-21"),
        "ISO 27001": ("A.5.15", "A.8.3"),
    },
    why="A public image shows everyone the disk that it was made from, forgotten credentials included.",
    remedy="""
aws.ec2.AmiLaunchPermission(name, image_id=image.id, account_id="123456789012")        # name the account
aws.ebs.SnapshotBlockPublicAccess(name, state="block-all-sharing")
""",
)
def image_not_public(resource: Resource) -> Iterator[Finding]:
    group, state = resource["group"], resource["state"]
    if group.text() == "all":
        yield violation("every account may start instances from this image", group)
    if state.text() == "unblocked":
        yield violation("the account's block of public sharing is lifted", state)


@stack_rule(
    "ebs-backed-up",
    title="A volume of its own is in a backup plan",
    severity=Severity.LOW,
    applies={"aws:ebs/volume:Volume"},
    controls={"Checkov": ("CKV2_AWS_9",), "NIST 800-53": ("CP-9", "CP-10"), "ISO 27001": ("A.8.13",)},
    why=(
        "A volume that the program makes apart from any node is there to outlive nodes. It lies in one zone, and a "
        "wrong replacement deletes it. The volumes of nodes hold nothing to keep, and are no resources of their own."
    ),
    remedy="""
aws.backup.Selection(name, plan_id=plan.id, iam_role_arn=role.arn, resources=[volume.arn])
""",
    advice=True,
)
def ebs_backed_up(volume: Resource, graph: Graph) -> Iterator[Finding]:
    taken = backed_up(volume, graph)
    if taken is None:
        yield unverified("whether it is backed up is not known yet")
    elif not taken:
        yield violation("it is in no backup plan")
