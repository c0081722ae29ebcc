"""Whether AWS offers what the GPU groups ask for: types in zones, EFA, reservations and Capacity Blocks."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import ClientError

from trainyard.cli.aws_session import Account
from trainyard.cli.doctor.finding import Finding, Verdict, reason
from trainyard.modules.instance_types import INSTANCE_TYPES
from trainyard.stacks.settings import Settings


def offerings(account: Account, settings: Settings) -> Iterator[Finding]:
    """Each group's type in each of its zones. An offering is no promise of capacity."""
    ec2 = account.client("ec2")
    wanted: dict[str, set[str]] = {}
    for group in settings.gpu_groups:
        wanted.setdefault(group.instance_type, set()).update(group.zones)
    for group in settings.cpu_groups:
        for name in group.instance_types:
            wanted.setdefault(name, set()).update(group.zones or settings.availability_zones)
    for name, zones in sorted(wanted.items()):
        pages = ec2.get_paginator("describe_instance_type_offerings").paginate(
            LocationType="availability-zone", Filters=[{"Name": "instance-type", "Values": [name]}]
        )
        offered = {one["Location"] for page in pages for one in page["InstanceTypeOfferings"]}
        missing = sorted(zones - offered)
        if not missing:
            yield Finding("offering", name, Verdict.FINE, f"offered in {', '.join(sorted(zones))}")
        elif offered:
            yield Finding(
                "offering",
                name,
                Verdict.FAILED,
                f"not offered in {', '.join(missing)}; offered in {', '.join(sorted(offered))}",
                "choose one of these zones for the group (zone names differ between accounts)",
            )
        else:
            yield Finding(
                "offering",
                name,
                Verdict.FAILED,
                f"not offered in {account.region}",
                "choose another type or another region; `trainyard preview` names what the region offers",
            )


def efa(account: Account, settings: Settings) -> Iterator[Finding]:
    """Each type's number of EFA interfaces, as EC2 tells it, against the table the launch templates are made from."""
    names = sorted({group.instance_type for group in settings.gpu_groups})
    ec2 = account.client("ec2")
    for name in names:
        try:
            told = ec2.describe_instance_types(InstanceTypes=[name])["InstanceTypes"][0]["NetworkInfo"]
        except ClientError as refused:
            yield Finding("EFA", name, Verdict.UNKNOWN, f"EC2 says {reason(refused)}")
            continue
        known = told.get("EfaInfo", {}).get("MaximumEfaInterfaces", 0)
        table = INSTANCE_TYPES[name].efa_interfaces
        if known == table:
            yield Finding("EFA", name, Verdict.FINE, f"{known} interfaces")
        else:
            yield Finding(
                "EFA",
                name,
                Verdict.FAILED,
                f"EC2 has {known} EFA interfaces for it, modules/instance_types.py {table}",
                "correct the row in the table: nodes with a wrong layout do not start, or run far too slowly",
            )


def reservations(account: Account, settings: Settings) -> Iterator[Finding]:
    """Each reservation and Capacity Block: that it is there, active or to come, of the type, zone, size and dates."""
    ec2 = account.client("ec2")
    for group in settings.gpu_groups:
        if group.reservation_id is None:
            continue
        subject = f"{group.name}: {group.reservation_id}"
        try:
            found = ec2.describe_capacity_reservations(CapacityReservationIds=[group.reservation_id])
            one = found["CapacityReservations"][0]
        except (ClientError, IndexError) as refused:
            if isinstance(refused, ClientError) and not reason(refused).startswith("InvalidCapacityReservationId"):
                said, remedy = f"asking gave {reason(refused)}", "allow ec2:DescribeCapacityReservations"
                yield Finding("reservation", subject, Verdict.UNKNOWN, said, remedy)
                continue
            yield Finding(
                "reservation",
                subject,
                Verdict.FAILED,
                f"there is no such reservation in {account.region} that these credentials can see",
                "aws ec2 describe-capacity-reservations lists yours; put its id into the group's reservation_id",
            )
            continue
        wrong = list(_differences(group, one))
        if wrong:
            yield Finding("reservation", subject, Verdict.FAILED, "; ".join(wrong), "correct the group's settings")
        else:
            said = f"{one['State']}, {one['TotalInstanceCount']} × {one['InstanceType']} in {one['AvailabilityZone']}"
            yield Finding("reservation", subject, Verdict.FINE, said)


def _differences(group: Any, found: dict[str, Any]) -> Iterator[str]:
    if found["State"] not in ("active", "scheduled", "payment-pending", "assessing", "pending"):
        yield f"its state is {found['State']}"
    kind = found.get("ReservationType", "default")
    if (kind == "capacity-block") != (group.capacity == "capacity-block"):
        yield f"it is of the kind {kind}, the group's capacity is {group.capacity}"
    if found["InstanceType"] != group.instance_type:
        yield f"it is for {found['InstanceType']}, the group for {group.instance_type}"
    if found["AvailabilityZone"] not in group.zones:
        yield f"it is in {found['AvailabilityZone']}, the group in {', '.join(group.zones)}"
    if found["TotalInstanceCount"] < group.maximum_nodes:
        yield f"it holds {found['TotalInstanceCount']} instances, the group grows to {group.maximum_nodes}"
    starts, ends = found.get("StartDate"), found.get("EndDate")
    if group.starts_at is not None and starts is not None and starts > group.starts_at:
        yield f"it starts at {starts:%Y-%m-%d %H:%M} UTC, the group at {group.starts_at:%Y-%m-%d %H:%M} UTC"
    if group.ends_at is not None and ends is not None and ends < group.ends_at:
        yield f"it ends at {ends:%Y-%m-%d %H:%M} UTC, the group at {group.ends_at:%Y-%m-%d %H:%M} UTC"
    if ends is not None and ends < datetime.now(UTC):
        yield f"it ended at {ends:%Y-%m-%d %H:%M} UTC"
