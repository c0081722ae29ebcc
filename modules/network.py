"""A VPC of private subnets that reaches S3 without the internet and keeps a record of its traffic.

    network = Network(
        "platform",
        NetworkArgs(
            cidr_block="10.64.0.0/16", availability_zones=["us-east-1a", "us-east-1b"], logs_key_arn=keys.logs.arn
        ),
        pulumi.ResourceOptions(provider=provider),
    )

The VPC is cut into eighths. The first six are the private subnets, one per zone in the order given; the seventh holds
the public subnets, if NAT is asked for; the last stays free. A zone can be added without moving a subnet.
Zones are named, not counted: one that AWS opens later must not shift those in use, and GPU capacity is bought by zone.

By default nothing leads out. `interface_endpoints` brings AWS's services in, one by one; `nat` opens the internet:

    NetworkArgs(…, interface_endpoints=["ecr.api", "ecr.dkr", "sts", "ec2", "eks", "eks-auth"], nat="none")
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, get_args

import pulumi
import pulumi_aws as aws

from trainyard.modules.account import Account
from trainyard.modules.endpoint_policy import interface_endpoint_statements, s3_endpoint_statements
from trainyard.modules.policy_document import policy_document

Nat: TypeAlias = Literal["none", "single", "per-zone"]

SUBNET_BITS = 3
"""A subnet is the VPC's size divided by two to this power."""

MOST_ZONES = 6
LARGEST_VPC_PREFIX, SMALLEST_VPC_PREFIX = 16, 28 - SUBNET_BITS
"""AWS takes VPCs up to /16 and subnets down to /28."""

SMALLEST_VPC_PREFIX_WITH_NAT = SMALLEST_VPC_PREFIX - SUBNET_BITS
"""Public subnets are eighths of an eighth."""

ANYWHERE = "0.0.0.0/0"


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


def public_subnet_blocks(cidr_block: str, zones: int) -> list[str]:
    """The CIDR blocks of the public subnets, one per zone, in the eighth after the private ones.

    Raises:
        ValueError: where the VPC is too small to hold them.
    """
    private_subnet_blocks(cidr_block, zones)
    network = ipaddress.IPv4Network(cidr_block)
    if network.prefixlen > SMALLEST_VPC_PREFIX_WITH_NAT:
        raise ValueError(f"cidr_block is {cidr_block}; NAT needs a /{SMALLEST_VPC_PREFIX_WITH_NAT} or larger")
    eighth = list(network.subnets(prefixlen_diff=SUBNET_BITS))[MOST_ZONES]
    return [str(block) for block in eighth.subnets(prefixlen_diff=SUBNET_BITS)][:zones]


@dataclass(frozen=True)
class NetworkArgs:
    """The network's addresses and zones, and where its traffic is recorded.

    Attributes:
        cidr_block: the VPC's IPv4 block, /16 to /25.
        availability_zones: names of 1 to 6 zones of the provider's region, each once.
        logs_key_arn: KMS key for the flow logs, which must let CloudWatch Logs in. None: a key that AWS owns.
        flow_log_retention_days: a number of days that CloudWatch Logs offers, such as 30 or 365.
        readable_bucket_arns: other accounts' buckets that may be read through the S3 endpoint, such as public data.
        interface_endpoints: AWS services to bring into the VPC, as the end of their endpoint's name: `sts`, `ecr.api`,
            `eks-auth`. Each costs by the hour and zone; S3 needs none.
        nat: how the private subnets reach the internet: not at all, through one gateway in the first zone (cheap; that
            zone's failure cuts all off), or through one in each zone.
        tags: added to the provider's default tags.
    """

    cidr_block: str
    availability_zones: Sequence[str]
    logs_key_arn: pulumi.Input[str] | None = None
    flow_log_retention_days: int = 365
    readable_bucket_arns: Sequence[pulumi.Input[str]] = ()
    interface_endpoints: Sequence[str] = ()
    nat: Nat = "none"
    tags: Mapping[str, pulumi.Input[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        private_subnet_blocks(self.cidr_block, len(self.availability_zones))
        if len(set(self.availability_zones)) < len(self.availability_zones):
            raise ValueError(f"availability_zones names a zone twice: {', '.join(self.availability_zones)}")
        if len(set(self.interface_endpoints)) < len(self.interface_endpoints):
            raise ValueError(f"interface_endpoints names a service twice: {', '.join(self.interface_endpoints)}")
        for service in self.interface_endpoints:
            if service == "s3":
                raise ValueError("interface_endpoints names s3, which has a gateway endpoint already, free of charge")
            if not re.fullmatch(r"[a-z0-9]+([.-][a-z0-9]+)*", service) or service.startswith("com."):
                raise ValueError(
                    f"interface_endpoints names {service!r}; it is the end of an endpoint's name, such as 'ecr.api'"
                )
        if self.nat not in get_args(Nat):
            raise ValueError(f"nat is {self.nat!r}; it may be {', '.join(get_args(Nat))}")
        if self.nat != "none":
            public_subnet_blocks(self.cidr_block, len(self.availability_zones))


class Network(pulumi.ComponentResource):
    """VPC, private subnet and route table per zone, S3 gateway endpoint, flow logs, a default group without rules.

    No subnet gives out public addresses. No route leaves the VPC except to S3, and through NAT where that is asked for.
    `endpoints_security_group_id` is None without interface endpoints.
    """

    vpc_id: pulumi.Output[str]
    cidr_block: pulumi.Output[str]
    private_subnet_ids: pulumi.Output[list[str]]
    private_subnet_ids_by_zone: dict[str, pulumi.Output[str]]
    private_route_table_ids: pulumi.Output[list[str]]
    s3_endpoint_id: pulumi.Output[str]
    flow_log_group_name: pulumi.Output[str]
    endpoints_security_group_id: pulumi.Output[str] | None

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

        subnets: dict[str, aws.ec2.Subnet] = {}
        route_tables: dict[str, aws.ec2.RouteTable] = {}
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
            subnets[zone] = subnet
            route_tables[zone] = route_table

        s3_endpoint = aws.ec2.VpcEndpoint(
            f"{name}-s3",
            vpc_id=vpc.id,
            service_name=pulumi.Output.concat("com.amazonaws.", account.region, ".s3"),
            vpc_endpoint_type="Gateway",
            route_table_ids=[table.id for table in route_tables.values()],
            policy=policy_document(s3_endpoint_statements(account, args.readable_bucket_arns)),
            tags={**args.tags, "Name": f"{name}-s3"},
            opts=child,
        )
        if args.nat != "none":
            self._open_nat(name, args, vpc, route_tables)
        endpoints_group = None
        if args.interface_endpoints:
            endpoints_group = self._bring_in_services(name, args, account, vpc, list(subnets.values()))
        flow_logs = self._record_traffic(name, args, account, vpc)

        self.vpc_id = vpc.id
        self.cidr_block = vpc.cidr_block
        self.private_subnet_ids = pulumi.Output.all(*(subnet.id for subnet in subnets.values()))
        self.private_subnet_ids_by_zone = {zone: subnet.id for zone, subnet in subnets.items()}
        self.private_route_table_ids = pulumi.Output.all(*(table.id for table in route_tables.values()))
        self.s3_endpoint_id = s3_endpoint.id
        self.flow_log_group_name = flow_logs.name
        self.endpoints_security_group_id = endpoints_group.id if endpoints_group else None
        self.register_outputs(
            {
                "vpc_id": self.vpc_id,
                "cidr_block": self.cidr_block,
                "private_subnet_ids": self.private_subnet_ids,
                "private_subnet_ids_by_zone": self.private_subnet_ids_by_zone,
                "private_route_table_ids": self.private_route_table_ids,
                "s3_endpoint_id": self.s3_endpoint_id,
                "flow_log_group_name": self.flow_log_group_name,
                "endpoints_security_group_id": self.endpoints_security_group_id,
            }
        )

    def _open_nat(
        self, name: str, args: NetworkArgs, vpc: aws.ec2.Vpc, route_tables: Mapping[str, aws.ec2.RouteTable]
    ) -> None:
        """Lead the private subnets out through NAT; nothing comes in.

        Each part depends on what it uses, even where no reference says so, so that `destroy` goes from the inside out:
        AWS detaches no internet gateway while an address in the VPC still maps to the internet.
        """
        child = pulumi.ResourceOptions(parent=self)
        gateway = aws.ec2.InternetGateway(f"{name}-out", vpc_id=vpc.id, tags={**args.tags, "Name": name}, opts=child)
        public_table = aws.ec2.RouteTable(
            f"{name}-public", vpc_id=vpc.id, tags={**args.tags, "Name": f"{name}-public"}, opts=child
        )
        outward = aws.ec2.Route(
            f"{name}-public",
            route_table_id=public_table.id,
            destination_cidr_block=ANYWHERE,
            gateway_id=gateway.id,
            opts=child,
        )
        zones = args.availability_zones if args.nat == "per-zone" else args.availability_zones[:1]
        nat_ids: dict[str, pulumi.Output[str]] = {}
        for zone, block in zip(zones, public_subnet_blocks(args.cidr_block, len(zones)), strict=True):
            label = f"{name}-public-{zone}"
            subnet = aws.ec2.Subnet(
                label,
                vpc_id=vpc.id,
                availability_zone=zone,
                cidr_block=block,
                map_public_ip_on_launch=False,
                tags={**args.tags, "Name": label},
                opts=child,
            )
            joined = aws.ec2.RouteTableAssociation(
                label, subnet_id=subnet.id, route_table_id=public_table.id, opts=child
            )
            address = aws.ec2.Eip(
                f"{name}-nat-{zone}",
                domain="vpc",
                tags={**args.tags, "Name": f"{name}-nat-{zone}"},
                opts=pulumi.ResourceOptions(parent=self, depends_on=[gateway]),
            )
            nat = aws.ec2.NatGateway(
                f"{name}-{zone}",
                subnet_id=subnet.id,
                allocation_id=address.id,
                connectivity_type="public",
                tags={**args.tags, "Name": f"{name}-{zone}"},
                opts=pulumi.ResourceOptions(parent=self, depends_on=[outward, joined]),
            )
            nat_ids[zone] = nat.id
        for zone, table in route_tables.items():
            aws.ec2.Route(
                f"{name}-private-{zone}",
                route_table_id=table.id,
                destination_cidr_block=ANYWHERE,
                nat_gateway_id=nat_ids.get(zone, nat_ids[zones[0]]),
                opts=child,
            )

    def _bring_in_services(
        self, name: str, args: NetworkArgs, account: Account, vpc: aws.ec2.Vpc, subnets: Sequence[aws.ec2.Subnet]
    ) -> aws.ec2.SecurityGroup:
        """Give each service an address in every private subnet, for HTTPS from within the VPC and nothing else."""
        child = pulumi.ResourceOptions(parent=self)
        group = aws.ec2.SecurityGroup(
            f"{name}-endpoints",
            description=f"Interface endpoints of {name}",
            vpc_id=vpc.id,
            tags={**args.tags, "Name": f"{name}-endpoints"},
            opts=child,
        )
        from_inside = aws.vpc.SecurityGroupIngressRule(
            f"{name}-endpoints-https",
            security_group_id=group.id,
            description="HTTPS from within the VPC",
            ip_protocol="tcp",
            from_port=443,
            to_port=443,
            cidr_ipv4=vpc.cidr_block,
            tags=args.tags,
            opts=child,
        )
        for service in args.interface_endpoints:
            statements = interface_endpoint_statements(service, account)
            aws.ec2.VpcEndpoint(
                f"{name}-{service}",
                vpc_id=vpc.id,
                service_name=pulumi.Output.concat("com.amazonaws.", account.region, f".{service}"),
                vpc_endpoint_type="Interface",
                private_dns_enabled=True,
                subnet_ids=[subnet.id for subnet in subnets],
                security_group_ids=[group.id],
                policy=None if statements is None else policy_document(statements),
                tags={**args.tags, "Name": f"{name}-{service}"},
                opts=pulumi.ResourceOptions(parent=self, depends_on=[from_inside]),
            )
        return group

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
