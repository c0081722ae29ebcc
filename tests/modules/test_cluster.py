"""Who reaches the cluster, who may do what in it, and what is kept of it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pulumi
import pytest
from iam_evaluation import Request, allows
from mocked_pulumi import ACCOUNT, CALLER, REGION, Deployment, run

from trainyard.modules.cluster import AccessGrant, Cluster, ClusterArgs, _is_unnamed, _only_role, is_among

SECRETS, LOGS = (f"arn:aws:kms:{REGION}:{ACCOUNT}:key/{purpose}" for purpose in ("secrets", "logs"))
SSO = f"arn:aws:iam::{ACCOUNT}:role/aws-reserved/sso.amazonaws.com/{REGION}/AWSReservedSSO_Ml_0123456789abcdef"
ARGS = ClusterArgs(
    vpc_id="vpc-1",
    subnet_ids=["subnet-a", "subnet-b"],
    version="1.35",
    secrets_key_arn=SECRETS,
    logs_key_arn=LOGS,
    private_access_cidrs=["10.99.0.0/16"],
    access=[
        AccessGrant("engineers", SSO, "AmazonEKSEditPolicy", namespaces=["vision", "speech"]),
        AccessGrant("viewers", f"arn:aws:iam::{ACCOUNT}:role/viewers", "AmazonEKSViewPolicy"),
        AccessGrant("bots", f"arn:aws:iam::{ACCOUNT}:role/bots", kubernetes_groups=["submitters"]),
    ],
    tags={"owner": "ml", "data-class": "personal"},
)


def _deploy(**changes: Any) -> Deployment:
    def program() -> None:
        cluster = Cluster("yard", replace(ARGS, **changes))
        pulumi.export("kubeconfig", cluster.kubeconfig)
        pulumi.export("security_group_id", cluster.security_group_id)

    return run(program)


@pytest.fixture(scope="module")
def deployment() -> Deployment:
    return _deploy()


def _cluster(deployment: Deployment) -> dict[str, Any]:
    return dict(deployment.one("aws:eks/cluster:Cluster").inputs)


def test_the_endpoint_has_no_public_side_unless_blocks_are_named(deployment: Deployment) -> None:
    private = _cluster(deployment)["vpcConfig"]
    assert (private["endpointPrivateAccess"], private["endpointPublicAccess"]) == (True, False)
    assert "publicAccessCidrs" not in private
    public = _cluster(_deploy(public_access_cidrs=["203.0.113.0/24"]))["vpcConfig"]
    assert (public["endpointPublicAccess"], public["publicAccessCidrs"]) == (True, ["203.0.113.0/24"])


def test_named_private_networks_reach_the_api_and_only_that(deployment: Deployment) -> None:
    rule = deployment.one("aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule").inputs
    assert rule["securityGroupId"] == deployment.outputs["security_group_id"]
    assert (rule["fromPort"], rule["toPort"], rule["ipProtocol"]) == (443, 443, "tcp")
    assert rule["cidrIpv4"] == "10.99.0.0/16"


def test_secrets_are_under_the_teams_key(deployment: Deployment) -> None:
    assert _cluster(deployment)["encryptionConfig"] == {"provider": {"keyArn": SECRETS}, "resources": ["secrets"]}


def test_every_control_plane_log_goes_to_a_group_that_was_there_before(deployment: Deployment) -> None:
    cluster = deployment.one("aws:eks/cluster:Cluster")
    logs = deployment.one("aws:cloudwatch/logGroup:LogGroup")
    assert set(cluster.inputs["enabledClusterLogTypes"]) == {
        "api",
        "audit",
        "authenticator",
        "controllerManager",
        "scheduler",
    }
    assert logs.inputs["name"] == f"/aws/eks/{cluster.inputs['name']}/cluster"
    assert (logs.inputs["kmsKeyId"], logs.inputs["retentionInDays"]) == (LOGS, 365)
    assert logs.inputs["tags"]["data-class"] == "internal"
    assert logs.urn in cluster.dependencies


def test_access_is_by_entries_and_support_never_becomes_extended(deployment: Deployment) -> None:
    cluster = _cluster(deployment)
    assert cluster["accessConfig"] == {
        "authenticationMode": "API",
        "bootstrapClusterCreatorAdminPermissions": True,
    }
    assert cluster["upgradePolicy"] == {"supportType": "STANDARD"}
    assert cluster["deletionProtection"] is True
    assert cluster["bootstrapSelfManagedAddons"] is False


@pytest.mark.parametrize(
    ("caller", "named"),
    [
        (f"arn:aws:sts::{ACCOUNT}:assumed-role/AWSReservedSSO_Admin_0f/me@example.com", True),
        (f"arn:aws:sts::{ACCOUNT}:assumed-role/ci/run-7", False),
        (f"arn:aws:iam::{ACCOUNT}:user/people/me", True),
        (f"arn:aws:iam::{ACCOUNT}:role/me", False),
        ("arn:aws:iam::210987654321:user/me", False),
    ],
)
def test_who_runs_the_program_is_known_among_those_it_lets_in(caller: str, named: bool) -> None:
    people = [
        f"arn:aws:iam::{ACCOUNT}:role/aws-reserved/sso.amazonaws.com/eu-west-1/AWSReservedSSO_Admin_0f",
        f"arn:aws:iam::{ACCOUNT}:user/me",
    ]
    assert is_among(caller, people) is named


def test_who_runs_the_program_unnamed_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(pulumi.log, "warn", told.append)
    assert _is_unnamed("yard", CALLER, [SSO])
    assert len(told) == 1
    assert CALLER in told[0]
    assert "access.deployers" in told[0]
    assert not _is_unnamed("yard", CALLER, [f"arn:aws:iam::{ACCOUNT}:role/deployer"])
    assert len(told) == 1


def test_a_maker_that_is_named_gets_no_entry_of_eks_s_own() -> None:
    deployer = AccessGrant("deployer", f"arn:aws:iam::{ACCOUNT}:role/deployer", "AmazonEKSClusterAdminPolicy")
    assert _cluster(_deploy(access=[deployer]))["accessConfig"]["bootstrapClusterCreatorAdminPermissions"] is False


def test_each_grant_is_an_entry_with_its_policy_and_scope(deployment: Deployment) -> None:
    entries = {entry.name: entry.inputs for entry in deployment.of_type("aws:eks/accessEntry:AccessEntry")}
    assert entries["yard-engineers"]["principalArn"] == SSO
    assert entries["yard-bots"]["kubernetesGroups"] == ["submitters"]
    policies = {
        policy.name: policy.inputs
        for policy in deployment.of_type("aws:eks/accessPolicyAssociation:AccessPolicyAssociation")
    }
    assert set(policies) == {"yard-engineers", "yard-viewers"}
    assert policies["yard-engineers"]["accessScope"] == {"type": "namespace", "namespaces": ["vision", "speech"]}
    assert policies["yard-engineers"]["policyArn"].endswith(":eks::aws:cluster-access-policy/AmazonEKSEditPolicy")
    assert policies["yard-viewers"]["accessScope"] == {"type": "cluster"}


def test_only_this_cluster_and_only_instances_take_the_roles(deployment: Deployment) -> None:
    trust = deployment.one("aws:iam/role:Role", "yard-cluster").inputs["assumeRolePolicy"]

    def asking(account: str, cluster: str) -> Request:
        context = {"aws:SourceAccount": account, "aws:SourceArn": f"arn:aws:eks:{REGION}:{account}:cluster/{cluster}"}
        return Request("sts:AssumeRole", principal="eks.amazonaws.com", context=context)

    assert allows(trust, asking(ACCOUNT, "yard"))
    assert not allows(trust, asking(ACCOUNT, "other"))
    assert not allows(trust, asking("999999999999", "yard"))
    nodes = deployment.one("aws:iam/role:Role", "yard-nodes").inputs["assumeRolePolicy"]
    assert allows(nodes, Request("sts:AssumeRole", principal="ec2.amazonaws.com"))
    assert not allows(nodes, Request("sts:AssumeRole", principal="eks.amazonaws.com"))


def test_nodes_join_and_pull_and_do_nothing_else(deployment: Deployment) -> None:
    attached = {
        attachment.inputs["policyArn"].rpartition("/")[2]
        for attachment in deployment.of_type("aws:iam/rolePolicyAttachment:RolePolicyAttachment")
        if attachment.name.startswith("yard-nodes")
    }
    assert attached == {"AmazonEKSWorkerNodePolicy", "AmazonEC2ContainerRegistryPullOnly"}


def test_the_kubeconfig_asks_the_aws_client_and_holds_no_secret(deployment: Deployment) -> None:
    config = json.loads(deployment.outputs["kubeconfig"])
    cluster = deployment.one("aws:eks/cluster:Cluster").outputs
    assert config["clusters"][0]["cluster"] == {
        "server": cluster["endpoint"],
        "certificate-authority-data": cluster["certificateAuthority"]["data"],
    }
    ask = config["users"][0]["user"]["exec"]
    assert [ask["command"], *ask["args"]] == [
        *("aws", "eks", "get-token", "--cluster-name", "yard", "--region", REGION, "--output", "json")
    ]
    assert set(config["users"][0]["user"]) == {"exec"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": "1.35.4"}, "minor version"),
        ({"version": "latest"}, "minor version"),
        ({"public_access_cidrs": ["0.0.0.0/0"]}, "half the internet"),
        ({"public_access_cidrs": ["0.0.0.0/1"]}, "half the internet"),
        ({"public_access_cidrs": ["10.0.0.0/16"]}, "use private_access_cidrs"),
        ({"public_access_cidrs": ["office"]}, "no IPv4 block"),
        ({"public_access_cidrs": ["203.0.113.7/24"]}, "no IPv4 block"),
        ({"private_access_cidrs": ["0.0.0.0/0"]}, "half the internet"),
        ({"service_cidr": "8.8.0.0/16"}, "lies in 10.0.0.0/8"),
        ({"service_cidr": "10.0.0.0/8"}, "/12 to /24"),
        ({"service_cidr": "10.1.2.0/28"}, "/12 to /24"),
        ({"access": [ARGS.access[0], ARGS.access[0]]}, "engineers twice"),
    ],
)
def test_wrong_arguments_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(ARGS, **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"policy": "AdministratorAccess"}, "AmazonEKSViewPolicy"),
        ({"policy": None}, "grants nothing"),
        ({"policy": "AmazonEKSClusterAdminPolicy", "namespaces": ["vision"]}, "administrator of a namespace"),
        ({"policy": None, "kubernetes_groups": ["a"], "namespaces": ["vision"]}, "administrator of a namespace"),
        ({"kubernetes_groups": ["system:masters"]}, "begins with system:"),
        ({"principal_arn": "viewers"}, "full ARN"),
        ({"principal_arn": f"arn:aws:iam::{ACCOUNT}:role/*"}, "full ARN"),
    ],
)
def test_wrong_grants_are_refused(changes: dict[str, Any], message: str) -> None:
    grant = AccessGrant("viewers", f"arn:aws:iam::{ACCOUNT}:role/viewers", "AmazonEKSViewPolicy")
    with pytest.raises(ValueError, match=message):
        replace(grant, **changes)


def test_a_permission_set_without_a_role_is_refused() -> None:
    assert _only_role("Ml", [SSO]) == SSO
    with pytest.raises(pulumi.RunError, match="assign it to a group"):
        _only_role("Ml", [])
