"""EC2: security groups, as `ec2.py` takes them in. Rules as resources of their own are in `vpc.py`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trainyard.local.aws.calls import Call, Derive, Do, Read
from trainyard.local.aws.context import Context
from trainyard.local.aws.errors import AwsError
from trainyard.local.aws.fields import ID, pascal
from trainyard.local.aws.row import Name, Row
from trainyard.local.aws.rows.security_group_rules import Rules, describe_group, rules_from, set_rules
from trainyard.local.aws.tags import ec2_tags


def _rules_of(context: Context, observed: Mapping[str, Any]) -> Mapping[str, Any]:
    del observed
    description = describe_group(context, context.id)
    return {"ingress": rules_from(description, "ingress"), "egress": rules_from(description, "egress")}


def _set_ingress(context: Context) -> None:
    set_rules(context, "ingress", context.wanted.get("ingress") or ())


def _set_egress(context: Context) -> None:
    set_rules(context, "egress", context.wanted.get("egress") or ())


def _make_group(context: Context) -> Any:
    """A new group without the rule that lets everything out, which the official provider takes away as well."""
    wanted = context.wanted
    place = {"VpcId": wanted["vpcId"]} if wanted.get("vpcId") else {}
    answer = context.call("create_security_group", GroupName=wanted["name"], Description=wanted["description"], **place)
    context.id = answer["GroupId"]
    set_rules(context, "egress", ())
    return answer


def _adopt_default_group(context: Context) -> Any:
    """The group that every network has, emptied; nothing is created."""
    vpc_id = context.wanted.get("vpcId")
    if not vpc_id:
        defaults = context.call("describe_vpcs", Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"]
        if not defaults:
            raise AwsError("ec2:DescribeVpcs", "DefaultVpcNotFound", "there is no default VPC; give vpcId")
        vpc_id = defaults[0]["VpcId"]
    filters = [{"Name": "vpc-id", "Values": [vpc_id]}, {"Name": "group-name", "Values": ["default"]}]
    group = context.call("describe_security_groups", Filters=filters)["SecurityGroups"][0]
    context.id = group["GroupId"]
    set_rules(context, "ingress", ())
    set_rules(context, "egress", ())
    return group


def _revoke_all(context: Context) -> None:
    if context.wanted.get("revokeRulesOnDelete"):
        set_rules(context, "ingress", ())
        set_rules(context, "egress", ())


def _security_group(token: str, **more: Any) -> Row:
    return Row(
        token,
        service="ec2",
        cloudformation="AWS::EC2::SecurityGroup",
        id="GroupId",
        read=(
            Read(
                "describe_security_groups",
                {"GroupIds": [ID]},
                {**pascal("description", "ownerId", "vpcId"), "GroupName": "name"},
                path="SecurityGroups[0]",
                gone=("InvalidGroup.NotFound", "InvalidGroupId.Malformed"),
            ),
            Derive(_rules_of, (Rules("ingress"), Rules("egress"))),
        ),
        settings=(Do(_set_ingress, on=("ingress",)), Do(_set_egress, on=("egress",))),
        tags=ec2_tags("security-group"),
        local=("revokeRulesOnDelete",),
        outputs={"arn": "arn:{partition}:ec2:{region}:{account}:security-group/{id}"},
        schema_names={"description": "GroupDescription", "name": "GroupName"},
        unchecked=("ingress", "egress"),
        **more,
    )


ROWS = (
    _security_group(
        "aws:ec2/securityGroup:SecurityGroup",
        name=Name(),
        create=Do(_make_group),
        delete=(
            Do(_revoke_all),
            Call("delete_security_group", {"GroupId": ID}, ignore=("InvalidGroup.NotFound",)),
        ),
        defaults={"description": "Managed by Pulumi", "revokeRulesOnDelete": False},
        computed=("ingress", "egress", "vpcId"),
    ),
    _security_group(
        "aws:ec2/defaultSecurityGroup:DefaultSecurityGroup",
        create=Do(_adopt_default_group),
        defaults={"revokeRulesOnDelete": False},
        computed=("ingress", "egress", "vpcId"),
        not_emulated={"namePrefix": "the group's name is always default"},
        notes=("adopted and emptied at create, as the official provider does; deleting only forgets it",),
    ),
)
