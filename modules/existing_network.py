"""A VPC that somebody else made and looks after, checked before anything is put into it.

    network = ExistingNetwork(
        "platform",
        ExistingNetworkArgs(
            vpc_id="vpc-0a1b2c3d4e5f60718",
            private_subnet_ids_by_zone={
                "us-east-1a": "subnet-0a1b2c3d4e5f60718",
                "us-east-1b": "subnet-18f6e5d4c3b2a1009",
            },
        ),
        pulumi.ResourceOptions(provider=provider),
    )

It makes nothing and has the outputs that `network.Network` has, so the rest of a platform can't tell the two apart. The
endpoints, routes and flow logs of the VPC stay its owner's business.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws


@dataclass(frozen=True)
class ExistingNetworkArgs:
    """The VPC, and one subnet of it for each zone that the platform uses.

    Attributes:
        vpc_id: such as `vpc-0a1b2c3d4e5f60718`.
        private_subnet_ids_by_zone: zone names (`us-east-1a`) with the subnet to use in each; the order is kept.
    """

    vpc_id: pulumi.Input[str]
    private_subnet_ids_by_zone: Mapping[str, pulumi.Input[str]]

    def __post_init__(self) -> None:
        if isinstance(self.vpc_id, str) and not self.vpc_id.startswith("vpc-"):
            raise ValueError(f"vpc_id is {self.vpc_id!r}; it is the id of a VPC, such as 'vpc-0a1b2c3d4e5f60718'")
        if not self.private_subnet_ids_by_zone:
            raise ValueError("private_subnet_ids_by_zone is empty; it names a subnet for each zone, at least one")
        given = [subnet for subnet in self.private_subnet_ids_by_zone.values() if isinstance(subnet, str)]
        for subnet in given:
            if not subnet.startswith("subnet-"):
                raise ValueError(
                    f"private_subnet_ids_by_zone holds {subnet!r}; it is the id of a subnet, 'subnet-0a1b2c3d4e5f60718'"
                )
        if len(set(given)) < len(given):
            raise ValueError(f"private_subnet_ids_by_zone names a subnet twice: {', '.join(given)}")


class ExistingNetwork(pulumi.ComponentResource):
    """The VPC and its subnets as they were found.

    Raises:
        ValueError: while the program runs, where a subnet is in another VPC or zone, or gives out public addresses.
    """

    vpc_id: pulumi.Output[str]
    cidr_block: pulumi.Output[str]
    private_subnet_ids: pulumi.Output[list[str]]
    private_subnet_ids_by_zone: dict[str, pulumi.Output[str]]

    def __init__(self, name: str, args: ExistingNetworkArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("trainyard:existing_network:ExistingNetwork", name, None, opts)
        ask = pulumi.InvokeOptions(parent=self)
        vpc = aws.ec2.get_vpc_output(id=args.vpc_id, opts=ask)

        self.vpc_id = vpc.id
        self.cidr_block = vpc.cidr_block
        self.private_subnet_ids_by_zone = {
            zone: pulumi.Output.all(zone, vpc.id, aws.ec2.get_subnet_output(id=subnet_id, opts=ask)).apply(
                lambda found: _checked(*found)
            )
            for zone, subnet_id in args.private_subnet_ids_by_zone.items()
        }
        self.private_subnet_ids = pulumi.Output.all(*self.private_subnet_ids_by_zone.values())
        self.register_outputs(
            {
                "vpc_id": self.vpc_id,
                "cidr_block": self.cidr_block,
                "private_subnet_ids": self.private_subnet_ids,
                "private_subnet_ids_by_zone": self.private_subnet_ids_by_zone,
            }
        )


def _checked(zone: str, vpc_id: str, subnet: aws.ec2.GetSubnetResult) -> str:
    """The subnet's id, if it is what was asked for."""
    if subnet.vpc_id != vpc_id:
        raise ValueError(f"{subnet.id} is in {subnet.vpc_id}; private_subnet_ids_by_zone takes subnets of {vpc_id}")
    if subnet.availability_zone != zone:
        raise ValueError(f"{subnet.id} is in {subnet.availability_zone}, but stands for {zone}")
    if subnet.map_public_ip_on_launch:
        raise ValueError(f"{subnet.id} gives public addresses to what starts in it; name a private subnet for {zone}")
    return subnet.id
