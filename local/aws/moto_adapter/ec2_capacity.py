"""Placement groups and capacity reservations, which moto's EC2 lacks; reservations are granted at once.

Capacity Blocks cannot be bought here. One that exists can be told of, for those who look it up before they use it: an
on-demand reservation whose tag `trainyard:emulated-capacity-block` is `true` is described as a Capacity Block.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from moto.core.responses import ActionResult
from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models.instance_types import INSTANCE_TYPE_OFFERINGS
from moto.ec2.models.tags import TagBackend
from moto.ec2.responses import EC2Response
from moto.ec2.responses._base_response import EC2BaseResponse
from moto.ec2.utils import EC2_PREFIX_TO_RESOURCE, EC2_RESOURCE_TO_PREFIX

from trainyard.local.aws.moto_adapter.expectations import MotoChangedError, add, require_parameters

CAPACITY_BLOCK_TAG = "trainyard:emulated-capacity-block"
_STRATEGIES = ("cluster", "partition", "spread")
_MOST_PARTITIONS = 7
_PREFIXES = {"pg": "placement-group", "cr": "capacity-reservation"}
_FILTERS = {"state": "State", "instance-type": "InstanceType", "availability-zone": "AvailabilityZone"}


def require_expected() -> None:
    """What this module relies on."""
    require_parameters(EC2BaseResponse._parse_tag_specification, "self")
    require_parameters(TagBackend.create_tags, "self", "resource_ids", "tags")
    if EC2_PREFIX_TO_RESOURCE.get("vpc") != "vpc" or EC2_RESOURCE_TO_PREFIX.get("vpc") != "vpc":
        raise MotoChangedError("moto.ec2.utils no longer maps the prefixes of IDs to types and back")


def install() -> None:
    """Add the operations."""
    for operation in (
        create_placement_group,
        describe_placement_groups,
        delete_placement_group,
        create_capacity_reservation,
        describe_capacity_reservations,
        modify_capacity_reservation,
        cancel_capacity_reservation,
    ):
        add(EC2Response, operation.__name__, operation)
    EC2_PREFIX_TO_RESOURCE.update(_PREFIXES)
    EC2_RESOURCE_TO_PREFIX.update({kind: prefix for prefix, kind in _PREFIXES.items()})


def _store(response: Any, kind: str) -> dict[str, dict[str, Any]]:
    return vars(response.ec2_backend).setdefault(f"trainyard_{kind}", {})


def _tag(response: Any, identity: str, kind: str) -> None:
    tags = response._parse_tag_specification().get(kind) or {}
    if tags:
        response.ec2_backend.create_tags([identity], tags)


def _with_tags(response: Any, thing: Mapping[str, Any], identity: str) -> dict[str, Any]:
    tags = response.ec2_backend.tags.get(identity) or {}
    return {**thing, "Tags": [{"Key": key, "Value": value} for key, value in tags.items()]}


def create_placement_group(response: Any) -> ActionResult:
    """CreatePlacementGroup."""
    name, strategy = response._get_param("GroupName"), response._get_param("Strategy") or "cluster"
    partitions, level = response._get_int_param("PartitionCount"), response._get_param("SpreadLevel")
    groups = _store(response, "placement_groups")
    if name in groups:
        raise EC2ClientError("InvalidPlacementGroup.Duplicate", f"The placement group '{name}' already exists.")
    if strategy not in _STRATEGIES:
        raise EC2ClientError("InvalidParameterValue", f"Invalid placement strategy '{strategy}'.")
    if partitions is not None and (strategy != "partition" or not 1 <= partitions <= _MOST_PARTITIONS):
        raise EC2ClientError("InvalidParameterValue", "PartitionCount is 1 to 7, and for the strategy partition only.")
    identity = f"pg-{uuid.uuid4().hex[:17]}"
    group = {
        "GroupName": name,
        "GroupId": identity,
        "State": "available",
        "Strategy": strategy,
        "GroupArn": f"arn:{response.partition}:ec2:{response.region}:{response.current_account}:placement-group/{name}",
    }
    if strategy == "partition":
        group["PartitionCount"] = partitions or 2
    if strategy == "spread":
        group["SpreadLevel"] = level or "rack"
    groups[name] = group
    _tag(response, identity, "placement-group")
    return ActionResult({"PlacementGroup": _with_tags(response, group, identity)})


def describe_placement_groups(response: Any) -> ActionResult:
    """DescribePlacementGroups."""
    groups = _store(response, "placement_groups")
    names, ids = response._get_param("GroupNames", []), response._get_param("GroupIds", [])
    for name in names:
        _placement_group(groups, name)
    found = [
        _with_tags(response, group, group["GroupId"])
        for group in groups.values()
        if (not names or group["GroupName"] in names) and (not ids or group["GroupId"] in ids)
    ]
    return ActionResult({"PlacementGroups": found})


def delete_placement_group(response: Any) -> ActionResult:
    """DeletePlacementGroup; not while a launch template of a node group uses it."""
    groups, name = _store(response, "placement_groups"), response._get_param("GroupName")
    _placement_group(groups, name)
    for template in response.ec2_backend.launch_templates.values():
        placement = template.latest_version().data.get("Placement") or {}
        if template.name.startswith("eks-") and placement.get("GroupName") == name:
            raise EC2ClientError("InvalidPlacementGroup.InUse", f"The placement group '{name}' is in use.")
    del groups[name]
    return ActionResult({})


def _placement_group(groups: Mapping[str, dict[str, Any]], name: str) -> dict[str, Any]:
    if name not in groups:
        raise EC2ClientError("InvalidPlacementGroup.Unknown", f"The Placement Group '{name}' is unknown.")
    return groups[name]


def create_capacity_reservation(response: Any) -> ActionResult:
    """CreateCapacityReservation: granted where the type is offered in the zone."""
    kind, zone = response._get_param("InstanceType"), response._get_param("AvailabilityZone")
    offered = INSTANCE_TYPE_OFFERINGS["availability-zone"].get(response.region) or []
    if not any(it["InstanceType"] == kind and it["Location"] == zone for it in offered):
        raise EC2ClientError("Unsupported", f"The instance type {kind} is not offered in {zone}.")
    end, end_type = response._get_param("EndDate"), response._get_param("EndDateType") or "unlimited"
    _check_end(end, end_type)
    identity = f"cr-{uuid.uuid4().hex[:17]}"
    arn = f"arn:{response.partition}:ec2:{response.region}:{response.current_account}:capacity-reservation/{identity}"
    count = response._get_int_param("InstanceCount")
    now = datetime.now(UTC).replace(microsecond=0)
    reservation = {
        "CapacityReservationId": identity,
        "CapacityReservationArn": arn,
        "OwnerId": response.current_account,
        "InstanceType": kind,
        "InstancePlatform": response._get_param("InstancePlatform"),
        "AvailabilityZone": zone,
        "Tenancy": response._get_param("Tenancy") or "default",
        "TotalInstanceCount": count,
        "AvailableInstanceCount": count,
        "EbsOptimized": response._get_bool_param("EbsOptimized", False),
        "EphemeralStorage": response._get_bool_param("EphemeralStorage", False),
        "State": "active",
        "StartDate": now,
        "CreateDate": now,
        "EndDateType": end_type,
        "InstanceMatchCriteria": response._get_param("InstanceMatchCriteria") or "open",
        "ReservationType": "default",
    }
    for name, value in (("EndDate", end), ("PlacementGroupArn", response._get_param("PlacementGroupArn"))):
        if value:
            reservation[name] = value
    _store(response, "capacity_reservations")[identity] = reservation
    _tag(response, identity, "capacity-reservation")
    return ActionResult({"CapacityReservation": _described(response, reservation)})


def _check_end(end: Any, end_type: str) -> None:
    if (end_type == "limited") != bool(end):
        raise EC2ClientError("InvalidParameterCombination", "EndDate goes with the EndDateType limited, and only then.")


def _described(response: Any, reservation: Mapping[str, Any]) -> dict[str, Any]:
    described = _with_tags(response, reservation, reservation["CapacityReservationId"])
    tags = {tag["Key"]: tag["Value"] for tag in described["Tags"]}
    if tags.get(CAPACITY_BLOCK_TAG) == "true":
        described["ReservationType"] = "capacity-block"
    return described


def describe_capacity_reservations(response: Any) -> ActionResult:
    """DescribeCapacityReservations."""
    reservations = _store(response, "capacity_reservations")
    ids = response._get_param("CapacityReservationIds", [])
    for identity in ids:
        _reservation(reservations, identity)
    wanted = {
        _FILTERS[name]: values for name, values in response._filters_from_querystring().items() if name in _FILTERS
    }
    found = [
        _described(response, it)
        for it in reservations.values()
        if (not ids or it["CapacityReservationId"] in ids) and all(it[name] in wanted[name] for name in wanted)
    ]
    return ActionResult({"CapacityReservations": found})


def modify_capacity_reservation(response: Any) -> ActionResult:
    """ModifyCapacityReservation: how many instances, until when and for whom."""
    reservation = _reservation(_store(response, "capacity_reservations"), response._get_param("CapacityReservationId"))
    count, end_type = response._get_int_param("InstanceCount"), response._get_param("EndDateType")
    if count:
        reservation["TotalInstanceCount"] = reservation["AvailableInstanceCount"] = count
    if end_type:
        end = response._get_param("EndDate")
        _check_end(end, end_type)
        reservation["EndDateType"] = end_type
        reservation.pop("EndDate", None)
        if end:
            reservation["EndDate"] = end
    match = response._get_param("InstanceMatchCriteria")
    if match:
        reservation["InstanceMatchCriteria"] = match
    return ActionResult({"Return": True})


def cancel_capacity_reservation(response: Any) -> ActionResult:
    """CancelCapacityReservation."""
    reservation = _reservation(_store(response, "capacity_reservations"), response._get_param("CapacityReservationId"))
    reservation["State"] = "cancelled"
    return ActionResult({"Return": True})


def _reservation(reservations: Mapping[str, dict[str, Any]], identity: str) -> dict[str, Any]:
    if identity not in reservations:
        raise EC2ClientError(
            "InvalidCapacityReservationId.NotFound", f"The capacity reservation '{identity}' does not exist"
        )
    return reservations[identity]
