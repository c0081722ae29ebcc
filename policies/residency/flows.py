"""Where data of a class can get through a whole stack: from place to place, over as many ways as there are."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from weakref import WeakKeyDictionary

from trainyard.policies.graph import Graph, Resource
from trainyard.policies.residency.backups import backup_ways
from trainyard.policies.residency.channels import Way, ways_of
from trainyard.policies.residency.judging import Ruling, rule_on, strictest_first
from trainyard.policies.residency.places import Landing, Place, classes_of, place_of
from trainyard.policies.rule import Verdict
from trainyard.policies.rules.regions import table
from trainyard.policies.taggable import taggable
from trainyard.policies.values import UnverifiedError


@dataclass(frozen=True)
class Step:
    """One way that data go, and where it ends."""

    way: Way
    landing: Landing

    def __str__(self) -> str:
        place = self.landing.place
        where = place.region or place.jurisdiction or place.name
        name = self.landing.target.name if self.landing.target is not None else ""
        return f"{self.way.what} {name} ({where})" if name else f"{self.way.what} ({where})"


@dataclass(frozen=True)
class Reach:
    """A place that data of a resource can get to: the last step of the shortest way there, and what came before it."""

    step: Step
    before: Reach | None = None

    @property
    def place(self) -> Place:
        return self.step.landing.place

    @property
    def certain(self) -> bool:
        """Whether each step has one start and one end that are known to be it."""
        ways = [step.way for step in self.path]
        return all(len(way.landings) == 1 and not (way.guessed and len(way.sources) > 1) for way in ways)

    @property
    def path(self) -> tuple[Step, ...]:
        steps, one = [self.step], self.before
        while one is not None:
            steps.append(one.step)
            one = one.before
        return tuple(reversed(steps))

    def explained(self, start: Resource) -> str:
        return " → ".join((start.name, *(str(step) for step in self.path)))


def holds_data(resource_type: str) -> bool:
    """Whether resources of a type lie in a region and can be tagged with the class of what they hold."""
    return resource_type.startswith("aws:") and taggable(resource_type) and table().regional(resource_type)


_STEPS: WeakKeyDictionary[Graph, Mapping[str, list[Step]]] = WeakKeyDictionary()


def steps_of(graph: Graph) -> Mapping[str, list[Step]]:
    """Every way in the stack, by the URN of the resource whose data go it."""
    if graph not in _STEPS:
        steps: defaultdict[str, list[Step]] = defaultdict(list)
        for way in _ways(graph):
            for source in way.sources:
                steps[source.urn] += [Step(way, landing) for landing in way.landings]
        _STEPS[graph] = dict(steps)
    return _STEPS[graph]


def reach(start: Resource, graph: Graph) -> Iterator[Reach]:
    """Every place that data of a resource can get to, nearest first, each resource and each place once."""
    steps = steps_of(graph)
    seen_resources, seen_places = {start.urn}, set()
    waiting: deque[tuple[str, Reach | None]] = deque([(start.urn, None)])
    while waiting:
        urn, before = waiting.popleft()
        for step in steps.get(urn, ()):
            target, place = step.landing.target, step.landing.place
            key = (target.urn if target else "", place.name, place.region)
            found = Reach(step, before)
            if key not in seen_places:
                seen_places.add(key)
                yield found
            if target is not None and target.urn not in seen_resources:
                seen_resources.add(target.urn)
                waiting.append((target.urn, found))


@dataclass(frozen=True)
class MapRow:
    """One row of the map of data: a resource with a class, where it is, and where its data can get."""

    resource: Resource
    data_class: str
    place: str
    reaches: tuple[tuple[str, str], ...]
    """Each place with the way there, explained."""
    verdict: Verdict
    reason: str = ""


def residency_map(graph: Graph) -> list[MapRow]:
    """What lies where and can get where, for every AWS resource that carries a data class: those that may not be where
    they are, or can get where they may not, first."""
    rows = [row for one in graph.resources if holds_data(one.type) for row in _rows(one, graph)]
    order = {Verdict.VIOLATION: 0, Verdict.UNVERIFIED: 1, Verdict.PASSED: 2}
    return sorted(rows, key=lambda row: (order[row.verdict], row.data_class, row.resource.name, row.resource.type))


def _rows(resource: Resource, graph: Graph) -> Iterator[MapRow]:
    here = place_of(resource)
    try:
        classes = strictest_first(classes_of(resource, graph))
    except UnverifiedError as unread:
        yield MapRow(resource, "not known yet", _named(here), (), Verdict.UNVERIFIED, unread.reason)
        return
    found = list(reach(resource, graph))
    ways = tuple((_named(one.place), one.explained(resource)) for one in found)
    for data_class in classes:
        rulings = [rule_on(resource.environment, data_class, place) for place in (here, *(one.place for one in found))]
        worst = _worst(rulings)
        yield MapRow(resource, data_class, _named(here), ways, worst.verdict, worst.reason)


def _worst(rulings: list[Ruling]) -> Ruling:
    for verdict in (Verdict.VIOLATION, Verdict.UNVERIFIED):
        for ruling in rulings:
            if ruling.verdict is verdict:
                return ruling
    return rulings[0]


def _named(place: Place) -> str:
    return place.region or place.jurisdiction or (f"not known yet ({place.name})" if place.unread else place.name)


def _ways(graph: Graph) -> Iterator[Way]:
    for resource in graph.resources:
        try:
            yield from ways_of(resource, graph)
            yield from backup_ways(resource, graph)
        except UnverifiedError:
            continue  # the rule on that channel reports it where it stands
