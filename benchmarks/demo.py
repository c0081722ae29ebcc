"""How long the demo takes on a machine that has its tools and packages, and how much of that each part is.

python -m benchmarks.demo --json demo.json
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from trainyard.local.paths import ROOT, RUNS

BUDGET_SECONDS = 300


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result there too")
    arguments = parser.parse_args()
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-m", "trainyard.cli.main", "demo"], cwd=ROOT, check=False)
    if done.returncode != 0:
        return done.returncode
    summary = json.loads((RUNS / "demo" / "summary.json").read_text())
    result = {**summary, "command_seconds": round(time.monotonic() - began, 1), "budget_seconds": BUDGET_SECONDS}
    shown = Table(title="demo, warm")
    shown.add_column("what")
    shown.add_column("figure", justify="right")
    for name in ("command_seconds", "budget_seconds", "tokens_per_second", "steps", "resources"):
        shown.add_row(name.replace("_", " "), f"{result[name]:,}")
    Console().print(shown)
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
