"""Every type's whole life in the emulated account: made, unchanged, read back, imported, changed, deleted.

One program makes all resources that the rows know, so each is tried with real neighbours.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from aws_program import DEFAULT_TAGS, Program, Resource

from trainyard.local.aws.compare import DEFAULTS_KEY
from trainyard.local.aws.provider import Configuration, Provider
from trainyard.local.aws.rows import rows

ACCOUNT = "arn:aws:iam::123456789012:root"
Inputs = dict[str, Any]
Recipe = Callable[[dict[str, Resource]], Inputs]


def policy(*statements: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def allow(service: str, action: Any, resource: Any = "*") -> dict[str, Any]:
    return {"Effect": "Allow", "Principal": {"Service": service}, "Action": action, "Resource": resource}


def without(properties: dict[str, Any], names: set[str]) -> dict[str, Any]:
    return {name: value for name, value in properties.items() if name not in names}


TRUST = policy({"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"})
KEY_POLICY = policy(
    {"Effect": "Allow", "Principal": {"AWS": ACCOUNT}, "Action": "kms:*", "Resource": "*"},
    allow("logs.us-east-1.amazonaws.com", ["kms:Encrypt", "kms:Decrypt", "kms:GenerateDataKey"]),
)
READ_ONLY = policy({"Effect": "Allow", "Action": ["s3:GetObject"], "Resource": "*"})
READ_WRITE = policy({"Effect": "Allow", "Action": ["s3:GetObject", "s3:PutObject"], "Resource": "*"})

# name -> (type, inputs, inputs of a later program that changes the resource in place)
STEPS: dict[str, tuple[str, Recipe, Recipe | None]] = {
    "key": (
        "aws:kms/key:Key",
        lambda _: {"description": "d", "enableKeyRotation": True, "policy": KEY_POLICY, "tags": {"a": "b"}},
        lambda _: {"description": "e", "isEnabled": False, "policy": KEY_POLICY, "tags": {"c": "d"}},
    ),
    "rotating-key": (
        "aws:kms/key:Key",
        lambda _: {"enableKeyRotation": True, "rotationPeriodInDays": 120, "deletionWindowInDays": 7},
        lambda _: {"enableKeyRotation": True, "rotationPeriodInDays": 200, "deletionWindowInDays": 8},
    ),
    "alias": (
        "aws:kms/alias:Alias",
        lambda r: {"targetKeyId": r["rotating-key"]["keyId"]},
        lambda r: {"targetKeyId": r["key"]["arn"]},
    ),
    "data": (
        "aws:s3/bucket:Bucket",
        lambda _: {"forceDestroy": True, "tags": {"owner": "x"}},
        lambda _: {"forceDestroy": True},
    ),
    "locked": ("aws:s3/bucket:Bucket", lambda _: {"bucketPrefix": "locked-", "objectLockEnabled": True}, None),
    "object-lock": (
        "aws:s3/bucketObjectLockConfiguration:BucketObjectLockConfiguration",
        lambda r: {
            "bucket": r["locked"].id,
            "rule": {"defaultRetention": {"mode": "GOVERNANCE", "days": 30}},
        },
        lambda r: {
            "bucket": r["locked"].id,
            "rule": {"defaultRetention": {"mode": "COMPLIANCE", "years": 1}},
        },
    ),
    "logs": (
        "aws:s3/bucket:Bucket",
        lambda _: {"forceDestroy": True},
        lambda _: {"forceDestroy": True, "tags": {"a": "b"}},
    ),
    "versioning": (
        "aws:s3/bucketVersioning:BucketVersioning",
        lambda r: {"bucket": r["data"].id, "versioningConfiguration": {"status": "Enabled"}},
        lambda r: {"bucket": r["data"].id, "versioningConfiguration": {"status": "Suspended"}},
    ),
    "public-access": (
        "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock",
        lambda r: {"bucket": r["data"].id, "blockPublicAcls": True, "blockPublicPolicy": True},
        lambda r: {"bucket": r["data"].id, "blockPublicAcls": True, "restrictPublicBuckets": True},
    ),
    "ownership": (
        "aws:s3/bucketOwnershipControls:BucketOwnershipControls",
        lambda r: {"bucket": r["data"].id, "rule": {"objectOwnership": "BucketOwnerEnforced"}},
        lambda r: {"bucket": r["data"].id, "rule": {"objectOwnership": "BucketOwnerPreferred"}},
    ),
    "encryption": (
        "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration",
        lambda r: {
            "bucket": r["data"].id,
            "rules": [
                {
                    "applyServerSideEncryptionByDefault": {
                        "sseAlgorithm": "aws:kms",
                        "kmsMasterKeyId": r["key"]["arn"],
                    },
                    "bucketKeyEnabled": True,
                }
            ],
        },
        lambda r: {
            "bucket": r["data"].id,
            "rules": [{"applyServerSideEncryptionByDefault": {"sseAlgorithm": "AES256"}}],
        },
    ),
    "bucket-policy": (
        "aws:s3/bucketPolicy:BucketPolicy",
        lambda r: {
            "bucket": r["logs"].id,
            "policy": policy(allow("logging.s3.amazonaws.com", "s3:PutObject", f"{r['logs']['arn']}/*")),
        },
        lambda r: {
            "bucket": r["logs"].id,
            "policy": policy(allow("logging.s3.amazonaws.com", "s3:Put*", [f"{r['logs']['arn']}/*"])),
        },
    ),
    "logging": (
        "aws:s3/bucketLogging:BucketLogging",
        lambda r: {"bucket": r["data"].id, "targetBucket": r["logs"].id, "targetPrefix": "a/"},
        lambda r: {"bucket": r["data"].id, "targetBucket": r["logs"].id, "targetPrefix": "b/"},
    ),
    "lifecycle": (
        "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration",
        lambda r: {
            "bucket": r["data"].id,
            "rules": [
                {
                    "id": "old",
                    "status": "Enabled",
                    "filter": {"prefix": "x/"},
                    "expiration": {"days": 3},
                    "noncurrentVersionExpiration": {"noncurrentDays": 4},
                    "abortIncompleteMultipartUpload": {"daysAfterInitiation": 2},
                },
                {"id": "all", "status": "Enabled", "transitions": [{"days": 30, "storageClass": "STANDARD_IA"}]},
            ],
        },
        lambda r: {
            "bucket": r["data"].id,
            "rules": [{"id": "old", "status": "Disabled", "filter": {"prefix": "y/"}, "expiration": {"days": 3}}],
        },
    ),
    "notification": (
        "aws:s3/bucketNotification:BucketNotification",
        lambda r: {"bucket": r["data"].id, "eventbridge": True},
        lambda r: {"bucket": r["data"].id},
    ),
    "vpc": (
        "aws:ec2/vpc:Vpc",
        lambda _: {"cidrBlock": "10.0.0.0/16", "enableDnsHostnames": True, "tags": {"Name": "v"}},
        lambda _: {
            "cidrBlock": "10.0.0.0/16",
            "enableDnsHostnames": False,
            "enableDnsSupport": False,
            "tags": {"Name": "w"},
        },
    ),
    "subnet": (
        "aws:ec2/subnet:Subnet",
        lambda r: {"vpcId": r["vpc"].id, "cidrBlock": "10.0.0.0/24", "availabilityZone": "us-east-1a"},
        lambda r: {
            "vpcId": r["vpc"].id,
            "cidrBlock": "10.0.0.0/24",
            "availabilityZone": "us-east-1a",
            "mapPublicIpOnLaunch": True,
            "tags": {"tier": "private"},
        },
    ),
    "table": (
        "aws:ec2/routeTable:RouteTable",
        lambda r: {"vpcId": r["vpc"].id},
        lambda r: {"vpcId": r["vpc"].id, "tags": {"tier": "private"}},
    ),
    "other-table": ("aws:ec2/routeTable:RouteTable", lambda r: {"vpcId": r["vpc"].id}, None),
    "association": (
        "aws:ec2/routeTableAssociation:RouteTableAssociation",
        lambda r: {"subnetId": r["subnet"].id, "routeTableId": r["table"].id},
        lambda r: {"subnetId": r["subnet"].id, "routeTableId": r["other-table"].id},
    ),
    "endpoint": (
        "aws:ec2/vpcEndpoint:VpcEndpoint",
        lambda r: {
            "vpcId": r["vpc"].id,
            "serviceName": "com.amazonaws.us-east-1.s3",
            "routeTableIds": [r["table"].id],
            "policy": policy({"Effect": "Allow", "Principal": "*", "Action": "s3:*", "Resource": "*"}),
        },
        lambda r: {
            "vpcId": r["vpc"].id,
            "serviceName": "com.amazonaws.us-east-1.s3",
            "routeTableIds": [r["other-table"].id, r["table"].id],
            "policy": policy({"Effect": "Allow", "Principal": "*", "Action": "s3:Get*", "Resource": "*"}),
        },
    ),
    "default-group": ("aws:ec2/defaultSecurityGroup:DefaultSecurityGroup", lambda r: {"vpcId": r["vpc"].id}, None),
    "group": (
        "aws:ec2/securityGroup:SecurityGroup",
        lambda r: {
            "vpcId": r["vpc"].id,
            "ingress": [
                {
                    "protocol": "tcp",
                    "fromPort": 443,
                    "toPort": 443,
                    "cidrBlocks": ["10.0.0.0/16"],
                    "description": "web",
                },
                {"protocol": "-1", "fromPort": 0, "toPort": 0, "self": True},
            ],
            "egress": [{"protocol": "-1", "fromPort": 0, "toPort": 0, "cidrBlocks": ["0.0.0.0/0"]}],
        },
        lambda r: {
            "vpcId": r["vpc"].id,
            "ingress": [
                {"protocol": "tcp", "fromPort": 443, "toPort": 443, "cidrBlocks": ["10.0.0.0/16", "10.1.0.0/16"]}
            ],
            "egress": [],
        },
    ),
    "bare-group": ("aws:ec2/securityGroup:SecurityGroup", lambda r: {"vpcId": r["vpc"].id, "name": "bare"}, None),
    "ingress": (
        "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule",
        lambda r: {
            "securityGroupId": r["bare-group"].id,
            "ipProtocol": "tcp",
            "fromPort": 22,
            "toPort": 22,
            "cidrIpv4": "10.0.0.0/8",
            "description": "d",
        },
        lambda r: {
            "securityGroupId": r["bare-group"].id,
            "ipProtocol": "tcp",
            "fromPort": 22,
            "toPort": 23,
            "cidrIpv4": "10.0.0.0/8",
            "description": "e",
        },
    ),
    "egress": (
        "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule",
        lambda r: {
            "securityGroupId": r["bare-group"].id,
            "ipProtocol": "-1",
            "referencedSecurityGroupId": r["bare-group"].id,
        },
        None,
    ),
    "log-group": (
        "aws:cloudwatch/logGroup:LogGroup",
        lambda r: {"retentionInDays": 7, "kmsKeyId": r["key"]["arn"]},
        lambda _: {"tags": {"a": "b"}},
    ),
    "named-log-group": ("aws:cloudwatch/logGroup:LogGroup", lambda _: {"name": "/a/b"}, None),
    "role": (
        "aws:iam/role:Role",
        lambda _: {"assumeRolePolicy": TRUST, "description": "d", "path": "/p/", "maxSessionDuration": 7200},
        lambda _: {"assumeRolePolicy": TRUST.replace("ec2", "eks"), "path": "/p/", "tags": {"a": "b"}},
    ),
    "role-policy": (
        "aws:iam/rolePolicy:RolePolicy",
        lambda r: {"role": r["role"]["name"], "policy": READ_ONLY},
        lambda r: {"role": r["role"]["name"], "policy": READ_WRITE},
    ),
    "policy": (
        "aws:iam/policy:Policy",
        lambda _: {"policy": READ_ONLY, "description": "d"},
        lambda _: {"policy": READ_WRITE, "description": "d", "tags": {"a": "b"}},
    ),
    "attachment": (
        "aws:iam/rolePolicyAttachment:RolePolicyAttachment",
        lambda r: {"role": r["role"]["name"], "policyArn": r["policy"]["arn"]},
        None,
    ),
    "profile": (
        "aws:iam/instanceProfile:InstanceProfile",
        lambda r: {"role": r["role"]["name"]},
        lambda _: {"tags": {"a": "b"}},
    ),
    "flow-log": (
        "aws:ec2/flowLog:FlowLog",
        lambda r: {
            "vpcId": r["vpc"].id,
            "trafficType": "ALL",
            "logDestination": r["log-group"]["arn"],
            "iamRoleArn": r["role"]["arn"],
            "maxAggregationInterval": 60,
        },
        lambda r: {
            "vpcId": r["vpc"].id,
            "trafficType": "ALL",
            "logDestination": r["log-group"]["arn"],
            "iamRoleArn": r["role"]["arn"],
            "maxAggregationInterval": 60,
            "tags": {"a": "b"},
        },
    ),
    "flow-log-to-s3": (
        "aws:ec2/flowLog:FlowLog",
        lambda r: {
            "subnetId": r["subnet"].id,
            "trafficType": "REJECT",
            "logDestinationType": "s3",
            "logDestination": r["data"]["arn"],
            "destinationOptions": {"fileFormat": "parquet", "hiveCompatiblePartitions": True, "perHourPartition": True},
        },
        None,
    ),
    "dead-letters": (
        "aws:sqs/queue:Queue",
        lambda _: {"sqsManagedSseEnabled": True},
        lambda _: {"messageRetentionSeconds": 1209600, "sqsManagedSseEnabled": True},
    ),
    "queue": (
        "aws:sqs/queue:Queue",
        lambda r: {
            "kmsMasterKeyId": r["key"]["arn"],
            "visibilityTimeoutSeconds": 60,
            "redrivePolicy": json.dumps({"deadLetterTargetArn": r["dead-letters"]["arn"], "maxReceiveCount": 5}),
        },
        lambda r: {
            "visibilityTimeoutSeconds": 90,
            "redrivePolicy": json.dumps({"deadLetterTargetArn": r["dead-letters"]["arn"], "maxReceiveCount": 6}),
            "tags": {"a": "b"},
        },
    ),
    "fifo": ("aws:sqs/queue:Queue", lambda _: {"fifoQueue": True, "contentBasedDeduplication": True}, None),
    "queue-policy": (
        "aws:sqs/queuePolicy:QueuePolicy",
        lambda r: {
            "queueUrl": r["queue"]["url"],
            "policy": policy(allow("events.amazonaws.com", "sqs:SendMessage", r["queue"]["arn"])),
        },
        lambda r: {
            "queueUrl": r["queue"]["url"],
            "policy": policy(allow("events.amazonaws.com", "sqs:*", r["queue"]["arn"])),
        },
    ),
    "redrive-allow": (
        "aws:sqs/redriveAllowPolicy:RedriveAllowPolicy",
        lambda r: {
            "queueUrl": r["dead-letters"]["url"],
            "redriveAllowPolicy": json.dumps({"redrivePermission": "byQueue", "sourceQueueArns": [r["queue"]["arn"]]}),
        },
        lambda r: {
            "queueUrl": r["dead-letters"]["url"],
            "redriveAllowPolicy": json.dumps({"redrivePermission": "allowAll"}),
        },
    ),
    "redrive": (
        "aws:sqs/redrivePolicy:RedrivePolicy",
        lambda r: {
            "queueUrl": r["dead-letters"]["url"],
            "redrivePolicy": json.dumps({"deadLetterTargetArn": r["queue"]["arn"], "maxReceiveCount": 5}),
        },
        None,
    ),
    "rule": (
        "aws:cloudwatch/eventRule:EventRule",
        lambda _: {"eventPattern": json.dumps({"source": ["aws.ec2"]}), "description": "d", "tags": {"a": "b"}},
        lambda _: {"eventPattern": json.dumps({"source": ["aws.ec2", "aws.health"]}), "state": "DISABLED"},
    ),
    "target": (
        "aws:cloudwatch/eventTarget:EventTarget",
        lambda r: {
            "rule": r["rule"]["name"],
            "arn": r["queue"]["arn"],
            "deadLetterConfig": {"arn": r["dead-letters"]["arn"]},
            "retryPolicy": {"maximumEventAgeInSeconds": 60, "maximumRetryAttempts": 2},
        },
        lambda r: {"rule": r["rule"]["name"], "arn": r["queue"]["arn"], "inputPath": "$.detail"},
    ),
}
IMPORT_IDS: dict[str, Callable[[Resource], str]] = {
    "aws:cloudwatch/eventTarget:EventTarget": lambda resource: f"{resource['rule']}/{resource['targetId']}",
}


@pytest.fixture(scope="module")
def stack(account) -> Iterator[Program]:
    """All of STEPS, made once; destroyed at the end, which has to work as well."""
    program = Program(Provider(Configuration("us-east-1", DEFAULT_TAGS), account))
    for name, (token, first, _) in STEPS.items():
        program.up(token, name, **first(program.resources))
    yield program
    program.destroy_all()


def test_every_row_is_tried():
    """Here or, by service, in `lifecycles/`."""
    others = "".join(path.read_text() for path in (Path(__file__).parent / "lifecycles").glob("test_*.py"))
    tried = {token for token, _, _ in STEPS.values()} | {token for token in rows() if f'"{token}"' in others}
    assert tried == set(rows())


@pytest.mark.parametrize("name", STEPS)
def test_the_same_program_again_changes_nothing(stack: Program, name: str):
    token, first, _ = STEPS[name]
    assert stack.preview(token, name, **first(stack.resources)) == []


@pytest.mark.parametrize("name", STEPS)
def test_refresh_finds_what_was_made(stack: Program, name: str):
    before = stack.resources[name]
    inputs, outputs = dict(before.inputs), dict(before.outputs)
    after = stack.refresh(name)
    assert after is not None
    assert after.inputs == inputs
    by_others = {"attachmentCount", "policy", "redrivePolicy", "redriveAllowPolicy", "ingress", "egress"} - set(inputs)
    assert without(after.outputs, by_others) == without(outputs, by_others)


@pytest.mark.parametrize("name", STEPS)
def test_an_import_by_id_matches_the_program(stack: Program, name: str):
    token, first, _ = STEPS[name]
    made = stack.resources[name]
    resource_id = IMPORT_IDS.get(token, lambda resource: resource.id)(made)
    found = stack.provider.read(token, resource_id, {}, {})
    assert found is not None
    imported_id, inputs, outputs = found
    assert imported_id == made.id
    program = first(stack.resources)
    for generated in set(made.inputs[DEFAULTS_KEY]) & {"name", "bucket", "targetId"}:
        program[generated] = made.inputs[generated]
    program.pop("namePrefix", None)
    if program.pop("bucketPrefix", None):
        program["bucket"] = made["bucket"]
    checked, problems = stack.provider.check(token, name, program, inputs)
    assert not problems
    assert stack.provider.diff(token, inputs, outputs, checked).changes == {}


@pytest.mark.parametrize("name", [name for name, (_, _, later) in STEPS.items() if later])
def test_a_change_in_place_arrives_and_goes_back(stack: Program, name: str):
    token, first, later = STEPS[name]
    assert later is not None
    before = stack.resources[name].id
    for recipe in (later, first):
        stack.log.clear()
        inputs = recipe(stack.resources)
        stack.up(token, name, **inputs)
        assert stack.log == [f"update {name}"]
        assert stack.preview(token, name, **inputs) == []
        refreshed = stack.refresh(name)
        assert refreshed is not None
        assert stack.preview(token, name, **inputs) == []
    assert stack.resources[name].id == before or token.startswith("aws:ec2/routeTableAssociation")
