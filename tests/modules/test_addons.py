"""Which add-ons in which versions, where their pods run, and what each may do in AWS."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from iam_evaluation import Request, allows
from mocked_pulumi import ACCOUNT, REGION, Deployment, run

from trainyard.modules.addons import (
    ADDON_VERSIONS,
    ALL_ADDONS,
    CONTROLLER_ADDONS,
    NODE_ADDONS,
    Addons,
    AddonsArgs,
)

KEY, BUCKET_KEY = (f"arn:aws:kms:{REGION}:{ACCOUNT}:key/{purpose}" for purpose in ("compute", "data"))
BUCKET = "arn:aws:s3:::yard-data"
ARGS = AddonsArgs(cluster_name="yard", kubernetes_version="1.35", volume_key_arn=KEY, tags={"owner": "ml"})


def _deploy(**changes: Any) -> Deployment:
    return run(lambda: Addons("yard", replace(ARGS, **changes)))


@pytest.fixture(scope="module")
def deployment() -> Deployment:
    return _deploy()


def _addon(deployment: Deployment, name: str) -> Any:
    return deployment.one("aws:eks/addon:Addon", f"yard-{name}")


def _configuration(deployment: Deployment, name: str) -> dict[str, Any]:
    return json.loads(_addon(deployment, name).inputs["configurationValues"])


def _policy(deployment: Deployment, name: str) -> str:
    return deployment.one("aws:iam/rolePolicy:RolePolicy", f"yard-{name}").inputs["policy"]


def test_each_addon_has_the_version_of_the_table(deployment: Deployment) -> None:
    versions = {
        addon.inputs["addonName"]: addon.inputs["addonVersion"] for addon in deployment.of_type("aws:eks/addon:Addon")
    }
    assert versions == dict(ADDON_VERSIONS["1.35"])
    assert set(versions) == set(ALL_ADDONS)


def test_another_version_can_be_named() -> None:
    made = _deploy(versions={"coredns": "v1.14.3-eksbuild.3"}, names=["coredns"])
    assert _addon(made, "coredns").inputs["addonVersion"] == "v1.14.3-eksbuild.3"
    assert len(made.of_type("aws:eks/addon:Addon")) == 1


def test_every_version_in_the_table_is_for_every_addon() -> None:
    assert {version: set(addons) for version, addons in ADDON_VERSIONS.items()} == {
        "1.34": set(ALL_ADDONS),
        "1.35": set(ALL_ADDONS),
    }
    for version, addons in ADDON_VERSIONS.items():
        assert addons["kube-proxy"].startswith(f"v{version}.")


def test_the_two_halves_are_all() -> None:
    assert set(NODE_ADDONS) | set(CONTROLLER_ADDONS) == set(ALL_ADDONS)
    assert not set(NODE_ADDONS) & set(CONTROLLER_ADDONS)


def test_network_policies_are_enforced_and_few_addresses_held(deployment: Deployment) -> None:
    cni = _configuration(deployment, "vpc-cni")
    assert cni["enableNetworkPolicy"] == "true"
    assert cni["env"] == {"WARM_IP_TARGET": "4", "MINIMUM_IP_TARGET": "8"}
    prefixes = _configuration(_deploy(prefix_delegation=True, names=["vpc-cni"]), "vpc-cni")
    assert prefixes["env"]["ENABLE_PREFIX_DELEGATION"] == "true"
    assert "WARM_IP_TARGET" not in prefixes["env"]


def test_controllers_run_on_cpu_nodes_and_node_agents_on_tainted_ones_too(deployment: Deployment) -> None:
    cpu = {"trainyard.dev/pool": "cpu"}
    assert _configuration(deployment, "coredns")["nodeSelector"] == cpu
    for driver in ("aws-ebs-csi-driver", "aws-fsx-csi-driver"):
        assert _configuration(deployment, driver)["controller"]["nodeSelector"] == cpu
    assert _configuration(deployment, "aws-ebs-csi-driver")["node"]["tolerateAllTaints"] is True
    assert _configuration(deployment, "aws-mountpoint-s3-csi-driver")["node"]["tolerateAllTaints"] is True
    assert {"operator": "Exists"} in _configuration(deployment, "aws-fsx-csi-driver")["node"]["tolerations"]


def test_what_calls_aws_has_a_role_of_its_own_and_the_rest_has_none(deployment: Deployment) -> None:
    associated = {
        addon.inputs["addonName"]: addon.inputs["podIdentityAssociations"][0]["serviceAccount"]
        for addon in deployment.of_type("aws:eks/addon:Addon")
        if "podIdentityAssociations" in addon.inputs
    }
    assert associated == {
        "vpc-cni": "aws-node",
        "aws-ebs-csi-driver": "ebs-csi-controller-sa",
        "aws-fsx-csi-driver": "fsx-csi-controller-sa",
    }
    arns = {
        addon.inputs["podIdentityAssociations"][0]["roleArn"]
        for addon in deployment.of_type("aws:eks/addon:Addon")
        if "podIdentityAssociations" in addon.inputs
    }
    assert arns == {role.outputs["arn"] for role in deployment.of_type("aws:iam/role:Role")}


def test_only_the_addons_own_pods_in_this_cluster_take_its_role(deployment: Deployment) -> None:
    trust = deployment.one("aws:iam/role:Role", "yard-aws-fsx-csi-driver").inputs["assumeRolePolicy"]

    def taking(cluster: str, namespace: str, account: str) -> Request:
        return Request(
            "sts:AssumeRole",
            principal="pods.eks.amazonaws.com",
            context={
                "aws:SourceAccount": ACCOUNT,
                "aws:RequestTag/eks-cluster-name": cluster,
                "aws:RequestTag/kubernetes-namespace": namespace,
                "aws:RequestTag/kubernetes-service-account": account,
            },
        )

    assert allows(trust, taking("yard", "kube-system", "fsx-csi-controller-sa"))
    assert not allows(trust, taking("other", "kube-system", "fsx-csi-controller-sa"))
    assert not allows(trust, taking("yard", "vision", "fsx-csi-controller-sa"))
    assert not allows(trust, taking("yard", "kube-system", "default"))


def test_the_ebs_driver_uses_one_key_through_ec2_only(deployment: Deployment) -> None:
    policy = _policy(deployment, "aws-ebs-csi-driver")
    through = {"kms:ViaService": f"ec2.{REGION}.amazonaws.com", "kms:GrantIsForAWSResource": "true"}
    assert allows(policy, Request("kms:CreateGrant", KEY, context=through))
    assert allows(policy, Request("kms:GenerateDataKeyWithoutPlaintext", KEY, context=through))
    assert not allows(
        policy, Request("kms:CreateGrant", KEY, context={**through, "kms:GrantIsForAWSResource": "false"})
    )
    assert not allows(policy, Request("kms:Decrypt", KEY))
    assert not allows(policy, Request("kms:Decrypt", BUCKET_KEY, context=through))


def test_the_fsx_driver_finds_file_systems_and_makes_none(deployment: Deployment) -> None:
    policy = _policy(deployment, "aws-fsx-csi-driver")
    file_system = f"arn:aws:fsx:{REGION}:{ACCOUNT}:file-system/fs-1"
    assert allows(policy, Request("fsx:DescribeFileSystems", file_system))
    assert not allows(policy, Request("fsx:CreateFileSystem", file_system))
    assert not allows(policy, Request("fsx:DeleteFileSystem", file_system))


def test_the_s3_driver_reads_named_buckets_and_writes_nothing() -> None:
    made = _deploy(readable_bucket_arns=[BUCKET], bucket_key_arn=BUCKET_KEY)
    policy = _policy(made, "aws-mountpoint-s3-csi-driver")
    assert allows(policy, Request("s3:GetObject", f"{BUCKET}/books/1"))
    assert allows(policy, Request("s3:ListBucket", BUCKET))
    assert not allows(policy, Request("s3:PutObject", f"{BUCKET}/books/1"))
    assert not allows(policy, Request("s3:GetObject", "arn:aws:s3:::other/1"))
    assert not allows(policy, Request("kms:Decrypt", BUCKET_KEY))
    via = {"kms:ViaService": f"s3.{REGION}.amazonaws.com"}
    assert allows(policy, Request("kms:Decrypt", BUCKET_KEY, context=via))


def test_roles_stand_before_the_addon_and_the_agent_before_all(deployment: Deployment) -> None:
    agent = _addon(deployment, "eks-pod-identity-agent").urn
    for addon in deployment.of_type("aws:eks/addon:Addon"):
        if addon.urn != agent:
            assert agent in addon.dependencies
    cni = _addon(deployment, "vpc-cni")
    attached = deployment.one("aws:iam/rolePolicyAttachment:RolePolicyAttachment", "yard-vpc-cni")
    assert attached.inputs["policyArn"] == "arn:aws:iam::aws:policy/AmazonEKS_CNI_Policy"
    assert attached.urn in cni.dependencies


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kubernetes_version": "1.19"}, "1.34, 1.35"),
        ({"names": ["calico"]}, "calico; it may have"),
        ({"versions": {"calico": "v3"}}, "calico; it may have"),
        ({"readable_bucket_arns": [BUCKET]}, "could not decrypt"),
    ],
)
def test_wrong_arguments_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(ARGS, **changes)
