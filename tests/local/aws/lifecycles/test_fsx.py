"""FSx for Lustre: file systems and their links to buckets."""

from __future__ import annotations

from typing import Any

import pytest
from aws_lifecycle import Lifecycle, Step
from aws_program import DEFAULT_TAGS, CheckFailedError, Program

from trainyard.local.aws.account import Account
from trainyard.local.aws.errors import AwsError
from trainyard.local.aws.provider import Configuration, Provider

FILE_SYSTEM = "aws:fsx/lustreFileSystem:LustreFileSystem"
LINK = "aws:fsx/dataRepositoryAssociation:DataRepositoryAssociation"
EVENTS = ["NEW", "CHANGED", "DELETED"]
PERSISTENT = {
    "deploymentType": "PERSISTENT_2",
    "perUnitStorageThroughput": 250,
    "storageCapacity": 2400,
    "metadataConfiguration": {"mode": "AUTOMATIC"},
}
LUSTRE_PORTS = {"protocol": "tcp", "fromPort": 988, "toPort": 1023, "self": True}
EVERYTHING = {"protocol": "-1", "fromPort": 0, "toPort": 0, "self": True}


def group(vpc: Any, *rules: dict[str, Any], egress: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    return {"vpcId": vpc.id, "ingress": list(rules), "egress": egress or []}


class TestLife(Lifecycle):
    steps = {  # noqa: RUF012
        "vpc": Step("aws:ec2/vpc:Vpc", lambda _: {"cidrBlock": "10.0.0.0/16"}),
        "subnet": Step("aws:ec2/subnet:Subnet", lambda r: {"vpcId": r["vpc"].id, "cidrBlock": "10.0.0.0/24"}),
        "group": Step("aws:ec2/securityGroup:SecurityGroup", lambda r: group(r["vpc"], LUSTRE_PORTS)),
        "efa-group": Step(
            "aws:ec2/securityGroup:SecurityGroup", lambda r: group(r["vpc"], EVERYTHING, egress=[EVERYTHING])
        ),
        "key": Step("aws:kms/key:Key", lambda _: {"deletionWindowInDays": 7}),
        "bucket": Step("aws:s3/bucket:Bucket", lambda _: {"forceDestroy": True}),
        "scratch": Step(
            FILE_SYSTEM,
            lambda r: {
                "deploymentType": "SCRATCH_2",
                "storageCapacity": 1200,
                "subnetIds": r["subnet"].id,
                "securityGroupIds": [r["group"].id],
            },
        ),
        "backed-up": Step(
            FILE_SYSTEM,
            lambda r: {
                **PERSISTENT,
                "subnetIds": r["subnet"].id,
                "securityGroupIds": [r["group"].id],
                "kmsKeyId": r["key"]["arn"],
                "automaticBackupRetentionDays": 7,
                "copyTagsToBackups": True,
                "dailyAutomaticBackupStartTime": "02:00",
                "weeklyMaintenanceStartTime": "1:03:00",
                "dataCompressionType": "LZ4",
                "fileSystemTypeVersion": "2.15",
                "logConfiguration": {"level": "WARN_ERROR"},
                "rootSquashConfiguration": {"rootSquash": "365534:65534", "noSquashNids": ["10.0.1.6@tcp"]},
            },
            lambda r: {
                **PERSISTENT,
                "storageCapacity": 2400,
                "perUnitStorageThroughput": 500,
                "subnetIds": r["subnet"].id,
                "securityGroupIds": [r["group"].id],
                "kmsKeyId": r["key"]["arn"],
                "automaticBackupRetentionDays": 0,
                "copyTagsToBackups": True,
                "dailyAutomaticBackupStartTime": "04:00",
                "weeklyMaintenanceStartTime": "2:03:00",
                "dataCompressionType": "NONE",
                "fileSystemTypeVersion": "2.15",
                "logConfiguration": {"level": "DISABLED"},
                "rootSquashConfiguration": {"rootSquash": "0:0", "noSquashNids": []},
                "tags": {"a": "b"},
            },
        ),
        "linked": Step(
            FILE_SYSTEM,
            lambda r: {
                **PERSISTENT,
                "storageCapacity": 19200,
                "efaEnabled": True,
                "subnetIds": r["subnet"].id,
                "securityGroupIds": [r["efa-group"].id],
                "dataCompressionType": "NONE",
            },
            lambda r: {
                **PERSISTENT,
                "storageCapacity": 19200,
                "efaEnabled": True,
                "subnetIds": r["subnet"].id,
                "securityGroupIds": [r["efa-group"].id],
                "dataCompressionType": "LZ4",
            },
        ),
        "link": Step(
            LINK,
            lambda r: {
                "fileSystemId": r["linked"].id,
                "fileSystemPath": "/data",
                "dataRepositoryPath": f"s3://{r['bucket'].id}/data/",
                "batchImportMetaDataOnCreate": True,
                "s3": {"autoImportPolicy": {"events": EVENTS}, "autoExportPolicy": {"events": EVENTS}},
            },
            lambda r: {
                "fileSystemId": r["linked"].id,
                "fileSystemPath": "/data",
                "dataRepositoryPath": f"s3://{r['bucket'].id}/data/",
                "batchImportMetaDataOnCreate": True,
                "importedFileChunkSize": 1024,
                "s3": {"autoImportPolicy": {"events": ["NEW"]}, "autoExportPolicy": {"events": EVENTS}},
                "tags": {"a": "b"},
            },
        ),
    }

    def test_what_clients_mount_is_told(self, stack: Program):
        made = stack.resources["linked"]
        assert made["dnsName"] == f"{made.id}.fsx.us-east-1.amazonaws.com"
        assert len(made["mountName"]) == 8
        assert len(made["networkInterfaceIds"]) == 1

    def test_a_linked_file_system_has_no_backups(self, stack: Program):
        inputs = {**self.steps["linked"].first(stack.resources), "automaticBackupRetentionDays": 7}
        with pytest.raises(AwsError, match="linked to a data repository"):
            stack.up(FILE_SYSTEM, "linked", **inputs)
        inputs = {
            **self.steps["link"].first(stack.resources),
            "fileSystemId": stack.resources["backed-up"].id,
        }
        with pytest.raises(AwsError, match="linked to a data repository"):
            stack.up(LINK, "refused", **inputs)

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"fileSystemPath": "/data/more"}, "overlaps"),
            ({"fileSystemPath": "/other"}, "overlaps"),
            ({"fileSystemPath": "/other", "dataRepositoryPath": "s3://no-such-bucket-here/"}, "does not exist"),
        ],
    )
    def test_links_are_apart(self, stack: Program, change: dict[str, Any], words: str):
        with pytest.raises(AwsError, match=words):
            stack.up(LINK, "refused", **{**self.steps["link"].first(stack.resources), **change})

    def test_storage_grows_in_place(self, stack: Program):
        inputs = self.steps["scratch"].first(stack.resources)
        grown = stack.up(FILE_SYSTEM, "scratch", **{**inputs, "storageCapacity": 4800})
        assert (grown.id, grown["storageCapacity"]) == (stack.resources["scratch"].id, 4800)

    def test_storage_does_not_shrink_and_the_throughput_with_efa_stays(self, stack: Program):
        inputs = self.steps["backed-up"].first(stack.resources)
        with pytest.raises(AwsError, match="can only grow"):
            stack.up(FILE_SYSTEM, "backed-up", **{**inputs, "storageCapacity": 1200})
        stack.resources["backed-up"].half_made = False
        inputs = self.steps["linked"].first(stack.resources)
        with pytest.raises(AwsError, match="EFA-enabled file system cannot be changed"):
            stack.up(FILE_SYSTEM, "linked", **{**inputs, "perUnitStorageThroughput": 500})

    def test_efa_needs_a_group_that_lets_everything_through_to_itself(self, stack: Program):
        inputs = self.steps["linked"].first(stack.resources)
        with pytest.raises(AwsError, match="EFA-enabled file system needs a security group"):
            stack.up(FILE_SYSTEM, "refused", **{**inputs, "securityGroupIds": [stack.resources["group"].id]})

    def test_the_port_of_lustre_has_to_be_open(self, stack: Program):
        closed = stack.up("aws:ec2/securityGroup:SecurityGroup", "closed", vpcId=stack.resources["vpc"].id)
        inputs = self.steps["scratch"].first(stack.resources)
        with pytest.raises(AwsError, match="port 988"):
            stack.up(FILE_SYSTEM, "refused", **{**inputs, "securityGroupIds": [closed.id]})
        stack.destroy("closed")

    def test_the_groups_and_the_subnet_of_a_file_system_stay(self, stack: Program):
        for name in ("group", "subnet"):
            with pytest.raises(AwsError, match="DependencyViolation"):
                stack.destroy(name)

    def test_a_log_group_for_the_links_has_its_own_prefix(self, stack: Program):
        destination = "arn:aws:logs:us-east-1:123456789012:log-group:/trainyard/lustre"
        inputs = self.steps["linked"].first(stack.resources)
        log = {"level": "WARN_ERROR", "destination": destination}
        with pytest.raises(AwsError, match="/aws/fsx"):
            stack.up(FILE_SYSTEM, "linked", **{**inputs, "logConfiguration": log})

    def test_a_final_backup_by_choice(self, stack: Program, aws: Any):
        inputs = {
            **self.steps["backed-up"].first(stack.resources),
            "skipFinalBackup": False,
            "finalBackupTags": {"why": "gone"},
        }
        last = stack.up(FILE_SYSTEM, "last", **inputs)
        stack.destroy("last")
        backups = aws("fsx").describe_backups()["Backups"]
        (found,) = [entry for entry in backups if {"Key": "why", "Value": "gone"} in entry["Tags"]]
        assert found["ResourceARN"]
        assert last.id not in {entry["FileSystemId"] for entry in aws("fsx").describe_file_systems()["FileSystems"]}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"storageCapacity": 3600}, "1200 or a multiple of 2400"),
        ({"perUnitStorageThroughput": 200}, "not valid for PERSISTENT_2"),
        ({"efaEnabled": True}, "multiples of 19200"),
        ({"efaEnabled": True, "storageCapacity": 4800, "perUnitStorageThroughput": 500}, "multiples of 9600"),
        ({"efaEnabled": True, "storageCapacity": 19200, "metadataConfiguration": None}, "with a metadata"),
        ({"metadataConfiguration": {"mode": "USER_PROVISIONED", "iops": 2000}}, "Iops 2000 is not valid"),
        ({"deploymentType": "SCRATCH_2"}, "cannot be specified for SCRATCH_2"),
        ({"automaticBackupRetentionDays": 91}, "more than 90"),
    ],
)
def test_what_fsx_refuses_is_told_before_anything_is_made(account: Account, change: dict[str, Any], words: str):
    program = Program(Provider(Configuration("us-east-1", DEFAULT_TAGS), account))
    inputs = {**PERSISTENT, "subnetIds": "subnet-1", **change}
    with pytest.raises(CheckFailedError, match=words):
        program.up(FILE_SYSTEM, "refused", **{name: value for name, value in inputs.items() if value is not None})
