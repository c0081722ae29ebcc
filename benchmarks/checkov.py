"""The pack beside Checkov, over the same Terraform plan: what a whole run takes, what each looks at and finds.

The plan is written from the exported state of `prod-us` that `benchmarks.policies` leaves, so it is all that a
rehearsed platform has, every value known. Both read it as a user would have them, `trainyard policies check` and
`checkov` (its own environment, offline), one after the other in pairs. Controls of both are the checks of Checkov that
our rules cite, where they are about types that the plan has; what only Checkov has must be explained in
peers/checkov_only.yaml.

    python -m benchmarks.checkov --json checkov.json
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table

from benchmarks.figures import machine, spread, work_folder
from benchmarks.peers.environment import checkov_python
from benchmarks.policies import ENVIRONMENT
from trainyard.policies.registry import RULES
from trainyard.policies.rule import Scope, evaluate
from trainyard.policies.state import graph_of
from trainyard.policies.terraform.plan import graph_of_plan
from trainyard.policies.terraform.writer import write_plan

EXPLAINED = Path(__file__).with_name("peers") / "checkov_only.yaml"
REGISTRY = Path(__file__).with_name("peers") / "checkov_checks.py"
KINDS = ("covered", "not here", "against", "lacking")


def write(export: Path, plan: Path) -> None:
    """The plan of an exported state. Exits where a resource of the state has no equal in Terraform."""
    state = json.loads(export.read_text(encoding="utf-8"))
    written = write_plan(graph_of(state, "inputs"), graph_of(state))
    if written.left_out:
        sys.exit(f"not in the plan: {', '.join(sorted({one.type for one in written.left_out}))}")
    plan.write_text(json.dumps(written.document), encoding="utf-8")


def measure(plan: Path, rounds: int) -> dict[str, Any]:
    checkov = checkov_python()
    ours = [sys.executable, "-m", "trainyard.cli.main", "policies", "check", str(plan)]
    ours += ["--environment", ENVIRONMENT, "--format", "json"]
    theirs = [checkov, "-m", "checkov.main", "--file", str(plan), "--framework", "terraform_plan"]
    theirs += ["--skip-download", "--output", "json"]
    times: dict[str, list[tuple[float, float]]] = {"ours": [], "checkov": []}
    said: dict[str, Any] = {}
    for _ in range(rounds):
        for name, command in (("ours", ours), ("checkov", theirs)):
            seconds, processor_seconds, said[name] = _run(command)
            times[name].append((seconds, processor_seconds))
    checks = json.loads(
        subprocess.run([checkov, str(REGISTRY)], check=True, capture_output=True, env=_offline()).stdout
    )
    return {
        "resources": len(json.loads(plan.read_text())["resource_changes"]),
        "ours": _seconds(times["ours"]) | _of_ours(plan, said["ours"]),
        "checkov": _seconds(times["checkov"]) | _of_checkov(said["checkov"]),
        "controls": controls(plan, checks),
    }


def _run(command: Sequence[str]) -> tuple[float, float, Any]:
    """Seconds by the clock and of the processor, and what was printed. Findings make the exit status 1 or 3."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=_offline())
    seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode not in (0, 1, 3):
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return seconds, used, json.loads(done.stdout)


def _offline() -> dict[str, str]:
    """Checkov asks its maker's service for nothing: there is no key to name, and no proxy to go by."""
    dropped = ("BC_", "PRISMA_", "CKV_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
    return kept | {"CHECKOV_RUN_SCA_PACKAGE_SCAN_V2": "false", "LOG_LEVEL": "ERROR"}


def _seconds(times: Sequence[tuple[float, float]]) -> dict[str, Any]:
    return {"seconds": spread([one for one, _ in times]), "processor_seconds": spread([one for _, one in times])}


def _of_ours(plan: Path, said: Mapping[str, Any]) -> dict[str, Any]:
    document = json.loads(plan.read_text(encoding="utf-8"))
    inputs, outputs = graph_of_plan(document, ENVIRONMENT, "inputs"), graph_of_plan(document, ENVIRONMENT, "outputs")
    results = chain(
        evaluate([rule for rule in RULES if rule.scope is Scope.RESOURCE], inputs),
        evaluate([rule for rule in RULES if rule.scope is Scope.STACK], outputs),
    )
    judged = [result.rule.id for result in results]
    found = Counter(finding["rule"] for finding in said["findings"])
    return {"rules": len(set(judged)), "evaluations": len(judged), "findings": found.total(), "by_rule": dict(found)}


def _of_checkov(said: Mapping[str, Any]) -> dict[str, Any]:
    results = said["results"]
    judged = [*results["passed_checks"], *results["failed_checks"]]
    failed = Counter(f"{one['check_id']} {one['check_name']}" for one in results["failed_checks"])
    return {
        "version": said["summary"]["checkov_version"],
        "rules": len({one["check_id"] for one in judged}),
        "evaluations": len(judged),
        "findings": failed.total(),
        "by_rule": dict(sorted(failed.items())),
    }


def controls(plan: Path, checks: Mapping[str, Any]) -> dict[str, Any]:
    """Which of Checkov's checks are about the types of the plan, and what our rules say to each."""
    types = {one["type"] for one in json.loads(plan.read_text(encoding="utf-8"))["resource_changes"]}
    apply = {check for check, row in checks.items() if types & set(row["types"])}
    cited = {check for rule in RULES for check in rule.controls.get("Checkov", ())}
    explained = yaml.safe_load(EXPLAINED.read_text(encoding="utf-8"))
    only = sorted(apply - cited)
    sorts = {kind: [check for check in only if kind in explained.get(check, {})] for kind in KINDS}
    return {
        "checkov_all": len(checks),
        "checkov_about_these_types": len(apply),
        "both": len(apply & cited),
        "cited_in_all": len(cited),
        "only_checkov": {check: checks[check]["name"] for check in only},
        **{kind.replace(" ", "_"): found for kind, found in sorts.items()},
        "not_explained": [check for check in only if check not in explained],
        "explained_in_vain": sorted(set(explained) - set(checks) | set(explained) & cited),
        "rules_without_one": sum(not rule.controls.get("Checkov") for rule in RULES),
    }


def show(result: Mapping[str, Any]) -> None:
    console = Console()
    table = Table(title=f"{result['resources']} resources of {ENVIRONMENT}, as a Terraform plan")
    for heading in ("", "seconds", "processor seconds", "rules that apply", "evaluations", "findings"):
        table.add_column(heading, justify="left" if not heading else "right")
    for name in ("ours", "checkov"):
        row = result[name]
        title = "policies" if name == "ours" else f"Checkov {row['version']}"
        clocks = [f"{row[clock]['median']:.1f}" for clock in ("seconds", "processor_seconds")]
        table.add_row(title, *clocks, *(f"{row[key]:,}" for key in ("rules", "evaluations", "findings")))
    console.print(table)
    of = result["controls"]
    console.print(
        f"checks of Checkov about these types: {of['checkov_about_these_types']} (of {of['checkov_all']:,}); "
        f"both have {of['both']}; only Checkov {len(of['only_checkov'])}: "
        + ", ".join(f"{kind} {len(of[kind.replace(' ', '_')])}" for kind in KINDS)
        + f"; rules of ours that Checkov has nothing for: {of['rules_without_one']} of {len(RULES)}"
    )
    for kind in (*KINDS, "not explained"):
        for check in of[kind.replace(" ", "_")]:
            console.print(f"  {kind}: {check} {of['only_checkov'][check]}")
    if of["explained_in_vain"]:
        console.print(f"  explained, but cited or gone: {', '.join(of['explained_in_vain'])}")
    for name in ("ours", "checkov"):
        for rule, number in result[name]["by_rule"].items():
            console.print(f"  {name} finds {number}: {rule}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="default %(default)s")
    parser.add_argument("--export", type=Path, help="an exported state; default: what benchmarks.policies left")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result there too")
    arguments = parser.parse_args()
    export = arguments.export or work_folder() / f"{ENVIRONMENT}.export.json"
    if not export.is_file():
        sys.exit(
            f"{export} is not there: python -m benchmarks.policies --only preview leaves it, or give --export FILE"
        )
    plan = work_folder() / f"{ENVIRONMENT}.plan.json"
    write(export, plan)
    result = {"machine": machine()} | measure(plan, arguments.rounds)
    show(result)
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")
    if result["controls"]["not_explained"]:
        sys.exit("checks that only Checkov has are not explained in benchmarks/peers/checkov_only.yaml")


if __name__ == "__main__":
    main()
