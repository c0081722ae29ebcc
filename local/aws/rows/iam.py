"""IAM: roles, policies, attachments and instance profiles."""

from __future__ import annotations

from dataclasses import replace

from trainyard.local.aws.calls import Call, Do, Read
from trainyard.local.aws.context import Context
from trainyard.local.aws.fields import ID, Fact, Json, Prop, pascal
from trainyard.local.aws.row import Name, Row
from trainyard.local.aws.rows import iam_service_roles
from trainyard.local.aws.tags import iam_tags

_GONE = ("NoSuchEntity", "NoSuchEntityException")
_ROLE = {"RoleName": ID}
_KEPT_VERSIONS = 5
"""How many versions of a managed policy IAM keeps."""


def _detach_policies(context: Context) -> None:
    """Free a role of its policies, where the program allows that."""
    if not context.wanted.get("forceDetachPolicies"):
        return
    for policy in context.list_all("list_attached_role_policies", RoleName=context.id)["AttachedPolicies"]:
        context.call("detach_role_policy", RoleName=context.id, PolicyArn=policy["PolicyArn"])
    for name in context.list_all("list_role_policies", RoleName=context.id)["PolicyNames"]:
        context.call("delete_role_policy", RoleName=context.id, PolicyName=name)


def _other_versions(context: Context) -> list[dict]:
    versions = context.list_all("list_policy_versions", PolicyArn=context.id)["Versions"]
    return sorted((v for v in versions if not v["IsDefaultVersion"]), key=lambda version: version["CreateDate"])


def _new_version(context: Context) -> None:
    """Make the wanted document the default version; the oldest makes room."""
    others = _other_versions(context)
    if len(others) >= _KEPT_VERSIONS - 1:
        context.call("delete_policy_version", PolicyArn=context.id, VersionId=others[0]["VersionId"])
    context.call(
        "create_policy_version", PolicyArn=context.id, PolicyDocument=context.wanted["policy"], SetAsDefault=True
    )


def _delete_versions(context: Context) -> None:
    for version in _other_versions(context):
        context.call("delete_policy_version", PolicyArn=context.id, VersionId=version["VersionId"])


def _put_role(context: Context) -> None:
    """An instance profile holds one role at most; another takes its place."""
    wanted, actual = context.wanted.get("role"), context.actual.get("role")
    if actual and actual != wanted:
        context.call("remove_role_from_instance_profile", InstanceProfileName=context.id, RoleName=actual)
    if wanted and wanted != actual:
        context.call("add_role_to_instance_profile", InstanceProfileName=context.id, RoleName=wanted)


def _take_role_out(context: Context) -> None:
    _put_role(replace(context, wanted={}))


ROWS = (
    Row(
        "aws:iam/role:Role",
        service="iam",
        cloudformation="AWS::IAM::Role",
        id="{name}",
        name=Name(max_length=64),
        create=Call(
            "create_role",
            {
                "RoleName": "name",
                "AssumeRolePolicyDocument": Json("assumeRolePolicy"),
                **pascal("description", "maxSessionDuration", "path", "permissionsBoundary"),
            },
        ),
        read=(
            Read(
                "get_role",
                _ROLE,
                {
                    "RoleName": "name",
                    "RoleId": "uniqueId",
                    "AssumeRolePolicyDocument": Json("assumeRolePolicy"),
                    "PermissionsBoundary": {"PermissionsBoundaryArn": "permissionsBoundary"},
                    **pascal("arn", "createDate", "description", "maxSessionDuration", "path"),
                },
                path="Role",
                gone=_GONE,
            ),
        ),
        settings=(
            Call("update_assume_role_policy", {**_ROLE, "PolicyDocument": Json("assumeRolePolicy")}),
            Call(
                "update_role", {**_ROLE, **pascal("maxSessionDuration"), "Description": Prop("description", unset="")}
            ),
            Call(
                "put_role_permissions_boundary",
                {**_ROLE, **pascal("permissionsBoundary")},
                when_set="permissionsBoundary",
            ),
            Call("delete_role_permissions_boundary", _ROLE, when_unset="permissionsBoundary"),
        ),
        delete=(Do(_detach_policies), Call("delete_role", _ROLE, ignore=_GONE)),
        tags=iam_tags("role", "RoleName"),
        defaults={"forceDetachPolicies": False, "maxSessionDuration": 3600, "path": "/"},
        local=("forceDetachPolicies",),
        schema_names={"name": "RoleName", "assumeRolePolicy": "AssumeRolePolicyDocument"},
        unchecked=("assumeRolePolicy",),
        not_emulated={
            "inlinePolicies": "deprecated by the SDK; use aws:iam/rolePolicy:RolePolicy",
            "managedPolicyArns": "deprecated by the SDK; use aws:iam/rolePolicyAttachment:RolePolicyAttachment",
        },
    ),
    Row(
        "aws:iam/rolePolicy:RolePolicy",
        service="iam",
        cloudformation="AWS::IAM::RolePolicy",
        id="{role}:{name}",
        name=Name(max_length=128),
        create=Call("put_role_policy", {"RoleName": "role", "PolicyName": "name", "PolicyDocument": Json("policy")}),
        update=(
            Call(
                "put_role_policy",
                {"RoleName": Fact("role"), "PolicyName": Fact("name"), "PolicyDocument": Json("policy")},
            ),
        ),
        read=(
            Read(
                "get_role_policy",
                {"RoleName": Fact("role"), "PolicyName": Fact("name")},
                {"RoleName": "role", "PolicyName": "name", "PolicyDocument": Json("policy")},
                gone=_GONE,
            ),
        ),
        delete=(Call("delete_role_policy", {"RoleName": Fact("role"), "PolicyName": Fact("name")}, ignore=_GONE),),
        replace_on=("role",),
        schema_names={"name": "PolicyName", "policy": "PolicyDocument"},
        unchecked=("policy",),
    ),
    Row(
        "aws:iam/policy:Policy",
        service="iam",
        cloudformation="AWS::IAM::ManagedPolicy",
        id="Policy.Arn",
        name=Name(max_length=128),
        create=Call(
            "create_policy",
            {"PolicyName": "name", "PolicyDocument": Json("policy"), **pascal("description", "path")},
        ),
        update=(Do(_new_version, on=("policy",)),),
        read=(
            Read(
                "get_policy",
                {"PolicyArn": ID},
                {
                    "PolicyName": "name",
                    "DefaultVersionId": "_version",
                    **pascal("arn", "attachmentCount", "description", "path", "policyId"),
                },
                path="Policy",
                gone=_GONE,
            ),
            Read(
                "get_policy_version",
                {"PolicyArn": ID, "VersionId": "_version"},
                {"Document": Json("policy")},
                path="PolicyVersion",
            ),
        ),
        delete=(Do(_delete_versions), Call("delete_policy", {"PolicyArn": ID}, ignore=_GONE)),
        tags=iam_tags("policy", "PolicyArn"),
        defaults={"path": "/"},
        schema_names={"name": "ManagedPolicyName", "policy": "PolicyDocument"},
        unchecked=("policy",),
        not_emulated={"delayAfterPolicyCreationInMs": "nothing is delayed in the emulated account"},
    ),
    Row(
        "aws:iam/rolePolicyAttachment:RolePolicyAttachment",
        service="iam",
        id="{role}/{policyArn}",
        create=Call("attach_role_policy", {"RoleName": "role", "PolicyArn": "policyArn"}),
        read=(
            Read(
                "list_attached_role_policies",
                {"RoleName": Fact("role")},
                {"PolicyArn": "policyArn"},
                path="AttachedPolicies[?PolicyArn == '$policyArn'] | [0]",
                gone=_GONE,
            ),
        ),
        delete=(Call("detach_role_policy", {"RoleName": Fact("role"), "PolicyArn": Fact("policyArn")}, ignore=_GONE),),
        replace_on=("role", "policyArn"),
        delete_before_replace=True,
    ),
    Row(
        "aws:iam/instanceProfile:InstanceProfile",
        service="iam",
        cloudformation="AWS::IAM::InstanceProfile",
        id="{name}",
        name=Name(max_length=128),
        create=Call("create_instance_profile", {"InstanceProfileName": "name", **pascal("path")}),
        settings=(Do(_put_role, on=("role",)),),
        read=(
            Read(
                "get_instance_profile",
                {"InstanceProfileName": ID},
                {
                    "InstanceProfileName": "name",
                    "InstanceProfileId": "uniqueId",
                    "Roles": [{"RoleName": "role"}],
                    **pascal("arn", "createDate", "path"),
                },
                path="InstanceProfile",
                gone=_GONE,
            ),
        ),
        delete=(
            Do(_take_role_out),
            Call("delete_instance_profile", {"InstanceProfileName": ID}, ignore=_GONE),
        ),
        tags=iam_tags("instance_profile", "InstanceProfileName"),
        defaults={"path": "/"},
        schema_names={"name": "InstanceProfileName"},
    ),
    *iam_service_roles.ROWS,
)
