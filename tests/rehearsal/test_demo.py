"""The demo, whole: what a new user has after `make demo`."""

from __future__ import annotations

import json
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from importlib import resources

import psutil
import yaml

DEMO = """
import sys
from pathlib import Path
from trainyard.local import paths
paths.RUNS = Path(sys.argv[1])
from trainyard.cli import demo
demo.RECIPE = sys.argv[2]
demo.INTERRUPT_AT = 0.1  # most of the steps are left for the warning to arrive in
demo.demo()
"""
STEPS = 70
"""Of the recipe's 200: enough to learn, to be interrupted and to go on."""


def test_a_trained_model_survives_a_spot_interruption(tmp_path):
    recipe = yaml.safe_load((resources.files("trainer") / "recipes/cpu-tiny.yaml").read_text())
    recipe["training"]["steps"] = STEPS
    (tmp_path / "short.yaml").write_text(yaml.safe_dump(recipe))
    command = [sys.executable, "-c", DEMO, str(tmp_path), str(tmp_path / "short.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=1500)
    assert done.returncode == 0, done.stderr[-3000:]
    summary = json.loads((tmp_path / "demo" / "summary.json").read_text())
    assert summary["resources"] >= 60
    assert summary["policies_checked"] >= 20
    assert summary["policy_violations"] == 0
    assert summary["ranks"] == 2
    assert 0 < summary["interrupted_at_step"] == summary["resumed_at_step"] < summary["steps"] == STEPS
    assert summary["loss_last"] < summary["loss_first"] - 2
    assert summary["checkpoints"] >= 1
    assert summary["tokens_per_second"] > 0
    assert summary["seconds"] > 0

    lines = [json.loads(line) for line in (tmp_path / "demo/run/metrics.jsonl").read_text().splitlines()]
    steps = [line["step"] for line in lines if "event" not in line]
    assert steps == list(range(1, summary["steps"] + 1)), "a step is missing, doubled or out of order"
    warned = next(line for line in lines if line.get("event") == "interrupted")
    assert "spot interruption of i-0de30000000000001" in warned["reason"]

    assert (tmp_path / "demo/loss.png").read_bytes().startswith(b"\x89PNG")
    drawn = ElementTree.parse(tmp_path / "demo/architecture.svg").getroot()
    assert "".join(drawn.itertext()).count("S3 bucket") >= 4
    assert "Try next:" in done.stderr

    left = [one.pid for one in psutil.process_iter(["cmdline"]) if str(tmp_path) in " ".join(one.info["cmdline"] or [])]
    assert left == []
