"""`trainyard preview ENV`: what an environment would be, and what the policies say of it, without an account."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Annotated

import typer

from trainyard.cli import environments
from trainyard.cli.progress import EngineProgress, console, step, table

if TYPE_CHECKING:
    from trainyard.local.gate import Report


def preview(
    environment: Annotated[str, typer.Argument(help="Name of the environment, such as prod-us.")],
    json_output: Annotated[
        bool, typer.Option("--json", help="Print the report as JSON on standard output, and nothing else.")
    ] = False,
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Try another setting, such as --set gpu_groups[0].maximum_nodes=8."
        ),
    ] = None,
) -> None:
    """Bring an environment up in a throw-away emulated account and judge it with every value known.

    Needs neither credentials nor a network. Exit status: 0 clean, 1 violations, 2 bad settings, 3 a mandatory policy
    could not be verified or the engine failed.
    """
    from trainyard.local import gate, toolchain
    from trainyard.local.paths import require_checkout

    file = environments.environment_file(environment, require_checkout())
    region = None
    try:
        values = environments.with_changes(environments.read_values(file), changes or [])
        region = values.get(f"{environments.NAMESPACE}:region")
        settings = environments.parse(environment, values, str(file))
    except environments.SettingsError:
        if json_output:
            shown = region if isinstance(region, str) else None
            print(json.dumps(gate.Report(environment, shown, gate.Status.BAD_SETTINGS).as_json()))
        raise

    with step("tools") as shown:
        for tool in toolchain.TOOLS:
            toolchain.find_all(tool, shown.show)
    with step(f"{environment} in a throw-away account of {settings.region}") as shown:
        report = gate.judge(environment, values, layers=settings.stack_layers, on_event=EngineProgress(shown))
    if json_output:
        print(json.dumps(report.as_json()))
    else:
        _show(report)
    if report.error and report.status is gate.Status.FAILED:
        console.print(report.error, style="red", markup=False)
    raise typer.Exit(report.status.exit_status)


def _show(report: Report) -> None:
    kinds = Counter(one.type for one in report.resources if ":" in one.type)
    counted = sum(kinds.values())
    print_to = console.print
    if report.policies:
        for finding in report.policies:
            print_to(
                f"[{finding.level}] {finding.policy}: {finding.urn.rpartition('::')[2]}", style="bold", markup=False
            )
            print_to(f"    {finding.message}\n", markup=False)
    most = ", ".join(f"{count} {kind.rpartition(':')[2]}" for kind, count in kinds.most_common(8))
    console.print(
        table(
            f"{report.environment} in {report.region}",
            [
                ("status", report.status.value),
                ("resources", f"{counted}: {most} …"),
                ("policies judged", str(len(report.evaluated))),
                ("findings", str(len(report.policies))),
                ("as JSON", f"trainyard preview {report.environment} --json"),
            ],
        )
    )
