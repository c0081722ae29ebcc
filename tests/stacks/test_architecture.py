"""The whole platform under mocks: what every resource has in common, and what the parts do together."""

from __future__ import annotations

import dataclasses
import json
import runpy
import sys
import warnings
from pathlib import Path

import pytest
import yaml
from iam_evaluation import Request, allows
from mocked_pulumi import ACCOUNT, REGION, Deployment, run

from trainyard.stacks.architecture import platform
from trainyard.stacks.cluster import ClusterLayer
from trainyard.stacks.data import DataLayer
from trainyard.stacks.settings import parse_settings
from trainyard.stacks.workloads import WorkloadsLayer

ROOT = Path(__file__).parents[2]
LOCAL = yaml.safe_load((ROOT / "stacks/environments/Pulumi.local.yaml").read_text())["config"]


def _deploy(**changes: object) -> Deployment:
    values = {key.removeprefix("trainyard:"): value for key, value in LOCAL.items()} | changes
    settings = parse_settings(values, namespace="trainyard", stack="local")
    return run(lambda: platform(settings))


@pytest.fixture(scope="module")
def local() -> Deployment:
    return _deploy()


def test_it_exports_what_users_need(local: Deployment) -> None:
    layers = [field.name for layer in (DataLayer, ClusterLayer, WorkloadsLayer) for field in dataclasses.fields(layer)]
    assert sorted(local.outputs) == sorted(["environment", "region", *layers])
    assert local.outputs["environment"] == "local"
    assert len(local.outputs["private_subnet_ids"]) == 2
    buckets = {bucket.outputs["bucket"] for bucket in local.of_type("aws:s3/bucket:Bucket")}
    names = ("datasets_bucket", "checkpoints_bucket", "artifacts_bucket", "logs_bucket")
    assert {local.outputs[name] for name in names} == buckets


def test_every_resource_goes_through_the_one_provider_with_the_tags(local: Deployment) -> None:
    provider = local.one("pulumi:providers:aws")
    assert provider.inputs["region"] == "us-east-1"
    assert '"owner":"platform-team"' in provider.inputs["defaultTags"].replace(" ", "")
    made = [resource for resource in local.resources if resource.type.startswith("aws:")]
    assert len(made) > 60
    assert all(resource.provider.startswith(f"{provider.urn}::") for resource in made)


def test_every_resource_is_named_after_the_environment_and_belongs_to_a_component(local: Deployment) -> None:
    components = {resource.urn for resource in local.resources if resource.is_component}
    for resource in local.resources:
        if resource.type.startswith("aws:"):
            assert resource.name.startswith("trainyard-local-")
            assert resource.parent in components


KEPT = {
    "aws:s3/bucket:Bucket",
    "aws:kms/key:Key",
    "aws:ecr/repository:Repository",
    "aws:fsx/lustreFileSystem:LustreFileSystem",
    "aws:backup/vault:Vault",
}


@pytest.mark.parametrize("protected", [True, False])
def test_data_and_keys_are_protected_where_the_environment_says_so(protected: bool) -> None:
    deployment = _deploy(protect_data=protected)
    kept = {resource.type for resource in deployment.resources if resource.protect and resource.retain_on_delete}
    assert kept == (KEPT if protected else set())


def test_no_name_outgrows_what_aws_takes() -> None:
    longest = _deploy(environment="a" * 16)
    random_suffix = 8
    limits = {
        "aws:s3/bucket:Bucket": 63,
        "aws:iam/role:Role": 64,
        "aws:cloudwatch/eventRule:EventRule": 64,
        "aws:sqs/queue:Queue": 80,
    }
    for resource in longest.resources:
        assert len(resource.name) + random_suffix <= limits.get(resource.type, 255), resource.name


def test_a_training_job_gets_its_warning_and_keeps_its_checkpoint(local: Deployment) -> None:
    """The whole way, over every policy that has a say in it."""
    tls = {"aws:SecureTransport": "true", "s3:TlsVersion": "1.3"}
    job = local.outputs["training_role_arns"]["vision"]
    mine = local.one("aws:iam/rolePolicy:RolePolicy", "trainyard-local-vision-training").inputs["policy"]
    messages_key = local.one("aws:kms/key:Key", "trainyard-local-messages-key")
    data_key = local.one("aws:kms/key:Key", "trainyard-local-data-key")
    queue_policy = local.one("aws:sqs/queuePolicy:QueuePolicy", "trainyard-local-interruptions").inputs["policy"]
    queue = local.outputs["interruption_queue_arn"]

    # EventBridge sends.
    rule = local.one("aws:cloudwatch/eventRule:EventRule", "trainyard-local-spot-interruption").outputs["arn"]
    sending = Request("sqs:SendMessage", queue, "events.amazonaws.com", {"aws:SourceArn": rule, **tls})
    encrypting = Request("kms:GenerateDataKey", "*", "events.amazonaws.com", {"aws:SourceAccount": ACCOUNT})
    assert allows(queue_policy, sending)
    assert allows(messages_key.inputs["policy"], encrypting)

    # The job receives.
    through_sqs = {"kms:ViaService": f"sqs.{REGION}.amazonaws.com", "kms:EncryptionContext:aws:sqs:arn": queue}
    assert allows(mine, Request("sqs:ReceiveMessage", queue))
    assert allows(mine, Request("kms:Decrypt", messages_key.outputs["arn"], context=through_sqs))
    assert allows(messages_key.inputs["policy"], Request("kms:Decrypt", "*", job, through_sqs))

    # It saves.
    bucket = f"arn:aws:s3:::{local.outputs['checkpoints_bucket']}"
    through_s3 = {"kms:ViaService": f"s3.{REGION}.amazonaws.com", "kms:EncryptionContext:aws:s3:arn": bucket}
    assert allows(mine, Request("s3:PutObject", f"{bucket}/runs/vision/first/step-10"))
    assert allows(mine, Request("kms:GenerateDataKey", data_key.outputs["arn"], context=through_s3))
    assert allows(data_key.inputs["policy"], Request("kms:GenerateDataKey", "*", job, through_s3))
    endpoint = local.one("aws:ec2/vpcEndpoint:VpcEndpoint", "trainyard-local-s3").inputs["policy"]
    within = {"aws:PrincipalAccount": ACCOUNT, "aws:ResourceAccount": ACCOUNT}
    assert allows(endpoint, Request("s3:PutObject", f"{bucket}/runs/vision/first/step-10", job, within))


def test_no_deprecated_resource_or_property_is_used(local: Deployment) -> None:
    # The first run has loaded the SDK's modules, some of which warn about themselves.
    with warnings.catch_warnings():
        warnings.simplefilter("error", DeprecationWarning)
        assert len(_deploy().resources) == len(local.resources)


def test_no_module_of_the_program_hides_one_of_the_standard_library() -> None:
    # Pulumi and its tools run Python with this folder first on the path.
    assert not {path.stem for path in (ROOT / "stacks").glob("*.py")} & sys.stdlib_module_names


def test_the_program_itself_runs_from_its_folder() -> None:
    config = {key: value if isinstance(value, str) else json.dumps(value) for key, value in LOCAL.items()}
    program = run(lambda: runpy.run_path(str(ROOT / "stacks"), run_name="__main__"), stack="local", config=config)
    assert program.outputs["environment"] == "local"


def test_a_file_system_over_efa_is_open_to_the_nodes_of_every_group_that_has_efa() -> None:
    lustre = {"storage_gib": 19200, "throughput_mbps_per_tib": 250, "efa": True, "zone": "us-east-1a"}
    deployment = _deploy(lustre=lustre)
    groups = deployment.of_type("aws:ec2/securityGroup:SecurityGroup")
    efa = {group.id for group in groups if "efa" in group.name}
    (file_system,) = (group.id for group in groups if group.name.endswith("-lustre"))
    assert len(efa) == 3
    for kind in ("Ingress", "Egress"):
        rules = deployment.of_type(f"aws:vpc/securityGroup{kind}Rule:SecurityGroup{kind}Rule")
        everything = {
            (rule.inputs["securityGroupId"], rule.inputs["referencedSecurityGroupId"])
            for rule in rules
            if rule.inputs["ipProtocol"] == "-1" and "referencedSecurityGroupId" in rule.inputs
        }
        assert {(file_system, group) for group in efa} | {(group, file_system) for group in efa} <= everything


@pytest.mark.parametrize(
    ("location", "says"), [("bucket", "s3://"), ("lustre", "/shared/runs/vision"), ("none", "/scratch/")]
)
def test_jobs_save_where_the_environment_says(location: str, says: str) -> None:
    on_demand = [{"name": "p4d", "instance_type": "p4d.24xlarge", "zones": ["us-east-1a"], "maximum_nodes": 4}]
    deployment = _deploy(
        checkpoints={"location": location}, gpu_groups=on_demand, teams=[{"name": "vision", "gpu_quota": 8}]
    )
    maps = [one.inputs for one in deployment.of_type("kubernetes:core/v1:ConfigMap")]
    places = {one["data"]["checkpoints"] for one in maps if one["metadata"]["namespace"] == "vision"}
    assert len(places) == 1
    assert places.pop().startswith(says)


def test_viewers_are_let_in_without_secrets(local: Deployment) -> None:
    (auditor,) = [
        one.inputs["policyArn"]
        for one in local.of_type("aws:eks/accessPolicyAssociation:AccessPolicyAssociation")
        if one.inputs["principalArn"].endswith("/auditor")
    ]
    assert auditor.endswith("/AmazonEKSViewPolicy")
    (entry,) = [
        one.inputs
        for one in local.of_type("aws:eks/accessEntry:AccessEntry")
        if one.inputs["principalArn"].endswith("/auditor")
    ]
    bindings = local.of_type("kubernetes:rbac.authorization.k8s.io/v1:ClusterRoleBinding")
    groups = {subject["name"] for one in bindings for subject in one.inputs["subjects"]}
    assert set(entry["kubernetesGroups"]) <= groups
