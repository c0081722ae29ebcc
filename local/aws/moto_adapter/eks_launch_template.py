"""What EKS makes of a node group's launch template and instance types, and what it does not take in them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models import ec2_backends
from moto.ec2.models.instance_types import INSTANCE_TYPES

from trainyard.local.aws.moto_adapter.eks_state import Description, Eks, invalid


@dataclass(frozen=True)
class Template:
    """A version of a launch template; `description` is how a node group refers to it."""

    description: Description
    data: Mapping[str, Any]

    @property
    def instance_type(self) -> str:
        """The template's instance type, if it has one."""
        return self.data.get("InstanceType") or ""

    @property
    def image_id(self) -> str:
        """The template's AMI, if it has one."""
        return self.data.get("ImageId") or ""

    @property
    def market_type(self) -> str:
        """`spot`, `capacity-block` or nothing."""
        return (self.data.get("InstanceMarketOptions") or {}).get("MarketType") or ""

    @property
    def reservation(self) -> str:
        """The capacity reservation, or the group of them, that instances go into."""
        target = (self.data.get("CapacityReservationSpecification") or {}).get("CapacityReservationTarget") or {}
        return target.get("CapacityReservationId") or target.get("CapacityReservationResourceGroupArn") or ""

    def problem(self) -> str:
        """Why EKS does not take the template; empty if it does."""
        interfaces = self.data.get("NetworkInterfaces") or []
        if self.data.get("IamInstanceProfile"):
            return "Launch template must not contain an IAM instance profile: the node role is given to the node group."
        if any(interface.get("SubnetId") for interface in interfaces):
            return "Launch template network interfaces must not contain a subnet: subnets are given to the node group."
        if self.data.get("InstanceInitiatedShutdownBehavior"):
            return "Launch template must not contain an instance-initiated shutdown behaviour."
        if (self.data.get("HibernationOptions") or {}).get("Configured"):
            return "Launch template must not contain hibernation."
        if self.market_type == "spot":
            return "Launch template must not request Spot: give the node group the capacity type SPOT."
        return ""


def resolve(eks: Eks, asked: Mapping[str, Any]) -> Template:
    """The version of a launch template that a request names by ID or name; EKS takes the default version itself."""
    backend = ec2_backends[eks.account_id][eks.region]
    if bool(asked.get("id")) == bool(asked.get("name")):
        raise invalid("You must specify exactly one of the launch template's ID and name.")
    try:
        if asked.get("id"):
            template = backend.get_launch_template(asked["id"])
        else:
            template = backend.get_launch_template_by_name(asked["name"])
        version = template.get_version(asked.get("version") or "$Default")
    except (EC2ClientError, ValueError) as error:
        raise invalid(f"Launch template {asked} could not be used: {getattr(error, 'message', error)}") from None
    return Template({"id": template.id, "name": template.name, "version": str(version.number)}, version.data)


def default_ami_type(instance_type: str) -> str:
    """The AMI that EKS chooses where the request names none."""
    known = INSTANCE_TYPES.get(instance_type) or {}
    arm = "arm64" in _architectures(known)
    gpus = (known.get("GpuInfo") or {}).get("Gpus") or []
    if any(gpu.get("Manufacturer") == "NVIDIA" for gpu in gpus):
        return "AL2023_ARM_64_NVIDIA" if arm else "AL2023_x86_64_NVIDIA"
    return "AL2023_ARM_64_STANDARD" if arm else "AL2023_x86_64_STANDARD"


def instance_type_problem(name: str, ami_type: str) -> str:
    """Why instances of this type do not run this kind of AMI; empty if they do."""
    known = INSTANCE_TYPES.get(name)
    if known is None:
        return f"The instance type {name} does not exist."
    wanted = "arm64" if "ARM_64" in ami_type else "x86_64"
    if wanted not in _architectures(known):
        return f"[{name}] is not a valid instance type for requested amiType {ami_type}"
    return ""


def _architectures(known: Mapping[str, Any]) -> list[str]:
    return (known.get("ProcessorInfo") or {}).get("SupportedArchitectures") or []
