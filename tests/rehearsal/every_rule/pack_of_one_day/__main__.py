"""Serves the repository's pack, on the day of the cases."""

import runpy
from datetime import date
from pathlib import Path

from trainyard.policies.rules import cluster_versions

cluster_versions.today = lambda: date(2026, 11, 21)
runpy.run_path(str(Path(__file__).resolve().parents[4] / "policies" / "__main__.py"), run_name="__main__")
