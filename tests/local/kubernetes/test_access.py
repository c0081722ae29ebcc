"""Who may do what in the cluster follows the emulated EKS access entries, by tokens of the `aws` command."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import boto3
import pytest
from waiting import wait_until

from trainyard.local import supervisor, toolchain
from trainyard.local.engine import emulated_aws_environment
from trainyard.local.kubernetes.access_policies import Grant
from trainyard.local.kubernetes.authenticator import RefusedError, signed_url

REGION = "us-east-1"
CLUSTER = "access"
ROOT = "arn:aws:iam::123456789012:root"


class Account:
    """The emulated account with one cluster, whose API server is the rehearsal's."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self.eks = self.client("eks")
        self.iam = self.client("iam")

    def client(self, service: str) -> Any:
        keys = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing"}
        return boto3.client(service, REGION, endpoint_url=self.endpoint, **keys)

    def role(self, service: str = "") -> str:
        principal = {"Service": service} if service else {"AWS": ROOT}
        trust = {
            "Version": "2012-10-17",
            "Statement": [{"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole"}],
        }
        name = f"role-{uuid.uuid4().hex[:8]}"
        made = self.iam.create_role(RoleName=name, Path="/teams/", AssumeRolePolicyDocument=json.dumps(trust))
        return made["Role"]["Arn"]

    def assume(self, role: str) -> dict[str, str]:
        given = self.client("sts").assume_role(RoleArn=role, RoleSessionName="ada@example.test")["Credentials"]
        return {
            "AWS_ACCESS_KEY_ID": given["AccessKeyId"],
            "AWS_SECRET_ACCESS_KEY": given["SecretAccessKey"],
            "AWS_SESSION_TOKEN": given["SessionToken"],
        }

    def grant(self, role: str, policy: str, *namespaces: str) -> None:
        scope: dict[str, Any] = {"type": "namespace", "namespaces": namespaces} if namespaces else {"type": "cluster"}
        arn = f"arn:aws:eks::aws:cluster-access-policy/{policy}"
        self.eks.associate_access_policy(clusterName=CLUSTER, principalArn=role, policyArn=arn, accessScope=scope)

    def token(self, credentials: dict[str, str]) -> str:
        environment = {**os.environ, **emulated_aws_environment(self.endpoint, REGION), **credentials}
        command = [sys.executable, "-m", "awscli", "eks", "get-token", "--cluster-name", CLUSTER, "--output", "json"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        return json.loads(done.stdout)["status"]["token"]


@pytest.fixture(scope="module")
def account(services) -> Iterator[Account]:
    made = Account(services[1].endpoint)
    subnets = [one["SubnetId"] for one in made.client("ec2").describe_subnets()["Subnets"]][:2]
    role = made.role("eks.amazonaws.com")
    policy = "arn:aws:iam::aws:policy/AmazonEKSClusterPolicy"
    made.iam.attach_role_policy(RoleName=role.rsplit("/", 1)[1], PolicyArn=policy)
    made.eks.create_cluster(
        name=CLUSTER,
        roleArn=role,
        resourcesVpcConfig={"subnetIds": subnets},
        accessConfig={"authenticationMode": "API", "bootstrapClusterCreatorAdminPermissions": True},
    )
    made.eks.get_waiter("cluster_active").wait(name=CLUSTER, WaiterConfig={"Delay": 1, "MaxAttempts": 180})
    yield made
    made.eks.delete_cluster(name=CLUSTER)


@pytest.fixture(scope="module")
def kubectl(services):
    directory, _ = services
    authority = directory / "kubernetes" / "certificates" / "ca.crt"

    def run(token: str | None, *arguments: str) -> subprocess.CompletedProcess[str]:
        whose = ["--kubeconfig", str(supervisor.kubeconfig_of(directory))]
        if token is not None:
            whose = [f"--token={token}", f"--server={services[1].kubernetes}", f"--certificate-authority={authority}"]
        command = [toolchain.find("kubernetes", binary="kubectl"), *whose, *arguments]
        environment = {**os.environ, "KUBECONFIG": os.devnull}
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    for name in ("team-a", "team-b"):
        run(None, "create", "namespace", name)
    return run


def _may(kubectl: Any, token: str, *what: str) -> bool:
    """Whether the bearer may do it: `kubectl auth can-i` prints yes or no."""
    done = kubectl(token, "auth", "can-i", *what)
    assert done.stdout.strip() in ("yes", "no"), done.stderr
    return done.stdout.strip() == "yes"


def test_the_clusters_endpoint_is_the_api_server_and_its_creator_is_administrator(services, account, kubectl):
    cluster = account.eks.describe_cluster(name=CLUSTER)["cluster"]
    assert cluster["endpoint"] == services[1].kubernetes
    token = account.token({})
    assert kubectl(token, "get", "nodes").returncode == 0
    assert _may(kubectl, token, "*", "*")
    who = json.loads(kubectl(token, "auth", "whoami", "-o", "json").stdout)["status"]["userInfo"]
    assert who["username"] == ROOT


def test_nobody_comes_in_without_an_access_entry_and_a_new_entry_lets_in(account, kubectl):
    role = account.role()
    token = account.token(account.assume(role))
    assert "Unauthorized" in kubectl(token, "get", "pods").stderr
    account.eks.create_access_entry(clusterName=CLUSTER, principalArn=role, kubernetesGroups=["readers"])
    assert "forbidden" in kubectl(token, "get", "pods").stderr.lower()
    who = json.loads(kubectl(token, "auth", "whoami", "-o", "json").stdout)["status"]["userInfo"]
    assert "readers" in who["groups"]
    assert who["username"].endswith("/ada-example.test")


@pytest.mark.parametrize(
    ("policy", "allowed", "refused"),
    [
        ("AmazonEKSClusterAdminPolicy", ("create", "clusterroles"), None),
        ("AmazonEKSAdminPolicy", ("create", "rolebindings"), ("create", "clusterroles")),
        ("AmazonEKSEditPolicy", ("create", "pods"), ("create", "rolebindings")),
        ("AmazonEKSViewPolicy", ("get", "pods"), ("get", "secrets")),
        ("AmazonEKSAdminViewPolicy", ("get", "secrets"), ("create", "pods")),
    ],
)
def test_a_policy_for_the_cluster_gives_its_rights_in_every_namespace(account, kubectl, policy, allowed, refused):
    role = account.role()
    account.eks.create_access_entry(clusterName=CLUSTER, principalArn=role)
    account.grant(role, policy)
    token = account.token(account.assume(role))
    assert _may(kubectl, token, *allowed, "-n", "team-a")
    assert _may(kubectl, token, *allowed, "-n", "team-b")
    if refused:
        assert not _may(kubectl, token, *refused, "-n", "team-a")


def test_a_policy_for_namespaces_ends_at_their_border_and_the_entrys_end_takes_it_away(account, kubectl):
    role = account.role()
    account.eks.create_access_entry(clusterName=CLUSTER, principalArn=role)
    account.grant(role, "AmazonEKSEditPolicy", "team-a")
    token = account.token(account.assume(role))
    assert _may(kubectl, token, "create", "pods", "-n", "team-a")
    assert not _may(kubectl, token, "get", "pods", "-n", "team-b")
    account.eks.delete_access_entry(clusterName=CLUSTER, principalArn=role)
    # The API server relies on an authentication for 10 s.
    wait_until(lambda: "Unauthorized" in kubectl(token, "get", "pods", "-n", "team-a").stderr, every=1)


def _token(**changes: str | None) -> str:
    made = datetime.now(UTC)
    parameters: dict[str, str | None] = {
        "Action": "GetCallerIdentity",
        "X-Amz-Credential": "testing/20261121/us-east-1/sts/aws4_request",
        "X-Amz-Date": made.strftime("%Y%m%dT%H%M%SZ"),
        "X-Amz-SignedHeaders": "host;x-k8s-aws-id",
        "X-Amz-Signature": "0",
        **changes,
    }
    query = urlencode({name: value for name, value in parameters.items() if value is not None})
    url = f"https://sts.us-east-1.amazonaws.com/?{query}"
    return "k8s-aws-v1." + base64.urlsafe_b64encode(url.encode()).decode().rstrip("=")


def test_a_token_of_good_form_gives_its_request():
    assert signed_url(_token()).startswith("https://sts.us-east-1.amazonaws.com/?Action=GetCallerIdentity")


@pytest.mark.parametrize(
    ("token", "why"),
    [
        ("some other token", "does not begin with"),
        ("k8s-aws-v1.!", "not base64"),
        (_token(Action="AssumeRole"), "not GetCallerIdentity"),
        (_token(action="AssumeRole"), "twice"),
        (_token(**{"X-Amz-SignedHeaders": "host"}), "does not name its cluster"),
        (_token(**{"X-Amz-Signature": None}), "lacks x-amz-signature"),
        (_token(**{"X-Amz-Date": "yesterday"}), "no time"),
        (_token(**{"X-Amz-Date": "20200101T000000Z"}), "expired"),
    ],
)
def test_another_token_is_refused_in_words(token, why):
    with pytest.raises(RefusedError, match=why):
        signed_url(token)


def test_a_token_ends_after_a_quarter_of_an_hour():
    token = _token()
    assert signed_url(token, datetime.now(UTC) + timedelta(minutes=14))
    with pytest.raises(RefusedError, match="expired"):
        signed_url(token, datetime.now(UTC) + timedelta(minutes=16))


def test_a_grant_is_read_from_its_association():
    arn = "arn:aws:eks::aws:cluster-access-policy/AmazonEKSViewPolicy"
    everywhere = {"policyArn": arn, "accessScope": {"type": "cluster", "namespaces": []}}
    there = {"policyArn": arn, "accessScope": {"type": "namespace", "namespaces": ["team-*"]}}
    assert Grant.of(everywhere) == Grant("AmazonEKSViewPolicy")
    assert Grant.of(there) == Grant("AmazonEKSViewPolicy", ("team-*",))
