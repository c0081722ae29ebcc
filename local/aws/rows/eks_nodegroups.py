"""EKS managed node groups."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trainyard.local.aws.calls import Call, Do, Read
from trainyard.local.aws.context import Context
from trainyard.local.aws.fields import Each, Fact, Map, Named, Object, Values, read_map, same
from trainyard.local.aws.row import Name, Row
from trainyard.local.aws.rows.eks_names import GONE, eks_tags

_GROUP = {"clusterName": Fact("clusterName"), "nodegroupName": Fact("nodeGroupName")}
_REPAIR = Object(
    "nodeRepairConfig",
    {
        **same(
            *("enabled", "maxParallelNodesRepairedCount", "maxParallelNodesRepairedPercentage"),
            *("maxUnhealthyNodeThresholdCount", "maxUnhealthyNodeThresholdPercentage"),
        ),
        "nodeRepairConfigOverrides": Each(
            "nodeRepairConfigOverrides",
            same("minRepairWaitTimeMins", "nodeMonitoringCondition", "nodeUnhealthyReason", "repairAction"),
            ordered=False,
        ),
    },
)
_SCALING = Object("scalingConfig", same("desiredSize", "maxSize", "minSize"))
_TAINTS = Each("taints", same("effect", "key", "value"), ordered=False)
_TEMPLATE = Object("launchTemplate", same("id", "name", "version"))
_UPDATE = Object("updateConfig", same("maxUnavailable", "maxUnavailablePercentage", "updateStrategy"))


@dataclass(frozen=True)
class _Resources(Named):
    """An object of AWS's that Pulumi has as a list of one."""

    map: Map

    def read(self, value: Any, into: dict[str, Any]) -> None:
        if isinstance(value, Mapping):
            into[self.name] = [read_map(self.map, value)]


def _set_config(context: Context) -> None:
    """Send what has changed; of labels and taints, what is new and what has to go."""
    wanted, actual = context.wanted, context.actual
    request: dict[str, Any] = {"clusterName": wanted["clusterName"], "nodegroupName": context.facts["nodeGroupName"]}
    want, have = wanted.get("labels") or {}, actual.get("labels") or {}
    labels = {
        "addOrUpdateLabels": {key: text for key, text in want.items() if have.get(key) != text},
        "removeLabels": sorted(set(have) - set(want)),
    }
    new, old = wanted.get("taints") or [], actual.get("taints") or []
    kept = {(taint["key"], taint["effect"]) for taint in new}
    taints = {
        "addOrUpdateTaints": [taint for taint in new if taint not in old],
        "removeTaints": [taint for taint in old if (taint["key"], taint["effect"]) not in kept],
    }
    for name, change in (("labels", labels), ("taints", taints)):
        said = {part: items for part, items in change.items() if items}
        if said:
            request[name] = said
    for name in ("scalingConfig", "updateConfig", "nodeRepairConfig"):
        if name in wanted and wanted[name] != actual.get(name):
            request[name] = wanted[name]
    if len(request) > 2:
        context.call("update_nodegroup_config", **request)


def _set_version(context: Context) -> None:
    """Move the nodes to another version of Kubernetes, of the AMI or of the launch template."""
    wanted, actual = context.wanted, context.actual
    request = {
        name: wanted[name]
        for name in ("version", "releaseVersion")
        if wanted.get(name, actual.get(name)) != actual.get(name)
    }
    template, have = wanted.get("launchTemplate"), actual.get("launchTemplate") or {}
    if template and any(have.get(part) != value for part, value in template.items()):
        request["launchTemplate"] = {
            part: template[part] for part in ("version", "id" if template.get("id") else "name") if part in template
        }
    if request:
        context.call(
            "update_nodegroup_version",
            clusterName=wanted["clusterName"],
            nodegroupName=context.facts["nodeGroupName"],
            force=bool(wanted.get("forceUpdateVersion")),
            **request,
        )


ROWS = (
    Row(
        "aws:eks/nodeGroup:NodeGroup",
        service="eks",
        cloudformation="AWS::EKS::Nodegroup",
        id="{clusterName}:{nodeGroupName}",
        name=Name("nodeGroupName", "nodeGroupNamePrefix", max_length=63),
        create=Call(
            "create_nodegroup",
            {
                **same("amiType", "capacityType", "clusterName", "diskSize", "labels", "releaseVersion", "version"),
                "nodegroupName": "nodeGroupName",
                "nodeRole": "nodeRoleArn",
                "subnets": Values("subnetIds"),
                "instanceTypes": "instanceTypes",
                "launchTemplate": _TEMPLATE,
                "nodeRepairConfig": _REPAIR,
                "scalingConfig": _SCALING,
                "taints": _TAINTS,
                "updateConfig": _UPDATE,
            },
        ),
        update=(
            Do(_set_version, on=("launchTemplate", "releaseVersion", "version")),
            Do(_set_config, on=("labels", "nodeRepairConfig", "scalingConfig", "taints", "updateConfig")),
        ),
        read=(
            Read(
                "describe_nodegroup",
                _GROUP,
                {
                    **same("amiType", "capacityType", "clusterName", "diskSize", "instanceTypes", "labels"),
                    **same("releaseVersion", "status", "version"),
                    "nodegroupArn": "arn",
                    "nodegroupName": "nodeGroupName",
                    "nodeRole": "nodeRoleArn",
                    "subnets": Values("subnetIds"),
                    "launchTemplate": _TEMPLATE,
                    "nodeRepairConfig": _REPAIR,
                    "scalingConfig": _SCALING,
                    "taints": _TAINTS,
                    "updateConfig": _UPDATE,
                    "resources": _Resources(
                        "resources", {"autoScalingGroups": Each("autoscalingGroups", same("name"))}
                    ),
                },
                path="nodegroup",
                gone=GONE,
            ),
        ),
        delete=(Call("delete_nodegroup", _GROUP, ignore=GONE),),
        tags=eks_tags("{arn}"),
        computed=(
            "amiType",
            "capacityType",
            "diskSize",
            "instanceTypes",
            "launchTemplate.id",
            "launchTemplate.name",
            "nodeRepairConfig",
            "releaseVersion",
            "updateConfig",
            "version",
        ),
        local=("forceUpdateVersion",),
        schema_names={
            "nodeGroupName": "NodegroupName",
            "nodeRoleArn": "NodeRole",
            "subnetIds": "Subnets",
        },
        not_emulated={
            "remoteAccess": "nothing can be logged in to",
            "warmPoolConfig": "no instance is started, so none is kept warm",
        },
        notes=(
            "its Auto Scaling group has sizes but no instances; `resources` tells its name",
            "the role of the nodes gets an access entry of type EC2_LINUX",
        ),
    ),
)
