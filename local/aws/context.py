"""One operation on one resource: what a row's steps and functions may see and do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from string import Template
from typing import Any

from trainyard.local.aws.account import Account, dns_suffix_of, partition_of
from trainyard.local.aws.calls import Call, Read, Step
from trainyard.local.aws.errors import AwsError
from trainyard.local.aws.fields import Scope, write_map
from trainyard.local.aws.row import Row
from trainyard.local.aws.values import is_zero


@dataclass
class Context:
    """A resource while it is made, read, changed or deleted.

    `wanted` are the inputs (empty while reading), `known` what was known of the resource before (outputs of the last
    operation, or what an imported ID says), `actual` what the account holds now, `id` the resource's ID once it has
    one.
    """

    account: Account
    row: Row
    region: str
    wanted: Mapping[str, Any] = field(default_factory=dict)
    known: Mapping[str, Any] = field(default_factory=dict)
    actual: Mapping[str, Any] = field(default_factory=dict)
    id: str = ""

    @property
    def facts(self) -> dict[str, Any]:
        """Everything known of the resource, newest last, with its address."""
        return {
            **self.known,
            **self.actual,
            **self.wanted,
            "region": self.region,
            "partition": partition_of(self.region),
            "account": self.account.id,
            "dnsSuffix": dns_suffix_of(self.region),
            **({"id": self.id} if self.id else {}),
        }

    def call(self, operation: str, service: str = "", **request: Any) -> Any:
        """Make an AWS operation with these parameters."""
        return self.account.call(service or self.row.service, self.region, operation, request)

    def list_all(self, operation: str, **request: Any) -> Any:
        """Make an AWS operation and put its pages together."""
        return self.account.call(self.row.service, self.region, operation, request, all_pages=True)

    def perform(self, step: Step) -> Any:
        """Make a row's step for the wanted properties, if it has something to say."""
        if not isinstance(step, Call):
            return step.function(self)  # ty: ignore[invalid-argument-type]  (two names for one module)
        if step.when_set and is_zero(self.wanted.get(step.when_set)):
            return None
        if step.when_unset and not is_zero(self.wanted.get(step.when_unset)):
            return None
        request = write_map(step.request, Scope(self.wanted, self.facts, self.actual))
        if any(parameter not in request for parameter in step.needs):
            return None
        try:
            answer = self.account.call(self.row.service, self.region, step.operation, request)
        except AwsError as error:
            if error.code in step.ignore:
                return None
            raise
        self._raise_failures(step, answer)
        return answer

    def ask(self, read: Read, observed: Mapping[str, Any]) -> Any:
        """Make a row's read; the answer's item, or `None` where nothing is there."""
        told = {**self.known, **self.wanted, **observed}
        facts = {**self.facts, **observed}
        try:
            request = write_map(read.request, Scope(told, facts, self.actual))
            answer = self.account.call(self.row.service, self.region, read.operation, request, all_pages=True)
        except AwsError as error:
            if error.code in read.gone:
                return None
            raise
        if not read.path:
            return answer
        import jmespath

        return jmespath.search(Template(read.path).safe_substitute(facts), answer) or None

    def _raise_failures(self, step: Call, answer: Any) -> None:
        if not step.failures:
            return
        import jmespath

        for failure in jmespath.search(step.failures, answer) or ():
            code = failure.get("Code") or failure.get("ErrorCode") or "Unknown"
            message = failure.get("Message") or failure.get("ErrorMessage") or ""
            raise AwsError(f"{self.row.service}:{step.operation}", code, message)
