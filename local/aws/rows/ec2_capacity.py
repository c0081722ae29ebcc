"""EC2 placement groups and capacity reservations."""

from __future__ import annotations

from trainyard.local.aws.calls import Call, Read
from trainyard.local.aws.fields import ID, Fact, pascal
from trainyard.local.aws.row import Name, Row
from trainyard.local.aws.tags import NewTags, OldTags, Tagging, TagsField, TagSpecification, ec2_tags

_RESERVATION = {
    **pascal("availabilityZone", "ebsOptimized", "endDate", "endDateType", "ephemeralStorage"),
    **pascal("instanceMatchCriteria", "instancePlatform", "instanceType", "placementGroupArn", "tenancy"),
}
_BY_GROUP_ID = {"Resources": [Fact("placementGroupId")]}

ROWS = (
    Row(
        "aws:ec2/placementGroup:PlacementGroup",
        service="ec2",
        cloudformation="AWS::EC2::PlacementGroup",
        id="{name}",
        name=Name("name", "", max_length=255),
        create=Call(
            "create_placement_group", {"GroupName": "name", **pascal("partitionCount", "spreadLevel", "strategy")}
        ),
        read=(
            Read(
                "describe_placement_groups",
                {"GroupNames": [ID]},
                {
                    "GroupName": "name",
                    "GroupId": "placementGroupId",
                    "GroupArn": "arn",
                    **pascal("partitionCount", "spreadLevel", "strategy"),
                },
                path="PlacementGroups[0]",
                gone=("InvalidPlacementGroup.Unknown",),
            ),
        ),
        delete=(Call("delete_placement_group", {"GroupName": ID}, ignore=("InvalidPlacementGroup.Unknown",)),),
        tags=Tagging(
            create={"TagSpecifications": TagSpecification(resource_type="placement-group")},
            read={"Tags": TagsField(key="Key", value="Value")},
            calls=(
                Call("delete_tags", {**_BY_GROUP_ID, "Tags": OldTags(key="Key")}, needs=("Tags",)),
                Call("create_tags", {**_BY_GROUP_ID, "Tags": NewTags(key="Key", value="Value")}, needs=("Tags",)),
            ),
        ),
        computed=("partitionCount", "spreadLevel"),
        replace_on=("strategy", "partitionCount", "spreadLevel"),
        in_place=("tags",),
        schema_names={"name": "GroupName"},
    ),
    Row(
        "aws:ec2/capacityReservation:CapacityReservation",
        service="ec2",
        cloudformation="AWS::EC2::CapacityReservation",
        id="CapacityReservation.CapacityReservationId",
        create=Call("create_capacity_reservation", {**_RESERVATION, "InstanceCount": "instanceCount"}),
        update=(
            Call(
                "modify_capacity_reservation",
                {
                    "CapacityReservationId": ID,
                    **pascal("endDate", "endDateType", "instanceCount", "instanceMatchCriteria"),
                },
            ),
        ),
        read=(
            Read(
                "describe_capacity_reservations",
                {"CapacityReservationIds": [ID]},
                {
                    **_RESERVATION,
                    "TotalInstanceCount": "instanceCount",
                    "CapacityReservationArn": "arn",
                    "OwnerId": "ownerId",
                },
                path="CapacityReservations[?State == 'active'] | [0]",
                gone=("InvalidCapacityReservationId.NotFound",),
            ),
        ),
        delete=(
            Call(
                "cancel_capacity_reservation",
                {"CapacityReservationId": ID},
                ignore=("InvalidCapacityReservationId.NotFound",),
            ),
        ),
        tags=ec2_tags("capacity-reservation"),
        defaults={"endDateType": "unlimited", "instanceMatchCriteria": "open", "tenancy": "default"},
        computed=("ebsOptimized", "ephemeralStorage"),
        in_place=("endDate", "endDateType", "instanceCount", "instanceMatchCriteria"),
        not_emulated={"outpostArn": "there is no Outpost"},
        notes=("granted at once where the instance type is offered; no instance ever uses it",),
    ),
)
