"""What a policy on a queue or a bucket says is said by name, and locks nobody out."""

from __future__ import annotations

from collections.abc import Iterator

from trainyard.policies.accounts import account_of
from trainyard.policies.aws import BUCKETS
from trainyard.policies.graph import Resource
from trainyard.policies.iam import documents
from trainyard.policies.iam.documents import ANYONE, Statement
from trainyard.policies.rule import Finding, Severity, resource_rule, violation
from trainyard.policies.values import shown

_QUEUES = frozenset({"aws:sqs/queue:Queue", "aws:sqs/queuePolicy:QueuePolicy"})
_EVERYTHING = ("*", "*:*", "sqs:*")
_MENDS = "s3:PutBucketPolicy"
"""What takes a wrong policy back."""


@resource_rule(
    "sqs-policy-actions-named",
    title="A queue's policy allows actions by name",
    severity=Severity.MEDIUM,
    applies=_QUEUES,
    controls={
        "Checkov": ("CKV_AWS_72",),
        "NIST 800-53": ("AC-3", "AC-6"),
        "ISO 27001": ("A.5.15", "A.8.3"),
    },
    why="Who is to send may then empty the queue as well, delete it, or write a policy that lets others in.",
    remedy="""
{"Effect": "Allow", "Principal": {"Service": "events.amazonaws.com"}, "Action": "sqs:SendMessage",
 "Resource": queue_arn, "Condition": {"ArnEquals": {"aws:SourceArn": rule_arn}}}
""",
)
def queue_actions(holder: Resource) -> Iterator[Finding]:
    for statement in documents.statements(holder["policy"]):
        if statement.effect != "Allow" or _for_its_owner_alone(statement):
            continue
        if any(action.lower() in _EVERYTHING for action in statement.actions):
            yield violation(f"{statement.label} allows every action on the queue", holder["policy"])
        elif statement.not_actions:
            yield violation(
                f"{statement.label} allows every action but {shown(', '.join(statement.not_actions))}", holder["policy"]
            )


def _for_its_owner_alone(statement: Statement) -> bool:
    """As SQS writes it into a queue of which nobody has said anything: it is left to the policies of the account."""
    owners = {account_of(arn) for arn in statement.resources}
    whole_accounts = {
        account_of(one) if one.isdigit() or one.endswith(":root") else None for one in statement.principals
    }
    return len(owners) == 1 and None not in owners and whole_accounts == owners


@resource_rule(
    "s3-policy-no-lockout",
    title="A bucket's policy leaves somebody who can change it",
    severity=Severity.HIGH,
    applies=BUCKETS | {"aws:s3/bucketPolicy:BucketPolicy"},
    controls={
        "Checkov": ("CKV_AWS_93",),
        "NIST 800-53": ("CP-10", "AC-3"),
        "ISO 27001": ("A.5.30", "A.8.3"),
    },
    why=(
        "A denial for everyone under no condition holds for administrators too. Only the account's root user, whose "
        "password lies in a safe, can take it back. Until then datasets and checkpoints are out of reach."
    ),
    remedy="""
{"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": [bucket_arn, f"{bucket_arn}/*"],
 "Condition": {"Bool": {"aws:SecureTransport": "false"}}}              # a denial says when
""",
)
def no_lockout(holder: Resource) -> Iterator[Finding]:
    for statement in documents.statements(holder["policy"]):
        if _locks_out(statement):
            yield violation(
                f"{statement.label} denies everyone {_MENDS} under no condition, so nobody can mend this policy",
                holder["policy"],
            )


def _locks_out(statement: Statement) -> bool:
    everyone = ANYONE in statement.principals and not statement.conditions
    whole = any(not pattern.partition(":::")[2].partition("/")[1] for pattern in statement.resources)
    return statement.effect == "Deny" and everyone and documents.grants(statement, _MENDS) and whole
