"""EBS: encryption of new volumes, a setting of the account in each region."""

from __future__ import annotations

from trainyard.local.aws.calls import Call, Do, Read
from trainyard.local.aws.context import Context
from trainyard.local.aws.row import Row


def _set_encryption(context: Context) -> None:
    verb = "enable" if context.wanted.get("enabled", True) else "disable"
    context.call(f"{verb}_ebs_encryption_by_default")


ROWS = (
    Row(
        "aws:ebs/encryptionByDefault:EncryptionByDefault",
        service="ec2",
        id="{region}",
        create=Do(_set_encryption),
        update=(Do(_set_encryption, on=("enabled",)),),
        read=(Read("get_ebs_encryption_by_default", {}, {"EbsEncryptionByDefault": "enabled"}),),
        delete=(Call("disable_ebs_encryption_by_default"),),
        defaults={"enabled": True},
        notes=("one per account and region; deleting it turns encryption off, as the official provider does",),
    ),
    Row(
        "aws:ebs/defaultKmsKey:DefaultKmsKey",
        service="ec2",
        id="{keyArn}",
        create=Call("modify_ebs_default_kms_key_id", {"KmsKeyId": "keyArn"}),
        read=(Read("get_ebs_default_kms_key_id", {}, {"KmsKeyId": "keyArn"}),),
        delete=(Call("reset_ebs_default_kms_key_id"),),
        replace_on=("keyArn",),
        notes=("one per account and region; deleting it puts alias/aws/ebs back",),
    ),
)
