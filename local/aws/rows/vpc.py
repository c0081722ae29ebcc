"""Rules of security groups as resources of their own (the SDK's `vpc` module; the API is EC2's)."""

from __future__ import annotations

from trainyard.local.aws.calls import Call, Read
from trainyard.local.aws.fields import ID, Fact, Given, pascal
from trainyard.local.aws.row import Row
from trainyard.local.aws.tags import ec2_tags

_ADDRESSES = ("cidrIpv4", "cidrIpv6", "prefixListId", "referencedSecurityGroupId")
_RULE = pascal("ipProtocol", "fromPort", "toPort", "description")
_SAME_RULE = {"SecurityGroupRuleIds": [ID]}
_GONE = ("InvalidSecurityGroupRuleId.NotFound", "InvalidSecurityGroupRuleId.Malformed", "InvalidGroup.NotFound")


def _source(property_: str, key: str) -> Given:
    return Given(property_, [{key: property_, "Description": "description"}])


_PERMISSION = {
    **pascal("ipProtocol", "fromPort", "toPort"),
    "IpRanges": _source("cidrIpv4", "CidrIp"),
    "Ipv6Ranges": _source("cidrIpv6", "CidrIpv6"),
    "PrefixListIds": _source("prefixListId", "PrefixListId"),
    "UserIdGroupPairs": _source("referencedSecurityGroupId", "GroupId"),
}


def _row(direction: str, name: str) -> Row:
    return Row(
        f"aws:vpc/{name[0].lower()}{name[1:]}:{name}",
        service="ec2",
        cloudformation=f"AWS::EC2::SecurityGroup{direction.capitalize()}",
        id="SecurityGroupRules[0].SecurityGroupRuleId",
        create=Call(
            f"authorize_security_group_{direction}", {"GroupId": "securityGroupId", "IpPermissions": [_PERMISSION]}
        ),
        read=(
            Read(
                "describe_security_group_rules",
                _SAME_RULE,
                {
                    **_RULE,
                    **pascal("cidrIpv4", "cidrIpv6", "prefixListId", "securityGroupRuleId"),
                    "GroupId": "securityGroupId",
                    "ReferencedGroupInfo": {"GroupId": "referencedSecurityGroupId"},
                },
                path="SecurityGroupRules[0]",
                gone=_GONE,
            ),
        ),
        update=(
            Call(
                "modify_security_group_rules",
                {
                    "GroupId": Fact("securityGroupId"),
                    "SecurityGroupRules": [
                        {
                            "SecurityGroupRuleId": ID,
                            "SecurityGroupRule": {
                                **_RULE,
                                **pascal("cidrIpv4", "cidrIpv6", "prefixListId"),
                                "ReferencedGroupId": "referencedSecurityGroupId",
                            },
                        }
                    ],
                },
            ),
        ),
        delete=(
            Call(
                f"revoke_security_group_{direction}",
                {"GroupId": Fact("securityGroupId"), **_SAME_RULE},
                ignore=(*_GONE, "InvalidPermission.NotFound"),
            ),
        ),
        tags=ec2_tags("security-group-rule"),
        computed=("fromPort", "toPort"),
        replace_on=("securityGroupId",),
        in_place=("ipProtocol", "fromPort", "toPort", *_ADDRESSES),
        exactly_one=(_ADDRESSES,),
        outputs={"arn": "arn:{partition}:ec2:{region}:{account}:security-group-rule/{id}"},
    )


ROWS = (_row("ingress", "SecurityGroupIngressRule"), _row("egress", "SecurityGroupEgressRule"))
