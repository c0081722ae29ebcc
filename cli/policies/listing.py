"""`trainyard policies list` and `explain`: which rules there are, whose they are, and what each wants."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from trainyard.cli import output
from trainyard.cli.policies.pack_option import PackOption, chosen_pack

if TYPE_CHECKING:
    from trainyard.policies.in_force import InForce
    from trainyard.policies.rule import Rule


class NoSuchRuleError(Exception):
    """There is no rule of that id."""

    exit_status = 2


def list_(
    framework: Annotated[
        str, typer.Option(metavar="NAME", help="Only rules of a catalogue, such as FSBP, Checkov or 'UAE PDPL'.")
    ] = "",
    pack: PackOption = None,
    json_output: Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")] = False,
) -> None:
    """Every rule: its id, how grave a finding is, what holds when it passes, and its controls."""
    judging = chosen_pack(pack)
    known = sorted({name for rule in judging.rules for name in rule.controls})
    chosen = {name for name in known if name.lower() == framework.lower()}
    if framework and not chosen:
        raise NoSuchRuleError(f"no rule names {framework!r}; there are {', '.join(known)}")
    rules = [rule for rule in judging.rules if not chosen or chosen & set(rule.controls)]
    if json_output:
        output.tell({"rules": [described(rule, judging) for rule in rules]})
        return
    table = Table(box=None, pad_edge=False)
    for column in ("rule", "severity", "what holds"):
        table.add_column(column, overflow="fold", no_wrap=column != "what holds")
    own = {one.rule.id: one.folder for one in judging.own}
    for rule in rules:
        advice = " (advice)" if rule.advice else ""
        origin = f" ({own[rule.id].name}/)" if rule.id in own else ""
        table.add_row(rule.id, f"{rule.severity}{advice}", escape(f"{rule.title}{origin}"))
    console = Console(highlight=False)
    console.print(table)
    of_the_team = f", {len(own)} of them the team's own" if own else ""
    console.print(f"{len(rules)} rules{of_the_team}; trainyard policies explain ID tells one")
    if not chosen:
        ids = ", ".join(rule.id for rule in _besides(judging))
        console.print(f"Besides, about the pack itself and where Pulumi keeps its state: {ids}")


def _besides(judging: InForce) -> tuple[Rule, ...]:
    """Rules that judge something else than resources of the program. Findings name them like any other."""
    from trainyard.policies.residency import backend

    return (*judging.about_itself, judging.register().rule(), *backend.RULES)


def explain(
    rule_id: Annotated[str, typer.Argument(metavar="ID", help="Of a rule, as findings name it.")],
    pack: PackOption = None,
    json_output: Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")] = False,
) -> None:
    """What a rule wants, why, how to meet it, what passes and what does not."""
    judging = chosen_pack(pack)
    rules = {rule.id: rule for rule in (*judging.rules, *_besides(judging))}
    if rule_id not in rules:
        near = difflib.get_close_matches(rule_id, rules, n=3)
        hint = f"; did you mean {' or '.join(near)}?" if near else ": trainyard policies list names all"
        raise NoSuchRuleError(f"there is no rule {rule_id!r}{hint}")
    rule = rules[rule_id]
    exempt = [one for one in judging.exemptions if one.rule == rule_id]
    lowered = [row for row in judging.levels.rows if row.is_for(rule, row.environment)]
    if json_output:
        said = {"exemptions": exempt, "levels": lowered}
        more = {name: [one.model_dump(mode="json") for one in found] for name, found in said.items()}
        output.tell({**described(rule, judging), **more})
        return
    tell = Console(highlight=False, soft_wrap=True).print
    tell(f"[bold]{rule.id}[/]  {rule.severity}{', advice' if rule.advice else ''}")
    tell(f"{escape(rule.title)}.\n\n{escape(rule.why)}\n")
    for catalogue, controls in rule.controls.items():
        tell(f"{catalogue}: {', '.join(controls)}")
    tell("\n[bold]Write[/]")
    for line in rule.remedy.splitlines():
        tell(f"    {escape(line)}")
    folder = judging.folder_of(rule)
    for heading, names in cases(rule, folder).items():
        tell(f"\n[bold]{heading}[/] ({escape(folder.name)}/cases/{rule.id}.yaml)")
        for name in names:
            tell(f"    {escape(name)}")
    for one in exempt:
        tell(f"\nExempt until {one.expires}: {one.resource} in {one.environment}: {escape(one.reason)}")
    for row in lowered:
        tell(f"\nLevel: {escape(row.says(row.levels))}")


def described(rule: Rule, judging: InForce) -> dict[str, Any]:
    from trainyard.policies.cases import SHIPPED

    folder = judging.folder_of(rule)
    return {
        "id": rule.id,
        "origin": "trainyard" if folder == SHIPPED else str(folder),
        "title": rule.title,
        "severity": rule.severity.value,
        "level": rule.level.value,
        "judges": rule.scope.value,
        "controls": {name: list(ids) for name, ids in rule.controls.items()},
        "why": rule.why,
        "remedy": rule.remedy,
        "examples": cases(rule, folder),
    }


def cases(rule: Rule, folder: Path) -> dict[str, list[str]]:
    """Names of the rule's examples, by what becomes of them."""
    from trainyard.policies.cases import cases_of
    from trainyard.policies.rule import Verdict

    headings = {
        Verdict.PASSED: "Passes",
        Verdict.VIOLATION: "Does not pass",
        Verdict.UNVERIFIED: "Cannot be verified",
    }
    if not (folder / "cases" / f"{rule.id}.yaml").is_file():
        return {}  # it judges what stands in files, and is tried with files
    found: dict[str, list[str]] = {}
    for case in cases_of(rule, folder):
        found.setdefault(headings[case.verdict], []).append(case.name)
    return found
