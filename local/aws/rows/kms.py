"""KMS: keys and aliases."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from trainyard.local.aws.calls import Call, Read
from trainyard.local.aws.fields import ID, Const, Json, Prop, pascal
from trainyard.local.aws.row import Name, Row
from trainyard.local.aws.tags import TagsField, tagged_by

_KEY = {"KeyId": ID}
_TAGS = TagsField(key="TagKey", value="TagValue")
_GONE = ("NotFoundException",)


@dataclass(frozen=True)
class KeyReference(Prop):
    """A key named by its ID or its ARN, which mean the same."""

    def canonical(self, value: Any) -> Any:
        return value.rsplit("key/", 1)[-1] if isinstance(value, str) else value


def _alias_name(name: str, inputs: object) -> str:
    del inputs
    return name if name.startswith("alias/") else f"alias/{name}"


ROWS = (
    Row(
        "aws:kms/key:Key",
        service="kms",
        cloudformation="AWS::KMS::Key",
        id="KeyMetadata.KeyId",
        create=Call(
            "create_key",
            {
                **pascal("description", "keyUsage", "multiRegion", "bypassPolicyLockoutSafetyCheck"),
                "KeySpec": "customerMasterKeySpec",
                "Policy": Json("policy"),
            },
        ),
        read=(
            Read(
                "describe_key",
                _KEY,
                {
                    **pascal("arn", "keyId", "description", "keyUsage", "multiRegion"),
                    "KeySpec": "customerMasterKeySpec",
                    "Enabled": "isEnabled",
                },
                # A key that is to be deleted is gone, as far as the program is concerned.
                path="[KeyMetadata][?KeyState != 'PendingDeletion'] | [0]",
                gone=_GONE,
            ),
            Read("get_key_policy", {**_KEY, "PolicyName": Const("default")}, {"Policy": Json("policy")}),
            Read(
                "get_key_rotation_status",
                _KEY,
                {"KeyRotationEnabled": "enableKeyRotation", "RotationPeriodInDays": "rotationPeriodInDays"},
            ),
        ),
        settings=(
            Call("update_key_description", {**_KEY, "Description": "description"}),
            Call(
                "put_key_policy", {**_KEY, "PolicyName": Const("default"), "Policy": Json("policy")}, when_set="policy"
            ),
            Call("enable_key", _KEY, when_set="isEnabled"),
            Call(
                "enable_key_rotation",
                {**_KEY, "RotationPeriodInDays": "rotationPeriodInDays"},
                when_set="enableKeyRotation",
            ),
            Call("disable_key_rotation", _KEY, when_unset="enableKeyRotation"),
            Call("disable_key", _KEY, when_unset="isEnabled"),
        ),
        delete=(Call("schedule_key_deletion", {**_KEY, "PendingWindowInDays": "deletionWindowInDays"}, ignore=_GONE),),
        tags=tagged_by(
            "tag_resource",
            "untag_resource",
            _KEY,
            tags="Tags",
            keys="TagKeys",
            pair=("TagKey", "TagValue"),
            create={"Tags": _TAGS},
            listing=Read("list_resource_tags", _KEY, {"Tags": _TAGS}),
        ),
        defaults={
            "bypassPolicyLockoutSafetyCheck": False,
            "customerMasterKeySpec": "SYMMETRIC_DEFAULT",
            "enableKeyRotation": False,
            "isEnabled": True,
            "keyUsage": "ENCRYPT_DECRYPT",
        },
        computed=("description", "multiRegion", "policy", "rotationPeriodInDays"),
        local=("deletionWindowInDays",),
        replace_on=("customerMasterKeySpec", "keyUsage", "multiRegion"),
        schema_names={
            "customerMasterKeySpec": "KeySpec",
            "isEnabled": "Enabled",
            "deletionWindowInDays": "PendingWindowInDays",
        },
        unchecked=("policy",),
        not_emulated={
            "customKeyStoreId": "there is no custom key store",
            "xksKeyId": "there is no external key store",
        },
        notes=("deleting schedules the deletion; the key stays pending for deletionWindowInDays (30 if not given)",),
    ),
    Row(
        "aws:kms/alias:Alias",
        service="kms",
        cloudformation="AWS::KMS::Alias",
        id="{name}",
        name=Name(max_length=256, finish=_alias_name),
        create=Call("create_alias", {"AliasName": "name", "TargetKeyId": KeyReference("targetKeyId")}),
        read=(
            Read(
                "list_aliases",
                {},
                {"AliasArn": "arn", "TargetKeyId": KeyReference("targetKeyId")},
                path="Aliases[?AliasName == '$id'] | [0]",
            ),
            Read("describe_key", {"KeyId": "targetKeyId"}, {"Arn": "targetKeyArn"}, path="KeyMetadata"),
        ),
        update=(Call("update_alias", {"AliasName": ID, "TargetKeyId": KeyReference("targetKeyId")}),),
        delete=(Call("delete_alias", {"AliasName": ID}, ignore=_GONE),),
        outputs={"name": "{id}"},
        schema_names={"name": "AliasName"},
    ),
)
