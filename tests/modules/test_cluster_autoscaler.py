"""The autoscaler changes its own cluster's groups and no others, in AWS and in Kubernetes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from iam_evaluation import Request, allows
from mocked_pulumi import ACCOUNT, REGION, Deployment, run

from trainyard.modules.cluster_autoscaler import ClusterAutoscaler, ClusterAutoscalerArgs

CLUSTER = f"arn:aws:eks:{REGION}:{ACCOUNT}:cluster/yard"
ARGS = ClusterAutoscalerArgs(cluster_name="yard", cluster_arn=CLUSTER, region=REGION, image="registry.test/ca:v1.35.2")
GROUP = f"arn:aws:autoscaling:{REGION}:{ACCOUNT}:autoScalingGroup:1:autoScalingGroupName/eks-gpu"
OWN_TAGS = {
    "aws:ResourceTag/k8s.io/cluster-autoscaler/enabled": "true",
    "aws:ResourceTag/k8s.io/cluster-autoscaler/yard": "owned",
}


@pytest.fixture(scope="module")
def deployment() -> Deployment:
    return run(lambda: ClusterAutoscaler("yard", ARGS))


def _pod(deployment: Deployment) -> Any:
    return deployment.one("kubernetes:apps/v1:Deployment").inputs["spec"]["template"]["spec"]


@pytest.mark.parametrize(
    ("tags", "allowed"),
    [
        ({"enabled": "true", "yard": "owned"}, True),
        ({"enabled": "true", "other": "owned"}, False),
        ({"yard": "owned"}, False),
        ({}, False),
    ],
)
@pytest.mark.parametrize("action", ["SetDesiredCapacity", "TerminateInstanceInAutoScalingGroup"])
def test_it_scales_only_groups_that_eks_tagged_for_this_cluster(
    deployment: Deployment, action: str, tags: dict[str, str], allowed: bool
) -> None:
    policy = deployment.one("aws:iam/rolePolicy:RolePolicy").inputs["policy"]
    context = {f"aws:ResourceTag/k8s.io/cluster-autoscaler/{key}": value for key, value in tags.items()}
    assert allows(policy, Request(f"autoscaling:{action}", GROUP, context=context)) is allowed


@pytest.mark.parametrize(
    "other",
    [
        f"arn:aws:autoscaling:eu-west-1:{ACCOUNT}:autoScalingGroup:1:autoScalingGroupName/eks-gpu",
        f"arn:aws:autoscaling:{REGION}:999999999999:autoScalingGroup:1:autoScalingGroupName/eks-gpu",
        f"arn:aws:autoscaling:{REGION}:{ACCOUNT}:autoScalingGroup:1:autoScalingGroupName/web",
    ],
    ids=["region", "account", "not EKS's"],
)
def test_tags_open_no_group_elsewhere_nor_one_that_eks_did_not_make(deployment: Deployment, other: str) -> None:
    policy = deployment.one("aws:iam/rolePolicy:RolePolicy").inputs["policy"]
    assert allows(policy, Request("autoscaling:SetDesiredCapacity", GROUP, context=OWN_TAGS))
    assert not allows(policy, Request("autoscaling:SetDesiredCapacity", other, context=OWN_TAGS))


@pytest.mark.parametrize(
    ("node_group", "allowed"),
    [
        (f"arn:aws:eks:{REGION}:{ACCOUNT}:nodegroup/yard/gpu/1", True),
        (f"arn:aws:eks:{REGION}:{ACCOUNT}:nodegroup/yard-2/gpu/1", False),
        (f"arn:aws:eks:eu-west-1:{ACCOUNT}:nodegroup/yard/gpu/1", False),
    ],
)
def test_it_sees_the_node_groups_of_its_cluster_alone(deployment: Deployment, node_group: str, allowed: bool) -> None:
    policy = deployment.one("aws:iam/rolePolicy:RolePolicy").inputs["policy"]
    assert allows(policy, Request("eks:DescribeNodegroup", node_group)) is allowed


def test_it_may_look_but_neither_make_nor_delete(deployment: Deployment) -> None:
    policy = deployment.one("aws:iam/rolePolicy:RolePolicy").inputs["policy"]
    for action in ("ec2:DescribeInstanceTypes", "autoscaling:DescribeAutoScalingGroups"):
        assert allows(policy, Request(action, "*"))
    context = OWN_TAGS
    for action in ("autoscaling:UpdateAutoScalingGroup", "autoscaling:DeleteAutoScalingGroup", "ec2:RunInstances"):
        assert not allows(policy, Request(action, GROUP, context=context))


def test_only_its_own_pods_in_its_own_cluster_take_the_role(deployment: Deployment) -> None:
    (statement,) = json.loads(deployment.one("aws:iam/role:Role").inputs["assumeRolePolicy"])["Statement"]
    assert statement["Principal"] == {"Service": "pods.eks.amazonaws.com"}
    assert statement["Condition"]["StringEquals"] == {
        "aws:SourceAccount": ACCOUNT,
        "aws:RequestTag/eks-cluster-arn": CLUSTER,
        "aws:RequestTag/kubernetes-namespace": "cluster-autoscaler",
        "aws:RequestTag/kubernetes-service-account": "cluster-autoscaler",
    }
    association = deployment.one("aws:eks/podIdentityAssociation:PodIdentityAssociation")
    assert association.inputs["roleArn"] == deployment.one("aws:iam/role:Role").outputs["arn"]
    assert (association.inputs["namespace"], association.inputs["serviceAccount"]) == (
        "cluster-autoscaler",
        "cluster-autoscaler",
    )
    assert association.urn in deployment.one("kubernetes:apps/v1:Deployment").dependencies


def test_it_looks_for_the_groups_of_its_cluster_and_waits_long_enough_for_a_node_with_efa(
    deployment: Deployment,
) -> None:
    (container,) = _pod(deployment)["containers"]
    flags = dict(flag.removeprefix("--").partition("=")[::2] for flag in container["args"])
    tags = flags["node-group-auto-discovery"].removeprefix("asg:tag=").split(",")
    assert tags == ["k8s.io/cluster-autoscaler/enabled", "k8s.io/cluster-autoscaler/yard"]
    assert flags["namespace"] == "cluster-autoscaler"
    assert flags["max-node-provision-time"] == "30m"
    assert flags["scale-down-unneeded-time"] == "10m"
    assert flags["expander"] == "least-waste"
    assert {"name": "AWS_REGION", "value": REGION} in container["env"]


def test_it_runs_on_cpu_nodes_without_any_power_over_them(deployment: Deployment) -> None:
    pod = _pod(deployment)
    (container,) = pod["containers"]
    assert pod["nodeSelector"] == {"trainyard.dev/pool": "cpu"}
    assert "tolerations" not in pod
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert set(container["resources"]["limits"]) == {"cpu", "memory"}
    labels = deployment.one("kubernetes:core/v1:Namespace").inputs["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"


def test_its_roles_have_no_wildcard_and_reach_no_secret(deployment: Deployment) -> None:
    kinds = ("ClusterRole", "Role")
    rules = [
        rule
        for kind in kinds
        for rule in deployment.one(f"kubernetes:rbac.authorization.k8s.io/v1:{kind}").inputs["rules"]
    ]
    words = {word for rule in rules for part in rule.values() for word in part}
    assert "*" not in words
    assert "secrets" not in words
    everywhere = deployment.one("kubernetes:rbac.authorization.k8s.io/v1:ClusterRole").inputs["rules"]
    changed = {
        resource
        for rule in everywhere
        if {"update", "patch", "create"} & set(rule["verbs"])
        for resource in rule["resources"]
    }
    assert changed == {"nodes", "pods/eviction", "pods/status", "events"}


@pytest.mark.parametrize("args", [{"idle_minutes": 0}, {"provision_minutes": 4}])
def test_times_out_of_range_are_refused(args: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="at least 1 and at least 5"):
        ClusterAutoscalerArgs("yard", CLUSTER, REGION, "image", **args)
