"""EKS add-ons."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trainyard.local.aws.calls import Call, Derive, Read
from trainyard.local.aws.context import Context
from trainyard.local.aws.fields import Each, Fact, Json, Object, same
from trainyard.local.aws.row import Row
from trainyard.local.aws.rows.eks_names import GONE, eks_tags

_ADDON = {"clusterName": Fact("clusterName"), "addonName": Fact("addonName")}
_IDENTITIES = Each("podIdentityAssociations", same("roleArn", "serviceAccount"), ordered=False)


def _identities(context: Context, observed: Mapping[str, Any]) -> Mapping[str, Any]:
    """The roles and service accounts behind the ARNs that the add-on lists."""
    found = []
    for arn in observed.get("_associations") or ():
        association = context.call(
            "describe_pod_identity_association",
            clusterName=observed["clusterName"],
            associationId=arn.rsplit("/", 1)[1],
        )["association"]
        found.append({name: association[name] for name in ("roleArn", "serviceAccount")})
    return {"podIdentityAssociations": sorted(found, key=lambda it: it["serviceAccount"])}


ROWS = (
    Row(
        "aws:eks/addon:Addon",
        service="eks",
        cloudformation="AWS::EKS::Addon",
        id="{clusterName}:{addonName}",
        create=Call(
            "create_addon",
            {
                **same("addonName", "addonVersion", "clusterName", "serviceAccountRoleArn"),
                "configurationValues": Json("configurationValues"),
                "namespaceConfig": Object("namespaceConfig", same("namespace")),
                "podIdentityAssociations": _IDENTITIES,
                "resolveConflicts": "resolveConflictsOnCreate",
            },
        ),
        update=(
            Call(
                "update_addon",
                {
                    **_ADDON,
                    **same("addonVersion", "serviceAccountRoleArn"),
                    "configurationValues": Json("configurationValues", unset=""),
                    "podIdentityAssociations": _IDENTITIES,
                    "resolveConflicts": Fact("resolveConflictsOnUpdate"),
                },
            ),
        ),
        read=(
            Read(
                "describe_addon",
                _ADDON,
                {
                    **same("addonName", "addonVersion", "clusterName", "createdAt", "modifiedAt"),
                    "serviceAccountRoleArn": "serviceAccountRoleArn",
                    "addonArn": "arn",
                    "configurationValues": Json("configurationValues"),
                    "namespaceConfig": Object("namespaceConfig", same("namespace")),
                    "podIdentityAssociations": "_associations",
                },
                path="addon",
                gone=GONE,
            ),
            Derive(_identities, (_IDENTITIES,)),
        ),
        delete=(Call("delete_addon", {**_ADDON, "preserve": Fact("preserve")}, ignore=GONE),),
        tags=eks_tags("{arn}"),
        computed=("addonVersion", "namespaceConfig"),
        local=("preserve", "resolveConflictsOnCreate", "resolveConflictsOnUpdate"),
        replace_on=("addonName", "clusterName", "namespaceConfig"),
        unchecked=("configurationValues", "podIdentityAssociations", "addonVersion"),
        notes=("the add-on is noted, not installed: no pod of it runs, and its configuration has no schema",),
    ),
)
