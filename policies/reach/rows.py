"""Every identity against every resource: who reaches what, how surely, and on which condition."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import lru_cache

from trainyard.policies.accounts import account_of, own_accounts
from trainyard.policies.graph import Graph
from trainyard.policies.iam import documents
from trainyard.policies.iam.conditions import Context, Truth
from trainyard.policies.iam.documents import ANYONE, Statement
from trainyard.policies.iam.evaluation import NO, Policies, Request, Said, Statements, conjoined, evaluate, names
from trainyard.policies.reach.outsiders import control, outsiders
from trainyard.policies.reach.patterns import Meant, instance, key_pattern
from trainyard.policies.reach.principals import ROLES, Principal, Taker, principals
from trainyard.policies.reach.table import table
from trainyard.policies.reach.targets import Target, targets
from trainyard.policies.values import UnverifiedError

WITHOUT_KEY = "the objects are not encrypted with"
"""How the condition begins where an identity has no use of a bucket's key: what the bucket holds it cannot read."""


class Certainty(StrEnum):
    CERTAIN = "certain"
    CONDITIONAL = "conditional"
    UNVERIFIED = "cannot be verified"


@dataclass(frozen=True)
class Row:
    """One identity's access to one resource.

    Attributes:
        takers: who takes the identity.
        via: the role that it assumes first, if it does.
        where: of a bucket, the patterns of keys; empty for the whole resource.
        conditions: in words; the first that holds is enough.
    """

    principal: str
    takers: tuple[Taker, ...]
    via: str
    kind: str
    resource: str
    access: str
    certainty: Certainty
    where: tuple[str, ...] = ()
    conditions: tuple[str, ...] = ()
    principal_urn: str = ""
    resource_urn: str = ""

    @property
    def how(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(taker.label for taker in self.takers))


class Reach:
    """All rows of a stack, and what they were found from."""

    def __init__(self, asking: Asking) -> None:
        self.asking = asking
        self.rows = tuple(asking.rows())
        self._targets = {one.resource.urn: one for one in asking.targets}
        self._by_principal: defaultdict[str, list[Row]] = defaultdict(list)
        self._by_resource: defaultdict[str, list[Row]] = defaultdict(list)
        for row in self.rows:
            self._by_principal[row.principal_urn].append(row)
            self._by_resource[row.resource_urn].append(row)

    def of(self, urn: str) -> list[Row]:
        """The rows of an identity."""
        return self._by_principal.get(urn, [])

    def to(self, urn: str) -> list[Row]:
        """The rows of a resource."""
        return self._by_resource.get(urn, [])

    def principal(self, urn: str) -> Principal | None:
        return self.asking.by_urn.get(urn)

    def unread(self, principal: Principal) -> list[UnverifiedError]:
        """Why policies of an identity, or of a role that it can assume, cannot be read."""
        roles = self.asking.assumed[_urn(principal)]
        return [one for part in (principal, *roles) for one in part.unread]

    def target(self, urn: str) -> Target | None:
        return self._targets.get(urn)


@lru_cache(maxsize=2)
def reach(graph: Graph) -> Reach:
    """Who reaches what in a stack. Found once for a graph: every rule about it and the review ask."""
    return Reach(Asking(graph))


def _among(arn: str, pinned: tuple[str, ...]) -> bool:
    return not pinned or not arn or any("$" in one or documents.covers(one, arn) for one in pinned)


class Asking:
    """Asks the evaluation of IAM about the identities and resources of a stack."""

    def __init__(self, graph: Graph) -> None:
        self.own = principals(graph)
        self.targets = targets(graph)
        self._accounts = own_accounts(graph)
        self.by_urn = {one.resource.urn: one for one in self.own if one.resource}
        self._by_arn = {one.arn: one for one in self.own if one.arn is not None}
        self._by_trust: defaultdict[str, list[Principal]] = defaultdict(list)
        for role in self.own:
            for name in _trusted(role):
                self._by_trust[name].append(role)
        self.assumed: defaultdict[str, list[Principal]] = defaultdict(list)
        self._keys = {one.arn: one for one in self.targets if one.kind == "key" and one.arn}
        self._control = Statements(control(graph, self._accounts))
        self._statements: dict[tuple[int, str], Statements] = {}
        self._meant: dict[str, Meant] = {}

    def rows(self) -> Iterator[Row]:
        found: defaultdict[str, list[Row]] = defaultdict(list)
        for target in self.targets:
            for principal in self._candidates(target):
                for row in self._access(principal, target):
                    found[row.principal_urn].append(row)
                    yield row
        for principal in self.own:
            for role, said in self._assumed(principal):
                self.assumed[_urn(principal)].append(role)
                for row in found[role.resource.urn if role.resource else ""]:
                    yield _through(row, principal, role, said)
        for principal in self.own:
            for unread in principal.unread:
                reason = (f"a policy cannot be read: {unread.reason}",)
                yield Row(
                    *(
                        principal.name,
                        tuple(principal.takers),
                        "",
                        "",
                        "",
                        "anything",
                        Certainty.UNVERIFIED,
                        (),
                        reason,
                    ),
                    principal_urn=_urn(principal),
                )
        for target in self.targets:
            for unread in target.unread:
                reason = (f"a policy cannot be read: {unread.reason}",)
                yield Row(
                    *("whom its policy names", (), "", target.kind, target.resource.name, "anything"),
                    *(Certainty.UNVERIFIED, (), reason),
                    resource_urn=target.resource.urn,
                )

    def _candidates(self, target: Target) -> Iterator[Principal]:
        """Who may reach it at all: by its own policies or by the target's."""
        allowing = [one for one in target.statements if one.effect == "Allow"]
        named = {name for one in allowing for name in one.principals}
        open_to = [documents.pinned(one, "aws:principalarn") for one in allowing if one.for_anyone]
        touching = self._touching(target)
        for position, principal in enumerate(self.own):
            arn = principal.arn or ""
            if position in touching or arn in named or any(_among(arn, pinned) for pinned in open_to):
                yield principal
        yield from outsiders(target, self._accounts, self._by_arn)

    def _touching(self, target: Target) -> set[int]:
        """Positions of those whose own policies may mean it."""
        if (meant := self._meant.get(target.service)) is None:
            every = ((position, self._of_service(one, target.service)) for position, one in enumerate(self.own))
            meant = self._meant[target.service] = Meant(every)
        return meant.by(target.arn)

    def _of_service(self, principal: Principal, service: str) -> Statements:
        slot = (id(principal), service)
        if slot not in self._statements:
            every = principal.statements or ()
            self._statements[slot] = Statements(one for one in every if _is_about(one, service))
        return self._statements[slot]

    def _access(self, principal: Principal, target: Target) -> Iterator[Row]:
        if target.arn is None:
            yield from self._not_known_yet(principal, target)
            return
        places = self._places(principal, target)
        for access, actions in table().kinds[target.kind].items():
            inside = target.kind == "bucket" and access != "administer"
            asked = places if inside else [(target.arn, "")]
            answers = [(where, self.may(principal, target, access, actions, arn)) for arn, where in asked]
            yield from self._told(principal, target, access, answers)

    def _not_known_yet(self, principal: Principal, target: Target) -> Iterator[Row]:
        """What an identity may do with something of the kind: whether that is this one, its ARN will tell."""
        for access, actions in table().kinds[target.kind].items():
            meant = (one for one in target.statements if principal.arn in one.principals)
            allowed = (one for one in (*self._of_service(principal, target.service), *meant) if one.effect == "Allow")
            if any(names(one, action) for one in allowed for action in actions):
                yield Row(
                    *(principal.name, tuple(principal.takers), "", target.kind, target.resource.name, access),
                    *(Certainty.UNVERIFIED, (), ("its ARN is not known yet",)),
                    principal_urn=_urn(principal),
                    resource_urn=target.resource.urn,
                )

    def may(self, principal: Principal, target: Target, access: str, actions: Iterable[str], arn: str) -> Said:
        """Whether any of the actions on one place in a target is allowed, with the key that it takes."""
        found, context = NO, target.over(principal.context)
        for action in actions:
            said = self._ask(principal, target, action, arn, context)
            found = found.either(said)
            if found.truth is Truth.YES:
                break
        key = self._keys.get(target.key) if target.key and access in ("read", "write") else None
        if found.truth is Truth.NO or key is None:
            return found
        return found.both(self._with_key(principal, target, key, access, arn))

    def may_at(self, principal: Principal, target: Target, access: str, pattern: str) -> Truth:
        """Whether an access is allowed where a pattern of keys is."""
        arn = f"{target.arn}/{instance(pattern)}"
        return self.may(principal, target, access, table().kinds[target.kind][access], arn).truth

    def _with_key(self, principal: Principal, target: Target, key: Target, access: str, arn: str) -> Said:
        region = target.context.get("aws:requestedregion")
        found = NO
        for what in (target.arn or "", arn):
            known = {
                **principal.context.known,
                **({"kms:viaservice": (f"s3.{region[0]}.amazonaws.com",)} if region else {}),
                "kms:encryptioncontext:aws:s3:arn": (what,),
                "kms:encryptioncontextkeys": ("aws:s3:arn",),
            }
            context = key.over(Context(known, closed=False, absent=principal.context.absent))
            action = "kms:Decrypt" if access == "read" else "kms:GenerateDataKey"
            found = found.either(self._ask(principal, key, action, key.arn or "", context))
        if found.truth is Truth.NO:
            return Said(Truth.DEPENDS, (f"{WITHOUT_KEY} {key.resource.name}",))
        return found

    def _ask(self, principal: Principal, target: Target, action: str, arn: str, context: Context) -> Said:
        own = self._of_service(principal, target.service) if principal.statements is not None else None
        if principal.resource is None and target.arn != principal.named_by and not _is_service(principal):
            own = None
        # A key whose policy cannot be read is taken to leave it to the account, as nearly all do.
        decides = target.kind == "key" and not target.unread
        policies = Policies(own, principal.boundary, target.statements, self._control, decides_itself=decides)
        account = account_of(principal.arn or "")
        same = account is None or not self._accounts or account in self._accounts
        return evaluate(policies, Request(action, arn, principal.arn, context), own_account=same)

    def _places(self, principal: Principal, target: Target) -> list[tuple[str, str]]:
        """Objects to ask for, one for each pattern that any policy has, with the pattern of keys that it stands for."""
        if target.kind != "bucket" or target.arn is None:
            return [(target.arn or "", "")]
        statements = (
            *self._of_service(principal, "s3"), *(principal.boundary or ()), *target.statements, *self._control
        )  # fmt: skip
        keys = {"*": None}
        for statement in statements:
            for pattern in (*statement.resources, *statement.not_resources):
                if key := key_pattern(pattern, target.arn, principal.context):
                    keys[key] = None
        return [(f"{target.arn}/{instance(key)}", key) for key in keys]

    def _told(
        self, principal: Principal, target: Target, access: str, answers: list[tuple[str, Said]]
    ) -> Iterator[Row]:
        groups: dict[tuple[Certainty, tuple[str, ...]], list[str]] = {}
        allowed = [(where, said) for where, said in answers if said.truth is not Truth.NO]
        denied = [where for where, said in answers if said.truth is Truth.NO]
        for where, said in allowed:
            if any(other != where and _is_within(where, other, said, wider) for other, wider in allowed):
                continue
            certainty, conditions = _certainty(said, principal, target)
            except_ = [one for one in denied if one != where and documents.covers(where, instance(one))]
            told = f"{where} except {', '.join(except_)}" if except_ else where
            groups.setdefault((certainty, conditions), []).append(told)
        for (certainty, conditions), where in groups.items():
            yield Row(
                *(principal.name, tuple(principal.takers), "", target.kind, target.resource.name, access, certainty),
                *(tuple(one for one in where if one), conditions),
                principal_urn=_urn(principal),
                resource_urn=target.resource.urn,
            )

    def _assumed(self, principal: Principal) -> Iterator[tuple[Principal, Said]]:
        """Roles of the stack that an identity may assume, also by way of others."""
        seen, waiting = {id(principal)}, [(principal, Said(Truth.YES))]
        while waiting:
            by, so_far = waiting.pop()
            for role in self._trusting(by):
                if id(role) in seen:
                    continue
                said = self._may_assume(by, role).both(so_far)
                if said.truth is not Truth.NO:
                    seen.add(id(role))
                    waiting.append((role, said))
                    yield role, said

    def _trusting(self, by: Principal) -> Iterator[Principal]:
        """Roles whose trust may mean an identity: by name, by its account, or as anyone."""
        if by.arn is None:
            yield from {id(role): role for roles in self._by_trust.values() for role in roles}.values()
            return
        account = account_of(by.arn)
        partition = by.arn.partition(":iam:")[0]
        for name in (by.arn, account, f"{partition}:iam::{account}:root", ANYONE):
            yield from self._by_trust.get(name or "", ())

    def _may_assume(self, by: Principal, role: Principal) -> Said:
        if by.arn is None or role.arn is None:
            allowing = any(one.effect == "Allow" and names(one, "sts:AssumeRole") for one in by.statements or ())
            return Said(Truth.DEPENDS, ("the ARNs fit, which are not known yet",), ("ARN",)) if allowing else NO
        trust = _trust(role)
        policies = Policies(by.statements, by.boundary, trust or (), self._control, decides_itself=trust is not None)
        said = evaluate(policies, Request("sts:AssumeRole", role.arn, by.arn, by.context))
        if trust is None and said.truth is not Truth.NO:
            return Said(Truth.DEPENDS, ("its trust lets it, which cannot be read",), ("trust",))
        return said


def _is_about(statement: Statement, service: str) -> bool:
    if statement.not_actions:
        return True
    services = (one.lower().partition(":")[0] for one in statement.actions)
    return any(one == service or "*" in one or "?" in one for one in services)


def _is_within(where: str, other: str, said: Said, wider: Said) -> bool:
    """Whether another row says as much already."""
    covered = documents.covers(other, instance(where)) and not (
        documents.covers(where, instance(other)) and where > other
    )
    return covered and (wider.truth > said.truth or wider == said)


def _certainty(said: Said, principal: Principal, target: Target) -> tuple[Certainty, tuple[str, ...]]:
    if said.unread:
        return Certainty.UNVERIFIED, tuple(f"the operator {one} is not known here" for one in said.unread)
    if target.unread:
        return Certainty.UNVERIFIED, ("its policy cannot be read, and may deny it",)
    if principal.limits:
        return Certainty.UNVERIFIED, conjoined(said.conditions, principal.limits)
    if said.truth is Truth.YES:
        return Certainty.CERTAIN, ()
    return Certainty.CONDITIONAL, said.conditions


def _through(row: Row, principal: Principal, role: Principal, said: Said) -> Row:
    certainty = row.certainty
    if said.unread:
        certainty = Certainty.UNVERIFIED
    elif certainty is Certainty.CERTAIN and said.truth is not Truth.YES:
        certainty = Certainty.CONDITIONAL
    conditions = conjoined(row.conditions, tuple(f"to assume {role.name}: {one}" for one in said.conditions))
    return replace(
        row,
        principal=principal.name,
        takers=tuple(principal.takers),
        via=role.name,
        certainty=certainty,
        conditions=conditions,
        principal_urn=_urn(principal),
    )


def _trusted(role: Principal) -> set[str]:
    """Those whom a role's trust names; anyone where it cannot be read."""
    trust = _trust(role)
    if trust is None:
        return {ANYONE}
    return {name for one in trust for name in ((ANYONE,) if one.for_anyone else one.principals)}


def _trust(role: Principal) -> tuple[Statement, ...] | None:
    """None where it cannot be read."""
    try:
        document = role.resource["assumeRolePolicy"] if role.resource and role.resource.type in ROLES else None
        return tuple(documents.statements(document)) if document else ()
    except UnverifiedError:
        return None


def _is_service(principal: Principal) -> bool:
    return any(taker.kind == "service" for taker in principal.takers)


def _urn(principal: Principal) -> str:
    return principal.resource.urn if principal.resource else ""
