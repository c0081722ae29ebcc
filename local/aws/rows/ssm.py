"""Systems Manager: parameters."""

from __future__ import annotations

from trainyard.local.aws.calls import Call, Read
from trainyard.local.aws.fields import ID, Const, Prop, pascal
from trainyard.local.aws.row import Name, Row
from trainyard.local.aws.tags import TagsField, tagged_by

_PAIRS = TagsField(key="Key", value="Value")
_ADDRESS = {"ResourceType": Const("Parameter"), "ResourceId": ID}
_GONE = ("ParameterNotFound",)
_SETTINGS = pascal("allowedPattern", "keyId", "tier")
_PUT = {"Name": "name", **_SETTINGS, **pascal("dataType", "type", "value")}

ROWS = (
    Row(
        "aws:ssm/parameter:Parameter",
        service="ssm",
        id="{name}",
        name=Name(prefix_property="", max_length=2048),
        create=Call("put_parameter", {**_PUT, "Description": "description", "Overwrite": "overwrite"}),
        update=(
            Call(
                "put_parameter",
                {**_PUT, "Description": Prop("description", unset=""), "Overwrite": Const(True)},
            ),
        ),
        read=(
            Read(
                "get_parameter",
                {"Name": ID, "WithDecryption": Const(True)},
                {**pascal("dataType", "name", "type", "value", "version"), "ARN": "arn"},
                path="Parameter",
                gone=_GONE,
            ),
            Read(
                "describe_parameters",
                {"ParameterFilters": [{"Key": Const("Name"), "Option": Const("Equals"), "Values": [ID]}]},
                {**_SETTINGS, "Description": "description"},
                path="Parameters[0]",
            ),
        ),
        delete=(Call("delete_parameter", {"Name": ID}, ignore=_GONE),),
        tags=tagged_by(
            "add_tags_to_resource",
            "remove_tags_from_resource",
            _ADDRESS,
            tags="Tags",
            keys="TagKeys",
            pair=("Key", "Value"),
            create={"Tags": _PAIRS},
            listing=Read("list_tags_for_resource", _ADDRESS, {"TagList": _PAIRS}),
        ),
        local=("overwrite",),
        computed=("arn", "dataType", "keyId", "tier"),
        not_emulated={
            "insecureValue": "use value; the type says whether it is secret",
            **dict.fromkeys(
                ("valueWo", "valueWoVersion", "hasValueWo"), "write-only values are not emulated; use value"
            ),
        },
    ),
)
