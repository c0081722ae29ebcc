"""FSx for Lustre in moto: file systems that AWS would make, changed in place, and data repository associations.

moto keeps any request as it is and cannot change a file system. Here a file system is described as AWS does, has a
network interface in its subnet and groups, and what FSx refuses is refused (`fsx_lustre.py`).
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from moto.core.exceptions import JsonRESTError
from moto.ec2.models import ec2_backends
from moto.ec2.utils import random_private_ip
from moto.fsx.models import FSxBackend
from moto.fsx.responses import FSxResponse
from moto.kms.models import kms_backends
from moto.s3.models import s3_backends

from trainyard.local.aws.account import dns_suffix_of, partition_of
from trainyard.local.aws.fsx_lustre import (
    Rule,
    lustre_version,
    problems_of_change,
    problems_of_link,
    problems_of_network,
    problems_of_new,
)
from trainyard.local.aws.moto_adapter.expectations import add, require_mentions, require_parameters, wrap

Description = dict[str, Any]

_DEFAULTS = {"DataCompressionType": "NONE", "WeeklyMaintenanceStartTime": "7:03:00"}
_PERSISTENT_DEFAULTS = {
    "AutomaticBackupRetentionDays": 0,
    "CopyTagsToBackups": False,
    "DailyAutomaticBackupStartTime": "03:00",
}
_MERGED = ("LogConfiguration", "RootSquashConfiguration", "MetadataConfiguration")


def require_expected() -> None:
    """What this module relies on."""
    require_mentions(FSxBackend.__init__, "self.file_systems", "self.tagger = TaggingService()")
    require_parameters(FSxBackend.list_tags_for_resource, "self", "resource_arn")
    require_mentions(FSxResponse.create_file_system, "self.fsx_backend", "json.loads(self.body)")
    require_mentions(FSxResponse.describe_file_systems, '"FileSystems"')
    require_mentions(FSxResponse.delete_file_system, '"FileSystemId"')


def install() -> None:
    """Put file systems and associations of our own into moto's backend."""
    wrap(FSxResponse, "create_file_system", lambda _: _create_file_system)
    wrap(FSxResponse, "describe_file_systems", lambda _: _describe_file_systems)
    wrap(FSxResponse, "delete_file_system", lambda _: _delete_file_system)
    wrap(FSxResponse, "create_backup", _only_unlinked)
    add(FSxResponse, "update_file_system", _update_file_system)
    add(FSxResponse, "create_data_repository_association", _create_association)
    add(FSxResponse, "describe_data_repository_associations", _describe_associations)
    add(FSxResponse, "update_data_repository_association", _update_association)
    add(FSxResponse, "delete_data_repository_association", _delete_association)


class FileSystem:
    """A file system as `description` says; the other members are what moto's own code asks of one."""

    def __init__(self, description: Description, backend: Any) -> None:
        self.description = description
        self.backend = backend
        self.file_system_id = description["FileSystemId"]
        self.file_system_type = description["FileSystemType"]
        self.resource_arn = description["ResourceARN"]
        self.associations: dict[str, Description] = {}

    def to_dict(self) -> Description:
        """As DescribeFileSystems tells it."""
        return {**self.description, "Tags": self.backend.list_tags_for_resource(self.resource_arn)}


def _create_file_system(response: Any) -> str:
    request = json.loads(response.body)
    _refuse(problems_of_new(request))
    backend, region, account = response.fsx_backend, response.region, response.current_account
    ec2 = ec2_backends[account][region]
    subnet = ec2.get_subnet(request["SubnetIds"][0])
    groups = _groups(ec2, request.get("SecurityGroupIds") or [], subnet.vpc_id)
    lustre: Description = {
        key: value for key, value in (request.get("LustreConfiguration") or {}).items() if value is not None
    }
    kind = lustre.setdefault("DeploymentType", "SCRATCH_1")
    network = problems_of_network(
        [group.id for group in groups],
        [rule for group in groups for rule in _rules(group.ingress_rules)],
        [rule for group in groups for rule in _rules(group.egress_rules)],
        efa=bool(lustre.get("EfaEnabled")),
    )
    _refuse(network, "InvalidNetworkSettings")
    interface = ec2.create_network_interface(subnet, random_private_ip(), description="Created by Amazon FSx")
    interface._group_set = groups
    persistent = kind.startswith("PERSISTENT")
    defaults: Description = {**_DEFAULTS, **(_PERSISTENT_DEFAULTS if persistent else {})}
    lustre = defaults | lustre
    lustre["MountName"] = "fsx" if kind == "SCRATCH_1" else secrets.token_hex(4)
    lustre["LogConfiguration"] = _log_configuration(response, lustre.get("LogConfiguration"))
    if kind == "PERSISTENT_2":
        lustre.setdefault("EfaEnabled", False)
    _fill_metadata(lustre, request["StorageCapacity"])
    identity = f"fs-{secrets.token_hex(9)[:17]}"
    description: Description = {
        "OwnerId": account,
        "CreationTime": time.time(),
        "FileSystemId": identity,
        "FileSystemType": "LUSTRE",
        "Lifecycle": "AVAILABLE",
        "StorageCapacity": request["StorageCapacity"],
        "StorageType": request.get("StorageType") or "SSD",
        "VpcId": subnet.vpc_id,
        "SubnetIds": request["SubnetIds"],
        "NetworkInterfaceIds": [interface.id],
        "DNSName": f"{identity}.fsx.{region}.{dns_suffix_of(region)}",
        "ResourceARN": f"arn:{partition_of(region)}:fsx:{region}:{account}:file-system/{identity}",
        "FileSystemTypeVersion": lustre_version(request),
        "LustreConfiguration": lustre,
    }
    if persistent:
        description["KmsKeyId"] = _key_arn(response, request.get("KmsKeyId"))
    made = FileSystem(description, backend)
    backend.file_systems[identity] = made
    if request.get("Tags"):
        backend.tagger.tag_resource(made.resource_arn, request["Tags"])
    return json.dumps({"FileSystem": made.to_dict()})


def _describe_file_systems(response: Any) -> str:
    wanted = json.loads(response.body).get("FileSystemIds") or list(response.fsx_backend.file_systems)
    return json.dumps({"FileSystems": [_file_system(response, identity).to_dict() for identity in wanted]})


def _update_file_system(response: Any) -> str:
    request = json.loads(response.body)
    found = _file_system(response, request["FileSystemId"])
    _refuse(problems_of_change(found.description, request, list(found.associations)))
    change = request.get("LustreConfiguration") or {}
    lustre = found.description["LustreConfiguration"]
    if "LogConfiguration" in change:
        change["LogConfiguration"] = _log_configuration(response, change["LogConfiguration"])
    for name, value in change.items():
        lustre[name] = {**lustre.get(name, {}), **value} if name in _MERGED else value
    if request.get("StorageCapacity"):
        found.description["StorageCapacity"] = request["StorageCapacity"]
    if request.get("FileSystemTypeVersion"):
        found.description["FileSystemTypeVersion"] = request["FileSystemTypeVersion"]
    if (change.get("MetadataConfiguration") or {}).get("Mode") == "AUTOMATIC":
        lustre["MetadataConfiguration"].pop("Iops", None)
    _fill_metadata(lustre, found.description["StorageCapacity"])
    return json.dumps({"FileSystem": found.to_dict()})


def _delete_file_system(response: Any) -> str:
    request = json.loads(response.body)
    found = _file_system(response, request["FileSystemId"])
    ec2 = ec2_backends[response.current_account][response.region]
    options = request.get("LustreConfiguration") or {}
    if options.get("SkipFinalBackup") is False:
        _refuse(["a final backup is not supported on linked file systems"] if found.associations else [])
        response.fsx_backend.create_backup(found.file_system_id, None, None, options.get("FinalBackupTags"))
    for interface in found.description["NetworkInterfaceIds"]:
        ec2.enis.pop(interface, None)
    del response.fsx_backend.file_systems[found.file_system_id]
    return json.dumps({"FileSystemId": found.file_system_id, "Lifecycle": "DELETING", "LustreResponse": {}})


def _only_unlinked(moto_create: Callable[..., str]) -> Callable[..., str]:
    def create_backup(response: Any) -> str:
        found = _file_system(response, json.loads(response.body)["FileSystemId"])
        lustre = found.description["LustreConfiguration"]
        _refuse(
            ["backups need a persistent file system that is not linked to a data repository"]
            if found.associations or lustre["DeploymentType"].startswith("SCRATCH")
            else []
        )
        return moto_create(response)

    return create_backup


def _create_association(response: Any) -> str:
    request = json.loads(response.body)
    found = _file_system(response, request["FileSystemId"])
    _refuse(problems_of_link(found.description, request, found.associations.values()))
    bucket = request["DataRepositoryPath"].removeprefix("s3://").split("/")[0]
    if bucket not in s3_backends[response.current_account][partition_of(response.region)].buckets:
        raise JsonRESTError("InvalidDataRepositoryType", f"the bucket {bucket} does not exist")
    identity = f"dra-{secrets.token_hex(9)[:17]}"
    region, account = response.region, response.current_account
    arn = f"arn:{partition_of(region)}:fsx:{region}:{account}:association/{found.file_system_id}/{identity}"
    made: Description = {
        "AssociationId": identity,
        "ResourceARN": arn,
        "FileSystemId": found.file_system_id,
        "Lifecycle": "AVAILABLE",
        "FileSystemPath": request.get("FileSystemPath") or "/",
        "DataRepositoryPath": request["DataRepositoryPath"],
        "BatchImportMetaDataOnCreate": bool(request.get("BatchImportMetaDataOnCreate")),
        "ImportedFileChunkSize": request.get("ImportedFileChunkSize") or 1024,
        "S3": request.get("S3") or {},
        "CreationTime": time.time(),
    }
    found.associations[identity] = made
    if request.get("Tags"):
        response.fsx_backend.tagger.tag_resource(arn, request["Tags"])
    return json.dumps({"Association": _told(response, made)})


def _describe_associations(response: Any) -> str:
    request = json.loads(response.body)
    every = {
        key: value for found in response.fsx_backend.file_systems.values() for key, value in found.associations.items()
    }
    wanted = request.get("AssociationIds")
    missing = [identity for identity in wanted or () if identity not in every]
    if missing:
        raise JsonRESTError("DataRepositoryAssociationNotFound", f"Associations {missing} do not exist")
    filters = {entry["Name"]: entry["Values"] for entry in request.get("Filters") or ()}
    chosen = [every[identity] for identity in wanted or every]
    if "file-system-id" in filters:
        chosen = [entry for entry in chosen if entry["FileSystemId"] in filters["file-system-id"]]
    return json.dumps({"Associations": [_told(response, entry) for entry in chosen]})


def _update_association(response: Any) -> str:
    request = json.loads(response.body)
    _, found = _association(response, request["AssociationId"])
    if request.get("ImportedFileChunkSize"):
        found["ImportedFileChunkSize"] = request["ImportedFileChunkSize"]
    if "S3" in request:
        found["S3"] = {**found["S3"], **request["S3"]}
    return json.dumps({"Association": _told(response, found)})


def _delete_association(response: Any) -> str:
    request = json.loads(response.body)
    file_system, found = _association(response, request["AssociationId"])
    del file_system.associations[found["AssociationId"]]
    return json.dumps(
        {
            "AssociationId": found["AssociationId"],
            "Lifecycle": "DELETING",
            "DeleteDataInFileSystem": bool(request.get("DeleteDataInFileSystem")),
        }
    )


def _told(response: Any, association: Description) -> Description:
    return {**association, "Tags": response.fsx_backend.list_tags_for_resource(association["ResourceARN"])}


def _association(response: Any, identity: str) -> tuple[FileSystem, Description]:
    for file_system in response.fsx_backend.file_systems.values():
        if identity in file_system.associations:
            return file_system, file_system.associations[identity]
    raise JsonRESTError("DataRepositoryAssociationNotFound", f"Association {identity} does not exist")


def _file_system(response: Any, identity: str) -> FileSystem:
    found = response.fsx_backend.file_systems.get(identity)
    if found is None:
        raise JsonRESTError("FileSystemNotFound", f"File system '{identity}' does not exist.")
    return found


def _fill_metadata(lustre: Description, capacity_gib: int) -> None:
    """In the mode AUTOMATIC the metadata IOPS follow the size."""
    metadata = lustre.get("MetadataConfiguration")
    if metadata and metadata.get("Mode") == "AUTOMATIC":
        steps = ((1200, 1500), (2400, 3000), (9600, 6000))
        found = next((iops for limit, iops in steps if capacity_gib <= limit), None)
        metadata["Iops"] = found or min(192000, -(-capacity_gib // 24000) * 12000)


def _log_configuration(response: Any, asked: Description | None) -> Description:
    """Where FSx logs what happens with linked buckets: a log group whose name begins with /aws/fsx."""
    if not asked or asked.get("Level", "DISABLED") == "DISABLED":
        return {"Level": "DISABLED"}
    region, account = response.region, response.current_account
    start = f"arn:{partition_of(region)}:logs:{region}:{account}:log-group:"
    destination = (asked.get("Destination") or f"{start}/aws/fsx/lustre").removesuffix(":*")
    if not destination.startswith(f"{start}/aws/fsx"):
        raise JsonRESTError("BadRequest", f"the log group {destination} needs a name that begins with /aws/fsx")
    return {"Level": asked["Level"], "Destination": destination}


def _groups(ec2: Any, group_ids: list[str], vpc_id: str) -> list[Any]:
    groups = [ec2.get_security_group_from_id(group_id) for group_id in group_ids]
    if None in groups:
        raise JsonRESTError("InvalidNetworkSettings", f"One of {group_ids} does not exist")
    groups = groups or [ec2.get_security_group_from_name("default", vpc_id)]
    if any(group.vpc_id != vpc_id for group in groups):
        raise JsonRESTError("InvalidNetworkSettings", f"One of {group_ids} is not in the network {vpc_id}")
    return groups


def _rules(rules: Iterable[Any]) -> Iterable[Rule]:
    for rule in rules:
        ports = (int(rule.from_port or 0), int(rule.to_port or 65535))
        source = rule.source_group.get("GroupId") or _block(rule.ip_range)
        yield Rule(str(rule.ip_protocol), *ports, source)


def _block(entry: Mapping[str, str]) -> str:
    return entry.get("CidrIp") or entry.get("CidrIpv6") or ""


def _key_arn(response: Any, key: str | None) -> str:
    account, region = response.current_account, response.region
    if not key:
        return f"arn:{partition_of(region)}:kms:{region}:{account}:alias/aws/fsx"
    try:
        found = kms_backends[account][region].describe_key(key)
    except Exception:  # noqa: BLE001 - moto raises a different error for each way in which a key can be missing
        raise JsonRESTError("BadRequest", f"the key {key} does not exist in {region}") from None
    if found.key_state != "Enabled":
        raise JsonRESTError("BadRequest", f"the key {key} is {found.key_state}")
    return found.arn


def _refuse(problems: Iterable[str], code: str = "BadRequest") -> None:
    found = list(problems)
    if found:
        raise JsonRESTError(code, "; ".join(found))
