"""Whom permissions are given to: roles and groups, no keys of users, and none of AWS's policies for everything."""

from __future__ import annotations

import re
from collections.abc import Iterator

from trainyard.policies.graph import Resource
from trainyard.policies.rule import Finding, Severity, each, resource_rule, violation
from trainyard.policies.values import Value

# What attaches managed policies, and the property that names them: one ARN, or a list.
_ATTACHMENTS = {
    "aws:iam/groupPolicyAttachment:GroupPolicyAttachment": "policyArn",
    "aws:iam/groupPolicyAttachmentsExclusive:GroupPolicyAttachmentsExclusive": "policyArns",
    "aws:iam/policyAttachment:PolicyAttachment": "policyArn",
    "aws:iam/role:Role": "managedPolicyArns",
    "aws:iam/rolePolicyAttachment:RolePolicyAttachment": "policyArn",
    "aws:iam/rolePolicyAttachmentsExclusive:RolePolicyAttachmentsExclusive": "policyArns",
    "aws:iam/userPolicyAttachment:UserPolicyAttachment": "policyArn",
    "aws:iam/userPolicyAttachmentsExclusive:UserPolicyAttachmentsExclusive": "policyArns",
    "aws:ssoadmin/managedPolicyAttachment:ManagedPolicyAttachment": "managedPolicyArn",
}
_KEYS_OF_USERS = frozenset(
    {"aws:iam/accessKey:AccessKey", "aws:iam/serviceSpecificCredential:ServiceSpecificCredential"}
)
# What gives a user permissions of its own, and the property that says so.
_TO_USERS = {
    "aws:iam/policyAttachment:PolicyAttachment": "users",
    "aws:iam/userPoliciesExclusive:UserPoliciesExclusive": "policyNames",
    "aws:iam/userPolicy:UserPolicy": "user",
    "aws:iam/userPolicyAttachment:UserPolicyAttachment": "user",
    "aws:iam/userPolicyAttachmentsExclusive:UserPolicyAttachmentsExclusive": "policyArns",
}
_PASSWORDS = frozenset({"aws:iam/userLoginProfile:UserLoginProfile"})

# AWS's own policies that give a whole service or more, or let their holder read all data.
_BROAD = re.compile(
    r"arn:aws[a-z-]*:iam::aws:policy/(?:[\w-]+/)*"
    r"(?:AdministratorAccess(?:-[\w-]+)?|PowerUserAccess|SystemAdministrator|DatabaseAdministrator|ReadOnlyAccess"
    r"|\w*FullAccess(?:_v\d+|V\d+)?)"
)

_LEAST = {"NIST 800-53": ("AC-6", "AC-6(1)", "AC-3"), "ISO 27001": ("A.5.15", "A.8.2")}


@resource_rule(
    "iam-no-broad-managed-policy",
    title="No identity has one of AWS's policies for a whole account or a whole service",
    severity=Severity.HIGH,
    applies=frozenset(_ATTACHMENTS),
    controls={"Checkov": ("CKV_AWS_274", "CKV2_AWS_56"), **_LEAST},
    why=(
        "AdministratorAccess and its like fit nobody's work. ...FullAccess and ReadOnlyAccess reach every bucket and "
        "every secret of the account, and AWS widens them without asking."
    ),
    remedy="""
aws.iam.RolePolicy(name, role=role.id, policy=pulumi.Output.json_dumps({...}))      # the actions that are used
""",
)
def no_broad_managed_policy(attachment: Resource) -> Iterator[Finding]:
    named = attachment[_ATTACHMENTS[attachment.type]]

    def check(arn: Value) -> Iterator[Finding]:
        if (text := arn.text()) and _BROAD.fullmatch(text):
            yield violation(f"{text.rpartition('/')[2]} is attached", arn)

    yield from each([named] if isinstance(named.raw, str) or not named.known else named.items(), check)


@resource_rule(
    "iam-no-user-credentials",
    title="No user has an access key or a password that Pulumi makes",
    severity=Severity.HIGH,
    applies=_KEYS_OF_USERS | _PASSWORDS,
    controls={
        "Checkov": ("CKV_AWS_273",),
        "NIST 800-53": ("IA-2", "IA-5", "AC-2"),
        "ISO 27001": ("A.5.16", "A.5.17"),
    },
    why=(
        "A key that never expires ends up in a shell's history, an image or a notebook, and lies in the stack's state. "
        "Roles and identity providers give credentials that end by themselves."
    ),
    remedy="""
aws.iam.Role(name, assume_role_policy=...)      # for people: IAM Identity Center; for CI: an OIDC provider
""",
)
def no_user_credentials(credential: Resource) -> Iterator[Finding]:
    status = credential["status"]
    if credential.type in _PASSWORDS:
        yield violation("a password for the console is made here", credential["user"])
    elif status.text() != "Inactive":
        yield violation("a credential is made here that works until someone takes it away", status)


@resource_rule(
    "iam-no-user-policies",
    title="Permissions are given to roles and groups, not to single users",
    severity=Severity.LOW,
    applies=frozenset(_TO_USERS),
    controls={
        "FSBP": ("IAM.2",),
        "Checkov": ("CKV_AWS_40",),
        "Trivy": ("AWS-0143",),
        "NIST 800-53": ("AC-2", "AC-3", "AC-6"),
        "ISO 27001": ("A.5.15", "A.5.18"),
    },
    why="What a person collected over the years leaves with nobody: a group or a role loses it when the work ends.",
    remedy="""
aws.iam.GroupPolicyAttachment(name, group=group.name, policy_arn=policy.arn)      # or a role that the person assumes
""",
)
def no_user_policies(attachment: Resource) -> Iterator[Finding]:
    to_users = attachment[_TO_USERS[attachment.type]]
    named = to_users.text() if isinstance(to_users.raw, str) or not to_users.known else to_users.items()
    if named:
        yield violation("a user is given permissions of its own", to_users)
