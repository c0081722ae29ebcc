"""Volumes that Kubernetes makes for pods are encrypted like those that the program makes."""

from __future__ import annotations

from collections.abc import Iterator

from trainyard.policies.aws import own_key
from trainyard.policies.graph import Graph, Resource
from trainyard.policies.rule import Finding, Severity, stack_rule, violation

_CLASSES = frozenset({"kubernetes:storage.k8s.io/v1:StorageClass", "kubernetes:storage.k8s.io/v1:StorageClassPatch"})
_EBS = ("ebs.csi.aws.com", "ebs.csi.eks.amazonaws.com", "kubernetes.io/aws-ebs")


@stack_rule(
    "ebs-storage-class-own-key",
    title="A storage class of EBS encrypts its volumes under a key of the team's own",
    severity=Severity.HIGH,
    applies=_CLASSES,
    controls={
        "FSBP": ("EC2.181",),
        "Checkov": ("CKV_AWS_3", "CKV_AWS_189"),
        "NIST 800-53": ("SC-28", "SC-13"),
        "ISO 27001": ("A.8.24",),
    },
    why="The volumes that pods claim are made by the cluster, past the program: the class is the last to say how.",
    remedy="""
kubernetes.storage.v1.StorageClass(name, provisioner="ebs.csi.aws.com",
    parameters={"type": "gp3", "encrypted": "true", "kmsKeyId": key.arn})
""",
)
def storage_class(one: Resource, graph: Graph) -> Iterator[Finding]:
    if one["provisioner"].text() not in _EBS:
        return
    parameters = one["parameters"]
    switch = parameters["encrypted"]
    if switch.text() != "true":
        yield violation("volumes of this class are not encrypted", switch)
        return
    # own_key traces an unknown one by its property: here that is `parameters` as a whole.
    yield from own_key(parameters["kmsKeyId"], one, graph)
