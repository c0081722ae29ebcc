"""EC2 launch templates: every change is a new version."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trainyard.local.aws.calls import Call, Do, Read
from trainyard.local.aws.context import Context
from trainyard.local.aws.errors import RefusedError
from trainyard.local.aws.fields import ID, Const, Each, Object, Prop, Scope, Values, leaves, pascal, write_map
from trainyard.local.aws.row import Name, Row
from trainyard.local.aws.tags import TagsField, ec2_tags
from trainyard.local.aws.values import OMIT

_GONE = ("InvalidLaunchTemplateId.NotFound", "InvalidLaunchTemplateId.NotFoundException")
_MOST_USER_DATA_BYTES = 16 * 1024
_LATEST = "LaunchTemplateVersions[0]"


@dataclass(frozen=True)
class _Flag(Prop):
    """A boolean of AWS's that Pulumi has as text, so that it can be left out."""

    def write(self, scope: Scope) -> Any:
        value = super().write(scope)
        return value if value is OMIT or isinstance(value, bool) else str(value).lower() == "true"

    def read(self, value: Any, into: dict[str, Any]) -> None:
        if value is not None:
            into[self.name] = str(value).lower()

    def canonical(self, value: Any) -> Any:
        return None if value in (None, "") else str(value).lower()


_INTERFACE = {
    "AssociatePublicIpAddress": _Flag("associatePublicIpAddress"),
    "DeleteOnTermination": _Flag("deleteOnTermination"),
    "Groups": Values("securityGroups"),
    "SecondaryPrivateIpAddressCount": "ipv4AddressCount",
    "Ipv4PrefixCount": "ipv4PrefixCount",
    **pascal("description", "deviceIndex", "interfaceType", "networkCardIndex", "networkInterfaceId"),
    **pascal("privateIpAddress", "subnetId", "enaQueueCount"),
    "ConnectionTrackingSpecification": Object(
        "connectionTrackingSpecification", pascal("tcpEstablishedTimeout", "udpStreamTimeout", "udpTimeout")
    ),
}
_DISK = {
    "Ebs": Object(
        "ebs",
        {
            "DeleteOnTermination": _Flag("deleteOnTermination"),
            "Encrypted": _Flag("encrypted"),
            **pascal("iops", "kmsKeyId", "snapshotId", "throughput", "volumeInitializationRate", "volumeSize"),
            **pascal("volumeType"),
        },
    ),
    **pascal("deviceName", "noDevice", "virtualName"),
}
_DATA = {
    "BlockDeviceMappings": Each("blockDeviceMappings", _DISK),
    "CapacityReservationSpecification": Object(
        "capacityReservationSpecification",
        {
            "CapacityReservationPreference": "capacityReservationPreference",
            "CapacityReservationTarget": Object(
                "capacityReservationTarget", pascal("capacityReservationId", "capacityReservationResourceGroupArn")
            ),
        },
    ),
    "CpuOptions": Object("cpuOptions", pascal("amdSevSnp", "coreCount", "nestedVirtualization", "threadsPerCore")),
    "CreditSpecification": Object("creditSpecification", pascal("cpuCredits")),
    "EbsOptimized": _Flag("ebsOptimized"),
    "HibernationOptions": Object("hibernationOptions", pascal("configured")),
    "IamInstanceProfile": Object("iamInstanceProfile", pascal("arn", "name")),
    "InstanceMarketOptions": Object(
        "instanceMarketOptions",
        {
            "MarketType": "marketType",
            "SpotOptions": Object(
                "spotOptions",
                pascal(
                    "blockDurationMinutes", "instanceInterruptionBehavior", "maxPrice", "spotInstanceType", "validUntil"
                ),
            ),
        },
    ),
    "MaintenanceOptions": Object("maintenanceOptions", pascal("autoRecovery")),
    "MetadataOptions": Object(
        "metadataOptions",
        pascal("httpEndpoint", "httpProtocolIpv6", "httpPutResponseHopLimit", "httpTokens", "instanceMetadataTags"),
    ),
    "Monitoring": Object("monitoring", pascal("enabled")),
    "NetworkInterfaces": Each("networkInterfaces", _INTERFACE),
    "Placement": Object(
        "placement",
        pascal(
            *("affinity", "availabilityZone", "groupId", "groupName", "hostId", "hostResourceGroupArn"),
            *("partitionNumber", "spreadDomain", "tenancy"),
        ),
    ),
    "PrivateDnsNameOptions": Object(
        "privateDnsNameOptions",
        {
            "EnableResourceNameDnsAAAARecord": "enableResourceNameDnsAaaaRecord",
            **pascal("enableResourceNameDnsARecord", "hostnameType"),
        },
    ),
    "SecurityGroupIds": Values("vpcSecurityGroupIds"),
    "TagSpecifications": Each(
        "tagSpecifications",
        {"ResourceType": "resourceType", "Tags": TagsField("tags", key="Key", value="Value")},
        ordered=False,
    ),
    **pascal("disableApiStop", "disableApiTermination", "imageId", "instanceInitiatedShutdownBehavior", "instanceType"),
    **pascal("keyName", "userData"),
}
_VERSIONED = tuple(sorted({leaf.name for leaf in leaves(_DATA)} | {"description"}))


def _new_version(context: Context) -> None:
    """Make a version of all that is wanted, and the default of it where the program says so."""
    scope = Scope(context.wanted, context.facts, context.actual)
    description = context.wanted.get("description")
    answer = context.call(
        "create_launch_template_version",
        LaunchTemplateId=context.id,
        LaunchTemplateData=write_map(_DATA, scope),
        **({"VersionDescription": description} if description else {}),
    )
    if context.wanted.get("updateDefaultVersion"):
        number = str(answer["LaunchTemplateVersion"]["VersionNumber"])
        context.call("modify_launch_template", LaunchTemplateId=context.id, DefaultVersion=number)


def _set_default(context: Context) -> None:
    wanted = context.wanted.get("defaultVersion")
    if wanted:
        context.call("modify_launch_template", LaunchTemplateId=context.id, DefaultVersion=str(wanted))


def _refuse_bad_data(context: Context) -> None:
    """What EC2 refuses when a template is made, or at the launch of every instance from it."""
    for problem in (*_interface_problems(context.wanted), *_other_problems(context.wanted)):
        raise RefusedError(f"EC2 refuses this launch template: {problem}")


def _interface_problems(wanted: Mapping[str, Any]) -> list[str]:
    interfaces = wanted.get("networkInterfaces") or []
    places = [(it.get("networkCardIndex") or 0, it.get("deviceIndex") or 0) for it in interfaces]
    problems = []
    if len(set(places)) < len(places):
        problems.append("two network interfaces have the same network card and device index")
    if interfaces and (0, 0) not in places:
        problems.append("there is no primary network interface (network card 0, device 0)")
    for interface, place in zip(interfaces, places, strict=True):
        kind = interface.get("interfaceType") or "interface"
        if kind not in ("interface", "efa", "efa-only"):
            problems.append(f"the interface type {kind} is none of interface, efa, efa-only")
        if place == (0, 0) and kind == "efa-only":
            problems.append("the primary network interface cannot be efa-only: it has no IP address")
        if kind == "efa-only" and any(interface.get(name) for name in ("ipv4AddressCount", "privateIpAddress")):
            problems.append("an efa-only interface has no IP address")
    public = [it for it in interfaces if str(it.get("associatePublicIpAddress")).lower() == "true"]
    if public and len(interfaces) > 1:
        problems.append("associatePublicIpAddress cannot be set for a launch with several network interfaces")
    if interfaces and wanted.get("vpcSecurityGroupIds"):
        problems.append("with network interfaces, security groups are given to each interface")
    return problems


def _other_problems(wanted: Mapping[str, Any]) -> list[str]:
    problems = []
    market = wanted.get("instanceMarketOptions") or {}
    reservation = wanted.get("capacityReservationSpecification") or {}
    target = reservation.get("capacityReservationTarget") or {}
    if market.get("marketType") == "capacity-block" and not target:
        problems.append("the market type capacity-block needs the Capacity Block as capacityReservationTarget")
    if market.get("marketType") != "spot" and market.get("spotOptions"):
        problems.append("spotOptions are only for the market type spot")
    if len(target) > 1:
        problems.append("a capacity reservation is targeted by its ID or by its group, not both")
    for mapping in wanted.get("blockDeviceMappings") or []:
        disk = mapping.get("ebs") or {}
        if disk.get("kmsKeyId") and str(disk.get("encrypted")).lower() != "true":
            problems.append(f"the volume {mapping.get('deviceName')} has a key but is not encrypted")
    try:
        size = len(base64.b64decode(wanted.get("userData") or "", validate=True))
    except (binascii.Error, ValueError):
        problems.append("the user data is not base64")
    else:
        if size > _MOST_USER_DATA_BYTES:
            problems.append(f"the user data has {size} bytes; it may have {_MOST_USER_DATA_BYTES}")
    return problems


ROWS = (
    Row(
        "aws:ec2/launchTemplate:LaunchTemplate",
        service="ec2",
        cloudformation="AWS::EC2::LaunchTemplate",
        id="LaunchTemplate.LaunchTemplateId",
        name=Name(max_length=128),
        create=Call(
            "create_launch_template",
            {"LaunchTemplateName": "name", "VersionDescription": "description", "LaunchTemplateData": _DATA},
        ),
        update=(Do(_new_version, on=_VERSIONED), Do(_set_default, on=("defaultVersion",))),
        read=(
            Read(
                "describe_launch_templates",
                {"LaunchTemplateIds": [ID]},
                {
                    "LaunchTemplateName": "name",
                    "DefaultVersionNumber": "defaultVersion",
                    "LatestVersionNumber": "latestVersion",
                },
                path="LaunchTemplates[0]",
                gone=_GONE,
            ),
            Read(
                "describe_launch_template_versions",
                {"LaunchTemplateId": ID, "Versions": [Const("$Latest")]},
                {"VersionDescription": "description", "LaunchTemplateData": _DATA},
                path=_LATEST,
            ),
        ),
        delete=(Call("delete_launch_template", {"LaunchTemplateId": ID}, ignore=_GONE),),
        tags=ec2_tags("launch-template"),
        computed=("defaultVersion", "metadataOptions.httpEndpoint", "metadataOptions.httpProtocolIpv6"),
        local=("updateDefaultVersion",),
        conflicts=(("defaultVersion", "updateDefaultVersion"),),
        unchecked=("networkInterfaces", "tagSpecifications"),
        before=(_refuse_bad_data,),
        outputs={"arn": "arn:{partition}:ec2:{region}:{account}:launch-template/{id}"},
        not_emulated={
            "enclaveOptions": "no instance is started, so none has an enclave",
            "instanceRequirements": "nothing chooses instance types",
            "kernelId": "for instance types that are no longer sold",
            "licenseSpecifications": "License Manager is not emulated",
            "networkPerformanceOptions": "no instance is started",
            "ramDiskId": "for instance types that are no longer sold",
            "secondaryInterfaces": "secondary networks are not emulated",
            "securityGroupNames": "for networks without a VPC; use vpcSecurityGroupIds",
        },
        notes=("refused is also what EC2 only refuses at launch, such as an efa-only primary interface",),
    ),
)
