"""What an environment takes as given in its account, put into a throw-away one before the gate.

In AWS these are there already, and the program looks them up: the roles of IAM Identity Center's permission sets, and a
VPC that the environment is to use.
"""

from __future__ import annotations

import copy
import hashlib
import ipaddress
import json
from collections.abc import Mapping
from typing import Any

import boto3

from trainyard.local.engine import emulated_aws_environment

SSO_PATH = "/aws-reserved/sso.amazonaws.com/"


def provide(endpoint: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Make in the account at `endpoint` what the configuration `values` names, and return the configuration to use.

    It differs from `values` where a made thing has another id than the real one: a network's.
    """
    region = values["trainyard:region"]
    identity = emulated_aws_environment(endpoint)

    def client(service: str) -> Any:
        return boto3.client(
            service,
            region,
            endpoint_url=endpoint,
            aws_access_key_id=identity["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=identity["AWS_SECRET_ACCESS_KEY"],
        )

    access = values.get("trainyard:access") or {}
    named = {*access.get("administrators", ()), *access.get("viewers", ())}
    for team in values.get("trainyard:teams") or ():
        named.update(team.get("people", ()))
    for permission_set in sorted(named):
        if not permission_set.startswith("arn:"):
            _sso_role(client("iam"), permission_set)
    used = copy.deepcopy(dict(values))
    network = used.get("trainyard:network") or {}
    if network.get("existing"):
        network["existing"] = _network(client("ec2"), values["trainyard:vpc_cidr"], network["existing"])
    return used


def _sso_role(iam: Any, permission_set: str) -> None:
    ending = hashlib.sha256(permission_set.encode()).hexdigest()[:16]
    trust = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"Federated": "arn:aws:iam::123456789012:saml-provider/AWSSSO_emulated_DO_NOT_DELETE"},
                "Action": ["sts:AssumeRoleWithSAML", "sts:TagSession"],
            }
        ],
    }
    iam.create_role(
        RoleName=f"AWSReservedSSO_{permission_set}_{ending}", Path=SSO_PATH, AssumeRolePolicyDocument=json.dumps(trust)
    )


def _network(ec2: Any, cidr: str, existing: Mapping[str, Any]) -> dict[str, Any]:
    """A VPC with a private subnet in each zone that the real one has."""
    vpc = ec2.create_vpc(CidrBlock=cidr)["Vpc"]["VpcId"]
    for attribute in ("EnableDnsSupport", "EnableDnsHostnames"):
        ec2.modify_vpc_attribute(VpcId=vpc, **{attribute: {"Value": True}})
    blocks = ipaddress.IPv4Network(cidr).subnets(prefixlen_diff=3)
    subnets = {
        zone: ec2.create_subnet(VpcId=vpc, CidrBlock=str(block), AvailabilityZone=zone)["Subnet"]["SubnetId"]
        for zone, block in zip(existing["private_subnet_ids_by_zone"], blocks, strict=False)
    }
    return {"vpc_id": vpc, "private_subnet_ids_by_zone": subnets}
