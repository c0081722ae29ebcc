"""Cases put together into few stacks, so that hundreds of them take few runs of the engine.

Cases share a stack where their rules judge each of them there as they judge it alone. What is account-wide, or a rule
that counts, would disturb others: those cases get another stack. Who disturbs whom is found by judging, not by a list.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from trainyard.policies.cases import Case
from trainyard.policies.graph import Graph, Resource
from trainyard.policies.registry import rules_in
from trainyard.policies.rule import Rule, judge
from trainyard.policies.rules import cluster_versions

_LARGE = 100
_DATED = {rule.id for rule in rules_in(cluster_versions)}

Said = Counter[tuple[str, str, str]]
"""URN, place and message of what a rule finds."""


@dataclass(frozen=True)
class Placed:
    """A case below a component of its own: that makes its URNs unique and leaves its names as they are."""

    rule: Rule
    case: Case
    number: int

    @property
    def component(self) -> str:
        """The component's type."""
        return f"cases:{self.rule.id}:{self.case.verdict.name.lower()}{self.number}"

    @property
    def environment(self) -> str:
        return self.case.resources[0].environment

    def urn(self, urn: str) -> str:
        """A URN of the case as it is in the engine."""
        head, token, name = urn.rsplit("::", 2)
        return f"{head}::{self.component}${token}::{name}"

    def holds(self, urn: str) -> bool:
        return f"::{self.component}$" in urn

    @cached_property
    def resources(self) -> tuple[Resource, ...]:
        """With the URNs that they have in the engine, secrets opened."""
        return tuple(self._moved(one) for one in self.case.graph().resources)

    @cached_property
    def alone(self) -> Said:
        """What the rule finds in this case and nothing else."""
        return self.among(Graph(self.resources))

    def among(self, graph: Graph) -> Said:
        """What the rule finds in this case's resources, among those of others."""
        return Counter(
            (resource.urn, finding.place, finding.message)
            for resource in self.resources
            if self.rule.applies(resource.type)
            for finding in judge(self.rule, resource, graph).findings
        )

    def _moved(self, resource: Resource) -> Resource:
        return replace(
            resource,
            urn=self.urn(resource.urn),
            provider=self._moved(resource.provider) if resource.provider else None,
            dependencies=tuple(map(self.urn, resource.dependencies)),
            property_dependencies={
                name: tuple(map(self.urn, urns)) for name, urns in resource.property_dependencies.items()
            },
        )


@dataclass(frozen=True)
class Batch:
    """Cases that share a stack."""

    environment: str
    dated: bool
    """Whether their rules read the calendar."""
    cases: tuple[Placed, ...]


def batches(cases: Sequence[Placed]) -> Iterator[Batch]:
    """All cases, in as few stacks as is easily found."""
    groups: defaultdict[tuple[str, bool], list[Placed]] = defaultdict(list)
    for one in cases:
        groups[one.environment, one.rule.id in _DATED].append(one)
    for (environment, dated), group in groups.items():
        for together in _joined(list(_split(group))):
            yield Batch(environment, dated, tuple(together))


def _disturbed(cases: Sequence[Placed]) -> list[Placed]:
    """The engine tells resources in the order in which they were made, which differs from run to run."""
    resources = [resource for one in cases for resource in one.resources]
    graphs = Graph(resources), Graph(reversed(resources))
    return [one for one in cases if any(one.among(graph) != one.alone for graph in graphs)]


def _split(cases: list[Placed]) -> Iterator[list[Placed]]:
    disturbed = _disturbed(cases)
    if not disturbed:
        yield cases
        return
    calm = [one for one in cases if one not in disturbed]
    if not calm:
        half = len(cases) // 2
        calm, disturbed = cases[:half], cases[half:]
    yield from _split(calm)
    yield from _split(disturbed)


def _joined(groups: list[list[Placed]]) -> list[list[Placed]]:
    """Small groups put together where nobody there is disturbed. Those of the large ones were disturbed in them."""
    done: list[list[Placed]] = []
    for group in sorted(groups, key=len, reverse=True):
        for other in done:
            if len(other) < _LARGE and not _disturbed([*other, *group]):
                other += group
                break
        else:
            done.append(list(group))
    return done
