"""Whom the policies of a stack's resources mean and the stack does not make."""

from __future__ import annotations

from collections.abc import Container, Iterator

from trainyard.policies.accounts import account_of
from trainyard.policies.graph import Graph
from trainyard.policies.iam import documents
from trainyard.policies.iam.conditions import Context
from trainyard.policies.iam.documents import ANYONE, Statement
from trainyard.policies.reach.principals import Principal, Taker
from trainyard.policies.reach.targets import Target
from trainyard.policies.values import UnverifiedError

_CONTROL = frozenset({"aws:organizations/policy:Policy"})
_CONTROL_ATTACHMENTS = frozenset({"aws:organizations/policyAttachment:PolicyAttachment"})


def outsiders(target: Target, accounts: Container[str | None], made: Container[str | None]) -> Iterator[Principal]:
    """Those that a resource's policy lets in and that the stack does not make."""
    seen: set[str] = set()
    for statement in target.statements:
        if statement.effect != "Allow":
            continue
        for label, arn, kind in _named(statement):
            account = account_of(arn)
            delegates = arn.isdigit() or arn.endswith(":root")
            if arn in seen or arn in made or (delegates and account in accounts):
                continue
            seen.add(arn)
            foreign = account is not None and account not in accounts
            context = _context(arn, kind, account)
            own = None if foreign and kind == "aws" else ()
            yield Principal(
                label, arn, statements=own, takers=[_itself(label, arn, kind)], context=context, named_by=target.arn
            )


def _named(statement: Statement) -> Iterator[tuple[str, str, str]]:
    """Label, ARN (or service, or `*`) and kind of those whom a statement lets in."""
    if statement.for_anyone:
        pinned = documents.pinned(statement, "aws:principalarn")
        for arn in pinned:
            yield arn.rpartition("/")[2], arn, "aws"
        if not pinned:
            yield ("everyone but a few" if statement.not_principals else "anyone"), ANYONE, "aws"
        return
    for kind, group in statement.principals_by_kind.items():
        for name in group:
            label = f"AWS service {name.partition('.amazonaws')[0]}" if kind == "service" else name.partition(":::")[0]
            account = account_of(name)
            if kind == "aws" and account is not None:
                root = name.isdigit() or name.endswith(":root")
                label = f"account {account}" if root else f"{name.rpartition(':')[2]} of account {account}"
            yield label, name, kind


def _itself(label: str, arn: str, kind: str) -> Taker:
    """An identity that the stack does not make, as its own taker. A service-linked role is its service's."""
    service = arn.partition(":role/aws-service-role/")[2].partition("/")[0] if kind == "aws" else arn
    if service and kind in ("aws", "service"):
        return Taker("service", f"AWS service {service.partition('.amazonaws')[0]}", service_account=service)
    return Taker("anyone" if arn == ANYONE else "principal", label)


def _context(arn: str, kind: str, account: str | None) -> Context:
    known: dict[str, tuple[str, ...]] = {
        "aws:securetransport": ("true",),
        "s3:tlsversion": ("1.3",),
        "kms:grantisforawsresource": ("false",),
    }
    known["aws:principalisawsservice"] = ("true" if kind == "service" else "false",)
    if kind == "service":
        known["aws:principalservicename"] = (arn,)
    elif account is not None:
        known |= {"aws:principalaccount": (account,), "kms:calleraccount": (account,)}
        if not (arn.isdigit() or arn.endswith(":root")):
            known["aws:principalarn"] = (arn,)
    return Context(known, closed=False, absent=("s3:x-amz-",))


def control(graph: Graph, accounts: frozenset[str]) -> Iterator[Statement]:
    """The denials of control policies that the stack attaches to its own account. What an organisation says besides,
    and what its policies do not allow, is not seen: it could only take away."""
    for attachment in graph.of(_CONTROL_ATTACHMENTS):
        if attachment.props.get("targetId") not in accounts:
            continue
        for policy in graph.of(_CONTROL):
            if graph.refers(attachment, "policyId", policy) is not True:
                continue
            try:
                statements = documents.statements(policy["content"])
            except UnverifiedError:
                continue
            yield from (one for one in statements if one.effect == "Deny")
