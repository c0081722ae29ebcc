"""`trainyard local …`: bring the rehearsal up, look at it, run a command against it, take it down."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trainyard.cli import environments, output
from trainyard.cli.progress import EngineProgress, console, step, table

if TYPE_CHECKING:
    from trainyard.local.engine import Result
    from trainyard.local.rehearsal import Rehearsal

app = typer.Typer(no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="Print JSON on standard output, and nothing else.")]


@app.command()
def up(json_output: Json = False) -> None:
    """Start the emulated account and bring the `local` environment up in it; again to apply changes."""
    from trainyard.local import supervisor, toolchain
    from trainyard.local.engine import EngineError
    from trainyard.local.rehearsal import count_resources

    rehearsal = _rehearsal()
    with step("tools") as shown:
        for tool in toolchain.TOOLS:
            toolchain.find_all(tool, shown.show)
    with step("emulated AWS account, Kubernetes API server"):
        started = supervisor.running(rehearsal.directory) is None
        rehearsal.start()
    try:
        with step("pulumi up, policy pack in the engine") as shown:
            result = rehearsal.up(EngineProgress(shown))
    except EngineError as failed:
        if json_output:
            output.tell({**_as_json(failed.result), "error": str(failed)})
        raise
    if rehearsal.started_over:
        console.print("    the last up was killed in its midst: this one began with a new account", style="yellow")
    resources = count_resources(rehearsal.export())
    if json_output:
        output.tell({**_as_json(result), "resources": resources, "outputs": rehearsal.outputs()})
        return
    changes = ", ".join(f"{count} {what}" for what, count in sorted(result.changes.items()) if count)
    console.print(
        table(
            "rehearsal of local",
            [
                ("account", f"{rehearsal.endpoint} ({'new' if started or rehearsal.started_over else 'as it was'})"),
                ("resources", f"{resources} ({changes})"),
                (
                    "policy findings",
                    f"{len(result.mandatory)}, and {len(result.violations) - len(result.mandatory)} as advice",
                ),
                ("look around", "trainyard local exec -- aws s3 ls"),
                ("", "trainyard local exec -- kubectl get namespaces"),
                ("take it down", "trainyard local down"),
            ],
        )
    )


def _rehearsal() -> Rehearsal:
    """That of `local`, once its settings are known to be right."""
    from trainyard.local.rehearsal import Rehearsal

    whole = Rehearsal()
    _, settings = environments.read(whole.environment, whole.config)
    return Rehearsal(layers=settings.stack_layers)


def _as_json(result: Result) -> dict[str, Any]:
    return {**asdict(result), "policies": sorted(result.policies)}


@app.command()
def status(json_output: Json = False) -> None:
    """What runs, where it answers, where its logs are, and how many resources stand."""
    from trainyard.local.rehearsal import Rehearsal

    found = Rehearsal().status()
    if json_output:
        output.tell(asdict(found))
        return
    if not found.running:
        print(f"no rehearsal of {found.environment} is up; start one with `trainyard local up`")
        return
    rows = [(one["name"], f"process {one['pid']} {one['url']}  log {one['log']}") for one in found.processes]
    console.print(table(f"rehearsal of {found.environment}", [*rows, ("resources", str(found.resources))]))


@app.command()
def down(
    every: Annotated[bool, typer.Option("--all", help="Every rehearsal below .trainyard, not only this one.")] = False,
) -> None:
    """End the emulated account and all that is in it. The logs stay."""
    from trainyard.local import supervisor
    from trainyard.local.paths import RUNS
    from trainyard.local.rehearsal import Rehearsal

    directories = [Rehearsal().directory]
    if every:
        directories = [found.parent for found in RUNS.rglob("services.json")]
    stopped = [directory for directory in directories if supervisor.stop(directory)]
    print("\n".join(f"stopped {directory}" for directory in stopped) or "nothing was running")


@app.command("exec", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
def execute(command: Annotated[list[str], typer.Argument(help="The command and its arguments, after `--`.")]) -> None:
    """Run a command against the rehearsed platform: its AWS account, its cluster, its Pulumi engine and state."""
    from trainyard.local import toolchain

    rehearsal = _rehearsal()
    engine = rehearsal.engine()
    environment = {
        **engine.environment(),
        **rehearsal.aws_environment(),
        **rehearsal.kubernetes_environment(),
    }
    kubectl = toolchain.find("kubernetes", binary="kubectl")
    own = [str(engine.command_directory({"kubectl": kubectl})), str(Path(sys.executable).parent)]
    environment["PATH"] = os.pathsep.join([*own, environment.get("PATH", os.defpath)])
    environment["PULUMI_STACK"] = rehearsal.environment
    try:
        status = subprocess.run(command, env=environment, check=False).returncode
    except OSError as failed:
        raise typer.BadParameter(f"{command[0]!r} cannot be run: {failed.strerror}") from None
    raise typer.Exit(status if status >= 0 else 128 - status)


@app.command()
def tools() -> None:
    """Build what no Python package carries, once per user; nothing where it is there already."""
    from trainyard.local import toolchain

    with step("tools") as shown:
        found = [path for tool in toolchain.TOOLS for path in toolchain.find_all(tool, shown.show).values()]
    print("\n".join(map(str, found)))
