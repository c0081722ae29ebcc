"""Identities may do what their work needs, and cannot give themselves more."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator

from trainyard.policies import documents, grants
from trainyard.policies.documents import Statement
from trainyard.policies.grants import CARRIERS, Grants
from trainyard.policies.graph import Graph, Resource
from trainyard.policies.iam_paths import Way, escalations, exfiltrations
from trainyard.policies.rule import Finding, Severity, each, resource_rule, stack_rule, unverified, violation
from trainyard.policies.values import Value, shown

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
_WHOLE_SERVICE = re.compile(r"[^:]+:[*?]*\*[*?]*")
_WILD = re.compile(r"[*?]")
# Verbs that change nothing. Reading data is another rule's matter.
_READS = ("batchdescribe", "batchget", "check", "describe", "estimate", "filter", "get", "list", "lookup")
_READS_TOO = ("preview", "query", "scan", "search", "select", "simulate", "test", "validate", "view")

_LEAST = {"NIST 800-53": ("AC-6", "AC-6(1)", "AC-3"), "ISO 27001": ("A.5.15", "A.8.2")}


def _documents(carrier: Resource, check: Callable[[Value], Iterable[Finding]]) -> Iterator[Finding]:
    yield from each(grants.documents_of(carrier), check)


@resource_rule(
    "iam-no-full-admin",
    title="No identity policy allows every action",
    severity=Severity.CRITICAL,
    applies=CARRIERS,
    controls={
        "FSBP": ("IAM.1",),
        "Checkov": ("CKV_AWS_62", "CKV_AWS_63"),
        "Trivy": ("AWS-0057",),
        **_LEAST,
    },
    why='"Action": "*" is the whole account, its keys, its logs and its bill, in the hands of whoever gets in.',
    remedy="""
{"Effect": "Allow", "Action": ["s3:GetObject"], "Resource": f"{bucket_arn}/runs/*"}     # what the work needs, by name
""",
)
def no_full_admin(carrier: Resource) -> Iterator[Finding]:
    def check(document: Value) -> Iterator[Finding]:
        for statement in grants.allowed(document):
            if grants.for_everything(statement):
                where = "everything" if "*" in statement.resources else f"{shown(', '.join(statement.resources))}"
                yield violation(f"{statement.label} allows every action on {where}", document)

    yield from _documents(carrier, check)


@resource_rule(
    "iam-no-service-wildcard",
    title="No identity policy allows a whole service, or changes by a pattern on every resource",
    severity=Severity.HIGH,
    applies=CARRIERS,
    controls={"FSBP": ("IAM.21",), "Checkov": ("CKV_AWS_355",), "Trivy": ("AWS-0057",), **_LEAST},
    why=(
        "A pattern grows with the service: what AWS adds to it tomorrow is allowed today. "
        "s3:* on one's own bucket includes its policy, its logs and its end."
    ),
    remedy="""
"Action": ["s3:GetObject", "s3:PutObject"]      # patterns only for what changes nothing: "ec2:Describe*"
""",
)
def no_service_wildcard(carrier: Resource) -> Iterator[Finding]:
    def check(document: Value) -> Iterator[Finding]:
        for statement in grants.read(document).allowed:
            whole = [action for action in statement.actions if _WHOLE_SERVICE.fullmatch(action)]
            changing = [action for action in statement.actions if action not in whole and _changes_by_pattern(action)]
            if whole:
                yield violation(f"{statement.label} allows all of {_named(whole)}", document)
            if changing and grants.everywhere(statement):
                yield violation(f"{statement.label} allows {_named(changing)} on every resource", document)

    yield from _documents(carrier, check)


def _changes_by_pattern(action: str) -> bool:
    verb = action.partition(":")[2].lower()
    wild = _WILD.search(verb)
    return wild is not None and not verb[: wild.start()].startswith((*_READS, *_READS_TOO))


def _named(actions: Iterable[str]) -> str:
    return shown(", ".join(actions))


@resource_rule(
    "iam-no-inverted-allow",
    title="No identity policy allows all but what it names",
    severity=Severity.HIGH,
    applies=CARRIERS,
    controls=_LEAST,
    why=(
        "NotAction and NotResource in an Allow mean everything else, also what does not exist yet. "
        "Allowing all but IAM still allows every key, every bucket and every role that can be assumed."
    ),
    remedy="""
{"Effect": "Allow", "Action": [...], "Resource": [...]}     # name what is meant; NotAction belongs into a Deny
""",
)
def no_inverted_allow(carrier: Resource) -> Iterator[Finding]:
    def check(document: Value) -> Iterator[Finding]:
        for statement in grants.allowed(document):
            if grants.inverted(statement):
                element = "NotAction" if statement.not_actions else "NotResource"
                yield violation(f"{statement.label} allows everything but what {element} names", document)

    yield from _documents(carrier, check)


@resource_rule(
    "iam-no-decrypt-everywhere",
    title="No identity policy decrypts with every key",
    severity=Severity.HIGH,
    applies=CARRIERS,
    controls={"FSBP": ("KMS.1", "KMS.2"), "NIST 800-53": ("AC-6", "SC-12"), "ISO 27001": ("A.5.15", "A.8.24")},
    why=(
        "Separate keys keep data classes and teams apart only while nobody holds all of them. "
        "kms:ViaService says by which way, not which key."
    ),
    remedy="""
{"Effect": "Allow", "Action": "kms:Decrypt", "Resource": key_arn,
 "Condition": {"StringEquals": {"kms:ViaService": f"s3.{region}.amazonaws.com"}}}
""",
)
def no_decrypt_everywhere(carrier: Resource) -> Iterator[Finding]:
    def check(document: Value) -> Iterator[Finding]:
        allowed = grants.read(document)
        for action in ("kms:Decrypt", "kms:ReEncryptFrom"):
            if found := allowed.everywhere(action):
                yield violation(f"{found[0].label} allows {action} with every key", document)
                return

    yield from _documents(carrier, check)


@resource_rule(
    "iam-no-privilege-escalation",
    title="No identity policy lets its holder take more permissions",
    severity=Severity.CRITICAL,
    applies=CARRIERS,
    controls={"Checkov": ("CKV_AWS_286", "CKV_AWS_289"), **_LEAST},
    why="Whoever can change his own permissions, or start what has more, is an administrator by a detour.",
    remedy="""
{"Effect": "Allow", "Action": "iam:PassRole", "Resource": node_role_arn,       # this role, for this service
 "Condition": {"StringEquals": {"iam:PassedToService": "ec2.amazonaws.com"}}}
""",
)
def no_privilege_escalation(carrier: Resource) -> Iterator[Finding]:
    yield from _documents(carrier, lambda document: _open_ways(document, escalations()))


@resource_rule(
    "iam-no-exfiltration",
    title="No identity policy reads or gives away all data of a kind",
    severity=Severity.HIGH,
    applies=CARRIERS,
    controls={"Checkov": ("CKV_AWS_287", "CKV_AWS_288"), **_LEAST},
    why=(
        "One identity that reads every bucket, secret or snapshot makes all of them leak together, "
        "also those that a neighbour makes next year."
    ),
    remedy="""
{"Effect": "Allow", "Action": "secretsmanager:GetSecretValue", "Resource": secret_arn}      # this one
""",
)
def no_exfiltration(carrier: Resource) -> Iterator[Finding]:
    yield from _documents(carrier, lambda document: _open_ways(document, exfiltrations()))


def _open_ways(document: Value, ways: Iterable[Way]) -> Iterator[Finding]:
    allowed = grants.read(document)
    found = [way for way in ways if _is_open(way, allowed)]
    if found:
        told = "; ".join(f"{' with '.join(way.grants)} ({way.how})" for way in found[:3])
        rest = f"; and {len(found) - 3} more ways" if len(found) > 3 else ""
        yield violation(f"on every resource: {told}{rest}", document)


def _is_open(way: Way, allowed: Grants) -> bool:
    return any(not _bounded(way, one) for one in allowed.everywhere(way.grants[0])) and all(
        allowed.of(action) for action in way.grants[1:]
    )


def _bounded(way: Way, statement: Statement) -> bool:
    """Whether a condition keeps the statement from leading this way."""
    switches = statement.conditions.get("bool", {})
    if any(documents.pinned(statement, key) or switches.get(key) == ("true",) for key in way.unless):
        return True
    services = documents.pinned(statement, "iam:passedtoservice")
    return bool(way.passes and services) and not any(documents.covers(pattern, way.passes) for pattern in services)


@stack_rule(
    "iam-no-joint-escalation",
    title="No two policies of a role together let it take more permissions",
    severity=Severity.CRITICAL,
    applies=frozenset({"aws:iam/role:Role"}),
    controls={"Checkov": ("CKV_AWS_286",), **_LEAST},
    why=(
        "One policy passes roles, another starts functions: each was reviewed alone and is harmless. "
        "AWS adds up what a role has."
    ),
    remedy="""
{"Effect": "Allow", "Action": "iam:PassRole", "Resource": function_role_arn,
 "Condition": {"StringEquals": {"iam:PassedToService": "lambda.amazonaws.com"}}}
""",
)
def no_joint_escalation(role: Resource, graph: Graph) -> Iterator[Finding]:
    certain, possible = _documents_by_reference(role, graph)
    parts = [grants.read(document) for document in certain]
    more = [grants.read(document) for document in possible]
    if told := _joint_ways(parts):
        yield violation(f"its {len(parts)} policies together allow on every resource: {told}")
    elif told := _joint_ways([*parts, *more]):
        yield unverified(f"whether its policies together allow {told} depends on references that are not known yet")


def _joint_ways(parts: list[Grants]) -> str:
    """The ways that are open to all policies together and to none alone."""
    joined = grants.together(parts)
    ways = [way for way in escalations() if len(way.grants) > 1 and _is_open(way, joined)]
    joint = [way for way in ways if not any(_is_open(way, part) for part in parts)]
    return "; ".join(f"{' with '.join(way.grants)} ({way.how})" for way in joint[:3])


def _documents_by_reference(role: Resource, graph: Graph) -> tuple[list[Value], list[Value]]:
    """The policies in the role, those written for it and those of the stack that are attached to it: surely, or
    perhaps."""
    certain, possible = grants.documents_of(role), list[Value]()
    for sure, part in graph.referring(role, {"aws:iam/rolePolicy:RolePolicy"}, "role"):
        (certain if sure else possible).append(part["policy"])
    for sure, link in graph.referring(role, {"aws:iam/rolePolicyAttachment:RolePolicyAttachment"}, "role"):
        for policy in graph.of({"aws:iam/policy:Policy"}):
            if (meant := graph.refers(link, "policyArn", policy)) is not False:
                (certain if sure and meant else possible).append(policy["policy"])
    return certain, possible


@resource_rule(
    "iam-pass-role-bounded",
    title="Whoever passes a role may pass roles that are named, to a service that is named",
    severity=Severity.HIGH,
    applies=CARRIERS,
    controls={"Trivy": ("AWS-0342",), **_LEAST},
    why=(
        "Passing a role to a service is using it. Without a service in the condition the same right hands the role "
        "to any of them, to one that runs commands as well."
    ),
    remedy="""
{"Effect": "Allow", "Action": "iam:PassRole", "Resource": role_arn,
 "Condition": {"StringEquals": {"iam:PassedToService": "eks.amazonaws.com"}}}
""",
)
def pass_role_bounded(carrier: Resource) -> Iterator[Finding]:
    def check(document: Value) -> Iterator[Finding]:
        for statement in grants.read(document).of("iam:PassRole"):
            if grants.everywhere(statement):
                yield violation(f"{statement.label} passes every role", document)
            elif not documents.pinned(statement, "iam:passedtoservice"):
                yield violation(f"{statement.label} has no iam:PassedToService: the role goes to any service", document)

    yield from _documents(carrier, check)


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
