"""EKS nodes: where they stand, who may log in, what they run and what their role may do."""

from __future__ import annotations

import re
from collections.abc import Iterator

from trainyard.policies.graph import Graph, Resource
from trainyard.policies.parts import is_providers_choice
from trainyard.policies.preflight import LAUNCH_TEMPLATES, NODE_GROUPS
from trainyard.policies.rule import Finding, Severity, resource_rule, stack_rule, unverified, violation
from trainyard.policies.subnets import is_public, named
from trainyard.policies.values import UNKNOWN, Value, shown

_ATTACHMENTS = frozenset({"aws:iam/rolePolicyAttachment:RolePolicyAttachment"})
_ROLES = frozenset({"aws:iam/role:Role"})
_ENTRIES = frozenset({"aws:eks/accessEntry:AccessEntry"})
_NODE_ENTRIES = ("EC2", "EC2_LINUX", "EC2_WINDOWS", "HYBRID_LINUX")
_POLICIES = frozenset({"aws:iam/policy:Policy"})
_INLINE_POLICIES = frozenset({"aws:iam/rolePolicy:RolePolicy"})

# What a node itself does: join the cluster, pull images, be repaired over Session Manager.
_NODE_POLICIES = frozenset(
    {
        "AmazonEKSWorkerNodePolicy",
        "AmazonEKSWorkerNodeMinimalPolicy",
        "AmazonEC2ContainerRegistryPullOnly",
        "AmazonEC2ContainerRegistryReadOnly",
        "AmazonSSMManagedInstanceCore",
    }
)
# EKS publishes no Amazon Linux 2 images since 26 November 2025 (EKS user guide, "EKS AL2 AMI deprecation").
_OLD_IMAGE = re.compile(r"/amazon-linux-2(-gpu|-arm64)?/")


@stack_rule(
    "eks-nodes-private",
    title="Nodes stand in private subnets",
    severity=Severity.HIGH,
    applies=NODE_GROUPS,
    controls={"CIS EKS": ("5.4.3",), "NIST 800-53": ("SC-7", "AC-4"), "ISO 27001": ("A.8.20", "A.8.22")},
    why="In a subnet with a route to an internet gateway, a public address is all that strangers need to reach a node.",
    remedy="""
aws.eks.NodeGroup(name, subnet_ids=[subnet.id for subnet in private_subnets], ...)   # no route to an internet gateway
""",
)
def nodes_private(group: Resource, graph: Graph) -> Iterator[Finding]:
    listed = group["subnetIds"]
    subnets = named(listed, group, graph)
    if subnets is None:
        yield unverified("which subnets these are cannot be told here: they are no part of this stack", listed)
        return
    verdicts = {subnet.name: is_public(subnet, graph) for subnet in subnets}
    public = [name for name, verdict in verdicts.items() if verdict]
    certain = listed.known and UNKNOWN not in [one.raw for one in listed.items()]
    if public and (certain or len(public) == len(subnets)):
        yield violation(f"{', '.join(public[:3])} has a route to an internet gateway", listed)
    elif public or None in verdicts.values():
        names = public or [name for name, verdict in verdicts.items() if verdict is None]
        yield unverified(f"whether these subnets are private is not known yet: {', '.join(names[:3])}", listed)


@resource_rule(
    "eks-nodes-no-open-ssh",
    title="No node group opens SSH to everyone",
    severity=Severity.CRITICAL,
    applies=NODE_GROUPS,
    controls={"Checkov": ("CKV_AWS_100",), "NIST 800-53": ("AC-17", "SC-7"), "ISO 27001": ("A.8.20", "A.5.15")},
    why="A key without source groups makes EKS open port 22 of each node to 0.0.0.0/0.",
    remedy="""
remote_access=None     # Session Manager needs no port; else name source_security_group_ids
""",
)
def no_open_ssh(group: Resource) -> Iterator[Finding]:
    access = group["remoteAccess"]
    key = access["ec2SshKey"]
    if not key.present or key.raw == "":
        return
    if not access["sourceSecurityGroupIds"].items():
        yield violation("SSH is on and no source group is named, so it is open to every address", access)


@resource_rule(
    "eks-node-image-supported",
    title="No node group asks for Amazon Linux 2, which EKS mends no more",
    severity=Severity.HIGH,
    applies=NODE_GROUPS | LAUNCH_TEMPLATES,
    controls={
        "EKS user guide": ("EKS AL2 AMI deprecation",),
        "NIST 800-53": ("SI-2", "SA-22"),
        "ISO 27001": ("A.8.8", "A.8.19"),
    },
    why="EKS publishes no images of Amazon Linux 2 since November 2025: flaws found since stay open on such nodes.",
    remedy="""
ami_type="AL2023_x86_64_NVIDIA"        # or AL2023_x86_64_STANDARD, BOTTLEROCKET_x86_64_NVIDIA
""",
)
def image_supported(resource: Resource) -> Iterator[Finding]:
    if resource.type in LAUNCH_TEMPLATES:
        image = resource["imageId"]
        # An image's number says nothing about what is in it; a parameter's path does.
        if _OLD_IMAGE.search(image.text() or ""):
            yield violation(f"{shown(image.raw)} is Amazon Linux 2", image)
        return
    kind = resource["amiType"]
    if (text := kind.text() or "").upper().startswith("AL2_"):
        yield violation(f"{text} is Amazon Linux 2", kind)


@resource_rule(
    "eks-nodes-own-template",
    title="A node group has a launch template, where disks and metadata can be secured",
    severity=Severity.HIGH,
    applies=NODE_GROUPS,
    controls={
        "EKS user guide": ("Customize managed nodes with launch templates",),
        "NIST 800-53": ("CM-6", "SC-28"),
        "ISO 27001": ("A.8.9", "A.8.24"),
    },
    why=(
        "EKS's own template lets pods reach the node's metadata, two hops away, and takes no key for the disk: "
        "no other rule sees it, for it is in no program."
    ),
    remedy="""
aws.eks.NodeGroup(name, launch_template={"id": template.id, "version": template.latest_version}, ...)
""",
)
def own_template(group: Resource) -> Iterator[Finding]:
    held = group["launchTemplate"]
    if not held.present:
        yield violation("no launch template is named, so EKS makes one of its own", held)
        return
    names = [held[key] for key in ("id", "name")]
    if not any(one.raw is UNKNOWN or one.text() for one in names):
        yield violation("the launch template has neither an id nor a name", held)


@stack_rule(
    "eks-node-role-minimal",
    title="The nodes' role can do what nodes do, and nothing for the pods",
    severity=Severity.HIGH,
    applies=_ROLES | NODE_GROUPS,
    controls={"CIS EKS": ("5.2.1",), "NIST 800-53": ("AC-6", "AC-3"), "ISO 27001": ("A.8.2", "A.5.15")},
    why=(
        "Every pod that gets at a node's credentials, whoever it belongs to, can do all that the node's role can. "
        "Pod identity and roles for service accounts give each workload its own."
    ),
    remedy="""
aws.eks.PodIdentityAssociation(name, cluster_name=cluster.name, namespace="training", service_account="trainer",
    role_arn=trainer_role.arn)                   # and take the policy from the nodes' role
""",
)
def node_role_minimal(resource: Resource, graph: Graph) -> Iterator[Finding]:
    if resource.type in NODE_GROUPS:
        yield from _role_of_the_stack(resource, graph)
        return
    role = resource
    groups = graph.attached(role, NODE_GROUPS, "nodeRoleArn")
    entries = graph.attached(role, _ENTRIES, "principalArn")
    users = [*groups.certain, *(one for one in entries.certain if _for_nodes(one))]
    doubtful = [*groups.possible, *(one for one in entries.possible if _for_nodes(one))]
    if not users and not doubtful:
        return
    extras = [*_own_policies(role, graph), *_attached_policies(role, graph)]
    if users:
        yield from extras
    elif extras:
        yield unverified(f"it has more than a node needs; whether {doubtful[0].name} uses it is not known yet")


def _role_of_the_stack(group: Resource, graph: Graph) -> Iterator[Finding]:
    """A role that this stack does not make is judged by nobody, be it the administrators'."""
    name = group["nodeRoleArn"]
    if not any(graph.refers(group, "nodeRoleArn", role) for role in graph.of(_ROLES)):
        yield unverified(
            "what the nodes' role may do is not told here: it is no role that this stack surely makes", name
        )


def _for_nodes(entry: Resource) -> bool:
    """Whether an access entry lets nodes in that are in no managed group: self-managed ones, Karpenter's, hybrid."""
    kind = entry["type"]
    if is_providers_choice(entry, "type"):
        return False  # nobody set it: it is a person's or a program's
    return (kind.text() or "STANDARD") in _NODE_ENTRIES


def _own_policies(role: Resource, graph: Graph) -> Iterator[Finding]:
    for name in ("managedPolicyArns", "inlinePolicies"):
        value = role[name]
        # Outputs that nobody set are not known before the role exists; the attachments tell.
        if is_providers_choice(role, name):
            continue
        for one in value.items():
            if name == "managedPolicyArns":
                yield from _managed(one, role, graph)
            elif one.raw is UNKNOWN or one["policy"].raw not in (None, ""):
                yield violation("the nodes' role has a policy of its own", one)


def _attached_policies(role: Resource, graph: Graph) -> Iterator[Finding]:
    managed = graph.attached(role, _ATTACHMENTS, "role")
    for attachment in managed.certain:
        yield from _managed(attachment["policyArn"], attachment, graph)
    inline = graph.attached(role, _INLINE_POLICIES, "role")
    for policy in inline.certain:
        yield violation(f"{policy.name} gives the nodes' role, and so every pod, more", policy["policy"])
    for part in [*managed.possible, *inline.possible]:
        yield unverified(f"whether {part.name} belongs to the nodes' role is not known yet", part["role"])


def _managed(arn: Value, holder: Resource, graph: Graph) -> Iterator[Finding]:
    if arn.raw is UNKNOWN and any(one.type in _POLICIES for one in graph.origins(holder, str(arn.path[0]))):
        yield violation("a policy of the program's own is attached to the nodes' role", arn)
        return
    text = arn.text() or ""
    name = text.rpartition("/")[2]
    if ":iam::aws:policy/" not in text or name not in _NODE_POLICIES:
        yield violation(f"{shown(name)} is more than a node needs", arn)
