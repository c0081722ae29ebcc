"""Which AWS accounts are the stack's own, and which others it may be opened to: the table `trusted_accounts.yaml`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from trainyard.policies import team_file
from trainyard.policies.graph import Graph, Resource
from trainyard.policies.values import UnverifiedError, Value, shown

_ACCOUNT = re.compile(r"\d{12}")
_ORGANIZATION = re.compile(r"o-[a-z0-9]{10,32}")
_PROVIDER = "pulumi:providers:aws"
# Kinds whose `arn` is always of the account that the stack works in, never one that the program was given.
_MADE_HERE = frozenset(
    {
        "aws:cloudwatch/logGroup:LogGroup",
        "aws:ec2/securityGroup:SecurityGroup",
        "aws:ec2/vpc:Vpc",
        "aws:ecr/repository:Repository",
        "aws:eks/cluster:Cluster",
        "aws:eks/nodeGroup:NodeGroup",
        "aws:fsx/lustreFileSystem:LustreFileSystem",
        "aws:iam/policy:Policy",
        "aws:iam/role:Role",
        "aws:kms/key:Key",
        "aws:lambda/function:Function",
        "aws:secretsmanager/secret:Secret",
        "aws:sns/topic:Topic",
        "aws:sqs/queue:Queue",
    }
)


@dataclass(frozen=True)
class Trusted:
    """Who may be let in besides the stack's own account."""

    accounts: frozenset[str]
    organizations: frozenset[str]


def load(path: Path) -> Trusted:
    """Reads the table. Raises ValueError saying what is wrong with it: a broken table must stop, not allow."""
    raw = team_file.read(path)
    if not isinstance(raw, dict) or sorted(raw) != ["accounts", "organizations"]:
        raise ValueError(f"{path}: the keys must be accounts and organizations")
    return Trusted(_names(path, raw["accounts"], _ACCOUNT), _names(path, raw["organizations"], _ORGANIZATION))


def _names(path: Path, rows: Any, form: re.Pattern[str]) -> frozenset[str]:
    for name, row in (rows or {}).items():
        if not isinstance(name, str) or not form.fullmatch(name):
            raise ValueError(f"{path}: {name!r} is no id of the form {form.pattern}; write an account's id in quotes")
        if not isinstance(row, dict) or sorted(row) != ["owner", "purpose"] or not all(row.values()):
            raise ValueError(f"{path}: {name} must have an owner and a purpose")
    return frozenset(rows or ())


@cache
def trusted() -> Trusted:
    return load(Path(__file__).with_name("trusted_accounts.yaml"))


def account_of(principal: str) -> str | None:
    """The account in an ARN, or the account id itself; None where there is none."""
    if _ACCOUNT.fullmatch(principal):
        return principal
    parts = principal.split(":", 5)
    return parts[4] if parts[0] == "arn" and len(parts) == 6 and _ACCOUNT.fullmatch(parts[4]) else None


@lru_cache(maxsize=2)
def own_accounts(graph: Graph) -> frozenset[str]:
    """The accounts that the stack works in, as far as that is known: by what it made, or by what its providers allow.
    None before the first resource of a new stack exists. Found once for a graph: every holder of a policy asks."""
    found = {account_of(arn) for one in graph.of(_MADE_HERE) if isinstance(arn := one.props.get("arn"), str)}
    found |= set(_allowed_by(graph.of({_PROVIDER})))
    return frozenset(account for account in found if account)


def _allowed_by(providers: list[Resource]) -> Iterator[str]:
    """The account that a provider is bound to. Of several it may work in any, so none is known."""
    for provider in providers:
        try:
            named = structured(provider["allowedAccountIds"])
            if len(named) == 1 and (account := named[0].text()):
                yield account
        except UnverifiedError:
            continue


def structured(value: Value) -> list[Value]:
    """A list among a provider's properties, which the engine tells as JSON text. Raises UnverifiedError."""
    if isinstance(value.raw, str):
        try:
            value = Value(json.loads(value.raw), value.path, value.urn)
        except ValueError:
            raise UnverifiedError(value, f"{shown(value.raw)!r} is no list of account ids") from None
    return value.items()


def not_known_to_be_own(account: str) -> str:
    """What is said of an account while the stack's own is not known, with what would make it known."""
    return (
        f"whether {account} is this stack's own account is not known yet; allowed_account_ids of the provider says it"
    )
