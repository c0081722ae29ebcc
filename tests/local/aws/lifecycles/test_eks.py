"""EKS: clusters, who may use them, node groups, add-ons."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from aws_lifecycle import Lifecycle, Step
from aws_program import CheckFailedError, Program
from eks_programs import BASE, cluster, nodes, trust

from trainyard.local.aws.errors import AwsError, ProviderError

CLUSTER = "aws:eks/cluster:Cluster"
NODE_GROUP = "aws:eks/nodeGroup:NodeGroup"
ADDON = "aws:eks/addon:Addon"
ENTRY = "aws:eks/accessEntry:AccessEntry"
ASSOCIATION = "aws:eks/accessPolicyAssociation:AccessPolicyAssociation"
POD_IDENTITY = "aws:eks/podIdentityAssociation:PodIdentityAssociation"
POLICY = "arn:aws:eks::aws:cluster-access-policy/{}"


class TestLife(Lifecycle):
    steps = {  # noqa: RUF012
        **BASE,
        "cluster": Step(
            CLUSTER,
            lambda r: cluster(
                r,
                enabledClusterLogTypes=["audit", "api"],
                kubernetesNetworkConfig={"serviceIpv4Cidr": "172.20.0.0/16"},
                upgradePolicy={"supportType": "STANDARD"},
            ),
            lambda r: cluster(
                r,
                enabledClusterLogTypes=["audit"],
                kubernetesNetworkConfig={"serviceIpv4Cidr": "172.20.0.0/16"},
                upgradePolicy={"supportType": "EXTENDED"},
                vpcConfig={
                    "subnetIds": [r["subnet-a"].id, r["subnet-b"].id],
                    "endpointPrivateAccess": True,
                    "endpointPublicAccess": False,
                },
                deletionProtection=True,
                tags={"a": "b"},
            ),
        ),
        "administrator": Step("aws:iam/role:Role", lambda _: trust("ec2.amazonaws.com")),
        "entry": Step(
            ENTRY,
            lambda r: {"clusterName": r["cluster"]["name"], "principalArn": r["administrator"]["arn"]},
            lambda r: {
                "clusterName": r["cluster"]["name"],
                "principalArn": r["administrator"]["arn"],
                "kubernetesGroups": ["trainers"],
                "tags": {"a": "b"},
            },
        ),
        "policy": Step(
            ASSOCIATION,
            lambda r: {
                "clusterName": r["cluster"]["name"],
                "principalArn": r["entry"]["principalArn"],
                "policyArn": POLICY.format("AmazonEKSEditPolicy"),
                "accessScope": {"type": "namespace", "namespaces": ["vision", "language"]},
            },
        ),
        "pods": Step(
            POD_IDENTITY,
            lambda r: {
                "clusterName": r["cluster"]["name"],
                "namespace": "vision",
                "serviceAccount": "trainer",
                "roleArn": r["pod-role"]["arn"],
            },
            lambda r: {
                "clusterName": r["cluster"]["name"],
                "namespace": "vision",
                "serviceAccount": "trainer",
                "roleArn": r["pod-role"]["arn"],
                "disableSessionTags": True,
                "tags": {"a": "b"},
            },
            lambda it: f"{it['clusterName']},{it.id}",
        ),
        "template": Step(
            "aws:ec2/launchTemplate:LaunchTemplate",
            lambda _: {"metadataOptions": {"httpTokens": "required", "httpPutResponseHopLimit": 1}},
        ),
        "nodes": Step(
            NODE_GROUP,
            lambda r: nodes(r, nodeGroupName="cpu", instanceTypes=["m7i.large"], amiType="AL2023_x86_64_STANDARD"),
            lambda r: nodes(
                r,
                nodeGroupName="cpu",
                instanceTypes=["m7i.large"],
                amiType="AL2023_x86_64_STANDARD",
                scalingConfig={"minSize": 1, "maxSize": 3, "desiredSize": 2},
                labels={"trainyard.dev/group": "cpu"},
                taints=[{"key": "a", "value": "b", "effect": "NO_SCHEDULE"}],
                updateConfig={"maxUnavailablePercentage": 50},
                nodeRepairConfig={"enabled": True},
                tags={"a": "b"},
            ),
        ),
        "spot": Step(
            NODE_GROUP,
            lambda r: nodes(
                r,
                nodeGroupName="gpu",
                instanceTypes=["g5.12xlarge"],
                amiType="AL2023_x86_64_NVIDIA",
                capacityType="SPOT",
                launchTemplate={"id": r["template"].id, "version": str(r["template"]["latestVersion"])},
                labels={"trainyard.dev/group": "gpu"},
                taints=[{"key": "nvidia.com/gpu", "value": "true", "effect": "NO_SCHEDULE"}],
                nodeRepairConfig={"enabled": True},
                version="1.34",
            ),
        ),
        "dns": Step(
            ADDON,
            lambda r: {
                "clusterName": r["cluster"]["name"],
                "addonName": "coredns",
                "resolveConflictsOnCreate": "OVERWRITE",
            },
            lambda r: {
                "clusterName": r["cluster"]["name"],
                "addonName": "coredns",
                "addonVersion": "v1.13.1-eksbuild.1",
                "configurationValues": json.dumps({"replicaCount": 3}),
                "resolveConflictsOnCreate": "OVERWRITE",
                "tags": {"a": "b"},
            },
        ),
        "disks": Step(
            ADDON,
            lambda r: {
                "clusterName": r["cluster"]["name"],
                "addonName": "aws-ebs-csi-driver",
                "addonVersion": "v1.54.0-eksbuild.1",
                "podIdentityAssociations": [
                    {"serviceAccount": "ebs-csi-controller-sa", "roleArn": r["pod-role"]["arn"]}
                ],
                "preserve": False,
            },
        ),
    }


@pytest.fixture
def base(program: Program) -> Program:
    """A network, a key and roles."""
    for name, step in BASE.items():
        program.up(step.token, name, **step.first(program.resources))
    return program


@pytest.fixture
def running(base: Program, request: pytest.FixtureRequest) -> Iterator[Program]:
    """A cluster of a test's own."""
    name = re.sub(r"[^\w]", "-", request.node.name)[:90]
    base.up(CLUSTER, "cluster", **cluster(base.resources, name=name))
    yield base
    base.destroy_all()


def refused(program: Program, token: str, reason: str, **inputs: Any) -> None:
    with pytest.raises((ProviderError, CheckFailedError), match=reason):
        program.up(token, "refused", **inputs)


class TestClusters:
    @pytest.mark.parametrize(
        ("change", "reason"),
        [
            ({"version": "1.19"}, "unsupported Kubernetes version 1.19"),
            ({"name": "-a"}, "name"),
            ({"kubernetesNetworkConfig": {"serviceIpv4Cidr": "10.0.128.0/20"}}, "overlaps"),
            ({"kubernetesNetworkConfig": {"serviceIpv4Cidr": "192.0.2.0/24"}}, "must lie in"),
            ({"roleArn": "arn:aws:iam::123456789012:role/nobody"}, "does not exist"),
        ],
    )
    def test_what_eks_refuses_is_refused(self, base: Program, change: dict[str, Any], reason: str):
        refused(base, CLUSTER, reason, **cluster(base.resources, **change))

    def test_subnets_in_one_zone_are_refused(self, base: Program):
        inputs = cluster(base.resources, vpcConfig={"subnetIds": [base.resources["subnet-a"].id]})
        refused(base, CLUSTER, "at least two different AZs", **inputs)

    def test_the_creator_is_administrator_unless_the_program_says_otherwise(self, running: Program, aws):
        name, eks = running.resources["cluster"]["name"], aws("eks")
        me = aws("sts").get_caller_identity()["Arn"]
        assert eks.list_access_entries(clusterName=name)["accessEntries"] == [me]
        held = eks.list_associated_access_policies(clusterName=name, principalArn=me)["associatedAccessPolicies"]
        assert [(it["policyArn"], it["accessScope"]["type"]) for it in held] == [
            (POLICY.format("AmazonEKSClusterAdminPolicy"), "cluster")
        ]
        nobody = {"authenticationMode": "API", "bootstrapClusterCreatorAdminPermissions": False}
        running.up(CLUSTER, "other", **cluster(running.resources, name="nobody-in", accessConfig=nobody))
        assert eks.list_access_entries(clusterName="nobody-in")["accessEntries"] == []

    def test_a_version_goes_up_by_one_and_never_down(self, running: Program):
        name = running.resources["cluster"]["name"]
        made = running.up(CLUSTER, "cluster", **cluster(running.resources, name=name, version="1.35"))
        assert (made["version"], made["platformVersion"]) == ("1.35", "eks.3")
        with pytest.raises(AwsError, match=r"from 1\.35 to 1\.33"):
            running.up(CLUSTER, "cluster", **cluster(running.resources, name=name, version="1.33"))

    def test_deletion_protection_and_node_groups_keep_a_cluster(self, running: Program):
        name = running.resources["cluster"]["name"]
        running.up(CLUSTER, "cluster", **cluster(running.resources, name=name, deletionProtection=True))
        with pytest.raises(AwsError, match="deletion protection"):
            running.destroy("cluster")
        running.up(CLUSTER, "cluster", **cluster(running.resources, name=name))
        running.up(NODE_GROUP, "n", **nodes(running.resources, instanceTypes=["m7i.large"]))
        with pytest.raises(AwsError, match="nodegroups attached"):
            running.destroy("cluster")

    def test_an_update_can_be_looked_up(self, running: Program, aws):
        name = running.resources["cluster"]["name"]
        update = aws("eks").update_cluster_config(name=name, deletionProtection=False)["update"]
        found = aws("eks").describe_update(name=name, updateId=update["id"])["update"]
        assert (found["status"], found["type"]) == ("Successful", "DeletionProtectionUpdate")
        assert update["id"] in aws("eks").list_updates(name=name)["updateIds"]

    def test_what_eks_chooses_stands_in_the_outputs(self, running: Program, aws):
        network = running.resources["cluster"]["vpcConfig"]
        assert network["vpcId"] == running.resources["vpc"].id
        (group,) = aws("ec2").describe_security_groups(GroupIds=[network["clusterSecurityGroupId"]])["SecurityGroups"]
        assert group["GroupName"].startswith("eks-cluster-sg-")
        assert network["publicAccessCidrs"] == ["203.0.113.0/24"]

    def test_the_authority_is_a_certificate(self, running: Program):
        from cryptography import x509

        made = running.resources["cluster"]
        pem = base64.b64decode(made["certificateAuthority"]["data"])
        assert x509.load_pem_x509_certificate(pem).extensions.get_extension_for_class(x509.BasicConstraints).value.ca
        assert made["endpoint"].startswith("https://")
        assert made["identities"][0]["oidcs"][0]["issuer"].startswith("https://oidc.eks.us-east-1.amazonaws.com/id/")


class TestNodeGroups:
    @pytest.mark.parametrize(
        ("change", "reason"),
        [
            ({"version": "1.35"}, "not newer than the cluster's"),
            ({"scalingConfig": {"minSize": 2, "maxSize": 4, "desiredSize": 1}}, "minSize <= desiredSize"),
            ({"taints": [{"key": "a", "effect": "NoSchedule"}]}, "effect"),
            ({"labels": {"kubernetes.io/role": "x"}}, "must not begin with"),
            ({"instanceTypes": ["p9.huge"]}, "does not exist"),
            ({"amiType": "AL2023_ARM_64_STANDARD"}, "not a valid instance type for requested amiType"),
            ({"releaseVersion": "1.33.5-20260120"}, "release version"),
            ({"nodeGroupName": "n" * 64}, "63"),
            ({"capacityType": "CAPACITY_BLOCK"}, "go together"),
            ({"updateConfig": {"maxUnavailable": 1, "maxUnavailablePercentage": 10}}, "Exactly one"),
        ],
    )
    def test_what_eks_refuses_is_refused(self, running: Program, change: dict[str, Any], reason: str):
        inputs = nodes(running.resources, instanceTypes=["m7i.large"])
        refused(running, NODE_GROUP, reason, **{**inputs, **change})

    @pytest.mark.parametrize(
        ("data", "change", "reason"),
        [
            ({"instanceType": "m7i.large"}, {"instanceTypes": ["m7i.large"]}, "instance types in launch template and"),
            ({"iamInstanceProfile": {"name": "p"}}, {}, "IAM instance profile"),
            ({"ebsOptimized": "true"}, {"diskSize": 50}, "within the launch template"),
            ({"instanceMarketOptions": {"marketType": "spot"}}, {}, "must not request Spot"),
            ({"networkInterfaces": [{"subnetId": "subnet-1"}]}, {}, "must not contain a subnet"),
        ],
    )
    def test_what_eks_refuses_in_a_launch_template_is_refused(
        self, running: Program, data: dict[str, Any], change: dict[str, Any], reason: str
    ):
        template = running.up("aws:ec2/launchTemplate:LaunchTemplate", "t", **data)
        inputs = nodes(running.resources, launchTemplate={"id": template.id, "version": "1"}, **change)
        refused(running, NODE_GROUP, reason, **inputs)

    def test_a_capacity_block_lies_in_one_subnet(self, running: Program):
        r = running.resources
        running.up(
            "aws:ec2/launchTemplate:LaunchTemplate",
            "t",
            instanceType="p5.48xlarge",
            instanceMarketOptions={"marketType": "capacity-block"},
            capacityReservationSpecification={"capacityReservationTarget": {"capacityReservationId": "cr-1"}},
        )
        block = {"capacityType": "CAPACITY_BLOCK", "launchTemplate": {"id": r["t"].id, "version": "1"}}
        both = [r["subnet-a"].id, r["subnet-b"].id]
        refused(running, NODE_GROUP, "one Availability Zone", **nodes(r, **block) | {"subnetIds": both})
        made = running.up(NODE_GROUP, "n", **nodes(r, **block))
        assert made["amiType"] == "AL2023_x86_64_NVIDIA"

    def test_the_auto_scaling_group_has_the_sizes_and_the_name_of_eks(self, running: Program, aws):
        r = running.resources
        sizes = {"minSize": 1, "maxSize": 5, "desiredSize": 2}
        made = running.up(
            NODE_GROUP, "n", **nodes(r, nodeGroupName="gpu", instanceTypes=["g5.xlarge"]) | {"scalingConfig": sizes}
        )
        name = made["resources"][0]["autoscalingGroups"][0]["name"]
        assert re.fullmatch(r"eks-gpu-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", name)
        autoscaling = aws("autoscaling")
        (group,) = autoscaling.describe_auto_scaling_groups(AutoScalingGroupNames=[name])["AutoScalingGroups"]
        assert (group["MinSize"], group["DesiredCapacity"], group["MaxSize"], group["Instances"]) == (1, 2, 5, [])
        autoscaling.set_desired_capacity(AutoScalingGroupName=name, DesiredCapacity=4)
        (group,) = autoscaling.describe_auto_scaling_groups(AutoScalingGroupNames=[name])["AutoScalingGroups"]
        assert (group["DesiredCapacity"], group["Instances"]) == (4, [])
        running.destroy("n")
        assert not autoscaling.describe_auto_scaling_groups(AutoScalingGroupNames=[name])["AutoScalingGroups"]

    def test_the_nodes_role_may_join_as_long_as_there_are_nodes(self, running: Program, aws):
        r, eks = running.resources, aws("eks")
        name, role = r["cluster"]["name"], r["node-role"]["arn"]
        running.up(NODE_GROUP, "n", **nodes(r, instanceTypes=["m7i.large"]))
        entry = eks.describe_access_entry(clusterName=name, principalArn=role)["accessEntry"]
        assert (entry["type"], "system:nodes" in entry["kubernetesGroups"]) == ("EC2_LINUX", True)
        running.destroy("n")
        assert role not in eks.list_access_entries(clusterName=name)["accessEntries"]

    def test_nodes_follow_the_cluster_and_the_launch_template(self, running: Program):
        r = running.resources
        token = "aws:ec2/launchTemplate:LaunchTemplate"
        running.up(token, "t", instanceType="g5.xlarge", updateDefaultVersion=True)

        def group(**more: Any) -> dict[str, Any]:
            version = str(r["t"]["latestVersion"])
            return nodes(r, nodeGroupName="g", launchTemplate={"id": r["t"].id, "version": version}, **more)

        made = running.up(NODE_GROUP, "n", **group())
        arn, name = made["arn"], r["cluster"]["name"]
        running.up(token, "t", instanceType="g6.xlarge", updateDefaultVersion=True)
        running.up(CLUSTER, "cluster", **cluster(r, name=name, version="1.35"))
        made = running.up(NODE_GROUP, "n", **group(version="1.35"))
        assert (made["arn"], made["version"], made["launchTemplate"]["version"]) == (arn, "1.35", "2")
        assert made["releaseVersion"].startswith("1.35.")

    @pytest.mark.parametrize("forced", [False, True])
    def test_an_update_is_forced_only_where_the_program_says_so(self, running: Program, account, forced: bool):
        """EKS does not tell afterwards, so what it was asked for is looked at."""
        asked: list[dict[str, Any]] = []

        def note(params: dict[str, Any], **_: Any) -> None:
            asked.append(params)

        events = account.client("eks", "us-east-1").meta.events
        running.up(NODE_GROUP, "n", **nodes(running.resources, nodeGroupName="f", releaseVersion="1.34.1-20251120"))
        events.register("provide-client-params.eks.UpdateNodegroupVersion", note)
        try:
            newer = nodes(running.resources, nodeGroupName="f", releaseVersion="1.34.2-20260120")
            running.up(NODE_GROUP, "n", **newer, forceUpdateVersion=forced)
        finally:
            events.unregister("provide-client-params.eks.UpdateNodegroupVersion", note)
        assert [one["force"] for one in asked] == [forced]


class TestAccess:
    def test_an_unknown_policy_is_refused(self, running: Program):
        r = running.resources
        me = "arn:aws:iam::123456789012:root"
        inputs = {"clusterName": r["cluster"]["name"], "principalArn": me, "accessScope": {"type": "cluster"}}
        refused(running, ASSOCIATION, "no access policy", policyArn=POLICY.format("Everything"), **inputs)

    def test_groups_of_kubernetes_itself_are_refused(self, running: Program):
        r = running.resources
        inputs = {"clusterName": r["cluster"]["name"], "principalArn": r["role"]["arn"]}
        refused(running, ENTRY, "cannot start with system", kubernetesGroups=["system:masters"], **inputs)

    def test_a_role_that_pods_cannot_assume_is_refused(self, running: Program):
        r = running.resources
        inputs = {"clusterName": r["cluster"]["name"], "namespace": "a", "serviceAccount": "b"}
        refused(running, POD_IDENTITY, r"pods\.eks\.amazonaws\.com", roleArn=r["node-role"]["arn"], **inputs)


class TestAddons:
    @pytest.mark.parametrize(
        ("inputs", "reason"),
        [
            ({"addonName": "nvidia-magic"}, "not supported"),
            ({"addonName": "coredns", "addonVersion": "v0.1.0-eksbuild.1"}, "the default is v1"),
            ({"addonName": "kube-proxy", "addonVersion": "v1.35.0-eksbuild.1"}, "on Kubernetes 1.34"),
            ({"addonName": "coredns", "configurationValues": "[1]"}, "not valid JSON or YAML"),
        ],
    )
    def test_what_eks_refuses_is_refused(self, running: Program, inputs: dict[str, Any], reason: str):
        refused(running, ADDON, reason, clusterName=running.resources["cluster"]["name"], **inputs)

    def test_its_pod_identities_go_with_it(self, running: Program, aws):
        r = running.resources
        name = r["cluster"]["name"]
        identity = {"serviceAccount": "fsx-csi-controller-sa", "roleArn": r["pod-role"]["arn"]}
        running.up(ADDON, "a", clusterName=name, addonName="aws-fsx-csi-driver", podIdentityAssociations=[identity])
        (found,) = aws("eks").list_pod_identity_associations(clusterName=name, namespace="kube-system")["associations"]
        assert found["ownerArn"] == r["a"]["arn"]
        running.destroy("a")
        assert aws("eks").list_pod_identity_associations(clusterName=name)["associations"] == []
