"""Rules whose other side is a security group keep their description."""

from __future__ import annotations

from aws_lifecycle import Lifecycle, Step

INGRESS = "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule"
EGRESS = "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule"
LUSTRE = {"ipProtocol": "tcp", "fromPort": 988, "toPort": 988}


class TestRulesBetweenGroups(Lifecycle):
    steps = {  # noqa: RUF012
        "vpc": Step("aws:ec2/vpc:Vpc", lambda _: {"cidrBlock": "10.0.0.0/16"}),
        "group": Step(
            "aws:ec2/securityGroup:SecurityGroup",
            lambda r: {"vpcId": r["vpc"].id},
            by_others=frozenset({"ingress", "egress"}),
        ),
        "in": Step(
            INGRESS,
            lambda r: {
                "securityGroupId": r["group"].id,
                "referencedSecurityGroupId": r["group"].id,
                "description": "between servers",
                **LUSTRE,
            },
            lambda r: {
                "securityGroupId": r["group"].id,
                "referencedSecurityGroupId": r["group"].id,
                "description": "among servers",
                **LUSTRE,
            },
        ),
        "out": Step(
            EGRESS,
            lambda r: {
                "securityGroupId": r["group"].id,
                "referencedSecurityGroupId": r["group"].id,
                "description": "EFA",
                "ipProtocol": "-1",
            },
        ),
    }
