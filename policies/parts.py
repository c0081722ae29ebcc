"""How a rule looks at settings that may be a property, or a resource of their own beside the one they belong to."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from trainyard.policies.graph import Resource
from trainyard.policies.rule import Finding, unverified, violation
from trainyard.policies.values import UnverifiedError, Value


def given(resource: Resource, name: str) -> Value | None:
    """The property if the program set it or the provider has reported it; None where there is neither.

    A stack rule sees every output. One that the program did not set is unknown in a preview, and computed from nothing.
    """
    value = resource[name]
    return value if value.present and (value.known or name in resource.property_dependencies) else None


def is_providers_choice(resource: Resource, name: str) -> bool:
    """Whether a property is unknown because the provider will say what it is: the program did not give it, for what a
    program gives and nobody knows is computed from something."""
    return not resource[name].known and name not in resource.property_dependencies


def missing(part: str, possible: list[Resource], what: str) -> Finding:
    """The finding for a `part` that is not there; `possible` are resources that may turn out to be it."""
    if possible:
        names = " or ".join(resource.name for resource in possible[:3])
        return unverified(f"whether {names} is this {what}'s {part} is not known yet")
    return violation(f"the {what} has no {part}")


def any_of(values: Iterable[Value], test: Callable[[Value], bool]) -> bool:
    """Whether one value passes. Raises UnverifiedError where none does and one of them cannot be read."""
    unread: UnverifiedError | None = None
    for value in values:
        try:
            if test(value):
                return True
        except UnverifiedError as error:
            unread = unread or error
    if unread:
        raise unread
    return False
