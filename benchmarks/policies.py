"""What the policies cost: the pack in a preview, a whole review, and the rules over ever larger stacks.

Preview: `prod-us` with the pack and without, in pairs one after the other; first where nothing stands, so that many
values are unknown, then where the whole platform does. Review: the command itself, of a change that replaces something,
with all formats written, by phase. Graphs: the platform's resources multiplied (`benchmarks.policies_graph`), each size
in a process of its own; growth is the exponent over all sizes, 1 is linear.

Processor seconds are told beside those of the clock: other work on the machine disturbs them far less.

    python -m benchmarks.policies --json policies.json
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table

from benchmarks import policies_graph
from benchmarks.figures import Spread, machine, spread, verdict, work_folder
from trainyard.cli import environments
from trainyard.local import gate, prerequisites, toolchain
from trainyard.local.paths import require_checkout
from trainyard.local.rehearsal import Rehearsal
from trainyard.policies.in_force import in_force

ENVIRONMENT = "prod-us"
CHANGE = "budget.monthly_limit_usd=950000"
"""What the later side of the review has: it can be applied. One that cannot costs one side more, brought up alone."""
SIZES = (1_250, 2_500, 5_000, 10_000)
JUDGED_SIZE = 5_000
PARTS = ("preview", "review", "graphs")
MOST = {"preview_seconds": 3.0, "review_seconds": 180.0, "graph_seconds": 10.0, "graph_mib": 500.0, "growth": 1.1}
"""Growth that is linear measures up to a tenth more: caches of the processor."""
CLOCKS = ("seconds", "processor_seconds")


def previews(pairs: int, export: Path) -> dict[str, Any]:
    """Preview with the pack and without; leaves the state of the whole platform in `export`.

    Raises EngineError where a preview fails.
    """
    root = require_checkout()
    values, settings = environments.read(ENVIRONMENT, environments.environment_file(ENVIRONMENT, root))
    with tempfile.TemporaryDirectory(prefix="trainyard-bench-") as folder:
        config = Path(folder, f"Pulumi.{ENVIRONMENT}.yaml")
        config.write_text(yaml.safe_dump({"config": gate.readable(values)}), encoding="utf-8")
        with Rehearsal(
            ENVIRONMENT, Path(folder, "rehearsal"), config=config, throw_away=True, judged=False
        ) as standing:
            given = prerequisites.provide(standing.endpoint, settings)
            config.write_text(yaml.safe_dump({"config": {**gate.readable(values), **given}}), encoding="utf-8")
            found = {"nothing stands": _pairs(standing, pairs, root)}
            standing.up()
            export.write_text(json.dumps(standing.export()), encoding="utf-8")
            found["everything stands"] = _pairs(standing, pairs, root)
    return found


def _pairs(standing: Rehearsal, pairs: int, root: Path) -> dict[str, Any]:
    taken: dict[bool, list[dict[str, float]]] = {True: [], False: []}
    _preview(standing, None)  # files are read for the first time
    for number in range(pairs):
        for judged in (True, False) if number % 2 else (False, True):
            taken[judged].append(_preview(standing, root / "policies" if judged else None))
    return {
        clock: {
            "without": spread([one[clock] for one in taken[False]]),
            "with": spread([one[clock] for one in taken[True]]),
            "pack": spread([w[clock] - o[clock] for w, o in zip(taken[True], taken[False], strict=True)]),
        }
        for clock in CLOCKS
    }


def _preview(standing: Rehearsal, pack: Path | None) -> dict[str, float]:
    # What a new stack does not know yet would otherwise end the preview: as in the gate, everything advises.
    levels = standing.directory / "levels.json"
    levels.write_text(json.dumps({rule.id: {"stops": False} for rule in in_force().served}), encoding="utf-8")
    lenient = ("--policy-pack-config", str(levels)) if pack else ()
    busy = _busy()
    result = standing.engine().run("preview", *lenient, policy_pack=pack)
    if pack is not None and not result.policies:
        raise RuntimeError("the engine judged no policy")
    return {"seconds": result.seconds, "processor_seconds": _busy() - busy}


def _busy() -> float:
    """Processor seconds of all ended children, and theirs."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def review(rounds: int) -> dict[str, Any]:
    """The command as a person types it, with its parts. Raises CalledProcessError where it fails."""
    whole, parts = [], []
    for _ in range(rounds):
        began = time.monotonic()
        command = [sys.executable, "-m", "benchmarks.policies_review", ENVIRONMENT, "--set", CHANGE]
        said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        whole.append(time.monotonic() - began)
        parts.append(json.loads(said))
    told: dict[str, Any] = {
        "seconds": spread(whole) | {"at_most": MOST["review_seconds"]},
        "exit_status": parts[-1]["exit_status"],
        "phases": {},
    }
    for phase in parts[-1]["phases"]:
        told["phases"][phase] = {clock: spread([one["phases"][phase][clock] for one in parts]) for clock in CLOCKS}
    return told


def graphs(rounds: int, export: Path) -> dict[str, Any]:
    """Every layout in every size, in turn."""
    taken: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for _ in range(rounds):
        for layout in policies_graph.LAYOUTS:
            for size in SIZES:
                taken.setdefault((layout, size), []).append(_graph(export, layout, size))
    told: dict[str, Any] = {}
    for layout in policies_graph.LAYOUTS:
        sizes = {str(size): _of_graph(taken[layout, size]) for size in SIZES}
        told[layout] = {
            "sizes": sizes,
            "growth": {part: _exponent(sizes, part) for part in ("resource rules", "stack rules", "together")},
            "slowest_rules": _graph(export, layout, JUDGED_SIZE, "--by-rule")["slowest_rules"],
        }
        judged = sizes[str(JUDGED_SIZE)]
        judged["seconds"]["together"]["at_most"] = MOST["graph_seconds"]
        judged["peak_mib"]["at_most"] = MOST["graph_mib"]
    return told


def _graph(export: Path, layout: str, size: int, *more: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.policies_graph", str(export), str(size), "--layout", layout, *more]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def _of_graph(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    by_clock = {
        clock: {part: spread([one[clock][part] for one in runs]) for part in runs[0][clock]} for clock in CLOCKS
    }
    return {**by_clock, "peak_mib": spread([one["peak_mib"] for one in runs]), "findings": runs[-1]["findings"]}


def _exponent(sizes: Mapping[str, Any], part: str) -> float:
    """Of the processor's seconds over the number of resources: 1 is linear, 2 each with each."""
    numbers = [math.log(int(size)) for size in sizes]
    seconds = [math.log(one["processor_seconds"][part]["median"]) for one in sizes.values()]
    return round(statistics.linear_regression(numbers, seconds).slope, 2)


def show(result: Mapping[str, Any]) -> None:
    console = Console()
    for standing, clocks in result.get("preview", {}).items():
        table = Table(title=f"preview of {ENVIRONMENT}, {standing}: median of pairs")
        for column in ("preview", "seconds", "spread", "processor seconds"):
            table.add_column(column, justify="left" if column == "preview" else "right")
        for what in ("without", "with", "pack"):
            wall, busy = clocks["seconds"][what], clocks["processor_seconds"][what]
            name = "the pack alone" if what == "pack" else f"{what} the pack"
            table.add_row(name, *_cells(wall), f"{busy['median']:.2f}")
        console.print(table)
        pack = clocks["seconds"]["pack"] | {"at_most": MOST["preview_seconds"]}
        console.print(verdict(f"what the pack adds where {standing}, s", pack))
    if reviewed := result.get("review"):
        table = Table(title=f"review of {ENVIRONMENT} with {CHANGE}")
        for column in ("phase", "seconds", "spread", "processor seconds"):
            table.add_column(column, justify="left" if column == "phase" else "right")
        for phase, clocks in reviewed["phases"].items():
            table.add_row(phase, *_cells(clocks["seconds"]), f"{clocks['processor_seconds']['median']:.1f}")
        console.print(table)
        console.print(verdict("the whole review, s", reviewed["seconds"]))
    for layout, told in result.get("graphs", {}).items():
        _show_graphs(console, layout, told)


def _show_graphs(console: Console, layout: str, told: Mapping[str, Any]) -> None:
    table = Table(title=f"the pack over ever more {layout}")
    for column in (
        "resources",
        "seconds",
        "spread",
        "processor s: resource rules",
        "stack rules",
        "peak MiB",
        "findings",
    ):
        table.add_column(column, justify="right")
    for size, one in told["sizes"].items():
        busy = one["processor_seconds"]
        parts = [f"{busy[part]['median']:.2f}" for part in ("resource rules", "stack rules")]
        peak = f"{one['peak_mib']['median']:.0f}"
        table.add_row(size, *_cells(one["seconds"]["together"]), *parts, peak, str(one["findings"]))
    growth = told["growth"]
    table.add_row(
        "growth", f"{growth['together']}", "", f"{growth['resource rules']}", f"{growth['stack rules']}", "", ""
    )
    console.print(table)
    judged = told["sizes"][str(JUDGED_SIZE)]
    console.print(verdict(f"over {JUDGED_SIZE:,} resources, s", judged["seconds"]["together"]))
    console.print(verdict(f"over {JUDGED_SIZE:,} resources, MiB", judged["peak_mib"]))
    linear = spread([growth["resource rules"]]) | {"at_most": MOST["growth"]}
    console.print(verdict("growth of resource rules, exponent", linear))
    slowest = ", ".join(f"{rule} {seconds:.2f}" for rule, seconds in told["slowest_rules"].items())
    console.print(f"slowest rules over {JUDGED_SIZE:,}, processor seconds: {slowest}")


def _cells(figure: Spread) -> tuple[str, str]:
    return f"{figure['median']:.2f}", f"{figure['min']:.2f}–{figure['max']:.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=5, help="of previews; default %(default)s")
    parser.add_argument("--rounds", type=int, default=3, help="of reviews and graphs; default %(default)s")
    parser.add_argument("--only", choices=PARTS, action="append", help="this part alone; may be given again")
    parser.add_argument(
        "--export", type=Path, help="for the graphs, an exported state; without, a platform is brought up"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result there too")
    arguments = parser.parse_args()
    asked = arguments.only or PARTS
    toolchain.find("pulumi")
    result: dict[str, Any] = {"machine": machine()}
    export = arguments.export or work_folder() / f"{ENVIRONMENT}.export.json"
    if "preview" in asked or ("graphs" in asked and not export.is_file()):
        result["preview"] = previews(arguments.pairs if "preview" in asked else 0, export)
    if "graphs" in asked:
        result["graphs"] = graphs(arguments.rounds, export)
    if "review" in asked:
        result["review"] = review(arguments.rounds)
    show(result)
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
