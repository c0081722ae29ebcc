"""A review for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich import markup
from rich.console import Console

from trainyard.cli import output
from trainyard.cli.review import cost_words, words
from trainyard.cli.review.cost import Cost, Row
from trainyard.cli.review.model import Environment, Finding, Review, Standing
from trainyard.local.changes import Operation

_STYLES = {
    Operation.CREATE: "green",
    Operation.UPDATE: "yellow",
    Operation.REPLACE: "bold red",
    Operation.DELETE: "red",
}
_SIGNED = {"+": "green", "-": "red", "…": "dim"}
MOST_LINES = 40
"""Of what changes in one file of the policies."""
_HEADINGS = {
    Standing.NEW: "New findings",
    Standing.FIXED: "Mended by this change",
    Standing.STANDING: "As before",
}


def show(review: Review, console: Console) -> None:
    console.print(f"[bold]{escape(review.base)} → {escape(review.head)}[/]: {words.conclusion(review)}")
    for said in words.warnings(review):
        console.print(escape(said), style="yellow")
    if review.judging:
        _show_judging(review, console)
    for environment in review.environments:
        _show(environment, console)


def _show_judging(review: Review, console: Console) -> None:
    console.print(f"\n[bold]{words.about_judging(review)}[/]")
    for one in review.judging:
        console.print(f"  {escape(one.summary)}", style="yellow")
        for sign, line in one.lines[:MOST_LINES]:
            console.print(f"    {sign} {escape(line)}", style=_SIGNED.get(sign))
        if (rest := len(one.lines) - MOST_LINES) > 0:
            console.print(f"    … {rest} lines more: the page has them", style="dim")


def _show(environment: Environment, console: Console) -> None:
    region = f" in {environment.region}" if environment.region else ""
    console.print(f"\n[bold]{environment.name}[/]{region}: {escape(words.verdict(environment))}")
    for said in filter(None, (environment.failure, environment.apply_error)):
        console.print(escape(said), style="red")
    if noted := words.noted_line(environment):
        console.print(f"  {escape(noted)}", style="yellow")
    if lost := words.lost_together(environment):
        console.print("  [bold]What is lost[/]")
        for one in lost:
            style = "bold red" if one.consequence.loses else "red"
            console.print(f"    [{style}]{escape(one.line)}[/]")
            console.print(
                f"        time: {escape(one.consequence.downtime)}\n        data: {escape(one.consequence.data)}"
            )
    if environment.residency and environment.residency.places:
        console.print("  [bold]Where data lie[/]")
        for said in words.residency_map(environment.residency):
            console.print(f"    {escape(said)}")
    if environment.residency and environment.residency.changed:
        console.print("  [bold]Where data can get now[/]")
        for said in words.residency_lines(environment.residency):
            console.print(f"    {escape(said)}", style="red")
    if environment.reach and environment.reach.lines:
        console.print("  [bold]Who reaches what[/]")
        for said in environment.reach.lines:
            console.print(f"    {escape(said)}", style="red" if said.startswith("+") else None)
    if environment.cost:
        _show_cost(environment.cost, console)
    if environment.changes:
        console.print("  [bold]Resources[/]")
    for one in environment.changes:
        console.print(f"    [{_STYLES[one.change.operation]}]{escape(words.resource_line(one.change))}[/]")
        for changed in one.change.properties:
            console.print(f"        {escape(words.property_line(changed))}", style="red" if changed.replaces else None)
    for standing, heading in _HEADINGS.items():
        if found := environment.of(standing):
            console.print(f"  [bold]{heading}[/]")
        for told in words.together(found):
            show_finding(told.finding, console, told.others, explained=told.explained)


def _show_cost(cost: Cost, console: Console) -> None:
    """In full where it changes; what stays as it was is in the other formats."""
    changes = [one for one in cost.by_component if cost_words.changed(one)]
    shown = [one for one in cost.usage if cost_words.changed(one)]
    console.print("  [bold]Cost[/]")
    console.print(f"    {escape(cost_words.total_line(cost))}", style="yellow" if changes else None)
    console.print(f"        {escape(cost_words.assumed(cost.total))}", style="dim")
    for one in (*changes, *cost.training):
        _show_row(one, cost_words.line(one), console)
    for one in shown:
        _show_row(one, f"by use: {cost_words.use_line(one)}", console)
    for kinds, reason in cost.unpriced:
        console.print(f"    not priced: {escape(kinds)}: {escape(reason)}", style="yellow")
    for key, text in cost.sources.items():
        console.print(f"        {escape(f'[{key}]')} {escape(text)}", style="dim")


def _show_row(row: Row, said: str, console: Console) -> None:
    console.print(f"    {escape(said)}", style="yellow" if cost_words.changed(row) else None)
    console.print(f"        {escape(cost_words.assumed(row))}", style="dim")


def escape(said: str) -> str:
    """For the console's markup, with what steers a terminal written out."""
    return markup.escape(output.written_out(said))


def show_finding(finding: Finding, console: Console, others: Sequence[str] = (), *, explained: bool = False) -> None:
    """`others`: further resources that the same is said of. `explained`: its rule has been, further up."""
    style = "bold red" if finding.stops else "dim" if finding.standing is Standing.FIXED else None
    console.print(f"    {escape(words.finding_line(finding))}", style=style)
    if others:
        console.print(f"        also:  {escape(', '.join(others))}", style=style)
    if finding.standing is not Standing.NEW or explained:
        return
    console.print(f"        why:   {escape(finding.why)}\n        see:   {escape(words.controls(finding))}")
    for number, line in enumerate(finding.remedy.splitlines()):
        console.print(f"        {'write:' if number == 0 else '      '} {escape(line)}")
