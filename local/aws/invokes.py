"""Data sources: functions of the aws package that look something up."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from trainyard.local.aws import role_lookups
from trainyard.local.aws.account import Account, dns_suffix_of, partition_of
from trainyard.local.aws.errors import ProviderError
from trainyard.local.aws.network_lookups import LOOKUPS

Invoke = Callable[[Account, str, Mapping[str, Any]], dict[str, Any]]
"""(account, region, arguments) -> result; `region` is the one the arguments name, else the provider's."""


def invoke(account: Account, region: Any, token: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Call the data source `token`; `ProviderError` if it is not emulated."""
    function = _INVOKES.get(token)
    if function is None:
        raise ProviderError(
            f"the function {token} is not emulated. Add it in trainyard/local/aws/invokes.py; "
            f"emulated are {', '.join(sorted(_INVOKES))}"
        )
    chosen = arguments.get("region") or region
    if not isinstance(chosen, str) or not chosen:
        raise ProviderError(f"{token}: no region; give the provider one")
    return function(account, chosen, arguments)


def _caller_identity(account: Account, region: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    del arguments
    identity = account.call("sts", region, "get_caller_identity", {})
    return {
        "id": identity["Account"],
        "accountId": identity["Account"],
        "arn": identity["Arn"],
        "userId": identity["UserId"],
    }


def _region(account: Account, region: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    wanted = arguments.get("name") or arguments.get("id") or region
    if arguments.get("endpoint"):
        wanted = arguments["endpoint"].split(".")[1]
    known = account.call("ec2", region, "describe_regions", {"AllRegions": True})["Regions"]
    if wanted not in {entry["RegionName"] for entry in known}:
        raise ProviderError(f"getRegion: there is no region {wanted!r}")
    endpoint = f"ec2.{wanted}.{dns_suffix_of(wanted)}"
    return {"id": wanted, "name": wanted, "region": wanted, "endpoint": endpoint, "description": _location(wanted)}


def _partition(account: Account, region: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    del account, arguments
    suffix = dns_suffix_of(region)
    return {
        "id": partition_of(region),
        "partition": partition_of(region),
        "dnsSuffix": suffix,
        "reverseDnsPrefix": ".".join(reversed(suffix.split("."))),
    }


def _availability_zones(account: Account, region: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    filters = [{"Name": entry["name"], "Values": list(entry["values"])} for entry in arguments.get("filters") or ()]
    if arguments.get("state"):
        filters.append({"Name": "state", "Values": [arguments["state"]]})
    request = {"Filters": filters, "AllAvailabilityZones": bool(arguments.get("allAvailabilityZones"))}
    zones = account.call("ec2", region, "describe_availability_zones", request)["AvailabilityZones"]
    without_names, without_ids = set(arguments.get("excludeNames") or ()), set(arguments.get("excludeZoneIds") or ())
    zones = sorted(
        (zone for zone in zones if zone["ZoneName"] not in without_names and zone["ZoneId"] not in without_ids),
        key=lambda zone: zone["ZoneName"],
    )
    return {
        **arguments,
        "id": region,
        "region": region,
        "names": [zone["ZoneName"] for zone in zones],
        "zoneIds": [zone["ZoneId"] for zone in zones],
        "groupNames": sorted({zone.get("GroupName") or region for zone in zones}),
    }


def _ssm_parameter(account: Account, region: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    name, decrypted = arguments["name"], arguments.get("withDecryption", True)
    request = {"Name": name, "WithDecryption": decrypted}
    found = account.call("ssm", region, "get_parameter", request)["Parameter"]
    return {
        "id": name,
        "name": name,
        "arn": found["ARN"],
        "type": found["Type"],
        "value": found["Value"],
        "insecureValue": "" if found["Type"] == "SecureString" else found["Value"],
        "version": found["Version"],
        "withDecryption": decrypted,
        "region": region,
    }


@cache  # the data is a megabyte of JSON, and every module asks
def _location(region: str) -> str:
    """The region's name for people, from boto3's own endpoint data."""
    import botocore.session

    for partition in botocore.session.get_session().get_data("endpoints")["partitions"]:
        if region in partition["regions"]:
            return partition["regions"][region].get("description", "")
    return ""


_INVOKES: dict[str, Invoke] = {
    "aws:index/getCallerIdentity:getCallerIdentity": _caller_identity,
    "aws:index/getRegion:getRegion": _region,
    "aws:index/getPartition:getPartition": _partition,
    "aws:index/getAvailabilityZones:getAvailabilityZones": _availability_zones,
    "aws:ssm/getParameter:getParameter": _ssm_parameter,
    **LOOKUPS,
    **role_lookups.INVOKES,
}
