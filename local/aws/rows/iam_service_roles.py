"""IAM: service-linked roles and OpenID Connect providers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trainyard.local.aws.calls import Call, Derive, Do, Read
from trainyard.local.aws.context import Context
from trainyard.local.aws.errors import AwsError
from trainyard.local.aws.fields import ID, Prop, Values
from trainyard.local.aws.row import Row
from trainyard.local.aws.tags import NewTags, OldTags, Tagging, TagsField, tagged_by
from trainyard.local.aws.values import from_aws

_GONE = ("NoSuchEntity", "NoSuchEntityException")
_PAIRS = TagsField(key="Key", value="Value")


class _RoleName(Prop):
    """The last part of the role's ARN, which is its ID."""

    def write(self, scope: Any) -> Any:
        return scope.facts["id"].rsplit("/", 1)[1]

    def leaves(self) -> Any:
        return iter(())


_ROLE = {"RoleName": _RoleName("name")}


def _role(context: Context, observed: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """What IAM tells of the role; its service and suffix stand in the path and the name."""
    del observed
    try:
        role = context.call("get_role", RoleName=context.id.rsplit("/", 1)[1])["Role"]
    except AwsError as error:
        if error.code in _GONE:
            return None
        raise
    _, _, suffix = role["RoleName"].partition("_")
    found = {
        "arn": role["Arn"],
        "awsServiceName": role["Path"].strip("/").rpartition("/")[2],
        "createDate": from_aws(role["CreateDate"]),
        "description": role.get("Description"),
        "name": role["RoleName"],
        "path": role["Path"],
        "uniqueId": role["RoleId"],
        "customSuffix": suffix,
        "tagsAll": {tag["Key"]: tag["Value"] for tag in role.get("Tags") or ()},
    }
    return {name: value for name, value in found.items() if value}


def _delete_role(context: Context) -> None:
    context.call("delete_service_linked_role", RoleName=context.id.rsplit("/", 1)[1])


def _set_clients(context: Context) -> None:
    wanted, actual = (set(it.get("clientIdLists") or ()) for it in (context.wanted, context.actual))
    for operation, clients in (
        ("add_client_id_to_open_id_connect_provider", wanted - actual),
        ("remove_client_id_from_open_id_connect_provider", actual - wanted),
    ):
        for client in sorted(clients):
            context.call(operation, OpenIDConnectProviderArn=context.id, ClientID=client)


def _issuer(context: Context, observed: Mapping[str, Any]) -> Mapping[str, Any]:
    """IAM tells the issuer without its scheme."""
    del context
    return {"url": f"https://{observed['_host']}"}


_PROVIDER = {"OpenIDConnectProviderArn": ID}

ROWS = (
    Row(
        "aws:iam/serviceLinkedRole:ServiceLinkedRole",
        service="iam",
        cloudformation="AWS::IAM::ServiceLinkedRole",
        id="Role.Arn",
        create=Call(
            "create_service_linked_role",
            {"AWSServiceName": "awsServiceName", "CustomSuffix": "customSuffix", "Description": "description"},
        ),
        update=(Call("update_role", {**_ROLE, "Description": Prop("description", unset="")}),),
        read=(
            Derive(
                _role,
                (
                    *("arn", "awsServiceName", "createDate", "customSuffix", "description", "name", "path"),
                    *("uniqueId", _PAIRS),
                ),
            ),
        ),
        delete=(Do(_delete_role),),
        tags=Tagging(
            calls=(
                Call("untag_role", {**_ROLE, "TagKeys": OldTags()}, needs=("TagKeys",)),
                Call("tag_role", {**_ROLE, "Tags": NewTags(key="Key", value="Value")}, needs=("Tags",)),
            )
        ),
        replace_on=("awsServiceName", "customSuffix"),
        delete_before_replace=True,
        notes=("no policy is attached to it: nothing acts in its name",),
    ),
    Row(
        "aws:iam/openIdConnectProvider:OpenIdConnectProvider",
        service="iam",
        cloudformation="AWS::IAM::OIDCProvider",
        id="OpenIDConnectProviderArn",
        create=Call(
            "create_open_id_connect_provider",
            {"Url": "url", "ClientIDList": Values("clientIdLists"), "ThumbprintList": Values("thumbprintLists")},
        ),
        update=(
            Do(_set_clients, on=("clientIdLists",)),
            Call(
                "update_open_id_connect_provider_thumbprint",
                {**_PROVIDER, "ThumbprintList": Values("thumbprintLists")},
                needs=("ThumbprintList",),
            ),
        ),
        read=(
            Read(
                "get_open_id_connect_provider",
                _PROVIDER,
                {
                    "Url": "_host",
                    "ClientIDList": Values("clientIdLists"),
                    "ThumbprintList": Values("thumbprintLists"),
                },
                gone=_GONE,
            ),
            Derive(_issuer, ("url",)),
        ),
        delete=(Call("delete_open_id_connect_provider", _PROVIDER, ignore=_GONE),),
        tags=tagged_by(
            "tag_open_id_connect_provider",
            "untag_open_id_connect_provider",
            _PROVIDER,
            tags="Tags",
            keys="TagKeys",
            pair=("Key", "Value"),
            create={"Tags": _PAIRS},
            read={"Tags": _PAIRS},
        ),
        computed=("thumbprintLists",),
        schema_names={"clientIdLists": "ClientIdList", "thumbprintLists": "ThumbprintList"},
        outputs={"arn": "{id}"},
    ),
)
