"""How changes and findings are said, the same in every format that people read."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from trainyard.cli.review.model import Consequence, Environment, Finding, Review, Standing
from trainyard.cli.review.picture import SIGNS
from trainyard.cli.review.residency import Residency
from trainyard.local.changes import Change, Operation, PropertyChange
from trainyard.policies.rule import Verdict

LONGEST_VALUE = 120
DONE = {
    Operation.CREATE: "created",
    Operation.UPDATE: "changed",
    Operation.REPLACE: "replaced",
    Operation.DELETE: "deleted",
}


def kind(resource_type: str) -> str:
    """`aws:s3/bucket:Bucket` as `Bucket`."""
    return resource_type.rpartition(":")[2]


def counted(environment: Environment) -> str:
    """`2 created, 1 replaced`."""
    counts = environment.counts()
    return ", ".join(f"{counts[one.value]} {DONE[one]}" for one in Operation if one.value in counts) or "no changes"


def value(raw: Any) -> str:
    """A property's value on one line; `–` where it is not given."""
    if raw is None:
        return "–"
    text = raw if isinstance(raw, str) else json.dumps(raw, ensure_ascii=False, sort_keys=True)
    text = " ".join(text.split())
    return text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 1]}…"


def property_line(one: PropertyChange) -> str:
    line = f"{one.path}: {value(one.before)} → {value(one.after)}"
    return f"{line}  (replaces it)" if one.replaces else line


def resource_line(change: Change) -> str:
    return f"{SIGNS[change.operation]} {kind(change.type)} {change.name}".replace("\n", "\\n")


_DIFF_SIGNS = {Operation.CREATE: "+", Operation.UPDATE: " ", Operation.REPLACE: "!", Operation.DELETE: "-"}


def diff_line(change: Change) -> str:
    """As code hosts colour a diff: `! LustreFileSystem files (replaced)`."""
    replaced = " (replaced)" if change.operation is Operation.REPLACE else ""
    return f"{_DIFF_SIGNS[change.operation]} {kind(change.type)} {change.name}{replaced}".replace("\n", "\\n")


def finding_line(finding: Finding) -> str:
    place = f"{finding.name}.{finding.place}" if finding.place else finding.name
    unverified = f" [{finding.verdict}]" if finding.verdict is Verdict.UNVERIFIED else ""
    advice = " [advice]" if finding.level == "advisory" else ""
    line = f"{finding.severity} {finding.rule}{unverified}{advice}: {place}: {finding.message}"
    return line.replace("\n", "\\n")  # one line: what stands in a name is not a finding of its own


@dataclass(frozen=True)
class Told:
    """What is said once of several resources: the finding of the first, and the names of the `others`. `explained`: one
    of the same rule stands before it, with why, and what to write."""

    finding: Finding
    others: tuple[str, ...]
    explained: bool


def together(findings: Iterable[Finding]) -> list[Told]:
    """Findings of which several say the same: a bucket in another region has a dozen parts there."""
    groups: dict[tuple[Any, ...], list[Finding]] = {}
    for one in findings:
        key = (one.standing, one.rule, one.level, one.verdict, one.severity, one.place, one.message)
        groups.setdefault(key, []).append(one)
    told: list[Told] = []
    for first, *rest in groups.values():
        others = dict.fromkeys(one.name for one in rest if one.name != first.name)
        told.append(Told(first, tuple(others), any(one.finding.rule == first.rule for one in told)))
    return told


def controls(finding: Finding) -> str:
    return ", ".join(f"{catalogue} {' '.join(ids)}" for catalogue, ids in finding.controls.items())


def verdict(environment: Environment) -> str:
    """The one line for an environment."""
    if environment.bad_settings:
        return "its settings are wrong"
    if environment.failure:
        return "there is nothing to compare"
    stopping = [one for one in environment.findings if one.stops]
    violations = sum(one.verdict is Verdict.VIOLATION for one in stopping)
    said = [counted(environment)]
    if environment.apply_error:
        said.append("cannot be applied")
    if violations:
        said.append(f"{violations} new violation{'s' if violations > 1 else ''}")
    if len(stopping) > violations:
        said.append(f"{len(stopping) - violations} new that cannot be verified")
    if fixed := len(environment.of(Standing.FIXED)):
        said.append(f"{fixed} mended")
    if standing := len(environment.of(Standing.STANDING)):
        said.append(f"{standing} as before")
    return ", ".join(said)


def conclusion(review: Review) -> str:
    return {
        0: "nothing stands against it",
        1: "it brings violations",
        2: "settings are wrong",
        3: "not all of it could be judged",
    }[review.exit_status]


def how(review: Review) -> str:
    """How it was found out what the change does."""
    if review.applied:
        return "each environment brought up in a throw-away emulated account, and changed there to what it is to be"
    return "previewed on top of the exported state, and judged as it stands alone in a throw-away emulated account"


def about_judging(review: Review) -> str:
    """Why a reader has to look at what judges; empty where that is as before."""
    if not review.judging:
        return ""
    return "What judges has changed: both sides are judged as it is now, so look at this first"


def warnings(review: Review) -> list[str]:
    """What a reader has to know before all else."""
    said = [
        f"{name}: it has no settings any more. Nothing of it is destroyed by that, and nothing of it is reviewed; "
        "if it is to go, destroy its stack first"
        for name in review.gone
    ]
    if review.ahead:
        commits = "a commit" if review.ahead == 1 else f"{review.ahead} commits"
        said.append(
            f"{review.base} has {commits} that are not in this branch: what they did is told here as undone. "
            "Merge or rebase first, or compare with where the branch began (git merge-base)"
        )
    return said


@dataclass(frozen=True)
class Lost:
    """Resources of one kind that are lost alike."""

    operation: Operation
    kind: str
    names: tuple[str, ...]
    consequence: Consequence

    @property
    def line(self) -> str:
        return f"{SIGNS[self.operation]} {self.kind} {', '.join(self.names)}".replace("\n", "\\n")


def lost_together(environment: Environment) -> list[Lost]:
    """What is lost, said once of all of a kind; the irreplaceable first."""
    groups: dict[tuple[Operation, str, Consequence], list[str]] = {}
    for one in environment.lost:
        assert one.consequence is not None
        groups.setdefault((one.change.operation, kind(one.change.type), one.consequence), []).append(one.change.name)
    return [Lost(operation, of, tuple(names), consequence) for (operation, of, consequence), names in groups.items()]


def noted_line(environment: Environment) -> str:
    """What was judged and not tried; empty where all of it was."""
    if not environment.noted:
        return ""
    return f"Judged as it is written, but not tried, for it is not emulated: {'; '.join(environment.noted)}"


def residency_map(residency: Residency) -> list[str]:
    """Where data of each class lie and can get after the change, a line for each class."""
    classes = dict.fromkeys(one.data_class for one in (*residency.places, *residency.ways))
    said = []
    for each in classes:
        lies = [
            f"{one.place} ({_resources(one.after)})" for one in residency.places if one.data_class == each and one.after
        ]
        reach = dict.fromkeys(one.place for one in residency.ways if one.data_class == each)
        rest = f"; can get to {', '.join(reach)}" if reach else "; no way out of there was found"
        said.append(f"{each} data: {', '.join(lies) or 'nowhere'}{rest}")
    return said


def residency_lines(residency: Residency) -> list[str]:
    """What the change does to where data lies and can get."""
    moved = [
        f"{one.data_class} data lies in {one.place} now ({_resources(one.after)})"
        for one in residency.places
        if one.after and not one.before
    ]
    opened = [f"{one.data_class} data can get to {one.place}: {one.path}" for one in residency.ways if one.new]
    return [*moved, *opened]


def _resources(count: int) -> str:
    return f"{count} resource{'' if count == 1 else 's'}"
