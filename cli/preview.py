"""`trainyard preview ENV`: what an environment would be, and what the policies say of it, without an account."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trainyard.cli import environments, output, state_places
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
    from trainyard.local import gate
    from trainyard.local.paths import NotACheckoutError

    try:
        report = _judged(environment, changes or [])
    except (environments.SettingsError, NotACheckoutError) as wrong:
        region = wrong.region if isinstance(wrong, environments.SettingsError) else None
        report = gate.Report(environment, region, gate.Status.BAD_SETTINGS, error=str(wrong))
    if json_output:
        output.tell(report.as_json())
    elif report.resources or report.policies:
        _show(report)
    if report.error:
        output.complain(f"error: {report.error}")
    raise typer.Exit(report.status.exit_status)


def failure(status: int) -> dict[str, Any]:
    """The report of a command line that came to no environment, as JSON has it."""
    from trainyard.local.gate_report import Report, Status

    bad = status == Status.BAD_SETTINGS.exit_status
    return Report("", None, Status.BAD_SETTINGS if bad else Status.FAILED).as_json()


def _judged(environment: str, changes: list[str]) -> Report:
    from trainyard.local import gate, toolchain
    from trainyard.local.paths import require_checkout
    from trainyard.policies.in_force import in_force

    in_force().require_order()
    file = environments.environment_file(environment, require_checkout())
    values, settings = environments.read(environment, file, changes)
    if settings.layer != "all":
        raise environments.SettingsError(
            f"trainyard:layer: an environment is judged whole; take {settings.layer} away. To split it, layers: true",
            settings.region,
        )
    try:
        with step("tools") as shown:
            for tool in toolchain.TOOLS:
                toolchain.find_all(tool, shown.show)
    except toolchain.ToolError as missing:
        return gate.Report(environment, settings.region, gate.Status.FAILED, error=str(missing))
    with step(f"{environment} in a throw-away account of {settings.region}") as shown:
        report = gate.judge(environment, values, settings, on_event=EngineProgress(shown))
    return gate.with_more(report, state_places.judged(environment, require_checkout(), settings))


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
