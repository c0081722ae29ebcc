"""What the Pulumi engine does with a provider, without the engine: check, preview, diff, then the change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from trainyard.local.aws.errors import HalfMadeError
from trainyard.local.aws.provider import Provider

DEFAULT_TAGS = {"environment": "test", "managed-by": "trainyard"}


class CheckFailedError(AssertionError):
    """The inputs were refused; `problems` are the pairs of property and reason."""

    def __init__(self, problems: list[tuple[str, str]]) -> None:
        super().__init__("; ".join(f"{path} {reason}" for path, reason in problems))
        self.problems = dict(problems)


@dataclass
class Resource:
    """A resource in the program's state."""

    token: str
    name: str
    id: str
    inputs: dict[str, Any]
    outputs: dict[str, Any]
    half_made: bool = False

    def __getitem__(self, output: str) -> Any:
        return self.outputs[output]


@dataclass
class Program:
    """Resources by name; every operation goes through what the engine would check first."""

    provider: Provider
    resources: dict[str, Resource] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)

    def up(self, token: str, name: str, /, **inputs: Any) -> Resource:
        """Bring one resource to `inputs`; `log` tells what was done."""
        old = self.resources.get(name)
        checked = self._check(token, name, inputs, old)
        if old is None:
            return self._create(token, name, checked)
        found = self.provider.diff(token, old.inputs, old.outputs, checked)
        if found.replaces:
            checked = self._check(token, name, inputs, None)
            if found.delete_before_replace:
                self.destroy(name)
                return self._create(token, name, checked)
            new = self._create(token, name, checked)
            self.provider.delete(token, old.id, old.inputs, old.outputs)
            self.log.append(f"delete {name}")
            return new
        if not found.changes and not old.half_made:
            self.log.append(f"same {name}")
            return old
        return self._update(old, checked)

    def preview(self, token: str, name: str, /, **inputs: Any) -> list[str]:
        """The paths that would change."""
        old = self.resources[name]
        return sorted(self.provider.diff(token, old.inputs, old.outputs, self._check(token, name, inputs, old)).changes)

    def refresh(self, name: str) -> Resource | None:
        """Read a resource back; one that is gone leaves the state."""
        resource = self.resources[name]
        found = self.provider.read(resource.token, resource.id, resource.outputs, resource.inputs)
        if found is None:
            del self.resources[name]
            return None
        resource.id, resource.inputs, resource.outputs = found
        return resource

    def import_(self, token: str, name: str, resource_id: str) -> Resource | None:
        """Take a resource into the state by its ID alone."""
        found = self.provider.read(token, resource_id, {}, {})
        if found is None:
            return None
        self.resources[name] = Resource(token, name, *found)
        return self.resources[name]

    def destroy(self, name: str) -> None:
        """Delete a resource."""
        resource = self.resources[name]
        self.provider.delete(resource.token, resource.id, resource.inputs, resource.outputs)
        del self.resources[name]
        self.log.append(f"delete {name}")

    def destroy_all(self) -> None:
        """Delete everything, the youngest first."""
        for name in list(reversed(self.resources)):
            self.destroy(name)

    def _check(self, token: str, name: str, inputs: Mapping[str, Any], old: Resource | None) -> dict[str, Any]:
        checked, problems = self.provider.check(token, name, inputs, old.inputs if old else {})
        if problems:
            raise CheckFailedError(problems)
        return checked

    def _create(self, token: str, name: str, inputs: dict[str, Any]) -> Resource:
        self.provider.create(token, inputs, preview=True)
        try:
            resource_id, outputs = self.provider.create(token, inputs, preview=False)
        except HalfMadeError as error:
            self.resources[name] = Resource(token, name, error.resource_id, inputs, dict(error.outputs), half_made=True)
            raise
        self.resources[name] = Resource(token, name, resource_id, inputs, outputs)
        self.log.append(f"create {name}")
        return self.resources[name]

    def _update(self, old: Resource, inputs: dict[str, Any]) -> Resource:
        arguments = (old.token, old.id, inputs, old.inputs, old.outputs)
        self.provider.update(*arguments, preview=True)
        try:
            old.outputs = self.provider.update(*arguments, preview=False)
        except HalfMadeError as error:
            old.inputs, old.outputs, old.half_made = inputs, dict(error.outputs), True
            raise
        old.inputs, old.half_made = inputs, False
        self.log.append(f"update {old.name}")
        return old
