"""What the emulated EKS remembers: clusters, each with its node groups, add-ons, access entries and updates.

Everything is kept as the API describes it (`describe_cluster`'s "cluster"), so what was set can be told again.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from moto.core.exceptions import ServiceException
from moto.iam.models import iam_backends

from trainyard.local.aws.trust_policy import trusts

Description = dict[str, Any]
"""A thing as the API describes it."""

_PAGE = 100


@dataclass
class Cluster:
    """A cluster and what belongs to it, by name (access entries by principal's ARN, associations by ID)."""

    description: Description
    nodegroups: dict[str, Description] = field(default_factory=dict)
    addons: dict[str, Description] = field(default_factory=dict)
    access_entries: dict[str, Description] = field(default_factory=dict)
    access_policies: dict[str, dict[str, Description]] = field(default_factory=dict)
    pod_identities: dict[str, Description] = field(default_factory=dict)
    updates: dict[str, Description] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The cluster's name."""
        return self.description["name"]

    def updated(self, kind: str, params: Mapping[str, Any], **of: str) -> dict[str, Description]:
        """Note an update that is done; the answer to the request for it."""
        update = {
            "id": str(uuid.uuid4()),
            "status": "Successful",
            "type": kind,
            "params": [{"type": name, "value": str(value)} for name, value in params.items()],
            "createdAt": now(),
            "errors": [],
            **{f"_{name}": value for name, value in of.items()},
        }
        self.updates[update["id"]] = update
        return {"update": update}


@dataclass
class Eks:
    """EKS of one account and region, as one caller sees it."""

    account_id: str
    region: str
    partition: str
    clusters: dict[str, Cluster]
    caller: str = ""
    """The ARN that STS tells the caller."""

    @classmethod
    def of(cls, backend: Any, caller: str) -> Eks:
        """The EKS that lives as long as moto's `backend`."""
        with _lock:
            clusters = vars(backend).setdefault("trainyard_clusters", {})
        return cls(backend.account_id, backend.region_name, backend.partition, clusters, caller)

    def cluster(self, request: Mapping[str, Any], key: str = "clusterName") -> Cluster:
        """The cluster that a request names; ResourceNotFoundException without it."""
        name = request.get(key) or request.get("name") or ""
        if name not in self.clusters:
            raise not_found(f"No cluster found for name: {name}.")
        return self.clusters[name]

    def arn(self, kind: str, *parts: str) -> str:
        """`arn:aws:eks:us-east-1:123456789012:cluster/a`."""
        return f"arn:{self.partition}:eks:{self.region}:{self.account_id}:{'/'.join((kind, *parts))}"

    def principal(self) -> str:
        """The IAM principal behind the caller: of an assumed role, the role."""
        parts = self.caller.split(":", 5)
        kind, _, rest = parts[5].partition("/")
        if kind == "assumed-role":
            name = rest.split("/")[0]
            plain = f"arn:{self.partition}:iam::{self.account_id}:role/{name}"
            return next((role.arn for role in _roles(self) if role.name == name), plain)
        return self.caller


_lock = threading.Lock()


class EksError(ServiceException):
    """What EKS refuses. A class of its own: moto asks the module of an exception which service it belongs to."""


def now() -> datetime:
    """The time, to the second, as EKS tells it."""
    return datetime.now(UTC).replace(microsecond=0)


def not_found(message: str) -> EksError:
    """What is asked for is not there."""
    return EksError("ResourceNotFoundException", message)


def in_use(message: str) -> EksError:
    """Something stands in the way."""
    return EksError("ResourceInUseException", message)


def invalid(message: str) -> EksError:
    """A parameter cannot be that."""
    return EksError("InvalidParameterException", message)


def invalid_request(message: str) -> EksError:
    """The request is not possible as things are."""
    return EksError("InvalidRequestException", message)


def found(things: Mapping[str, Description], key: str, message: str) -> Description:
    """`things[key]`; ResourceNotFoundException with `message` without it."""
    if key not in things:
        raise not_found(message)
    return things[key]


def page(items: Sequence[Any], request: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The part of `items` that a List operation's request asks for."""
    start = int(request.get("nextToken") or 0)
    size = int(request.get("maxResults") or _PAGE)
    answer: dict[str, Any] = {name: list(items[start : start + size])}
    if start + size < len(items):
        answer["nextToken"] = str(start + size)
    return answer


def check_role(eks: Eks, arn: str, service: str, *actions: str) -> None:
    """Refuse a role that is not there or does not let `service` do `actions` (assume it)."""
    role = next((role for role in _roles(eks) if role.arn == arn), None)
    if role is None:
        raise invalid(f"Role {arn} does not exist.")
    wanted = actions or ("sts:AssumeRole",)
    if not trusts(role.assume_role_policy_document, service, *wanted):
        raise invalid(f"The trust policy of {arn} must let {service} do {' and '.join(wanted)}.")


def _roles(eks: Eks) -> list[Any]:
    return list(iam_backends[eks.account_id][eks.partition].roles.values())
