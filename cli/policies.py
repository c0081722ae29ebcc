"""`trainyard policies …`: which rules there are, and what each wants."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from trainyard.cli import output

if TYPE_CHECKING:
    from trainyard.policies.rule import Rule

app = typer.Typer(no_args_is_help=True)


class NoSuchRuleError(Exception):
    """There is no rule of that id."""

    exit_status = 2


@app.command("list")
def list_(
    framework: Annotated[
        str, typer.Option(metavar="NAME", help="Only rules of a catalogue, such as FSBP, Checkov or 'UAE PDPL'.")
    ] = "",
    json_output: Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")] = False,
) -> None:
    """Every rule: its id, how grave a finding is, what holds when it passes, and its controls."""
    from trainyard.policies.registry import RULES

    known = sorted({name for rule in RULES for name in rule.controls})
    chosen = {name for name in known if name.lower() == framework.lower()}
    if framework and not chosen:
        raise NoSuchRuleError(f"no rule names {framework!r}; there are {', '.join(known)}")
    rules = [rule for rule in RULES if not chosen or chosen & set(rule.controls)]
    if json_output:
        output.tell({"rules": [described(rule) for rule in rules]})
        return
    table = Table(box=None, pad_edge=False)
    for column in ("rule", "severity", "what holds"):
        table.add_column(column, overflow="fold", no_wrap=column != "what holds")
    for rule in rules:
        advice = " (advice)" if rule.advice else ""
        table.add_row(rule.id, f"{rule.severity}{advice}", escape(rule.title))
    console = Console(highlight=False)
    console.print(table)
    console.print(f"{len(rules)} rules; trainyard policies explain ID tells one")


@app.command()
def explain(
    rule_id: Annotated[str, typer.Argument(metavar="ID", help="Of a rule, as findings name it.")],
    json_output: Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")] = False,
) -> None:
    """What a rule wants, why, how to meet it, what passes and what does not."""
    from trainyard.policies.exemptions import written
    from trainyard.policies.registry import RULES

    rules = {rule.id: rule for rule in RULES}
    if rule_id not in rules:
        near = difflib.get_close_matches(rule_id, rules, n=3)
        hint = f"; did you mean {' or '.join(near)}?" if near else ": trainyard policies list names all"
        raise NoSuchRuleError(f"there is no rule {rule_id!r}{hint}")
    rule = rules[rule_id]
    exempt = [one for one in written() if one.rule == rule_id]
    if json_output:
        output.tell({**described(rule), "exemptions": [one.model_dump(mode="json") for one in exempt]})
        return
    tell = Console(highlight=False, soft_wrap=True).print
    tell(f"[bold]{rule.id}[/]  {rule.severity}{', advice' if rule.advice else ''}")
    tell(f"{escape(rule.title)}.\n\n{escape(rule.why)}\n")
    for catalogue, controls in rule.controls.items():
        tell(f"{catalogue}: {', '.join(controls)}")
    tell("\n[bold]Write[/]")
    for line in rule.remedy.splitlines():
        tell(f"    {escape(line)}")
    for heading, names in cases(rule).items():
        tell(f"\n[bold]{heading}[/] (policies/cases/{rule.id}.yaml)")
        for name in names:
            tell(f"    {escape(name)}")
    for one in exempt:
        tell(f"\nExempt until {one.expires}: {one.resource} in {one.environment}: {escape(one.reason)}")


def described(rule: Rule) -> dict[str, Any]:
    return {
        "id": rule.id,
        "title": rule.title,
        "severity": rule.severity.value,
        "level": "advisory" if rule.advice else "mandatory",
        "judges": rule.scope.value,
        "controls": {name: list(ids) for name, ids in rule.controls.items()},
        "why": rule.why,
        "remedy": rule.remedy,
        "examples": cases(rule),
    }


def cases(rule: Rule) -> dict[str, list[str]]:
    """Names of the rule's examples, by what becomes of them."""
    from trainyard.policies.cases import cases_of
    from trainyard.policies.rule import Verdict

    headings = {
        Verdict.PASSED: "Passes",
        Verdict.VIOLATION: "Does not pass",
        Verdict.UNVERIFIED: "Cannot be verified",
    }
    found: dict[str, list[str]] = {}
    for case in cases_of(rule):
        found.setdefault(headings[case.verdict], []).append(case.name)
    return found
