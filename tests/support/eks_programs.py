"""What the tests of EKS start from: a network, keys and roles, and the least that a cluster and its nodes need."""

from __future__ import annotations

import json
from typing import Any

from aws_lifecycle import Step
from aws_program import Resource

Made = dict[str, Resource]


def trust(service: str, *actions: str) -> dict[str, Any]:
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": service},
        "Action": list(actions) or ["sts:AssumeRole"],
    }
    return {"assumeRolePolicy": json.dumps({"Version": "2012-10-17", "Statement": [statement]})}


def cluster(r: Made, **more: Any) -> dict[str, Any]:
    return {
        "roleArn": r["role"]["arn"],
        "version": "1.34",
        "vpcConfig": {
            "subnetIds": [r["subnet-a"].id, r["subnet-b"].id],
            "endpointPrivateAccess": True,
            "endpointPublicAccess": True,
            "publicAccessCidrs": ["203.0.113.0/24"],
        },
        "accessConfig": {"authenticationMode": "API", "bootstrapClusterCreatorAdminPermissions": True},
        "encryptionConfig": {"provider": {"keyArn": r["key"]["arn"]}, "resources": ["secrets"]},
        **more,
    }


def nodes(r: Made, **more: Any) -> dict[str, Any]:
    return {
        "clusterName": r["cluster"]["name"],
        "nodeRoleArn": r["node-role"]["arn"],
        "subnetIds": [r["subnet-a"].id],
        "scalingConfig": {"minSize": 0, "maxSize": 4, "desiredSize": 0},
        **more,
    }


BASE = {
    "vpc": Step("aws:ec2/vpc:Vpc", lambda _: {"cidrBlock": "10.0.0.0/16"}),
    "subnet-a": Step(
        "aws:ec2/subnet:Subnet",
        lambda r: {"vpcId": r["vpc"].id, "cidrBlock": "10.0.0.0/24", "availabilityZone": "us-east-1a"},
    ),
    "subnet-b": Step(
        "aws:ec2/subnet:Subnet",
        lambda r: {"vpcId": r["vpc"].id, "cidrBlock": "10.0.1.0/24", "availabilityZone": "us-east-1b"},
    ),
    "key": Step("aws:kms/key:Key", lambda _: {"deletionWindowInDays": 7}),
    "role": Step("aws:iam/role:Role", lambda _: trust("eks.amazonaws.com")),
    "node-role": Step("aws:iam/role:Role", lambda _: trust("ec2.amazonaws.com")),
    "pod-role": Step(
        "aws:iam/role:Role", lambda _: trust("pods.eks.amazonaws.com", "sts:AssumeRole", "sts:TagSession")
    ),
}
