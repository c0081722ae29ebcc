"""A VPC of private subnets that reaches S3 without the internet and keeps a record of its traffic.

    network = Network(
        "platform",
        NetworkArgs(
            cidr_block="10.64.0.0/16", availability_zones=["us-east-1a", "us-east-1b"], logs_key_arn=keys.logs.arn
        ),
        pulumi.ResourceOptions(provider=provider),
    )

The VPC is cut into eighths. The first six are the private subnets, one per zone in the order given; the last two stay
free for what later needs addresses of its own (NAT, interface endpoints). A zone can be added without moving a subnet.
Zones are named, not counted: one that AWS opens later must not shift those in use, and GPU capacity is bought by zone.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pulumi
import pulumi_aws as aws

from trainyard.modules.account import Account
from trainyard.modules.policy_document import Statement, policy_document

SUBNET_BITS = 3
"""A subnet is the VPC's size divided by two to this power."""

MOST_ZONES = 6
LARGEST_VPC_PREFIX, SMALLEST_VPC_PREFIX = 16, 28 - SUBNET_BITS
"""AWS takes VPCs up to /16 and subnets down to /28."""


def private_subnet_blocks(cidr_block: str, zones: int) -> list[str]:
    """The CIDR blocks of the private subnets, one per zone.

    Raises:
        ValueError: where `cidr_block` is no IPv4 network of a size that AWS takes, or `zones` is not 1 to 6.
    """
    network = ipaddress.IPv4Network(cidr_block)
    if not LARGEST_VPC_PREFIX <= network.prefixlen <= SMALLEST_VPC_PREFIX:
        raise ValueError(
            f"cidr_block is {cidr_block}; its length may be /{LARGEST_VPC_PREFIX} to /{SMALLEST_VPC_PREFIX}"
        )
    if not 1 <= zones <= MOST_ZONES:
        raise ValueError(f"{zones} availability zones; a network has 1 to {MOST_ZONES}")
    return [str(block) for block in network.subnets(prefixlen_diff=SUBNET_BITS)][:zones]


@dataclass(frozen=True)
class NetworkArgs:
    """The network's addresses and zones, and where its traffic is recorded.

    Attributes:
        cidr_block: the VPC's IPv4 block, /16 to /25.
        availability_zones: names of 1 to 6 zones of the provider's region, each once.
        logs_key_arn: KMS key for the flow logs, which must let CloudWatch Logs in. None: a key that AWS owns.
        flow_log_retention_days: a number of days that CloudWatch Logs offers, such as 30 or 365.
        readable_bucket_arns: other accounts' buckets that may be read through the S3 endpoint, such as public data.
        tags: added to the provider's default tags.
    """

    cidr_block: str
    availability_zones: Sequence[str]
    logs_key_arn: pulumi.Input[str] | None = None
    flow_log_retention_days: int = 365
    readable_bucket_arns: Sequence[pulumi.Input[str]] = ()
    tags: Mapping[str, pulumi.Input[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        private_subnet_blocks(self.cidr_block, len(self.availability_zones))
        if len(set(self.availability_zones)) < len(self.availability_zones):
            raise ValueError(f"availability_zones names a zone twice: {', '.join(self.availability_zones)}")


class Network(pulumi.ComponentResource):
    """VPC, private subnet and route table per zone, S3 gateway endpoint, flow logs, a default group without rules.

    No subnet gives out public addresses and no route leaves the VPC except to S3.
    """

    vpc_id: pulumi.Output[str]
    cidr_block: pulumi.Output[str]
    private_subnet_ids: pulumi.Output[list[str]]
    private_route_table_ids: pulumi.Output[list[str]]
    s3_endpoint_id: pulumi.Output[str]
    flow_log_group_name: pulumi.Output[str]

    def __init__(self, name: str, args: NetworkArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("trainyard:network:Network", name, None, opts)
        account = Account.of(self)
        child = pulumi.ResourceOptions(parent=self)

        vpc = aws.ec2.Vpc(
            f"{name}-vpc",
            cidr_block=args.cidr_block,
            enable_dns_support=True,
            enable_dns_hostnames=True,
            tags={**args.tags, "Name": name},
            opts=child,
        )
        # AWS opens a new VPC's default group to itself; taking it over with no rules closes it.
        aws.ec2.DefaultSecurityGroup(
            f"{name}-default-group",
            vpc_id=vpc.id,
            ingress=[],
            egress=[],
            tags={**args.tags, "Name": f"{name}-closed"},
            opts=child,
        )

        subnets: list[aws.ec2.Subnet] = []
        route_tables: list[aws.ec2.RouteTable] = []
        blocks = private_subnet_blocks(args.cidr_block, len(args.availability_zones))
        for zone, block in zip(args.availability_zones, blocks, strict=True):
            subnet = aws.ec2.Subnet(
                f"{name}-private-{zone}",
                vpc_id=vpc.id,
                availability_zone=zone,
                cidr_block=block,
                map_public_ip_on_launch=False,
                tags={**args.tags, "Name": f"{name}-private-{zone}"},
                opts=child,
            )
            # One table per zone, so that traffic to a zone's own NAT never has to cross zones.
            route_table = aws.ec2.RouteTable(
                f"{name}-private-{zone}",
                vpc_id=vpc.id,
                tags={**args.tags, "Name": f"{name}-private-{zone}"},
                opts=child,
            )
            aws.ec2.RouteTableAssociation(
                f"{name}-private-{zone}", subnet_id=subnet.id, route_table_id=route_table.id, opts=child
            )
            subnets.append(subnet)
            route_tables.append(route_table)

        s3_endpoint = aws.ec2.VpcEndpoint(
            f"{name}-s3",
            vpc_id=vpc.id,
            service_name=pulumi.Output.concat("com.amazonaws.", account.region, ".s3"),
            vpc_endpoint_type="Gateway",
            route_table_ids=[table.id for table in route_tables],
            policy=policy_document(s3_endpoint_statements(account, args.readable_bucket_arns)),
            tags={**args.tags, "Name": f"{name}-s3"},
            opts=child,
        )
        flow_logs = self._record_traffic(name, args, account, vpc)

        self.vpc_id = vpc.id
        self.cidr_block = vpc.cidr_block
        self.private_subnet_ids = pulumi.Output.all(*(subnet.id for subnet in subnets))
        self.private_route_table_ids = pulumi.Output.all(*(table.id for table in route_tables))
        self.s3_endpoint_id = s3_endpoint.id
        self.flow_log_group_name = flow_logs.name
        self.register_outputs(
            {
                "vpc_id": self.vpc_id,
                "cidr_block": self.cidr_block,
                "private_subnet_ids": self.private_subnet_ids,
                "private_route_table_ids": self.private_route_table_ids,
                "s3_endpoint_id": self.s3_endpoint_id,
                "flow_log_group_name": self.flow_log_group_name,
            }
        )

    def _record_traffic(
        self, name: str, args: NetworkArgs, account: Account, vpc: aws.ec2.Vpc
    ) -> aws.cloudwatch.LogGroup:
        child = pulumi.ResourceOptions(parent=self)
        # Flow logs hold addresses and byte counts, never the data itself.
        tags = {**args.tags, "data-class": "internal"}
        group = aws.cloudwatch.LogGroup(
            f"{name}-flow-logs",
            kms_key_id=args.logs_key_arn,
            retention_in_days=args.flow_log_retention_days,
            tags=tags,
            opts=child,
        )
        role = aws.iam.Role(
            f"{name}-flow-logs",
            description=f"Lets the flow logs of {name} be written",
            assume_role_policy=policy_document(
                [
                    {
                        "Effect": "Allow",
                        "Principal": {"Service": "vpc-flow-logs.amazonaws.com"},
                        "Action": "sts:AssumeRole",
                        "Condition": {
                            "StringEquals": {"aws:SourceAccount": account.id},
                            "ArnLike": {"aws:SourceArn": account.arn("ec2", "vpc-flow-log/*")},
                        },
                    }
                ]
            ),
            tags=tags,
            opts=child,
        )
        permission = aws.iam.RolePolicy(
            f"{name}-flow-logs",
            role=role.name,
            policy=policy_document(
                [
                    {
                        "Sid": "WriteFlowLogs",
                        "Effect": "Allow",
                        "Action": [
                            "logs:CreateLogStream",
                            "logs:DescribeLogGroups",
                            "logs:DescribeLogStreams",
                            "logs:PutLogEvents",
                        ],
                        "Resource": [group.arn, pulumi.Output.concat(group.arn, ":*")],
                    }
                ]
            ),
            opts=child,
        )
        aws.ec2.FlowLog(
            f"{name}-flow-logs",
            vpc_id=vpc.id,
            traffic_type="ALL",
            log_destination_type="cloud-watch-logs",
            log_destination=group.arn,
            iam_role_arn=role.arn,
            tags=tags,
            opts=pulumi.ResourceOptions(parent=self, depends_on=[permission]),
        )
        return group


def s3_endpoint_statements(account: Account, readable_bucket_arns: Sequence[pulumi.Input[str]]) -> list[Statement]:
    """What may pass the S3 endpoint: this account to its own buckets, image layers from ECR, and the buckets named.

    Nobody carries data out through it: not into another account's bucket, nor with another account's credentials.
    """
    statements: list[Statement] = [
        {
            "Sid": "OwnBuckets",
            "Effect": "Allow",
            "Principal": "*",
            "Action": "s3:*",
            "Resource": "*",
            "Condition": {"StringEquals": {"aws:PrincipalAccount": account.id, "aws:ResourceAccount": account.id}},
        },
        {
            # ECR hands out signed addresses in a bucket of its own, so the principal is AWS's.
            "Sid": "ImageLayers",
            "Effect": "Allow",
            "Principal": "*",
            "Action": "s3:GetObject",
            "Resource": pulumi.Output.concat(
                "arn:", account.partition, ":s3:::prod-", account.region, "-starport-layer-bucket/*"
            ),
        },
    ]
    if readable_bucket_arns:
        statements.append(
            {
                "Sid": "NamedBuckets",
                "Effect": "Allow",
                "Principal": "*",
                "Action": ["s3:GetObject", "s3:ListBucket"],
                "Resource": [
                    *readable_bucket_arns,
                    *(pulumi.Output.concat(arn, "/*") for arn in readable_bucket_arns),
                ],
                "Condition": {"StringEquals": {"aws:PrincipalAccount": account.id}},
            }
        )
    return statements
