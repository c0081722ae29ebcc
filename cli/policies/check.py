"""`trainyard policies check FILE`: the pack over resources that were written down elsewhere."""

from __future__ import annotations

import json
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from trainyard.cli import output
from trainyard.cli.policies.pack_option import PackOption, chosen_pack

if TYPE_CHECKING:
    from trainyard.cli.policies.document import Document
    from trainyard.cli.review.model import Environment


class Format(StrEnum):
    TEXT = "text"
    JSON = "json"
    SARIF = "sarif"
    JUNIT = "junit"


def check(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A saved preview, an exported state, or a Terraform plan as JSON.")
    ],
    environment: Annotated[
        str, typer.Option(metavar="ENV", help="Judge it as this environment; without it, as the stack in the file.")
    ] = "",
    format_: Annotated[Format, typer.Option("--format", help="Of what is printed.")] = Format.TEXT,
    pack: PackOption = None,
) -> None:
    """Judge resources that are written down: the same rules, levels and exemptions as in the engine.

    `pulumi preview --json --show-sames > FILE`, `pulumi stack export > FILE` or `terraform show -json PLAN > FILE`.
    Exit status: 0 clean, 1 violations, 2 a file that cannot be judged, 3 only what cannot be verified.
    """
    from trainyard.cli.policies import document
    from trainyard.cli.review import junit, sarif
    from trainyard.cli.review.model import Review, judged_file
    from trainyard.policies.evaluation import evaluate_all

    judging = chosen_pack(pack)
    _require_known(environment)
    found = document.read(file, environment)
    results = [one for one in evaluate_all(judging, found.inputs, found.outputs) if one.findings]
    if found.unread is not None:
        results.append(found.unread)
    judged = judged_file(found.stack, str(file), results, len(found.outputs.resources))
    review = Review("", str(file), (judged,))
    if format_ is Format.SARIF:
        typer.echo(json.dumps(sarif.render(review), indent=2))
    elif format_ is Format.JUNIT:
        typer.echo(junit.render(review), nl=False)
    elif format_ is Format.JSON:
        output.tell(_as_json(found, file, judged))
    else:
        _show(found, file, judged)
    if format_ in (Format.SARIF, Format.JUNIT) and found.notice:
        output.complain(f"{file}: {found.notice}")
    raise typer.Exit(judged.exit_status)


def _require_known(environment: str) -> None:
    from trainyard.cli.policies.document import UnreadableFileError
    from trainyard.policies.rules.regions import table

    known = table().environments
    if environment and environment not in known:
        raise UnreadableFileError(
            f"there is no environment {environment!r}; there are {', '.join(known)} (regions.yaml)"
        )


def _as_json(found: Document, file: Path, judged: Environment) -> dict:
    return {
        "file": str(file),
        "kind": found.kind,
        "environment": found.stack,
        "resources": judged.resources_after,
        "notice": found.notice,
        "exit_status": judged.exit_status,
        "findings": [
            {name: one for name, one in asdict(finding).items() if name != "standing"} for finding in judged.findings
        ],
    }


def _show(found: Document, file: Path, judged: Environment) -> None:
    from trainyard.cli.review import text

    console = Console(highlight=False, soft_wrap=True)
    console.print(
        f"[bold]{text.escape(str(file))}[/]: {found.kind} of {text.escape(found.stack) or 'no stack'}, "
        f"{judged.resources_after} resources: {_counted(judged)}"
    )
    if found.notice:
        console.print(f"    {text.escape(found.notice)}", style="yellow")
    for finding in judged.findings:
        text.show_finding(finding, console)


def _counted(judged: Environment) -> str:
    """`1 violation, 2 that cannot be verified, 3 that stop nothing`."""
    from trainyard.policies.rule import Verdict

    stopping = [one for one in judged.findings if one.stops]
    violations = sum(one.verdict is Verdict.VIOLATION for one in stopping)
    said = [
        f"{violations} violation{'s' if violations > 1 else ''}" if violations else "",
        f"{len(stopping) - violations} that cannot be verified" if len(stopping) > violations else "",
        f"{len(judged.findings) - len(stopping)} that stop nothing" if len(judged.findings) > len(stopping) else "",
    ]
    return ", ".join(filter(None, said)) or "nothing stands against it"
