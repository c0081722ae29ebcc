"""What the rows of EKS have in common."""

from __future__ import annotations

from trainyard.local.aws.calls import Read
from trainyard.local.aws.fields import Filled
from trainyard.local.aws.tags import Tagging, TagsField, tagged_by

GONE = ("ResourceNotFoundException",)


def eks_tags(arn: str) -> Tagging:
    """Tags of what has this ARN, a template over facts."""
    address = {"resourceArn": Filled(arn)}
    return tagged_by(
        "tag_resource",
        "untag_resource",
        address,
        create={"tags": TagsField()},
        listing=Read("list_tags_for_resource", address, {"tags": TagsField()}),
    )
