"""Where a component's AWS provider points."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
import pulumi_aws as aws


@dataclass(frozen=True)
class Account:
    """The account, partition and region in which a component's resources will stand.

    Attributes:
        id: twelve digits.
        partition: `aws`, `aws-cn`, `aws-us-gov` …
        region: such as `us-east-1`.
        dns_suffix: the end of a service's host name, such as `amazonaws.com`.
        caller_arn: who runs the program: an IAM user's ARN, or a role's session as STS names it.
    """

    id: pulumi.Output[str]
    partition: pulumi.Output[str]
    region: pulumi.Output[str]
    dns_suffix: pulumi.Output[str]
    caller_arn: pulumi.Output[str]

    @classmethod
    def of(cls, component: pulumi.ComponentResource) -> Account:
        """Ask the AWS provider that `component` was given."""
        options = pulumi.InvokeOptions(parent=component)
        partition = aws.get_partition_output(opts=options)
        caller = aws.get_caller_identity_output(opts=options)
        return cls(
            id=caller.account_id,
            partition=partition.partition,
            region=aws.get_region_output(opts=options).region,
            dns_suffix=partition.dns_suffix,
            caller_arn=caller.arn,
        )

    def arn(self, service: str, resource: str) -> pulumi.Output[str]:
        """The ARN, or ARN pattern, of something in this account and region: `arn("events", "rule/*")`."""
        return pulumi.Output.concat("arn:", self.partition, f":{service}:", self.region, ":", self.id, f":{resource}")

    @property
    def root_arn(self) -> pulumi.Output[str]:
        """The principal that stands for the whole account: whomever its IAM policies allow."""
        return pulumi.Output.concat("arn:", self.partition, ":iam::", self.id, ":root")

    def service_role_arn(self, service: str, role: str) -> pulumi.Output[str]:
        """A service-linked role: `service_role_arn("spot.amazonaws.com", "AWSServiceRoleForEC2Spot")`."""
        return pulumi.Output.concat(
            "arn:", self.partition, ":iam::", self.id, f":role/aws-service-role/{service}/{role}"
        )

    def service_host(self, service: str) -> pulumi.Output[str]:
        """A regional service as `kms:ViaService` and service principals name it: `s3.us-east-1.amazonaws.com`."""
        return pulumi.Output.concat(f"{service}.", self.region, ".", self.dns_suffix)
