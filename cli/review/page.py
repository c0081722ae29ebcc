"""A review as one page of HTML that needs nothing beside it, and asks nobody for anything."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator
from typing import Any

from jinja2 import Environment as Templates
from jinja2 import PackageLoader, StrictUndefined
from markupsafe import Markup

from trainyard.cli import output
from trainyard.cli.review import cost_words, diff, words
from trainyard.cli.review.model import Environment, Finding, Review, Standing
from trainyard.cli.review.picture import SIGNS
from trainyard.local.changes import Operation
from trainyard.policies.rule import Severity, Verdict

_TONES = {0: "good", 1: "bad", 2: "bad", 3: "warn"}
_STATES = {0: "passes", 1: "stopped", 2: "wrong settings", 3: "not all judged"}
_KINDS = {
    "violation": "violations",
    "unverified": "cannot be verified",
    "advice": "advice",
    Standing.FIXED: "mended",
    Standing.STANDING: "as before",
    **words.DONE,
}
_WAY_TONES = {Verdict.VIOLATION: "bad", Verdict.UNVERIFIED: "warn", Verdict.PASSED: "good"}
_WAY_WORDS = {Verdict.VIOLATION: "not allowed", Verdict.UNVERIFIED: Verdict.UNVERIFIED, Verdict.PASSED: "allowed"}

Tile = tuple[str, str, str, str, str]
"""Part of the page, what it is, its value, what else is said of it, its tone."""


def render(review: Review) -> str:
    templates = Templates(
        loader=PackageLoader("trainyard.cli.review", "."),
        undefined=StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_seen,
    )
    templates.filters["price_changed"] = cost_words.changed
    script = templates.get_template("page.js.j2").render()
    return templates.get_template("page.html.j2").render(
        review=review,
        about_judging=words.about_judging,
        conclusion=words.conclusion(review),
        how=words.how,
        script=Markup(script),  # noqa: S704  # this package's own
        script_hash=f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}",
        pictures={one.name: _inline(one.picture, one.name) for one in review.environments if one.picture},
        facets=_facets(review),
        tiles={one.name: list(_tiles(one)) for one in review.environments},
        tones=_TONES,
        states=_STATES,
        way_tones=_WAY_TONES,
        way_words=_WAY_WORDS,
        signs=SIGNS,
        done=words.DONE,
        finding_kind=_kind,
        of_kind=lambda one, *kinds: [finding for finding in one.findings if _kind(finding) in kinds],
        verdict=words.verdict,
        warnings=words.warnings,
        counted=words.counted,
        cost=cost_words,
        controls=words.controls,
        kind=words.kind,
        whole=diff.whole,
        diff_lines=diff.lines,
    )


def _kind(finding: Finding) -> str:
    if finding.stops:
        return "unverified" if finding.verdict is Verdict.UNVERIFIED else "violation"
    return "advice" if finding.standing is Standing.NEW else finding.standing


def _facets(review: Review) -> list[tuple[str, str, list[tuple[str, str]]]]:
    """What can be asked for: a name, a title, and those choices that occur."""
    findings = [finding for one in review.environments for finding in one.findings]
    changes = [changed for one in review.environments for changed in one.changes]
    kinds = {*map(_kind, findings), *(one.change.operation for one in changes)}
    severities = {one.severity for one in findings}
    return [
        ("environment", "Environment", [(one.name, one.name) for one in review.environments]),
        ("kind", "Show only", [(one, said) for one, said in _KINDS.items() if one in kinds]),
        ("severity", "Severity", [(one, one) for one in reversed(Severity) if one in severities]),
    ]


def _tiles(one: Environment) -> Iterator[Tile]:
    """The environment in short, each leading to the part of the page that has it whole."""
    if one.failure:
        return
    kinds = [_kind(finding) for finding in one.findings]
    violations, unverified = kinds.count("violation"), kinds.count("unverified")
    if violations or unverified:
        more = f"{unverified} cannot be verified" if violations and unverified else ""
        value = _plural(violations, "new violation") if violations else f"{unverified} cannot be verified"
        yield "stops", "Stops it", value, more, "bad" if violations else "warn"
    if one.lost:
        loses = sum(bool(lost.consequence and lost.consequence.loses) for lost in one.lost)
        said = f"data of {loses} cannot be had back" if loses else "no data that cannot be had back"
        yield "lost", "Lost", _plural(len(one.lost), "resource"), said, "bad" if loses else "warn"
    if one.cost:
        total = one.cost.total
        least = "at least " if one.cost.unpriced else ""
        said = cost_words.difference(total) if cost_words.changed(total) else "as before"
        yield "cost", "A month while nothing trains", f"{least}{cost_words.usd(total.after)}", said, ""
    if one.residency and one.residency.places:
        places = sum(1 for place in one.residency.places if place.after and not place.before)
        ways = sum(way.new for way in one.residency.ways)
        said = ", ".join(
            part
            for part in (_plural(places, "new place") * bool(places), _plural(ways, "new way") * bool(ways))
            if part
        )
        yield "residency", "Data can get to", said or "no new place", "", "bad" if said else ""
    if one.reach and one.reach.rows:
        changed = 0 if one.reach.first else len(one.reach.changed)
        yield "reach", "Who reaches what", f"{changed} changed" if changed else one.reach.counted, "", ""
    if one.changes:
        counts = one.counts()
        signs = "  ".join(f"{SIGNS[one]}{counts[one]}" for one in Operation if one in counts)
        yield "changes", "All changes", signs, _plural(len(one.changes), "resource"), ""


def _plural(count: int, one: str) -> str:
    return f"{count} {one}{'' if count == 1 else 's'}"


def _inline(svg: str, name: str) -> Markup:
    """The picture, whose ids must not meet those of another one on the page, nor its styles the page's own."""
    for own in ("title", "description"):
        svg = svg.replace(f'id="{own}"', f'id="{name}-drawn-{own}"')
    svg = svg.replace('"title description"', f'"{name}-drawn-title {name}-drawn-description"')
    svg = re.sub(r"(?<=<style>).*?(?=</style>)", lambda css: re.sub(r"(?m)^\.", ".picture .", css[0]), svg, flags=re.S)
    return Markup(svg)  # noqa: S704  # escaped there


def _seen(value: Any) -> Any:
    """A name or value may hold what turns the text of a line around: such a character is written out."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return output.written_out(value)
    return value
