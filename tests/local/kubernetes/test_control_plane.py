"""The control plane checks, stores and reconciles as a cluster does, and ends without a trace."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
from waiting import WAIT_SECONDS, wait_until

from trainyard.local import supervisor, toolchain
from trainyard.local.process import is_running

WAIT = f"--timeout={WAIT_SECONDS:.0f}s"
RESIDENT_GIB = 1.5
"""What the services of one rehearsal may take together."""

START = """
import pathlib, sys
from trainyard.local import supervisor
directory = pathlib.Path(sys.argv[1])
running, _ = supervisor.start(directory, owned=False, kubernetes=True)
print(len(running.services), running.kubernetes)
supervisor.stop(directory)
"""


def _kubectl(kubeconfig: Path, *arguments: str, content: Any = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [toolchain.find("kubernetes", binary="kubectl"), "--kubeconfig", kubeconfig, *arguments],
        input=json.dumps(content) if content is not None else None,
        capture_output=True,
        text=True,
        check=False,
    )


def _pod(**container: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "shell"},
        "spec": {"containers": [{"name": "shell", "image": "example.test/shell:1", **container}]},
    }


def test_the_api_server_says_the_pinned_version(administrator_kubeconfig):
    said = json.loads(_kubectl(administrator_kubeconfig, "version", "--output", "json").stdout)
    pinned = toolchain.Tool.load("kubernetes").version
    assert said["serverVersion"]["gitVersion"] == pinned
    assert pinned.startswith(f"v{said['serverVersion']['major']}.{said['serverVersion']['minor']}.")


def test_controllers_give_a_namespace_its_service_account_and_empty_it_when_it_goes(administrator_kubeconfig):
    assert _kubectl(administrator_kubeconfig, "create", "namespace", "brief").returncode == 0
    found = _kubectl(administrator_kubeconfig, "wait", "--for=create", "serviceaccount/default", "-n", "brief", WAIT)
    assert found.returncode == 0, found.stderr
    gone = _kubectl(administrator_kubeconfig, "delete", "namespace", "brief", WAIT)
    assert gone.returncode == 0, gone.stderr


def test_pod_security_is_enforced_where_a_namespace_asks_for_it(administrator_kubeconfig):
    _kubectl(administrator_kubeconfig, "create", "namespace", "guarded")
    label = "pod-security.kubernetes.io/enforce=baseline"
    _kubectl(administrator_kubeconfig, "label", "namespace", "guarded", label)
    _kubectl(administrator_kubeconfig, "wait", "--for=create", "serviceaccount/default", "-n", "guarded", WAIT)
    privileged = _pod(securityContext={"privileged": True})
    refused = _kubectl(administrator_kubeconfig, "create", "-n", "guarded", "-f", "-", content=privileged)
    assert 'violates PodSecurity "baseline' in refused.stderr
    assert _kubectl(administrator_kubeconfig, "create", "-n", "guarded", "-f", "-", content=_pod()).returncode == 0


def test_every_process_is_listed_with_its_log_and_they_are_modest(services):
    _, running = services
    names = [one.name for one in running.services]
    assert names == ["aws", "etcd", "kube-apiserver", "kube-controller-manager"]
    assert all(Path(one.log).is_file() for one in running.services)
    resident = sum(psutil.Process(one.pid).memory_info().rss for one in running.services)
    assert resident < RESIDENT_GIB * 2**30


def test_it_starts_in_a_network_namespace_without_any_interface(tmp_path):
    isolated = ["unshare", "--net", "--map-root-user"]
    if not shutil.which("unshare") or subprocess.run([*isolated, "true"], check=False).returncode:
        pytest.skip("may not make a network namespace")
    command = [*isolated, sys.executable, "-c", START, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=WAIT_SECONDS)
    assert done.stdout.startswith("4 https://127.0.0.1:"), done.stderr


@pytest.mark.parametrize("killed", ["supervisor", "etcd", "kube-apiserver", "kube-controller-manager"])
def test_when_one_process_is_killed_all_end_and_the_next_start_is_empty(tmp_path, killed):
    running, _ = supervisor.start(tmp_path, owned=False, kubernetes=True)
    every = {one.name: one.pid for one in (running.supervisor, *running.services)}
    kubeconfig = supervisor.kubeconfig_of(tmp_path)
    assert _kubectl(kubeconfig, "create", "namespace", "before").returncode == 0
    os.kill(every[killed], signal.SIGKILL)
    wait_until(lambda: not any(is_running(pid) for pid in every.values()))
    assert supervisor.running(tmp_path) is None
    if killed != "supervisor":
        assert f"{killed} ended with status -9" in (tmp_path / "logs" / "supervisor.log").read_text()
        return
    try:
        supervisor.start(tmp_path, owned=False, kubernetes=True)
        assert "before" not in _kubectl(kubeconfig, "get", "namespaces").stdout
    finally:
        supervisor.stop(tmp_path)
