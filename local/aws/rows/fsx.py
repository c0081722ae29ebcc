"""FSx: Lustre file systems and their links to buckets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from trainyard.local.aws.calls import Call, Derive, Do, Read
from trainyard.local.aws.context import Context
from trainyard.local.aws.fields import ID, Const, Fact, Object, Prop, Scope, Values, pascal
from trainyard.local.aws.fsx_lustre import problems_of_new
from trainyard.local.aws.row import Row
from trainyard.local.aws.tags import TagsField, tagged_by
from trainyard.local.aws.values import OMIT, has_unknown

_LEGACY = "replaced by aws:fsx/dataRepositoryAssociation:DataRepositoryAssociation"
_INTELLIGENT = "Intelligent-Tiering storage is not emulated; PERSISTENT_2 on SSD is"
_PAIRS = TagsField(key="Key", value="Value")
_TAGS = tagged_by(
    "tag_resource",
    "untag_resource",
    {"ResourceARN": Fact("arn")},
    tags="Tags",
    keys="TagKeys",
    pair=("Key", "Value"),
    create={"Tags": _PAIRS},
    read={"Tags": _PAIRS},
)
_CHANGEABLE = {
    **pascal(
        "automaticBackupRetentionDays",
        "dailyAutomaticBackupStartTime",
        "dataCompressionType",
        "perUnitStorageThroughput",
        "weeklyMaintenanceStartTime",
    ),
    "LogConfiguration": Object("logConfiguration", pascal("destination", "level")),
    "MetadataConfiguration": Object("metadataConfiguration", pascal("iops", "mode")),
    "RootSquashConfiguration": Object(
        "rootSquashConfiguration", {"NoSquashNids": Values("noSquashNids"), "RootSquash": "rootSquash"}
    ),
}
_LUSTRE = {**_CHANGEABLE, **pascal("copyTagsToBackups", "deploymentType", "efaEnabled")}
_FILE_SYSTEM_GONE = ("FileSystemNotFound",)
_LINK_GONE = ("DataRepositoryAssociationNotFound", "FileSystemNotFound")


class _Single(Prop):
    """A property that is a list of one in AWS."""

    def write(self, scope: Scope) -> Any:
        value = super().write(scope)
        return value if value is OMIT else [value]

    def read(self, value: Any, into: dict[str, Any]) -> None:
        super().read(value[0] if value else None, into)


def _groups(context: Context, observed: Mapping[str, Any]) -> Mapping[str, Any]:
    """FSx does not tell the groups of a file system; those of its network interfaces are they."""
    interfaces = observed.get("networkInterfaceIds") or []
    found = context.call("describe_network_interfaces", "ec2", NetworkInterfaceIds=interfaces)["NetworkInterfaces"]
    return {"securityGroupIds": sorted({group["GroupId"] for entry in found for group in entry["Groups"]})}


def _delete_file_system(context: Context) -> None:
    """With a final backup only where the program asks for one."""
    skip = context.wanted.get("skipFinalBackup", True)
    options: dict[str, Any] = {"SkipFinalBackup": skip}
    tags = context.wanted.get("finalBackupTags")
    if tags and not skip:
        options["FinalBackupTags"] = [{"Key": key, "Value": text} for key, text in sorted(tags.items())]
    context.call("delete_file_system", FileSystemId=context.id, LustreConfiguration=options)


def _as_request(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The parts of CreateFileSystem that decide whether a file system can be."""
    names = ("automaticBackupRetentionDays", "copyTagsToBackups", "dailyAutomaticBackupStartTime", "deploymentType")
    lustre = {name[0].upper() + name[1:]: inputs[name] for name in (*names, "efaEnabled") if name in inputs}
    metadata = inputs.get("metadataConfiguration")
    if metadata:
        lustre["MetadataConfiguration"] = {name[0].upper() + name[1:]: value for name, value in metadata.items()}
    if "perUnitStorageThroughput" in inputs:
        lustre["PerUnitStorageThroughput"] = inputs["perUnitStorageThroughput"]
    return {
        "FileSystemType": "LUSTRE",
        "SubnetIds": ["subnet"],
        "StorageCapacity": inputs.get("storageCapacity"),
        "LustreConfiguration": lustre,
    }


def _can_be(inputs: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What FSx would refuse is told before anything is made."""
    request = _as_request(inputs)
    if not has_unknown(request):
        for problem in problems_of_new(request):
            named = next(
                (name for name in inputs if name.lower() in problem.replace(" ", "").lower()), "storageCapacity"
            )
            yield named, f"is refused by FSx: {problem}"


def _lustre_file_system() -> Row:
    return Row(
        "aws:fsx/lustreFileSystem:LustreFileSystem",
        service="fsx",
        id="FileSystem.FileSystemId",
        create=Call(
            "create_file_system",
            {
                "FileSystemType": Const("LUSTRE"),
                **pascal("fileSystemTypeVersion", "kmsKeyId", "storageCapacity", "storageType"),
                "SubnetIds": _Single("subnetIds"),
                "SecurityGroupIds": Values("securityGroupIds"),
                "LustreConfiguration": _LUSTRE,
            },
        ),
        update=(
            Call(
                "update_file_system",
                {"FileSystemId": ID, **pascal("storageCapacity"), "LustreConfiguration": _CHANGEABLE},
            ),
        ),
        read=(
            Read(
                "describe_file_systems",
                {"FileSystemIds": [ID]},
                {
                    **pascal("fileSystemTypeVersion", "kmsKeyId", "ownerId", "storageCapacity", "storageType", "vpcId"),
                    "ResourceARN": "arn",
                    "DNSName": "dnsName",
                    "NetworkInterfaceIds": Values("networkInterfaceIds"),
                    "SubnetIds": _Single("subnetIds"),
                    "LustreConfiguration": {**_LUSTRE, "MountName": "mountName"},
                },
                path="FileSystems[0]",
                gone=_FILE_SYSTEM_GONE,
            ),
            Derive(_groups, (Values("securityGroupIds"),)),
        ),
        delete=(Do(_delete_file_system),),
        tags=_TAGS,
        defaults={"deploymentType": "SCRATCH_1", "skipFinalBackup": True, "storageType": "SSD"},
        computed=(
            "automaticBackupRetentionDays",
            "copyTagsToBackups",
            "dailyAutomaticBackupStartTime",
            "dataCompressionType",
            "efaEnabled",
            "fileSystemTypeVersion",
            "kmsKeyId",
            "logConfiguration",
            "logConfiguration.destination",
            "metadataConfiguration",
            "metadataConfiguration.iops",
            "securityGroupIds",
            "weeklyMaintenanceStartTime",
        ),
        local=("skipFinalBackup", "finalBackupTags"),
        replace_on=(
            "copyTagsToBackups",
            "deploymentType",
            "efaEnabled",
            "fileSystemTypeVersion",
            "kmsKeyId",
            "securityGroupIds",
            "storageType",
            "subnetIds",
        ),
        constraints=(_can_be,),
        not_emulated={
            **dict.fromkeys(("autoImportPolicy", "exportPath", "importPath", "importedFileChunkSize"), _LEGACY),
            **dict.fromkeys(("dataReadCacheConfiguration", "throughputCapacity"), _INTELLIGENT),
            "backupId": "restoring a backup is not emulated",
            "driveCacheType": "for HDD storage, which is not emulated",
        },
        notes=(
            "sizes, throughput, EFA and the ports of the security groups are checked as AWS does; storage can only "
            "grow, and a linked file system has no backups",
        ),
    )


def _events(policy: str) -> dict[str, Any]:
    return {f"{policy[0].upper()}{policy[1:]}": Object(policy, {"Events": Values("events")})}


_S3 = Object("s3", {**_events("autoExportPolicy"), **_events("autoImportPolicy")}, unset={})


def _link() -> Row:
    return Row(
        "aws:fsx/dataRepositoryAssociation:DataRepositoryAssociation",
        service="fsx",
        cloudformation="AWS::FSx::DataRepositoryAssociation",
        id="Association.AssociationId",
        create=Call(
            "create_data_repository_association",
            {
                **pascal(
                    "batchImportMetaDataOnCreate",
                    "dataRepositoryPath",
                    "fileSystemId",
                    "fileSystemPath",
                    "importedFileChunkSize",
                ),
                "S3": _S3,
            },
        ),
        update=(
            Call(
                "update_data_repository_association",
                {"AssociationId": ID, **pascal("importedFileChunkSize"), "S3": _S3},
            ),
        ),
        read=(
            Read(
                "describe_data_repository_associations",
                {"AssociationIds": [ID]},
                {
                    **pascal(
                        "associationId",
                        "batchImportMetaDataOnCreate",
                        "dataRepositoryPath",
                        "fileSystemId",
                        "fileSystemPath",
                        "importedFileChunkSize",
                    ),
                    "ResourceARN": "arn",
                    "S3": _S3,
                },
                path="Associations[0]",
                gone=_LINK_GONE,
            ),
        ),
        delete=(
            Call(
                "delete_data_repository_association",
                {"AssociationId": ID, "DeleteDataInFileSystem": "deleteDataInFilesystem"},
                ignore=_LINK_GONE,
            ),
        ),
        tags=_TAGS,
        defaults={"batchImportMetaDataOnCreate": False, "deleteDataInFilesystem": False},
        local=("deleteDataInFilesystem",),
        computed=("importedFileChunkSize", "s3"),
        replace_on=("batchImportMetaDataOnCreate", "dataRepositoryPath", "fileSystemId", "fileSystemPath"),
        notes=("no object is copied: only the association is emulated",),
    )


ROWS = (_lustre_file_system(), _link())
