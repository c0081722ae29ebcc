"""`trainyard policies test`: whether a team's own rules find in their cases what the cases say."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trainyard.cli import output
from trainyard.cli.policies.pack_option import PackOption, chosen_pack

if TYPE_CHECKING:
    from trainyard.policies.own_rules import OwnRule


def judge_cases(
    folder: Annotated[
        Path | None,
        typer.Argument(metavar="[FOLDER]", help="With rules; without it, every folder that the pack names."),
    ] = None,
    pack: PackOption = None,
    json_output: Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")] = False,
) -> None:
    """Judge the cases of a team's own rules, directly and as the engine asks.

    Exit status: 0 all as the cases say, 1 not so, 2 a rule that cannot be asked, or that lacks a good or a bad case.
    """
    from trainyard.policies.case_check import departures
    from trainyard.policies.cases import cases_of

    judged: list[dict[str, Any]] = []
    for one in _own_rules(folder, pack):
        cases = [
            {"name": case.name, "verdict": case.verdict.value, "wrong": list(departures(one.rule, case))}
            for case in cases_of(one.rule, one.folder)
        ]
        judged.append({"rule": one.rule.id, "cases": cases})
    wrong = [(one["rule"], case) for one in judged for case in one["cases"] if case["wrong"]]
    if json_output:
        output.tell({"rules": judged, "passed": not wrong})
    else:
        _show(judged)
    raise typer.Exit(1 if wrong else 0)


def _own_rules(folder: Path | None, pack: Path | None) -> tuple[OwnRule, ...]:
    """Raises `BrokenPackError` where one of them cannot be asked, and where there is none."""
    from trainyard.policies.in_force import BrokenPackError
    from trainyard.policies.own_rules import FILE, load
    from trainyard.policies.registry import RULES

    if folder is None:
        found = chosen_pack(pack).own
        if not found:
            raise BrokenPackError(
                f"the pack's {FILE} names no folder of your own; give one: trainyard policies test DIR"
            )
        return found
    loaded = load([folder.resolve()], RULES)
    if loaded.problems:
        raise BrokenPackError("\n".join(loaded.problems))
    return loaded.rules


def _show(judged: list[dict[str, Any]]) -> None:
    for one in judged:
        cases = one["cases"]
        typer.echo(f"{one['rule']}: {sum(not case['wrong'] for case in cases)} of {len(cases)} cases as they say")
        for case in cases:
            for reason in case["wrong"]:
                typer.echo(f"    {case['name']}: {reason}")
