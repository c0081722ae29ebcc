"""What IAM policies together allow, decided as AWS decides, for a request of which not everything need be known.

The rules are those of the IAM user guide, "Policy evaluation logic": an explicit denial wins; a permissions boundary
limits what an identity's policies, or a resource's policy that names the role, allow; within an account either of these
two is enough, except that a KMS key and a role's trust decide themselves whether the account's IAM policies count; from
another account both are needed. Control policies of an organisation only ever take away: their denials count.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache

from trainyard.policies.accounts import account_of
from trainyard.policies.iam.conditions import Context, Truth, UnknownOperatorError, holds, matched, said
from trainyard.policies.iam.documents import ANYONE, Statement


@dataclass(frozen=True)
class Request:
    """One request to AWS.

    Attributes:
        action: such as `s3:PutObject`.
        resource: ARN.
        principal: ARN of the caller's role or user, or a service's host name. None where a policy is the caller's own.
        context: what is known of the request besides.
    """

    action: str
    resource: str = "*"
    principal: str | None = None
    context: Context = field(default_factory=Context)


@dataclass(frozen=True)
class Said:
    """What a statement, or several, say of a request. Where it depends, `conditions` are the alternatives in words;
    `unread` names operators that nobody knows."""

    truth: Truth
    conditions: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()

    def both(self, other: Said) -> Said:
        truth = min(self.truth, other.truth)
        if truth is not Truth.DEPENDS:
            return Said(truth)
        return Said(truth, conjoined(self.conditions, other.conditions), self._unread(other))

    def either(self, other: Said) -> Said:
        truth = max(self.truth, other.truth)
        if truth is not Truth.DEPENDS:
            return Said(truth)
        conditions = tuple(dict.fromkeys((*self.conditions, *other.conditions)))
        return Said(truth, conditions, self._unread(other))

    def _unread(self, other: Said) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*self.unread, *other.unread)))


def conjoined(one: tuple[str, ...], other: tuple[str, ...]) -> tuple[str, ...]:
    """Two sets of alternatives of which both must hold, in words."""
    if not one or not other or one == other:
        return one or other
    parts = (group[0] if len(group) == 1 else f"({'; or '.join(group)})" for group in (one, other))
    return (" and ".join(parts),)


NO, YES = Said(Truth.NO), Said(Truth.YES)


class Statements(tuple[Statement, ...]):
    """Statements that many requests are asked about. Which of them name an action is found once."""

    def __init__(self, _: Iterable[Statement] = ()) -> None:
        self._naming: dict[tuple[str, str], tuple[Statement, ...]] = {}

    def naming(self, effect: str, action: str) -> tuple[Statement, ...]:
        """Those of an effect that are about an action."""
        found = self._naming.get((effect, action))
        if found is None:
            found = tuple(one for one in self if one.effect == effect and names(one, action))
            self._naming[effect, action] = found
        return found


@dataclass(frozen=True)
class Policies:
    """All statements that are asked about a request.

    Attributes:
        identity: of the caller's policies. None where they are not known, such as another account's.
        boundary: of the caller's permissions boundary; None where it has none.
        resource: of the policy of what is asked for.
        control: of the organisation's control policies.
        decides_itself: whether the resource's policy must say that the account's own policies count.
    """

    identity: tuple[Statement, ...] | None = ()
    boundary: tuple[Statement, ...] | None = None
    resource: tuple[Statement, ...] = ()
    control: tuple[Statement, ...] = ()
    decides_itself: bool = False


def evaluate(policies: Policies, request: Request, *, own_account: bool = True) -> Said:
    """Whether the request is allowed. `own_account`: whether the caller is of the resource's account."""
    allowed = _allowed(policies, request, own_account)
    if allowed.truth is Truth.NO:
        return NO  # whatever is denied besides
    denied = NO
    for group in (policies.identity or (), policies.boundary or (), policies.resource, policies.control):
        denied = denied.either(spoken(group, "Deny", request))
        if denied.truth is Truth.YES:
            return NO
    return allowed.both(Said(~denied.truth, tuple(f"not where {one}" for one in denied.conditions), denied.unread))


def _allowed(policies: Policies, request: Request, own_account: bool) -> Said:
    bound = YES if policies.boundary is None else spoken(policies.boundary, "Allow", request)
    own = spoken(policies.identity, "Allow", request) if policies.identity is not None else _NOT_SEEN
    own = own.both(bound)
    either_is_enough = own_account and not policies.decides_itself
    if either_is_enough and own.truth is Truth.YES:
        return YES
    named = spoken(policies.resource, "Allow", request, Named.BY_NAME).both(bound)
    direct = named.either(spoken(policies.resource, "Allow", request, Named.AS_ANYONE))
    if either_is_enough:
        return own.either(direct)
    if own.truth is Truth.NO:
        return direct if own_account else NO
    through_account = own.both(spoken(policies.resource, "Allow", request, Named.BY_ACCOUNT))
    return (direct if own_account else own.both(direct)).either(through_account)


_NOT_SEEN = Said(Truth.DEPENDS, ("its own policies allow it, which are not in this stack",))


class Named(Enum):
    """How a statement means a caller."""

    BY_NAME = "by name"
    BY_ACCOUNT = "by account"
    AS_ANYONE = "as anyone"


def spoken(statements: Iterable[Statement], effect: str, request: Request, named: Named | None = None) -> Said:
    """What the statements of one effect say together: any of them is enough. `named`: only those that mean the caller
    so."""
    about = statements if isinstance(statements, Statements) else Statements(statements)
    found = NO
    for statement in about.naming(effect, request.action):
        answer = _fits(statement, request, named)
        if answer.truth is Truth.YES:
            return YES
        if answer.truth is not Truth.NO:
            found = found.either(answer)
    return found


def _fits(statement: Statement, request: Request, named: Named | None) -> Said:
    """Whether a statement that names the action is about the rest of the request."""
    who = _principal(statement, request, named)
    if who is Truth.NO:
        return NO
    what = _resource(statement, request)
    truth, conditions, unread = min(who, what), list[str](), list[str]()
    if who is Truth.DEPENDS:
        conditions.append("the caller's session is the one named")
    if what is Truth.DEPENDS:
        conditions.append(f"the request makes it fit {' or '.join(statement.resources or statement.not_resources)}")
    if truth is Truth.NO:
        return NO
    for operator, tests in statement.conditions.items():
        for key, expected in tests.items():
            try:
                held = holds(operator, key, expected, request.context)
            except UnknownOperatorError:
                held = Truth.DEPENDS
                unread.append(operator)
            if held is Truth.NO:
                return NO
            if held is Truth.DEPENDS:
                truth = held
                conditions.append(said(operator, key, expected))
    return Said(truth, (" and ".join(conditions),) if conditions else (), tuple(unread))


def names(statement: Statement, action: str) -> bool:
    """Whether a statement is about an action, named or not left out."""
    return _acts(statement.not_actions or statement.actions, action.lower()) != bool(statement.not_actions)


@lru_cache(maxsize=65_536)
def _acts(patterns: tuple[str, ...], action: str) -> bool:
    """Whether an action is one of those named. There are no policy variables in actions."""
    return any(matched(one.lower(), action, _NOTHING_KNOWN) is Truth.YES for one in patterns)


_NOTHING_KNOWN = Context()


def _resource(statement: Statement, request: Request) -> Truth:
    """A policy without the element, such as a role's trust, is about its own resource."""
    patterns = statement.not_resources or statement.resources
    if not patterns:
        return Truth.YES
    if "*" in patterns:
        return Truth.NO if statement.not_resources else Truth.YES
    fits = max(matched(_any_partition(one), _any_partition(request.resource), request.context) for one in patterns)
    return ~fits if statement.not_resources else fits


@lru_cache(maxsize=65_536)
def _any_partition(arn: str) -> str:
    """Partitions are taken as equal: an account is in one."""
    head, separator, rest = arn.partition(":")
    if head != "arn" or not separator:
        return arn
    partition, separator, rest = rest.partition(":")
    return f"arn:aws:{rest}" if separator and (partition.startswith("aws") or partition == "*") else arn


def _principal(statement: Statement, request: Request, named: Named | None) -> Truth:
    if statement.not_principals:
        # An Allow for all but a few, or a Deny: both mean whoever is not listed.
        left_out = any(_means(one, request.principal) in (Named.BY_NAME, "session") for one in statement.not_principals)
        return Truth.YES if not left_out and named in (None, Named.AS_ANYONE) else Truth.NO
    if not statement.principals:
        return Truth.YES if named is None else Truth.NO
    best = Truth.NO
    for kind, names in statement.principals_by_kind.items():
        for name in names:
            how = _means(name, request.principal, kind)
            if how == "session" and named in (None, Named.BY_NAME):
                best = max(best, Truth.DEPENDS)
            elif how is not None and named in (None, how):
                return Truth.YES
    return best


def _means(name: str, principal: str | None, kind: str = "aws") -> Named | str | None:
    """How a name in a policy means a caller; "session" where only one of the role's sessions is meant."""
    if name == ANYONE:
        return Named.AS_ANYONE if kind == "aws" else None
    if principal is None:
        return None
    if name == principal:
        return Named.BY_NAME
    if kind != "aws":
        return None
    if name.isdigit() or name.endswith(":root"):
        return Named.BY_ACCOUNT if _account(name) == _account(principal) else None
    _, separator, session = name.partition(":assumed-role/")
    if separator and ":role/" in principal and account_of(name) == account_of(principal):
        return "session" if session.partition("/")[0] == principal.rpartition("/")[2] else None
    return None


def _account(name: str) -> str:
    """The account in an ARN or the name itself, also where tests shorten it."""
    parts = name.split(":", 5)
    return parts[4] if len(parts) == 6 and parts[0] == "arn" else name
