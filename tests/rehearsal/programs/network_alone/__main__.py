"""A network of Trainyard's in a program, with tags and a provider, that are not Trainyard's."""

import pulumi
import pulumi_aws as aws

from trainyard.modules.keys import CustomerKey, CustomerKeyArgs, logs_may_encrypt
from trainyard.modules.network import Network, NetworkArgs

settings = pulumi.Config()
region = settings.get("region") or "eu-west-1"
elsewhere = pulumi.ResourceOptions(provider=aws.Provider("elsewhere", region=region))
tags = {"owner": "somebody", "data-class": "public"}

key = CustomerKey(
    "lab-logs", CustomerKeyArgs("Flow logs of the lab", [logs_may_encrypt], 7, protected=False, tags=tags), elsewhere
)
network = Network(
    "lab",
    NetworkArgs(
        cidr_block="192.168.0.0/20",
        availability_zones=[f"{region}{letter}" for letter in "abc"],
        logs_key_arn=key.arn,
        flow_log_retention_days=30,
        tags=tags,
    ),
    elsewhere,
)

pulumi.export("vpc_id", network.vpc_id)
pulumi.export("private_subnet_ids", network.private_subnet_ids)
pulumi.export("flow_log_group_name", network.flow_log_group_name)
