"""`trainyard preview` as a reviewer or a pipeline runs it: offline, every environment, and its four exit statuses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import psutil
import pytest
from waiting import wait_until

from trainyard.local.paths import ROOT

ENVIRONMENTS = sorted(
    file.stem.removeprefix("Pulumi.") for file in (ROOT / "stacks" / "environments").glob("Pulumi.*.yaml")
)
COMMAND = [sys.executable, "-m", "trainyard.cli.main", "preview"]
_ALONE = ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "--map-root-user", "--net"]
_MAY_BE_ALONE = subprocess.run([*_ALONE, "true"], capture_output=True, check=False).returncode == 0


def _preview(
    *arguments: str, alone: bool = False, settings: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*(_ALONE if alone else []), *COMMAND, *arguments, "--json"],
        env={**os.environ, **(settings or {})},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def users_environment(tmp_path) -> dict[str, str]:
    """What leads to real accounts and clusters, or off this machine, where somebody works with both."""
    called = tmp_path / "called"
    for name in ("pulumi-resource-aws", "pulumi-resource-kubernetes", "pulumi-language-python"):
        (tmp_path / name).write_text(f'#!/bin/sh\necho {name} >> "{called}"\nexit 1\n')
        (tmp_path / name).chmod(0o755)
    nobody = "http://127.0.0.1:9"
    return {
        "AWS_PROFILE": "production",
        "AWS_CONFIG_FILE": str(tmp_path / "called"),
        "AWS_ENDPOINT_URL_S3": nobody,
        "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true",
        "AWS_USE_FIPS_ENDPOINT": "true",
        "PULUMI_BACKEND_URL": "s3://state-of-production",
        "PULUMI_CONFIG_PASSPHRASE_FILE": "/nowhere",
        "PULUMI_HOME": "/nowhere",
        "KUBECONFIG": "/nowhere",
        "ETCD_CLIENT_CERT_AUTH": "true",
        "MOTO_ACCOUNT_ID": "999999999999",
        **dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy"), nobody),
        "LC_ALL": "C",
        "PYTHONUTF8": "0",
        "PYTHONCOERCECLOCALE": "0",
        "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}",
        "CALLED": str(called),
    }


def test_there_are_five_environments():
    assert ENVIRONMENTS == ["dev", "local", "prod-uae", "prod-us", "research"]


@pytest.mark.skipif(not _MAY_BE_ALONE, reason="this user may not make a network namespace")
@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_an_environment_is_clean_without_network_and_whatever_the_user_has_set(environment, users_environment):
    done = _preview(environment, alone=True, settings=users_environment)
    assert done.returncode == 0, done.stderr
    assert not Path(users_environment["CALLED"]).exists()
    report = json.loads(done.stdout)
    assert (report["environment"], report["status"]) == (environment, "clean")
    assert [one for one in report["policies"] if one["level"] == "mandatory"] == []
    kinds = {one["type"] for one in report["resources"]}
    assert {"aws:eks/cluster:Cluster", "aws:eks/nodeGroup:NodeGroup", "kubernetes:core/v1:Namespace"} <= kinds
    assert len(report["resources"]) > 150
    cluster = next(one for one in report["resources"] if one["type"] == "aws:eks/cluster:Cluster")
    assert set(cluster) == {"urn", "type", "name", "parent", "inputs"}
    assert cluster["inputs"]["roleArn"].startswith("arn:aws:iam::123456789012:role/trainyard-")


def test_an_environment_for_government_data_is_clean_because_its_class_locks_it_and_a_split_one_is_judged_whole():
    """The strictest class; tests/stacks/test_data_classes.py has the others, without an engine."""
    done = _preview("prod-us", "--set=data_class=government", "--set=jurisdiction=US", "--set=layers=true")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["status"] == "clean"
    assert [one for one in report["policies"] if one["level"] == "mandatory"] == []
    stacks = {one["urn"].split(":")[2] for one in report["resources"]}
    assert stacks == {"prod-us-data", "prod-us-cluster", "prod-us-workloads"}
    made = {one["type"].rpartition(":")[2]: one["inputs"] for one in report["resources"]}
    assert made["VaultLockConfiguration"]["minRetentionDays"] == 30
    rules = [
        one["inputs"].get("rule") for one in report["resources"] if one["type"].endswith("ObjectLockConfiguration")
    ]
    assert sorted(rules, key=str) == [None, *[{"defaultRetention": {"mode": "GOVERNANCE", "days": 30}}] * 2]


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


def _marked(mark: str) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("MARK") == mark and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue
    return found


def test_a_killed_preview_leaves_no_process_and_the_next_run_no_folder(tmp_path):
    settings = {**os.environ, "TMPDIR": str(tmp_path), "MARK": str(tmp_path)}
    killed = subprocess.Popen([*COMMAND, "dev"], env=settings, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_until(lambda: list(tmp_path.glob("*/rehearsal/services.json")))
    assert len(_marked(str(tmp_path))) > 4
    killed.kill()
    killed.wait()
    wait_until(lambda: not _marked(str(tmp_path)))
    (left,) = tmp_path.iterdir()

    # The next run begins by clearing; that it cannot go on is the quickest way to its end.
    done = subprocess.run(
        [*COMMAND, "dev"],
        env={**settings, "PATH": f"{_silent_engine(tmp_path / 'bin')}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3
    assert "made no stack" in done.stderr
    assert not left.exists()
    assert [one.name for one in tmp_path.iterdir()] == ["bin"]


def _silent_engine(folder: Path) -> Path:
    """A folder with a `pulumi` that is new enough, and does nothing."""
    folder.mkdir()
    (folder / "pulumi").write_text('#!/bin/sh\n[ "$1" = version ] && echo v3.299.0\nexit 0\n')
    (folder / "pulumi").chmod(0o755)
    return folder
