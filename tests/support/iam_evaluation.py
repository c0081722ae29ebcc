"""Asks one IAM policy who may do what, so that tests need not compare JSON. The pack's own evaluation answers.

Here everything that a request does not carry is absent from it, and what the evaluation does not know is an error,
never a guess.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from trainyard.policies.iam import documents
from trainyard.policies.iam import evaluation as iam_evaluation
from trainyard.policies.iam.conditions import Context, Truth
from trainyard.policies.values import Value

_ELEMENTS = {
    "Sid",
    "Effect",
    "Principal",
    "NotPrincipal",
    "Action",
    "NotAction",
    "Resource",
    "NotResource",
    "Condition",
}


@dataclass(frozen=True)
class Request:
    """One request to AWS.

    Attributes:
        action: such as `s3:PutObject`.
        resource: ARN.
        principal: ARN of the caller, or a service's host name. None where the policy is the caller's own.
        context: condition keys with their values; keys match whatever their case.
    """

    action: str
    resource: str = "*"
    principal: str | None = None
    context: Mapping[str, str] = field(default_factory=dict)


def decide(policy: str | Mapping[str, Any], request: Request) -> str:
    """`allow`, `deny` (said explicitly), or `nothing` where no statement speaks of the request."""
    document = json.loads(policy) if isinstance(policy, str) else dict(policy)
    for statement in document["Statement"]:
        unknown = set(statement) - _ELEMENTS
        assert not unknown, f"this evaluation does not know {sorted(unknown)}"
    context = Context({key.lower(): (value,) for key, value in request.context.items()})
    asked = iam_evaluation.Request(request.action, request.resource, request.principal, context)
    statements = documents.statements(Value(document))
    for effect, decision in (("Deny", "deny"), ("Allow", "allow")):
        said = iam_evaluation.spoken(statements, effect, asked)
        assert not said.unread, f"this evaluation does not know the operator {', '.join(said.unread)}"
        if said.truth is Truth.YES:
            return decision
    return "nothing"


def allows(policy: str | Mapping[str, Any], request: Request) -> bool:
    return decide(policy, request) == "allow"
