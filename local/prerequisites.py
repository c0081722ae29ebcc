"""What an environment takes as given in its account, put into a throw-away one before the gate.

In AWS these are there already, and the program looks them up: the roles of IAM Identity Center's permission sets, and a
VPC that the environment is to use.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from trainyard.local import isolation
from trainyard.local.engine import ACCOUNT_ID, emulated_aws_environment
from trainyard.stacks.settings import Settings

SSO_PATH = "/aws-reserved/sso.amazonaws.com/"


class PrerequisiteError(Exception):
    """The emulated account refused what the environment takes as given."""

    exit_status = 3


def provide(endpoint: str, settings: Settings) -> dict[str, Any]:
    """Make in the account at `endpoint` what `settings` name.

    Returns the configuration that has to stand in place of the environment's own, by full key: that of the network,
    where a made one has other ids than the real one. Raises `PrerequisiteError`.
    """
    with isolation.only(emulated_aws_environment(endpoint, settings.region)):
        session = boto3.Session()
        try:
            return _provide(session.client("iam"), session.client("ec2"), settings)
        except (BotoCoreError, ClientError) as refused:
            raise PrerequisiteError(f"the throw-away account cannot be furnished: {refused}") from None


def _provide(iam: Any, ec2: Any, settings: Settings) -> dict[str, Any]:
    named = {*settings.access.deployers, *settings.access.administrators, *settings.access.viewers}
    for team in settings.teams:
        named.update(team.people)
    for permission_set in sorted(named):
        if not permission_set.startswith("arn:"):
            _sso_role(iam, permission_set, settings.account_id or ACCOUNT_ID)
    if settings.network.existing is None:
        return {}
    zones = list(settings.network.existing.private_subnet_ids_by_zone)
    network = settings.network.model_dump(mode="json", exclude_unset=True)
    return {"trainyard:network": {**network, "existing": _network(ec2, settings.vpc_cidr, zones)}}


def sso_role_name(permission_set: str) -> str:
    """As IAM Identity Center would name the role of a permission set; here its ending is always the same."""
    return f"AWSReservedSSO_{permission_set}_{hashlib.sha256(permission_set.encode()).hexdigest()[:16]}"


def _sso_role(iam: Any, permission_set: str, account: str) -> None:
    trust = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"Federated": f"arn:aws:iam::{account}:saml-provider/AWSSSO_emulated_DO_NOT_DELETE"},
                "Action": ["sts:AssumeRoleWithSAML", "sts:TagSession"],
            }
        ],
    }
    name = sso_role_name(permission_set)
    with suppress(iam.exceptions.EntityAlreadyExistsException):  # where two revisions are compared, both ask for it
        iam.create_role(RoleName=name, Path=SSO_PATH, AssumeRolePolicyDocument=json.dumps(trust))


def _network(ec2: Any, cidr: ipaddress.IPv4Network, zones: Sequence[str]) -> dict[str, Any]:
    """A VPC with a private subnet in each of `zones`."""
    vpc = ec2.create_vpc(CidrBlock=str(cidr))["Vpc"]["VpcId"]
    for attribute in ("EnableDnsSupport", "EnableDnsHostnames"):
        ec2.modify_vpc_attribute(VpcId=vpc, **{attribute: {"Value": True}})
    blocks = cidr.subnets(prefixlen_diff=3)
    subnets = {
        zone: ec2.create_subnet(VpcId=vpc, CidrBlock=str(block), AvailabilityZone=zone)["Subnet"]["SubnetId"]
        for zone, block in zip(zones, blocks, strict=False)
    }
    return {"vpc_id": vpc, "private_subnet_ids_by_zone": subnets}
