"""CloudWatch Logs: log groups (in the SDK's `cloudwatch` module)."""

from __future__ import annotations

from trainyard.local.aws.account import dns_suffix_of
from trainyard.local.aws.calls import Call, Read
from trainyard.local.aws.context import Context
from trainyard.local.aws.errors import RefusedError
from trainyard.local.aws.fields import ID, Filled, same
from trainyard.local.aws.key_access import why_key_is_closed
from trainyard.local.aws.row import Name, Row
from trainyard.local.aws.tags import TagsField, tagged_by

_GROUP = {"logGroupName": ID}
_ARN = "arn:{partition}:logs:{region}:{account}:log-group:{id}"
_GONE = ("ResourceNotFoundException",)


def _logs_may_use_key(context: Context) -> None:
    """CloudWatch Logs tries the key when it is given, and refuses one that does not let it in."""
    key, name = context.wanted.get("kmsKeyId"), context.wanted["name"]
    if not key:
        return
    group = _ARN.format_map({**context.facts, "id": name})
    reason = why_key_is_closed(
        context,
        key,
        service=f"logs.{context.region}.{dns_suffix_of(context.region)}",
        actions=("kms:Encrypt", "kms:Decrypt", "kms:GenerateDataKey"),
        values={"kms:EncryptionContext:aws:logs:arn": group},
    )
    if reason:
        raise RefusedError(f"CloudWatch Logs cannot use the key {key} for {name}: {reason}")


ROWS = (
    Row(
        "aws:cloudwatch/logGroup:LogGroup",
        service="logs",
        cloudformation="AWS::Logs::LogGroup",
        id="{name}",
        name=Name(max_length=512),
        create=Call("create_log_group", {"logGroupName": "name", **same("kmsKeyId", "logGroupClass")}),
        read=(
            Read(
                "describe_log_groups",
                {"logGroupNamePrefix": ID},
                same("kmsKeyId", "logGroupClass", "retentionInDays"),
                path="logGroups[?logGroupName == '$id'] | [0]",
            ),
        ),
        settings=(
            Call("put_retention_policy", {**_GROUP, **same("retentionInDays")}, when_set="retentionInDays"),
            Call("delete_retention_policy", _GROUP, when_unset="retentionInDays"),
            Call("associate_kms_key", {**_GROUP, **same("kmsKeyId")}, when_set="kmsKeyId"),
            Call("disassociate_kms_key", _GROUP, when_unset="kmsKeyId"),
        ),
        delete=(Call("delete_log_group", _GROUP, ignore=_GONE),),
        tags=tagged_by(
            "tag_resource",
            "untag_resource",
            {"resourceArn": Filled(_ARN)},
            create={"tags": TagsField()},
            listing=Read("list_tags_for_resource", {"resourceArn": Filled(_ARN)}, {"tags": TagsField()}),
        ),
        before=(_logs_may_use_key,),
        defaults={"retentionInDays": 0, "skipDestroy": False},
        computed=("logGroupClass",),
        local=("skipDestroy",),
        replace_on=("logGroupClass",),
        outputs={"arn": _ARN, "name": "{id}"},
        schema_names={"name": "LogGroupName"},
        not_emulated={"deletionProtectionEnabled": "the emulator has no deletion protection"},
    ),
)
