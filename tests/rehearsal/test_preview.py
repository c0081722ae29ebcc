"""`trainyard preview` as a reviewer or a pipeline runs it: offline, every environment, and its four exit statuses."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from trainyard.local.paths import ROOT

ENVIRONMENTS = sorted(
    file.stem.removeprefix("Pulumi.") for file in (ROOT / "stacks" / "environments").glob("Pulumi.*.yaml")
)
_ALONE = ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "--map-root-user", "--net"]
_MAY_BE_ALONE = subprocess.run([*_ALONE, "true"], capture_output=True, check=False).returncode == 0


def _preview(*arguments: str, alone: bool = False) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "trainyard.cli.main", "preview", *arguments, "--json"]
    return subprocess.run([*(_ALONE if alone else []), *command], capture_output=True, text=True, check=False)


def test_there_are_five_environments():
    assert ENVIRONMENTS == ["dev", "local", "prod-uae", "prod-us", "research"]


@pytest.mark.skipif(not _MAY_BE_ALONE, reason="this user may not make a network namespace")
@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_an_environment_is_clean_without_network_and_credentials(environment):
    done = _preview(environment, alone=True)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["environment"], report["status"]) == (environment, "clean")
    assert [one for one in report["policies"] if one["level"] == "mandatory"] == []
    kinds = {one["type"] for one in report["resources"]}
    assert {"aws:eks/cluster:Cluster", "aws:eks/nodeGroup:NodeGroup", "kubernetes:core/v1:Namespace"} <= kinds
    assert len(report["resources"]) > 150
    cluster = next(one for one in report["resources"] if one["type"] == "aws:eks/cluster:Cluster")
    assert set(cluster) == {"urn", "type", "name", "parent", "inputs"}
    assert cluster["inputs"]["roleArn"].startswith("arn:aws:iam::123456789012:role/trainyard-")


def test_every_finding_is_told_and_not_only_the_first():
    elsewhere = "[us-east-2a, us-east-2b]"
    done = _preview(
        "dev",
        "--set=region=us-east-2",
        f"--set=availability_zones={elsewhere}",
        f"--set=gpu_groups[0].zones={elsewhere}",
    )
    assert done.returncode == 1, done.stderr
    report = json.loads(done.stdout)
    assert (report["status"], report["region"]) == ("violations", "us-east-2")
    found = {(one["policy"], one["level"]) for one in report["policies"]}
    assert ("residency-provider-region", "mandatory") in found
    assert ("residency-resource-region", "mandatory") in found
    assert any(one["type"] == "aws:eks/cluster:Cluster" for one in report["resources"]), "it went on to the end"


def test_wrong_settings_are_told_before_anything_is_started():
    done = _preview("prod-uae", "--set=gpu_groups[0].instance_type=p5.48xlarge")
    assert done.returncode == 2
    assert json.loads(done.stdout)["status"] == "bad settings"
    assert "p5en.48xlarge" in done.stderr
    assert "g6" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_failing_engine_is_no_clean_environment():
    nowhere = "[us-east-1a, us-east-1x]"
    done = _preview("dev", f"--set=availability_zones={nowhere}", "--set=gpu_groups[0].zones=[us-east-1a]")
    assert done.returncode == 3, done.stdout[-2000:]
    assert json.loads(done.stdout)["status"] == "failed"
    assert "us-east-1x" in done.stderr


def test_a_split_environment_is_judged_whole():
    done = _preview("dev", "--set=layers=true", "--set=owner=team")
    assert done.returncode == 0, done.stderr
    stacks = {one["urn"].split(":")[2] for one in json.loads(done.stdout)["resources"]}
    assert stacks == {"dev-data", "dev-cluster", "dev-workloads"}
