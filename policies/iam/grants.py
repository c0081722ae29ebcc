"""What the policies of identities allow: who carries them, and how wide a statement is."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from trainyard.policies.graph import Resource
from trainyard.policies.iam import documents
from trainyard.policies.iam.documents import Statement
from trainyard.policies.parts import is_providers_choice
from trainyard.policies.values import Value

_DOCUMENTS = {
    "aws:iam/groupPolicy:GroupPolicy": "policy",
    "aws:iam/policy:Policy": "policy",
    "aws:iam/rolePolicy:RolePolicy": "policy",
    "aws:iam/userPolicy:UserPolicy": "policy",
    "aws:ssoadmin/permissionSetInlinePolicy:PermissionSetInlinePolicy": "inlinePolicy",
}
_ROLE = "aws:iam/role:Role"
CARRIERS = frozenset({*_DOCUMENTS, _ROLE})

# Conditions that choose the resource by what is written on it.
_CHOSEN_BY = ("aws:resourcetag/", "ec2:resourcetag/", "s3:existingobjecttag/", "secretsmanager:resourcetag/")
_CHOSEN_BY_KIND = ("ssm:resourcetag/", "kms:resourcealiases", "s3:dataaccesspointarn", "eks:clustername")

_EVERYTHING = re.compile(r"[*?:]*\*[*?:]*")
_WILD = re.compile(r"[*?/:]*\*[*?/:]*")
# The words before the name in an ARN, where they are followed by no separator before the wildcard.
_TYPE_WORD = re.compile(r"([A-Za-z-]+[/:]|(parameter|secret|key|role|user|policy|table|snapshot|function)(?=\*))")
# Auto Scaling names its groups twice: by an id, and behind this by the name.
_SECOND_WORD = re.compile(r":(autoScalingGroup|launchConfiguration)Name/")
# Services whose ARN has the name alone, with no word for its type before it.
_NAMED_AT_ONCE = ("s3", "sqs", "sns")


@dataclass(frozen=True)
class Grants:
    """One policy document's statements that allow something by name, and those that deny it.

    A statement for every action, or for all but some, is left out: rules of their own are about it.
    """

    allowed: tuple[Statement, ...]
    denied: tuple[Statement, ...]

    def of(self, action: str) -> list[Statement]:
        """The statements that allow an action. None where it is denied on everything and on no condition."""
        if any(documents.grants(one, action) for one in self.denied):
            return []
        return [one for one in self.allowed if documents.grants(one, action)]

    def everywhere(self, action: str) -> list[Statement]:
        """The statements that allow an action on all resources of its kind."""
        return [one for one in self.of(action) if everywhere(one)]


def documents_of(carrier: Resource) -> list[Value]:
    """The policy documents that a resource carries for an identity."""
    if carrier.type == _ROLE:
        if is_providers_choice(carrier, "inlinePolicies"):
            return []
        return [one["policy"] for one in carrier["inlinePolicies"].items()]
    return [carrier[_DOCUMENTS[carrier.type]]]


def allowed(document: Value) -> Iterator[Statement]:
    """Every statement that allows something."""
    return (one for one in documents.statements(document) if one.effect == "Allow")


def read(document: Value) -> Grants:
    statements = documents.statements(document)
    by_name = [one for one in statements if one.effect == "Allow" and not inverted(one) and not for_everything(one)]
    denied = [one for one in statements if one.effect == "Deny" and "*" in one.resources and not one.conditions]
    return Grants(tuple(by_name), tuple(denied))


def together(parts: Iterable[Grants]) -> Grants:
    """What several policies of one identity allow: all that any of them allows, less what any denies."""
    found = list(parts)
    return Grants(
        tuple(statement for part in found for statement in part.allowed),
        tuple(statement for part in found for statement in part.denied),
    )


def inverted(statement: Statement) -> bool:
    """Whether it says what is left out instead of what is meant."""
    return bool(statement.not_actions or statement.not_resources)


def for_everything(statement: Statement) -> bool:
    """Whether an action is `*`, or `*:*`."""
    return any(_EVERYTHING.fullmatch(action) for action in statement.actions)


def everywhere(statement: Statement) -> bool:
    """Whether it is about all resources of a kind, and no condition chooses among them."""
    return _all_of_a_kind(statement.resources) and not documents.pinned(statement, *_CHOSEN_BY, *_CHOSEN_BY_KIND)


def _all_of_a_kind(patterns: Iterable[str]) -> bool:
    return any(_wide(pattern) for pattern in patterns)


def _wide(pattern: str) -> bool:
    parts = pattern.split(":", 5)
    if len(parts) < 6:
        return pattern.endswith("*")
    service, name = parts[2], parts[5]
    if service == "s3":
        name = name.partition("/")[0]
    elif service not in _NAMED_AT_ONCE:
        word = _TYPE_WORD.match(name)
        name = _SECOND_WORD.sub(":", name[word.end() :] if word else name)
    return _WILD.fullmatch(name) is not None
