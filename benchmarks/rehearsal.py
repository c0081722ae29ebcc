"""How long the rehearsal takes, and how much memory: `up` of the `local` environment into a new account, a preview that
changes nothing, `destroy`, and the resolved gate of `prod-us`.

Each round begins with no account and no state; what is timed is the engine with the policy pack, as `trainyard local
up` runs it, services started before. `services_seconds` is the start of the emulated account and the API server,
`services_mib` what they hold resident after `up`. The gate is timed whole, with the start of its services.

    python -m benchmarks.rehearsal --json rehearsal.json
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table

from trainyard.cli import environments
from trainyard.local import gate, toolchain
from trainyard.local.paths import require_checkout
from trainyard.local.rehearsal import Rehearsal, count_resources

BUDGET_SECONDS = {"up": 90.0, "preview": 20.0, "destroy": 60.0, "gate": 90.0}
BUDGET_MIB = 1536
FEWEST_RESOURCES = 120
GATED = "prod-us"


def measure(rounds: int) -> dict[str, Any]:
    """Seconds of each round; raises EngineError where a round fails or a preview wants to change something."""
    toolchain.find("pulumi")
    taken: dict[str, list[float]] = {"services": [], "up": [], "preview": [], "destroy": [], "gate": []}
    resources, resident = 0, []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory(prefix="trainyard-bench-") as folder:
            rehearsal = Rehearsal("local", Path(folder))
            began = time.monotonic()
            with rehearsal:
                taken["services"].append(time.monotonic() - began)
                taken["up"].append(rehearsal.up().seconds)
                resources = count_resources(rehearsal.export())
                resident.append(_resident_mib(rehearsal))
                preview = rehearsal.engine().run("preview", policy_pack=rehearsal.policy_pack)
                if set(preview.changes) != {"same"}:
                    raise RuntimeError(f"the preview after up is not empty: {preview.changes}")
                taken["preview"].append(preview.seconds)
                taken["destroy"].append(rehearsal.destroy().seconds)
        began = time.monotonic()
        _gate()
        taken["gate"].append(time.monotonic() - began)
    figures = {f"{what}_seconds": round(statistics.median(seconds), 2) for what, seconds in taken.items()}
    spread = {f"{what}_seconds": [round(min(seconds), 2), round(max(seconds), 2)] for what, seconds in taken.items()}
    return {
        "rounds": rounds,
        "resources": resources,
        "services_mib": round(max(resident)),
        **figures,
        "spread": spread,
        "budget_seconds": BUDGET_SECONDS,
        "budget_mib": BUDGET_MIB,
    }


def _resident_mib(rehearsal: Rehearsal) -> float:
    """What all processes of the rehearsal hold resident, shared pages counted in each."""
    return sum(psutil.Process(one["pid"]).memory_info().rss for one in rehearsal.status().processes) / 2**20


def _gate() -> None:
    file = environments.environment_file(GATED, require_checkout())
    report = gate.judge(GATED, *environments.read(GATED, file))
    if report.status is not gate.Status.CLEAN:
        raise RuntimeError(f"the gate of {GATED} says {report.status}: {report.error}")


def show(result: dict[str, Any]) -> None:
    shown = Table(title=f"rehearsal of local, {result['resources']} resources, median of {result['rounds']}")
    for column in ("what", "seconds", "spread", "budget"):
        shown.add_column(column, justify="left" if column == "what" else "right")
    for what in ("services", "up", "preview", "destroy", "gate"):
        low, high = result["spread"][f"{what}_seconds"]
        budget = BUDGET_SECONDS.get(what)
        shown.add_row(
            what, f"{result[f'{what}_seconds']:.1f}", f"{low:.1f}–{high:.1f}", f"≤ {budget:.0f}" if budget else ""
        )
    mib = f"{result['services_mib']} MiB"
    shown.add_row("services, resident", mib, "", f"≤ {BUDGET_MIB} MiB")
    shown.add_row("resources", str(result["resources"]), "", f"≥ {FEWEST_RESOURCES}")
    Console().print(shown)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="default %(default)s")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result there too")
    arguments = parser.parse_args()
    result = measure(arguments.rounds)
    show(result)
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
