"""The `local` environment under the real engine, with the policy pack in it: what `trainyard local up` gives."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator

import boto3
import pytest
import yaml

from trainyard.local import supervisor, toolchain
from trainyard.local.engine import EngineError
from trainyard.local.paths import ROOT
from trainyard.local.rehearsal import Rehearsal, count_resources
from trainyard.policies.in_force import in_force
from trainyard.policies.mutations.trying import Outcome, try_all
from trainyard.policies.state import graph_of

_TRAINER = "trainyard-local/trainer"
INSTANCE = "i-0123456789abcdef0"


@pytest.fixture(scope="module")
def rehearsal(tmp_path_factory) -> Iterator[Rehearsal]:
    with Rehearsal("local", tmp_path_factory.mktemp("platform") / "rehearsal") as rehearsal:
        yield rehearsal


@pytest.fixture(scope="module")
def up(rehearsal):
    return rehearsal.up()


@pytest.fixture
def client(rehearsal, up):
    region = rehearsal.outputs()["region"]

    def make(service: str):
        return boto3.client(
            service,
            endpoint_url=rehearsal.endpoint,
            region_name=region,
            aws_access_key_id="testing",
            aws_secret_access_key="testing",
        )

    return make


def test_the_platform_comes_up_and_every_policy_holds(rehearsal, up):
    assert up.mandatory == []
    assert {"s3-tls-only", "residency-provider-region", "residency-resource-region", "tags-owner"} <= up.policies
    assert set(up.changes) == {"create"}
    assert len(rehearsal.export()["deployment"]["resources"]) == up.changes["create"]
    assert count_resources(rehearsal.export()) >= 120


def test_what_is_recorded_is_what_the_engine_prints(rehearsal, up):
    engine = rehearsal.engine()

    def printed(*words: str):
        command = [str(engine.pulumi), "stack", *words, "--stack", engine.stack]
        done = subprocess.run(command, cwd=engine.project, env=engine.environment(), capture_output=True, check=True)
        return json.loads(done.stdout)

    assert printed("export") == rehearsal.export()
    assert printed("output", "--json", "--show-secrets") == rehearsal.outputs()


def test_the_policies_catch_what_can_go_wrong(rehearsal, up):
    """Each safeguard is taken away in turn, as `trainyard policies mutate` does."""
    inputs, outputs = (graph_of(rehearsal.export(), side) for side in ("inputs", "outputs"))
    tried = list(try_all(in_force(), inputs, outputs))
    losses = [one for one in tried if one.outcome is not Outcome.HARMLESS]
    caught = [one for one in losses if one.outcome is Outcome.CAUGHT]
    missed = [
        f"{one.mutation.resource.name}: {one.mutation.what}" for one in losses if one.outcome is not Outcome.CAUGHT
    ]
    assert len(losses) > 1000
    assert len(caught) >= 0.95 * len(losses), "\n".join(missed)


def test_a_second_preview_changes_nothing(rehearsal, up):
    preview = rehearsal.preview()
    assert set(preview.changes) == {"same"}
    assert preview.mandatory == []


def _warning(instance: str, detail_type: str = "EC2 Spot Instance Interruption Warning") -> dict:
    detail = json.dumps({"instance-id": instance, "instance-action": "terminate"})
    return {"Source": "aws.ec2", "DetailType": detail_type, "Detail": detail}


def _received(sqs, queue: str) -> list[dict]:
    messages = sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10, WaitTimeSeconds=1).get("Messages", [])
    for message in messages:
        sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
    return [json.loads(message["Body"]) for message in messages]


def test_a_spot_warning_reaches_the_queue_and_other_events_do_not(rehearsal, client):
    queue = rehearsal.outputs()["interruption_queue_url"]
    client("events").put_events(Entries=[_warning(INSTANCE), _warning(INSTANCE, "EC2 Fleet Instance Change")])
    arrived = _received(client("sqs"), queue)
    assert [(one["detail-type"], one["detail"]["instance-id"]) for one in arrived] == [
        ("EC2 Spot Instance Interruption Warning", INSTANCE)
    ]


def test_without_its_key_the_queue_receives_nothing(rehearsal, client):
    """The emulation evaluates the key's policy: this test would pass an open door off as a working one otherwise."""
    outputs, kms = rehearsal.outputs(), client("kms")
    queue = outputs["interruption_queue_url"]
    attributes = client("sqs").get_queue_attributes(QueueUrl=queue, AttributeNames=["KmsMasterKeyId"])["Attributes"]
    key = attributes["KmsMasterKeyId"]
    before = kms.get_key_policy(KeyId=key, PolicyName="default")["Policy"]
    closed = json.loads(before)
    closed["Statement"] = [one for one in closed["Statement"] if "events.amazonaws.com" not in json.dumps(one)]
    kms.put_key_policy(KeyId=key, PolicyName="default", Policy=json.dumps(closed))
    try:
        client("events").put_events(Entries=[_warning(INSTANCE)])
        assert _received(client("sqs"), queue) == []
    finally:
        kms.put_key_policy(KeyId=key, PolicyName="default", Policy=before)
    client("events").put_events(Entries=[_warning(INSTANCE)])
    assert len(_received(client("sqs"), queue)) == 1


def test_the_platforms_bucket_takes_data_and_encrypts_it_with_its_key(rehearsal, client):
    outputs, s3 = rehearsal.outputs(), client("s3")
    s3.put_object(Bucket=outputs["datasets_bucket"], Key="probe", Body=b"text")
    head = s3.head_object(Bucket=outputs["datasets_bucket"], Key="probe")
    assert head["ServerSideEncryption"] == "aws:kms"
    assert head["SSEKMSKeyId"] == outputs["data_key_arn"]


def test_a_region_that_is_not_allowed_stops_the_update(tmp_path):
    text = (ROOT / "stacks/environments/Pulumi.local.yaml").read_text()
    elsewhere = tmp_path / "Pulumi.local.yaml"
    elsewhere.write_text(text.replace("us-east-1", "eu-west-1"))
    with Rehearsal("local", tmp_path / "rehearsal", config=elsewhere, kubernetes=False) as rehearsal:
        with pytest.raises(EngineError, match="residency-provider-region") as failed:
            rehearsal.up()
        stopped_by = {one["policy"] for one in failed.value.result.mandatory}
        assert "residency-provider-region" in stopped_by
        assert count_resources(rehearsal.export()) == 0


def test_credentials_that_lead_to_another_account_stop_the_update(tmp_path):
    """The settings name one account, and somebody is logged in to another."""
    with Rehearsal("dev", tmp_path / "rehearsal", kubernetes=False, account="210987654321") as rehearsal:
        with pytest.raises(EngineError) as failed:
            rehearsal.up()
        said = str(failed.value)
        assert "AWS account ID not allowed: 210987654321" in said
        assert "account_id" in said
        assert "Traceback" not in said
        assert count_resources(rehearsal.export()) == 0
        keys = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing"}
        assert boto3.client("kms", "us-east-1", endpoint_url=rehearsal.endpoint, **keys).list_keys()["Keys"] == []


def test_wrong_settings_are_named_together_before_anything_is_made(tmp_path):
    config = yaml.safe_load((ROOT / "stacks/environments/Pulumi.local.yaml").read_text())
    config["config"] |= {
        "trainyard:region": "mars-north-1",
        "trainyard:data_class": "secret",
        "trainyard:speed": "high",
    }
    wrong = tmp_path / "Pulumi.local.yaml"
    wrong.write_text(yaml.safe_dump(config))
    with Rehearsal("local", tmp_path / "rehearsal", config=wrong, kubernetes=False) as rehearsal:
        with pytest.raises(EngineError) as failed:
            rehearsal.up()
        said = str(failed.value)
        assert all(name in said for name in ("mars-north-1", "secret", "speed"))
        assert "Traceback" not in said
        assert count_resources(rehearsal.export()) == 0


def test_the_cluster_is_the_rehearsed_one(rehearsal, client):
    """What the emulated EKS says is where the API server answers, so the program's own kubeconfig reaches it."""
    cluster = client("eks").describe_cluster(name=rehearsal.outputs()["cluster_name"])["cluster"]
    running = supervisor.running(rehearsal.directory)
    assert running is not None
    assert cluster["endpoint"] == running.kubernetes
    assert json.loads(rehearsal.outputs()["kubeconfig"])["clusters"][0]["cluster"]["server"] == running.kubernetes
    assert set(rehearsal.outputs()["team_namespaces"]) <= set(_namespaces(rehearsal))


def _namespaces(rehearsal) -> list[str]:
    kubectl = toolchain.find("kubernetes", binary="kubectl")
    listed = subprocess.run(
        [kubectl, "get", "namespaces", "-o", "name"],
        env={**os.environ, **rehearsal.kubernetes_environment()},
        capture_output=True,
        text=True,
        check=True,
    )
    return [line.removeprefix("namespace/") for line in listed.stdout.split()]


def test_destroy_leaves_nothing_but_keys_pending_deletion(rehearsal, client):
    outputs = rehearsal.outputs()
    client("s3").put_object(Bucket=outputs["checkpoints_bucket"], Key="runs/left", Body=b"behind")
    image = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "layers": []}
    client("ecr").put_image(repositoryName=_TRAINER, imageManifest=json.dumps(image), imageTag="left")
    rehearsal.destroy()
    ec2 = client("ec2")
    left = {
        "buckets": client("s3").list_buckets()["Buckets"],
        "queues": client("sqs").list_queues().get("QueueUrls", []),
        "topics": client("sns").list_topics()["Topics"],
        "VPCs": ec2.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["false"]}])["Vpcs"],
        # EC2 tells of a deleted endpoint for a while.
        "endpoints": [one for one in ec2.describe_vpc_endpoints()["VpcEndpoints"] if one["State"] != "deleted"],
        "interfaces": ec2.describe_network_interfaces()["NetworkInterfaces"],
        "flow logs": ec2.describe_flow_logs()["FlowLogs"],
        "launch templates": ec2.describe_launch_templates()["LaunchTemplates"],
        "placement groups": ec2.describe_placement_groups()["PlacementGroups"],
        "scaling groups": client("autoscaling").describe_auto_scaling_groups()["AutoScalingGroups"],
        "clusters": client("eks").list_clusters()["clusters"],
        "file systems": client("fsx").describe_file_systems()["FileSystems"],
        "repositories": client("ecr").describe_repositories()["repositories"],
        "projects": client("codebuild").list_projects()["projects"],
        "vaults": client("backup").list_backup_vaults()["BackupVaultList"],
        "alarms": client("cloudwatch").describe_alarms()["MetricAlarms"],
        "roles": client("iam").list_roles()["Roles"],
        "rules": client("events").list_rules()["Rules"],
        "log groups": client("logs").describe_log_groups()["logGroups"],
    }
    assert {what: found for what, found in left.items() if found} == {}
    kms = client("kms")
    states = [kms.describe_key(KeyId=one["KeyId"])["KeyMetadata"]["KeyState"] for one in kms.list_keys()["Keys"]]
    assert states == ["PendingDeletion"] * 5
    assert [one for one in kms.list_aliases()["Aliases"] if not one["AliasName"].startswith("alias/aws/")] == []
    own = {"default", "kube-system", "kube-public", "kube-node-lease"}
    assert set(_namespaces(rehearsal)) == own
