"""What the gate says of an environment: the shape of `trainyard preview --json`, and its exit status."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any


class Status(StrEnum):
    """What the gate says, from best to worst; `exit_status` is what a command ends with."""

    CLEAN = "clean"
    VIOLATIONS = "violations"
    BAD_SETTINGS = "bad settings"
    UNVERIFIED = "cannot be verified"
    FAILED = "failed"

    @property
    def exit_status(self) -> int:
        return {"clean": 0, "violations": 1, "bad settings": 2}.get(self.value, 3)


@dataclass(frozen=True)
class PlannedResource:
    """One resource of the environment, with the inputs the program gave it, all of them known. Secrets are hidden."""

    urn: str
    type: str
    name: str
    parent: str | None
    inputs: Mapping[str, Any]


@dataclass(frozen=True)
class PolicyFinding:
    """What a policy has against a resource; `urn` is the stack's where it is about the whole."""

    policy: str
    level: str
    urn: str
    message: str


@dataclass(frozen=True)
class Report:
    """What `trainyard preview --json` prints, and why the engine failed where it did."""

    environment: str
    region: str | None
    status: Status
    resources: Sequence[PlannedResource] = ()
    policies: Sequence[PolicyFinding] = ()
    error: str = field(default="")
    evaluated: frozenset[str] = frozenset()
    """Names of the policies that were judged on something."""

    def as_json(self) -> dict[str, Any]:
        return {
            "environment": self.environment,
            "region": self.region,
            "status": self.status.value,
            "resources": [asdict(one) for one in self.resources],
            "policies": [asdict(one) for one in self.policies],
        }
