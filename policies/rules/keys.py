"""Keys stay usable, are not lost by a slip, and are in the hands of few."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from trainyard.policies.aws import KEYS
from trainyard.policies.graph import Graph, Resource
from trainyard.policies.iam import documents
from trainyard.policies.iam.documents import Statement
from trainyard.policies.parts import given, missing
from trainyard.policies.preflight import number
from trainyard.policies.retention import retention_of
from trainyard.policies.rule import Finding, Severity, resource_rule, stack_rule, violation
from trainyard.policies.values import UnverifiedError, Value, shown

_KEYS = KEYS | {"aws:kms/replicaExternalKey:ReplicaExternalKey"}
_POLICIES = frozenset({"aws:kms/keyPolicy:KeyPolicy"})
# What KMS writes where the program gives no policy.
_DEFAULT_POLICY_ID = "key-default-1"
_ACCOUNT = re.compile(r"\d{12}|arn:aws[a-z-]*:iam::\d{12}:root")


@resource_rule(
    "kms-deletion-window",
    title="A KMS key that someone deletes can be had back for as long as its environment demands",
    severity=Severity.HIGH,
    applies=_KEYS,
    controls={"FSBP": ("KMS.3",), "NIST 800-53": ("SC-12(1)", "CP-9"), "ISO 27001": ("A.8.24", "A.8.13")},
    why=(
        "With the key goes everything that it encrypts, in every backup and every region, for good. "
        "The window is the only time in which someone can notice."
    ),
    remedy="""
aws.kms.Key(name, deletion_window_in_days=30)
""",
)
def deletion_window(key: Resource) -> Iterator[Finding]:
    window = key["deletionWindowInDays"]
    days, least = number(window), retention_of(key.environment).key_deletion
    if days is not None and days < least:
        where = f"environment {key.environment!r} demands {least} (policies/retention.yaml)"
        yield violation(f"a deleted key is gone after {days} days; {where}", window)


@resource_rule(
    "kms-key-enabled",
    title="A KMS key is enabled",
    severity=Severity.MEDIUM,
    applies=_KEYS,
    controls={"Checkov": ("CKV_AWS_227",), "NIST 800-53": ("SC-12",), "ISO 27001": ("A.8.24",)},
    why=(
        "What a disabled key encrypts cannot be read: nodes with its volumes do not start, "
        "and file systems under it fail hours later, when they ask for the key again."
    ),
    remedy="""
aws.kms.Key(name, is_enabled=True)      # what must not be read any more: delete the data, then the key
""",
)
def key_enabled(key: Resource) -> Iterator[Finding]:
    for switch in (key["isEnabled"], key["enabled"]):
        if switch.present and not switch.flag():
            yield violation("the key is disabled", switch)


@resource_rule(
    "kms-lockout-check",
    title="KMS refuses a key policy that would lock everyone out",
    severity=Severity.HIGH,
    applies=_KEYS | _POLICIES,
    controls={"NIST 800-53": ("AC-3", "SC-12"), "ISO 27001": ("A.8.24",)},
    why=(
        "Without the check a policy that names nobody takes effect. Then no one in the account can change it, "
        "and the data wait until AWS support answers."
    ),
    remedy="""
aws.kms.Key(name, policy=policy)        # no bypass_policy_lockout_safety_check
""",
)
def lockout_check(key: Resource) -> Iterator[Finding]:
    bypass = key["bypassPolicyLockoutSafetyCheck"]
    if bypass.flag():
        yield violation("the check is switched off", bypass)


@stack_rule(
    "kms-policy-explicit",
    title="A KMS key has a policy that someone wrote",
    severity=Severity.MEDIUM,
    applies=_KEYS,
    controls={"Checkov": ("CKV2_AWS_64",), "NIST 800-53": ("AC-3", "AC-6"), "ISO 27001": ("A.5.15", "A.8.24")},
    why=(
        "Where nothing is said KMS writes a policy of its own. It says today what the account's IAM policies say, "
        "and nobody has read it when an auditor asks who may decrypt."
    ),
    remedy="""
aws.kms.Key(name, policy=pulumi.Output.json_dumps({"Version": "2012-10-17", "Statement": [{
    "Sid": "AccountAdministers", "Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{account}:root"},
    "Action": "kms:*", "Resource": "*"}]}))
""",
)
def policy_explicit(key: Resource, graph: Graph) -> Iterator[Finding]:
    found = graph.attached(key, _POLICIES, "keyId")
    inline = given(key, "policy")
    if found.certain or (inline and not inline.known):
        return
    if not inline or inline.raw == "":
        yield missing("policy", found.possible, "key")
    elif _is_default(inline):
        if found.possible:
            yield missing("policy", found.possible, "key")
        else:
            yield violation("the key has the policy that KMS writes where the program gives none", inline)


def _is_default(policy: Value) -> bool:
    raw = policy.raw
    if not isinstance(raw, dict):
        try:
            raw = json.loads(policy.text() or "")
        except ValueError:
            raise UnverifiedError(policy, "this is not a policy document: it is not JSON") from None
    return isinstance(raw, dict) and raw.get("Id") == _DEFAULT_POLICY_ID


@resource_rule(
    "kms-full-control-bounded",
    title="A key policy gives full control to the account alone",
    severity=Severity.HIGH,
    applies=_KEYS | _POLICIES,
    controls={"NIST 800-53": ("AC-5", "AC-6", "SC-12"), "ISO 27001": ("A.5.3", "A.8.2", "A.8.24")},
    why=(
        "Who may use a key and also change its policy can read the data and let others read them. "
        "Given to the account, IAM decides; given to a role or a service, nothing else is asked."
    ),
    remedy="""
{"Sid": "Administer", "Effect": "Allow", "Principal": {"AWS": admin_role_arn}, "Resource": "*",
 "Action": ["kms:Describe*", "kms:Get*", "kms:List*", "kms:Enable*", "kms:Disable*", "kms:Put*", "kms:Update*",
            "kms:Tag*", "kms:Untag*", "kms:ScheduleKeyDeletion", "kms:CancelKeyDeletion"]}     # and no kms:Decrypt
""",
)
def full_control_bounded(holder: Resource) -> Iterator[Finding]:
    for statement in documents.statements(holder["policy"]):
        who = _others(statement)
        if who and statement.effect == "Allow" and _full_control(statement):
            yield violation(
                f"{statement.label} lets {who} both use the key and change its policy; only the account's root may",
                holder["policy"],
            )


def _full_control(statement: Statement) -> bool:
    return documents.grants(statement, "kms:PutKeyPolicy") and documents.grants(statement, "kms:Decrypt")


def _others(statement: Statement) -> str:
    """Who is meant beside accounts as a whole. `*` is everyone, also where a condition ties it to the account: the key
    policy then decides without asking IAM."""
    if statement.not_principals:
        return "everyone but a few"
    return ", ".join(shown(name) for name in statement.principals if not _ACCOUNT.fullmatch(name))


@resource_rule(
    "kms-use-named",
    title="A key's policy says by name who decrypts with it",
    severity=Severity.HIGH,
    applies=KEYS | _POLICIES,
    controls={"FSBP": ("KMS.5",), "NIST 800-53": ("AC-3", "AC-6", "SC-12"), "ISO 27001": ("A.5.15", "A.8.24")},
    why=(
        "A statement for everybody in the account, as AWS writes it for its own keys, gives the key to every role, "
        "whatever that role's own policies say: nobody has to be asked, and no review shows who was."
    ),
    remedy="""
{"Effect": "Allow", "Principal": "*", "Action": "kms:Decrypt", "Resource": "*", "Condition": {
    "StringEquals": {"kms:CallerAccount": account_id}, "ArnLike": {"aws:PrincipalArn": [service_linked_role_arn]}}}
""",
)
def use_named(key: Resource) -> Iterator[Finding]:
    policy = key["policy"]
    for statement in documents.statements(policy):
        opens = [action for action in _OPENS if documents.grants(statement, action)]
        named = documents.pinned(statement, "aws:principalarn", "aws:principaltag/", "aws:userid")
        if statement.effect == "Allow" and statement.for_anyone and opens and not named:
            yield violation(f"{statement.label} lets everybody whom it does not name use {opens[0]}", policy)


_OPENS = ("kms:Decrypt", "kms:ReEncryptFrom", "kms:CreateGrant", "kms:PutKeyPolicy")
