"""Identities may do what their work needs, and cannot give themselves more."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator

from trainyard.policies.graph import Graph, Resource
from trainyard.policies.iam import documents, grants
from trainyard.policies.iam.documents import Statement
from trainyard.policies.iam.grants import CARRIERS, Grants
from trainyard.policies.iam.paths import READS, Way, can_be_restricted, escalations, exfiltrations
from trainyard.policies.rule import Finding, Severity, each, resource_rule, stack_rule, unverified, violation
from trainyard.policies.values import Value, shown

_WHOLE_SERVICE = re.compile(r"[^:]+:[*?]*\*[*?]*")
_WILD = re.compile(r"[*?]")
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
    controls={"FSBP": ("IAM.21",), "Checkov": ("CKV_AWS_355", "CKV2_AWS_40"), "Trivy": ("AWS-0057",), **_LEAST},
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
    return wild is not None and not verb[: wild.start()].startswith(READS)


def _named(actions: Iterable[str]) -> str:
    return shown(", ".join(actions))


@resource_rule(
    "iam-no-writes-everywhere",
    title="No identity policy changes what it likes of a kind, where it could name what it means",
    severity=Severity.MEDIUM,
    applies=CARRIERS,
    controls={"Checkov": ("CKV_AWS_290", "CKV_AWS_355"), **_LEAST},
    why=(
        'A role that writes its own logs on "*" writes, and can flood, every log group; '
        'one that pushes images on "*" replaces those of every team.'
    ),
    remedy="""
{"Effect": "Allow", "Action": ["logs:CreateLogStream", "logs:PutLogEvents"], "Resource": f"{log_group_arn}:*"}
{"Effect": "Allow", "Action": "autoscaling:SetDesiredCapacity", "Resource": "*",          # or chosen by a tag
 "Condition": {"StringEquals": {"aws:ResourceTag/owner": team}}}
""",
)
def no_writes_everywhere(carrier: Resource) -> Iterator[Finding]:
    def check(document: Value) -> Iterator[Finding]:
        for statement in grants.read(document).allowed:
            if grants.everywhere(statement):
                named = [one for one in statement.actions if not _WILD.search(one) and can_be_restricted(one)]
                if writing := [one for one in named if not _chosen(statement, one)]:
                    yield violation(f"{statement.label} allows {_named(writing)} on every resource", document)

    yield from _documents(carrier, check)


def _chosen(statement: Statement, action: str) -> bool:
    """Whether a condition of the action's own service, or on a new resource's tags, says which are meant."""
    service = action.partition(":")[0].lower()
    if service != "kms":
        return bool(documents.pinned(statement, "aws:requesttag/", f"{service}:"))
    # kms:ViaService and kms:CallerAccount say by which way, not which key.
    on_behalf = statement.conditions.get("bool", {}).get("kms:grantisforawsresource") == ("true",)
    return on_behalf or bool(documents.pinned(statement, "kms:encryptioncontext:", "kms:granteeprincipal"))


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


@stack_rule(
    "iam-key-use-bounded",
    title="An identity uses a key through the service, or for the data, that it means",
    severity=Severity.LOW,
    applies=CARRIERS,
    controls={"AWS prescriptive guidance": ("Encryption best practices for AWS KMS",), **_LEAST},
    why=(
        "A key is shared by many buckets and volumes. Without a condition, whoever gets hold of any of its ciphertext "
        "can have it decrypted. A program that calls KMS itself says the encryption context."
    ),
    remedy="""
"Condition": {"StringEquals": {"kms:ViaService": f"s3.{region}.amazonaws.com"},
              "ArnLike": {"kms:EncryptionContext:aws:s3:arn": [bucket_arn, f"{bucket_arn}/*"]}}
""",
)
def key_use_bounded(carrier: Resource, _: Graph) -> Iterator[Finding]:
    def check(document: Value) -> Iterator[Finding]:
        allowed = grants.read(document)
        for action in ("kms:Decrypt", "kms:CreateGrant"):
            for statement in allowed.of(action):
                if not documents.pinned(statement, "kms:viaservice") and not _chosen(statement, action):
                    yield violation(f"{statement.label} allows {action} by any way", document)

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
