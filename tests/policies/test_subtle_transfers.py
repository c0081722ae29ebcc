"""Ten ways in which a change takes data abroad without looking like it, each stopped with a message that says where."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from trainyard.policies.cases import stack
from trainyard.policies.graph import Graph
from trainyard.policies.registry import rules_in
from trainyard.policies.rule import Finding, Verdict, evaluate
from trainyard.policies.rules import regions, transfer_identities, transfer_keys, transfer_pods, transfers

RULES = rules_in(regions, transfers, transfer_keys, transfer_identities, transfer_pods)
HOME, ABROAD = "me-central-1", "eu-central-1"
ACCOUNT = "123456789012"

Described = dict[str, Any]


def aws(kind: str, name: str, /, **props: Any) -> Described:
    return {"type": f"aws:{kind}", "name": name, "provider": "aws", "props": props}


def bucket(name: str, /, **props: Any) -> Described:
    return aws("s3/bucket:Bucket", name, bucket=name, arn=f"arn:aws:s3:::{name}", **props)


PLATFORM: list[Described] = [
    {
        "type": "pulumi:providers:aws",
        "name": "aws",
        "props": {"region": HOME, "defaultTags": json.dumps({"tags": {"data-class": "personal"}})},
    },
    bucket("datasets"),
    bucket("logs"),
    aws("kms/key:Key", "key", arn=f"arn:aws:kms:{HOME}:{ACCOUNT}:key/1", multiRegion=False),
    aws("fsx/lustreFileSystem:LustreFileSystem", "lustre", id="fs-1"),
    aws("s3/bucketLogging:BucketLogging", "logging", bucket="datasets", targetBucket="logs"),
    aws("backup/plan:Plan", "plan", id="plan-1", rules=[{"ruleName": "daily", "targetVaultName": "vault"}]),
    aws("ec2/vpc:Vpc", "vpc", id="vpc-1"),
    aws("ecr/repository:Repository", "images", name="images"),
]
"""A platform for personal data of the United Arab Emirates that has nothing wrong with it."""


def pod(image: str) -> Described:
    spec = {"containers": [{"name": "trainer", "image": image}]}
    return {"type": "kubernetes:core/v1:Pod", "name": "trainer", "props": {"spec": spec}}


def policy(**statement: Any) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Resource": "*", **statement}]})


CHANGES: Mapping[str, tuple[list[Described], str, str]] = {
    "replica bucket": (
        [
            bucket("copy", region=ABROAD, tags={"data-class": "public"}),
            aws(
                "s3/bucketReplicationConfig:BucketReplicationConfig",
                "replication",
                bucket="datasets",
                rules=[{"status": "Enabled", "destination": {"bucket": "arn:aws:s3:::copy"}}],
            ),
        ],
        "transfer-replica",
        "the replica of datasets takes personal data to eu-central-1",
    ),
    "multi-Region key": (
        [aws("kms/key:Key", "second", multiRegion=True)],
        "transfer-multi-region-key",
        "this multi-Region key of personal data can be replicated to any region",
    ),
    "AMI copy": (
        [aws("ec2/amiCopy:AmiCopy", "nodes", sourceAmiId="ami-1", sourceAmiRegion=HOME, region=ABROAD)],
        "transfer-image",
        "the copy of a machine image takes personal data to eu-central-1",
    ),
    "log destination": (
        [
            aws("cloudwatch/logGroup:LogGroup", "runs", name="/runs"),
            aws(
                "cloudwatch/logSubscriptionFilter:LogSubscriptionFilter",
                "central",
                logGroup="/runs",
                destinationArn=f"arn:aws:logs:{ABROAD}:{ACCOUNT}:destination:central",
            ),
        ],
        "transfer-log",
        "the log subscription of runs takes personal data to eu-central-1",
    ),
    "peering": (
        [
            aws(
                "ec2/vpcPeeringConnection:VpcPeeringConnection",
                "peering",
                vpcId="vpc-1",
                peerVpcId="vpc-2",
                peerRegion=ABROAD,
            )
        ],
        "transfer-network",
        "the peering of vpc takes personal data to eu-central-1",
    ),
    "registry": (
        [pod(f"{ACCOUNT}.dkr.ecr.{ABROAD}.amazonaws.com/images:1")],
        "transfer-image-source",
        "comes from eu-central-1",
    ),
    "per-resource region": (
        [bucket("scratch", region=ABROAD)],
        "transfer-own-place",
        "personal data lie in eu-central-1",
    ),
    "FSx repository bucket": (
        [
            bucket("runs", region=ABROAD, tags={"data-class": "public"}),
            aws(
                "fsx/dataRepositoryAssociation:DataRepositoryAssociation",
                "association",
                fileSystemId="fs-1",
                dataRepositoryPath="s3://runs/a",
            ),
        ],
        "transfer-repository",
        "the data repository of lustre takes personal data to eu-central-1",
    ),
    "backup copy": (
        [
            aws(
                "backup/plan:Plan",
                "second-plan",
                rules=[
                    {"copyActions": [{"destinationVaultArn": f"arn:aws:backup:{ABROAD}:{ACCOUNT}:backup-vault:second"}]}
                ],
            )
        ],
        "transfer-backup",
        "the backup copy takes personal data to eu-central-1",
    ),
    "wide IAM condition": (
        [
            aws(
                "iam/policy:Policy",
                "copies",
                policy=policy(
                    Action="ec2:CopySnapshot",
                    Condition={"StringEquals": {"aws:RequestedRegion": [HOME, ABROAD]}},
                ),
            )
        ],
        "transfer-identity-regions",
        "allows ec2:CopySnapshot in eu-central-1",
    ),
}


def findings(described: list[Described]) -> list[tuple[str, Finding]]:
    graph = Graph(stack(described, "prod-uae"))
    return [(result.rule.id, finding) for result in evaluate(RULES, graph) for finding in result.findings]


def test_platform_itself_is_fine() -> None:
    assert findings(PLATFORM) == []


@pytest.mark.parametrize("name", CHANGES)
def test_change_is_stopped(name: str) -> None:
    added, rule_id, message = CHANGES[name]

    found = [finding for one, finding in findings([*PLATFORM, *added]) if one == rule_id]

    assert [finding.verdict for finding in found] == [Verdict.VIOLATION]
    assert message in found[0].message


@pytest.mark.parametrize("name", sorted(set(CHANGES) - {"multi-Region key", "wide IAM condition", "registry"}))
def test_message_says_which_law_and_what_may_be_done(name: str) -> None:
    added, rule_id, _ = CHANGES[name]

    (found,) = (finding for one, finding in findings([*PLATFORM, *added]) if one == rule_id)

    assert "Federal Decree-Law No. 45 of 2021 (PDPL), art. 22, art. 23" in found.message
    assert "`transfers` in policies/jurisdictions.yaml" in found.message


def test_no_finding_is_a_failure_of_the_rule_itself() -> None:
    everything = [*PLATFORM, *(one for added, _, _ in CHANGES.values() for one in added)]

    assert not [finding for _, finding in findings(everything) if finding.crashed]
