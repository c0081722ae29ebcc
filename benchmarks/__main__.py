"""`make bench`: every benchmark in turn, each printing its table; their JSON goes to .trainyard/bench/."""

from __future__ import annotations

import subprocess
import sys

from trainyard.local.paths import RUNS

BENCHMARKS = (
    "rehearsal",
    "demo",
    "trainer_throughput",
    "checkpoints",
    "object_storage",
    "spot_simulator",
    "policies",
    "checkov",
)


def main() -> int:
    folder = RUNS / "bench"
    folder.mkdir(parents=True, exist_ok=True)
    failed = []
    for name in BENCHMARKS:
        print(f"==> {name}", flush=True)
        command = [sys.executable, "-m", f"benchmarks.{name}", "--json", str(folder / f"{name}.json")]
        if subprocess.run(command, check=False).returncode != 0:
            failed.append(name)
    print(f"JSON: {folder}")
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
