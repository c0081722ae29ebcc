"""Limits of AWS that modules and policies state as numbers are those that its API reference states.

The reference comes with botocore. A newer botocore that says otherwise fails here, and the number is to be looked at.
"""

from __future__ import annotations

import re

import botocore.session
import pytest

from trainyard.modules import backup, budget, gpu_capacity, gpu_group, gpu_launch_template
from trainyard.policies.rules import capacity, lustre_size

BLOCKS, LOCK = "ec2 DescribeCapacityBlockOfferingsRequest", "backup PutBackupVaultLockConfigurationInput"
WORDS = {10: "ten"}
LUSTRE = "fsx CreateFileSystemLustreConfiguration"
SMALLEST, STEP = lustre_size.SMALLEST_GIB, lustre_size.STEP_GIB
HOURS = budget.MOST_IDLE_HOURS


def _listed(kind: str) -> str:
    return ", ".join(map(str, lustre_size.THROUGHPUTS[kind]))


@pytest.fixture(scope="module")
def session() -> botocore.session.Session:
    return botocore.session.get_session()


@pytest.mark.parametrize(
    ("shape", "member", "said"),
    [
        (BLOCKS, "InstanceCount", f"can have up to {gpu_capacity.MOST_BLOCK_INSTANCES} instances"),
        (BLOCKS, "InstanceCount", f"can have up to {capacity.MOST_BLOCK_NODES} instances"),
        (BLOCKS, "CapacityDurationHours", f"in {gpu_capacity.SHORTEST_BLOCK.days}-day increments"),
        ("backup Lifecycle", "DeleteAfterDays", f"at least {backup.LEAST_COLD_DAYS} days after"),
        (LOCK, "ChangeableForDays", f"to {backup.LEAST_CHANGEABLE_DAYS} or greater"),
        (LOCK, "MaxRetentionDays", f"{backup.LONGEST_DAYS} days"),
        ("backup BackupRuleInput", "StartWindowMinutes", "at least 60 minutes"),
        ("budgets Notification", None, f"up to {WORDS[budget.MOST_NOTIFICATIONS]} notifications"),
        ("cloudwatch PutMetricAlarmInput", "Period", f"one day ({HOURS * 3600:,} seconds)"),
        (LUSTRE, "PerUnitStorageThroughput", f"PERSISTENT_1 SSD storage: {_listed('PERSISTENT_1')} MB/s/TiB"),
        (LUSTRE, "PerUnitStorageThroughput", f"PERSISTENT_2 SSD storage: {_listed('PERSISTENT_2')} MB/s/TiB"),
        (
            "fsx CreateFileSystemRequest",
            "StorageCapacity",
            f"the valid values are {SMALLEST} GiB, {STEP} GiB, and increments of {STEP} GiB",
        ),
        # The strategy of an update of GPU nodes.
        ("eks NodegroupUpdateConfig", "updateStrategy", "terminates the old instances before launching the new"),
        ("eks UpdateNodegroupVersionRequest", "force", "can't be drained due to a Pod disruption budget"),
    ],
)
def test_the_api_reference_says_so(session, shape: str, member: str | None, said: str) -> None:
    service, name = shape.split()
    found = session.get_service_model(service).shape_for(name)
    text = (found.members[member] if member else found).documentation
    assert said in " ".join(re.sub(r"<[^>]+>", "", text).split())


def test_gpu_disks_are_within_what_a_gp3_volume_gives(session) -> None:
    ebs = session.get_service_model("ec2").shape_for("LaunchTemplateEbsBlockDeviceRequest")
    most = re.search(r"maximum of ([\d,]+) MiB/s", ebs.members["Throughput"].documentation)
    assert most is not None
    assert int(most[1].replace(",", "")) >= gpu_launch_template.VOLUME_THROUGHPUT_MIBPS
    # A quarter MiB/s for each operation a second.
    assert gpu_launch_template.VOLUME_IOPS * 0.25 >= gpu_launch_template.VOLUME_THROUGHPUT_MIBPS


def test_eks_has_the_image_type_and_the_capacity_types_that_are_asked_for(session) -> None:
    eks = session.get_service_model("eks")
    assert gpu_group.AMI_TYPE in eks.shape_for("AMITypes").enum
    kinds = (
        gpu_capacity.OnDemand(),
        gpu_capacity.Spot(),
        gpu_capacity.Reservation("cr-0"),
    )
    assert {gpu_group.capacity_type(kind) for kind in kinds} <= set(eks.shape_for("CapacityTypes").enum)
