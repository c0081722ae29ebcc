"""Whether data of a class may be in a place, as the table of jurisdictions has it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from trainyard.policies.aws import DATA_CLASSES
from trainyard.policies.graph import Graph, Resource
from trainyard.policies.residency.channels import Way, ways_of
from trainyard.policies.residency.jurisdictions import jurisdictions
from trainyard.policies.residency.places import Place, atlas_of, classes_of
from trainyard.policies.rule import Finding, Verdict
from trainyard.policies.rules.regions import table
from trainyard.policies.values import UnverifiedError, Value, dotted


@dataclass(frozen=True)
class Ruling:
    """What may be said of data of a class in a place. `unread` is what kept it from being told."""

    verdict: Verdict
    reason: str = ""
    unread: UnverifiedError | None = None


_FINE = Ruling(Verdict.PASSED)


def rule_on(environment: str, data_class: str, place: Place) -> Ruling:
    """Whether an environment's data of a class may be in a place. A class that nobody wrote down is `""`."""
    laws = jurisdictions()
    home = laws.home(environment)
    if home is None:
        return Ruling(Verdict.VIOLATION, laws.refusal(environment, data_class, "") or "")
    if laws.free(environment, data_class):
        return _FINE
    if place.unread is not None:
        return Ruling(Verdict.UNVERIFIED, place.unread.reason, place.unread)
    code = place.jurisdiction or laws.of_region(place.region)
    if code == home[0]:
        return _FINE
    if not data_class:
        return Ruling(Verdict.UNVERIFIED, "nothing in this stack has a data-class tag that says what these data are")
    instead = may_stand(environment)
    if place.anywhere:
        return Ruling(
            Verdict.VIOLATION, f"{data_class} data of {home[1].name} would be in every country at once{instead}"
        )
    if code is None:
        kind = "region" if place.region else "place"
        where = "`jurisdictions`" if place.region else "`hosts` or `accounts`"
        reason = f"policies/jurisdictions.yaml lists no {kind} {place.name!r} under {where}, so no law is known there"
        return Ruling(Verdict.VIOLATION, f"{reason}{instead}")
    refusal = laws.refusal(environment, data_class, code)
    return Ruling(Verdict.VIOLATION, f"{refusal}{instead}") if refusal else _FINE


def may_stand(environment: str) -> str:
    """The end of a message: which regions both tables let an environment use; empty where there is none such."""
    home = jurisdictions().home(environment)
    regions = [one for one in (home[1].regions if home else ()) if table().refusal(one, environment) is None]
    return f"; there may stand {', '.join(regions)}" if regions else ""


def strictest_first(classes: frozenset[str]) -> list[str]:
    """Data classes, those that laws hold tightest first; where there is none, the one that nobody wrote down."""
    return sorted(classes, key=DATA_CLASSES.index, reverse=True) or [""]


def judge_way(way: Way, graph: Graph) -> Iterator[Finding]:
    """What is wrong with one way out, for the strictest class that goes it: at most one finding."""
    worst: Finding | None = None
    for source in way.sources:
        classes = classes_of(source, graph) | (atlas_of(graph).classes if way.guessed else frozenset())
        for data_class in strictest_first(classes):
            rulings = [
                (landing.place, rule_on(way.carrier.environment, data_class, landing.place)) for landing in way.landings
            ]
            bad = [(place, ruling) for place, ruling in rulings if ruling.verdict is not Verdict.PASSED]
            if not bad:
                continue
            place, ruling = bad[0]
            found = _finding(way, source, data_class, place, ruling, certain=len(bad) == len(rulings))
            if found.verdict is Verdict.VIOLATION:
                yield found
                return
            worst = worst or found
    if worst is not None:
        yield worst


def judge_ways(resource: Resource, graph: Graph, group: str) -> Iterator[Finding]:
    """What is wrong with the ways of a group that a resource opens; each value that can't be read once."""
    unread_places = set()
    for way in ways_of(resource, graph, group):
        try:
            found = list(judge_way(way, graph))
        except UnverifiedError as unread:
            found = [unverified_because(unread, way.at, f"the data of the {way.what}")]
        for finding in found:
            if finding.verdict is Verdict.VIOLATION or finding.place not in unread_places:
                yield finding
            if finding.verdict is Verdict.UNVERIFIED:
                unread_places.add(finding.place)


def unverified_because(unread: UnverifiedError, at: Value, what: str) -> Finding:
    """A finding that says what can't be verified yet; the engine's hint on what would make it known is added later."""
    message = f"where {what} would be can't be verified yet: {unread.reason}"
    return Finding(Verdict.UNVERIFIED, message, dotted(at.path), at.urn, unread)


def _finding(way: Way, source: Resource, data_class: str, place: Place, ruling: Ruling, *, certain: bool) -> Finding:
    named = f"{data_class} data" if data_class else "data"
    subject = f"the {way.what}" if source.urn == way.carrier.urn else f"the {way.what} of {source.name}"
    if ruling.verdict is Verdict.UNVERIFIED:
        if ruling.unread is not None:
            return unverified_because(ruling.unread, way.at, f"{named} in {subject}")
        return Finding(
            Verdict.UNVERIFIED, f"{subject} is in {place.name}: {ruling.reason}", dotted(way.at.path), way.at.urn
        )
    if not certain:
        message = f"{subject} may take {named} to {place.name}, which can't be verified yet: {ruling.reason}"
        return Finding(Verdict.UNVERIFIED, message, dotted(way.at.path), way.at.urn)
    message = f"{subject} takes {named} to {place.name}: {ruling.reason}"
    return Finding(Verdict.VIOLATION, message, dotted(way.at.path), way.at.urn)
