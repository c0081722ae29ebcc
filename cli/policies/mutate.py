"""`trainyard policies mutate [ENV…]`: what would be wrong with an environment, one thing at a time, and is it seen?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from trainyard.cli import environments, output
from trainyard.cli.policies.pack_option import PackOption, chosen_pack
from trainyard.cli.progress import EngineProgress, step

if TYPE_CHECKING:
    from trainyard.policies.graph import Graph
    from trainyard.policies.in_force import InForce
    from trainyard.policies.mutations.trying import Tried

LEAST_SHARE = 0.95
"""Of the mutations that are a loss, what the rules have to catch."""


@dataclass(frozen=True)
class Outcomes:
    """All mutations of one environment."""

    environment: str
    tried: tuple[Tried, ...]

    def of(self, outcome: str) -> list[Tried]:
        return [one for one in self.tried if one.outcome == outcome]

    @property
    def share(self) -> float:
        """Of those that are a loss, what is caught; 1 where there is none."""
        losses = len(self.tried) - len(self.of("no loss"))
        return len(self.of("caught")) / losses if losses else 1.0


def mutate(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[ENV]...", help="Environments; without any, all there are.")
    ] = None,
    state: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Take this instead: a state (pulumi stack export).")
    ] = None,
    pack: PackOption = None,
    json_output: Annotated[
        bool, typer.Option("--json", help="Print every mutation and what became of it as JSON.")
    ] = False,
) -> None:
    """Take each security-relevant property away, one at a time, and see whether a rule objects.

    Encryption dropped, a range of addresses widened, a region moved, a condition left out: what is tried is in
    policies/mutations/, and docs/mutations.md tells how it counts. Exit status: 0 where at least 95 % are caught in
    every environment, 1 where not, 2 wrong settings or a file that is no state, 3 an environment does not come up.
    """
    judging = chosen_pack(pack)
    if state is not None and names:
        raise environments.SettingsError(f"--state is an environment of its own; leave out {', '.join(names)}")
    graphs = _of_file(state) if state is not None else _of_environments(names or [])
    found = []
    for name, inputs, outputs in graphs:
        outcomes = Outcomes(name, tuple(_tried(judging, name, inputs, outputs)))
        if not outcomes.tried:
            raise environments.SettingsError(f"{name}: it holds nothing that could be taken away; give a whole state")
        found.append(outcomes)
        if not json_output:
            _show(outcomes, Console(highlight=False, soft_wrap=True))
    if json_output:
        output.tell({"environments": [_as_json(one) for one in found]})
    raise typer.Exit(0 if all(one.share >= LEAST_SHARE for one in found) else 1)


def _of_file(file: Path) -> Iterator[tuple[str, Graph, Graph]]:
    from trainyard.cli.policies import document

    found = document.read(file)
    yield found.stack or str(file), found.inputs, found.outputs


def _of_environments(names: list[str]) -> Iterator[tuple[str, Graph, Graph]]:
    """Each brought up in a throw-away account, when it is its turn."""
    from trainyard.local import toolchain
    from trainyard.local.paths import require_checkout
    from trainyard.local.resolved import resolved
    from trainyard.policies.state import graph_of

    root = require_checkout()
    files = {name: environments.environment_file(name, root) for name in names or environments.names(root)}
    read = {name: environments.read(name, file) for name, file in files.items()}
    with step("tools") as shown:
        for tool in toolchain.TOOLS:
            toolchain.find_all(tool, shown.show)
    for name, (values, settings) in read.items():
        with step(f"{name} in a throw-away account of {settings.region}") as shown:
            export = resolved(name, values, settings, EngineProgress(shown))
        yield name, graph_of(export, "inputs"), graph_of(export, "outputs")


def _tried(judging: InForce, name: str, inputs: Graph, outputs: Graph) -> Iterator[Tried]:
    from trainyard.policies.mutations.trying import try_all

    with step(f"mutations of {name}") as shown:
        yield from try_all(judging, inputs, outputs, lambda done, total: shown.show("tried", done, total))


def _show(found: Outcomes, console: Console) -> None:
    table = Table(title=f"{found.environment}: {_summary(found)}", title_justify="left", box=None, pad_edge=False)
    for heading in ("what is lost", "tried", "caught", "advice only", "missed", "no loss"):
        table.add_column(heading, justify="left" if heading == "what is lost" else "right")
    for loses, group in _by_loss(found.tried):
        counts = Counter(str(one.outcome) for one in group)
        row = (counts[outcome] for outcome in ("caught", "advice only", "missed", "no loss"))
        table.add_row(loses, str(len(group)), *(str(count) if count else "" for count in row))
    console.print(table)
    for outcome, heading in (("missed", "Missed"), ("advice only", "Only advised against")):
        if listed := found.of(outcome):
            console.print(f"\n[bold]{heading}[/]")
        for one in listed:
            kind = one.mutation.resource.type.rpartition(":")[2]
            said = f"{one.mutation.loses}: {kind} {one.mutation.resource.name}: {one.mutation.what}"
            console.print(f"  {escape(said)}" + (f" ({one.by})" if one.by else ""))
    console.print()


def _summary(found: Outcomes) -> str:
    losses = len(found.tried) - len(found.of("no loss"))
    return f"{len(found.of('caught'))} of {losses} mutations caught, {found.share:.1%}"


def _by_loss(tried: Iterable[Tried]) -> list[tuple[str, list[Tried]]]:
    groups: dict[str, list[Tried]] = {}
    for one in tried:
        groups.setdefault(one.mutation.loses, []).append(one)
    return sorted(groups.items())


def _as_json(found: Outcomes) -> dict[str, Any]:
    return {
        "environment": found.environment,
        "share_caught": round(found.share, 4),
        "mutations": [
            {
                "loses": one.mutation.loses,
                "urn": one.mutation.resource.urn,
                "what": one.mutation.what,
                "outcome": one.outcome.value,
                "by": one.by,
            }
            for one in found.tried
        ],
    }
