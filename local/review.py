"""Two revisions of an environment compared: the earlier one stands in a throw-away account, the later one goes on top.

Both are the real program under the real engine. What changes is what the engine says of the later one where the earlier
one stands, not what a text comparison of the program would; then the later one is applied, so that what only shows when
it is done shows here. Findings are those of today's rules for both sides, over states in which every value is known.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import yaml

from trainyard.local import foreign_state, gate, prerequisites, scratch
from trainyard.local.aws.noted import noted_in
from trainyard.local.changes import Change, changes_in, renamed_in
from trainyard.local.engine import EngineError, Event
from trainyard.local.gate import PlannedResource, planned_resources
from trainyard.local.rehearsal import Rehearsal
from trainyard.policies import exemptions
from trainyard.policies.exemptions import FILE as EXEMPTIONS
from trainyard.policies.exemptions import Exemption
from trainyard.policies.in_force import in_force
from trainyard.policies.levels import FILE as LEVELS
from trainyard.policies.rule import Finding, Result
from trainyard.policies.state import evaluate_export
from trainyard.stacks.settings import Settings

_URN = re.compile(r'"urn:pulumi:(?:[^"\\]|\\.)*"')
PURPOSE = "review"
"""Of the temporary folders, in which the accounts are."""

Tell = Callable[[str], None]


class ReviewError(Exception):
    """The later side does not come up, so there is nothing to judge."""

    exit_status = 3


@dataclass(frozen=True)
class Source:
    """An environment as it is written: in which checkout, with which settings."""

    label: str
    """What a person calls it: `main (1a2b3c4)`, `working tree`."""
    project: Path
    values: Mapping[str, Any]
    """The whole configuration of the stack, by full key."""
    settings: Settings
    file: Path | None = None
    """Where that is written, if it is not the environment's own file in `project`."""


@dataclass(frozen=True)
class Side:
    """An environment as it stands."""

    label: str
    resources: tuple[PlannedResource, ...]
    results: tuple[Result, ...]
    """Of the rules that found something."""
    export: Mapping[str, Any]


@dataclass(frozen=True)
class Comparison:
    """What a change to an environment would do."""

    environment: str
    region: str
    base: Side
    head: Side
    changes: tuple[Change, ...]
    error: str = ""
    """Why the later one cannot be applied on top of the earlier, or the earlier does not come up. `head` is then what
    it is in an account of its own."""

    @property
    def noted(self) -> tuple[str, ...]:
        """What of the later side is not emulated: it is judged as it is written, and was not tried."""
        return noted_in((one.type, one.name, one.inputs) for one in self.head.resources)


def compare(
    environment: str,
    base: Source | None,
    head: Source,
    on_event: Callable[[Event], None] | None = None,
    tell: Tell = lambda _: None,
) -> Comparison:
    """Bring `base` up in an account of its own (None: nothing stands yet), preview `head` there, and apply it.

    Where `base` does not come up, `head` is judged alone. Raises `ReviewError` where `head` does not come up, and
    what the services raise.
    """
    clear_left_behind()
    before, after, error = Side("nothing", (), (), {}), None, ""
    told: list[Event] = []
    with scratch.folder(PURPOSE) as folder:
        account = (base.settings.account_id if base else None) or head.settings.account_id
        with _rehearsal(environment, folder / "both", base or head, account=account) as standing:
            given = prerequisites.provide(standing.endpoint, (base or head).settings)
            if base is not None:
                tell(f"bringing {base.label} up")
                try:
                    before = _applied(_rehearsal(environment, folder / "both", base, given), base, on_event)
                except ReviewError as failed:  # what mends it has to be judged all the same
                    error = f"{failed}\nSo there is nothing to compare with: {head.label} is judged alone."
                more = prerequisites.provide(standing.endpoint, head.settings)
                if head.settings.network.existing != base.settings.network.existing:
                    given = more
            if not error:
                later = _rehearsal(environment, folder / "both", head, given)
                try:
                    tell(f"previewing {head.label} on top of it")
                    later.preview(told.append)
                    tell(f"applying {head.label}")
                    # Only the engine works in this account, and what the preview saw there nobody has changed since.
                    later.up(on_event, look_first=False)
                    after = side(head.label, later.export(), head.project)
                except EngineError as failed:
                    error = str(failed)
        if after is None:
            after = _alone(environment, folder / "alone", head, on_event, tell)
    before = _called_as_after(before, told, base)
    return Comparison(environment, head.settings.region, before, after, changes_in(told), error)


def compare_with_state(
    environment: str,
    export: Mapping[str, Any],
    label: str,
    head: Source,
    on_event: Callable[[Event], None] | None = None,
    tell: Tell = lambda _: None,
) -> Comparison:
    """Preview `head` on top of a state that was exported elsewhere, which is not applied, and judge it as it is alone.

    `export` is as `foreign_state.read` gives it. Raises `ReviewError` where `head` does not come up.
    """
    clear_left_behind()
    told: list[Event] = []
    error = ""
    export = foreign_state.of_account(export, head.settings.account_id)
    with scratch.folder(PURPOSE) as folder:
        with _rehearsal(environment, folder / "state", head) as standing:
            given = prerequisites.provide(standing.endpoint, head.settings)
            later = _rehearsal(environment, folder / "state", head, given)
            tell(f"previewing {head.label} on top of {label}")
            try:
                later.engine().take_over(export)
                later.preview(told.append, look_first=False)
            except EngineError as failed:
                error = str(failed)
        after = _alone(environment, folder / "alone", head, on_event, tell)
    before = _called_as_after(side(label, export), told)
    return Comparison(environment, head.settings.region, before, after, changes_in(told), error)


def clear_left_behind() -> None:
    """Remove what reviews that were killed have left."""
    gate.clear_left_behind(PURPOSE)


def side(label: str, export: Mapping[str, Any], project: Path | None = None) -> Side:
    """A state, judged by what is in force now. Which levels were lowered is told as its own `project` has it, so that
    one that a change lowers is new; and what is exempt is what its own register exempts, so that an entry that a change
    brings is judged with it, and one that it takes away excuses nothing any more."""
    judging = in_force()
    if project is not None:
        judging = judging.with_levels_of(project / "policies" / LEVELS)
        judging = replace(judging, exemptions=_exemptions(project / "policies" / EXEMPTIONS))
    results = tuple(result for result in evaluate_export(judging, export) if result.findings)
    return Side(label, planned_resources(export), results, export)


def _called_as_after(before: Side, told: Iterable[Event], source: Source | None = None) -> Side:
    """The earlier side with each resource called as the later one calls it, so that a name alone is no difference."""
    renamed = renamed_in(told)
    if not renamed:
        return before

    def called_now(found: re.Match[str]) -> str:
        urn = json.loads(found[0])
        provider, _, of_it = urn.rpartition("::")  # a provider is referred to by its URN and, after `::`, its id
        if urn not in renamed and provider in renamed:
            return json.dumps(f"{renamed[provider]}::{of_it}")
        return json.dumps(renamed.get(urn, urn))

    text = _URN.sub(called_now, json.dumps(before.export))
    return side(before.label, json.loads(text), source.project if source else None)


def _exemptions(file: Path) -> tuple[Exemption, ...]:
    """None where there is no such file; none of an earlier revision that cannot be read, as nothing was exempt then."""
    try:
        return exemptions.load(file)
    except ValueError:
        return ()


def _alone(environment: str, place: Path, source: Source, on_event: Callable[[Event], None] | None, tell: Tell) -> Side:
    """Brought up in an account where nothing stands."""
    tell(f"bringing {source.label} up alone")
    with _rehearsal(environment, place, source) as standing:
        given = prerequisites.provide(standing.endpoint, source.settings)
        return _applied(_rehearsal(environment, place, source, given), source, on_event)


def _applied(rehearsal: Rehearsal, source: Source, on_event: Callable[[Event], None] | None) -> Side:
    try:
        rehearsal.up(on_event)
    except EngineError as failed:
        raise ReviewError(f"{source.label} does not come up: {failed}") from None
    return side(source.label, rehearsal.export(), source.project)


def _rehearsal(
    environment: str,
    place: Path,
    source: Source,
    given: Mapping[str, Any] | None = None,
    account: str | None = None,
) -> Rehearsal:
    """`given` stands in the place of what an account of the team's own would hold already. `account` is its id, where
    that is not the one that `source` names."""
    config = place.parent / f"Pulumi.{environment}.yaml"
    content = {"config": {**gate.readable(source.values), **(given or {})}}
    config.write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8")
    return Rehearsal(
        environment,
        place,
        source.project,
        config=config,
        layers=source.settings.stack_layers,
        throw_away=True,
        judged=False,
        noting=True,
        account=account,
    )


Found: TypeAlias = tuple[Result, Finding]
Said: TypeAlias = Callable[[str], str]


def classified(
    base: Sequence[Result], head: Sequence[Result], before_is: Said = str, after_is: Said = str
) -> tuple[list[Found], list[Found], list[Found]]:
    """Findings of the later side that are new, of the earlier that are mended, and of the later that stood before.

    One that says something else than before counts as new: that a resource is wrong in one way excuses no second. So
    does one that was exempt and is so no longer: it stops from now on. `before_is` and `after_is` write a message as it
    would be in the other side's account.
    """
    before, after = _keyed(base, before_is), _keyed(head, after_is)
    new = {
        key: found
        for key, found in after.items()
        if key not in before or (before[key][1].exemption and not found[1].exemption)
    }
    return (
        list(new.values()),
        [found for key, found in before.items() if key not in after],
        [found for key, found in after.items() if key not in new],
    )


def _keyed(results: Sequence[Result], said: Said) -> dict[tuple[str | int, ...], Found]:
    """By what they say in names that both sides have. Where two say the same only then, each stays one of its own."""
    found = {_key(result, finding, str): (result, finding) for result in results for finding in result.findings}
    numbers: Counter[tuple[str, ...]] = Counter()
    keyed: dict[tuple[str | int, ...], Found] = {}
    for result, finding in found.values():
        key = _key(result, finding, said)
        keyed[*key, numbers[key]] = (result, finding)
        numbers[key] += 1
    return keyed


def _key(result: Result, finding: Finding, said: Said) -> tuple[str, ...]:
    return result.rule.id, result.resource.urn, finding.verdict, finding.urn, finding.place, said(finding.message)
