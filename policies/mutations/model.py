"""A mutation: one thing about one resource that is otherwise than it was."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from trainyard.policies.graph import Graph, Resource
from trainyard.policies.mutations.places import Edit, Path, changed


@dataclass(frozen=True)
class Mutation:
    """`loses` is what the environment would be without, `what` what was done, in words.

    `edits` are the places in the properties and what becomes of each; without any the whole resource is gone.
    """

    loses: str
    resource: Resource
    what: str
    edits: tuple[tuple[Path, Edit], ...] = ()

    def applied(self, graph: Graph) -> Graph:
        """The graph as it is with the mutation made: of inputs as of outputs, of one stack as of several."""
        return Graph(self._resources(graph))

    def _resources(self, graph: Graph) -> Iterator[Resource]:
        old = graph.by_urn.get(self.resource.urn)
        new = self._mutated(old) if old else None
        for one in graph.resources:
            if one is old:
                if new is not None:
                    yield new
            elif new is not None and one.provider is not None and one.provider.urn == new.urn:
                yield replace(one, provider=new)
            else:
                yield one

    def _mutated(self, resource: Resource) -> Resource | None:
        if not self.edits:
            return None
        props = resource.props
        for path, edit in self.edits:
            props = changed(props, path, edit)
        return replace(resource, props=props)
