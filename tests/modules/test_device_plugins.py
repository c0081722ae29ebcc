"""The plugins run wherever their devices are, with the one thing they need of the node and nothing else."""

from __future__ import annotations

from typing import Any

import pytest
from mocked_pulumi import Deployment, Registered, run

from trainyard.modules.device_plugins import DevicePlugins, DevicePluginsArgs
from trainyard.modules.gpu_group import GPU_TAINT, RETIRING_TAINT
from trainyard.modules.instance_types import INSTANCE_TYPES

ARGS = DevicePluginsArgs(nvidia_image="registry.test/nvidia:1", efa_image="registry.test/efa:1")


@pytest.fixture(scope="module")
def deployment() -> Deployment:
    return run(lambda: DevicePlugins("yard", ARGS))


def _plugin(deployment: Deployment, what: str) -> Registered:
    return deployment.one("kubernetes:apps/v1:DaemonSet", f"yard-{what}")


def _pod(deployment: Deployment, what: str) -> Any:
    return _plugin(deployment, what).inputs["spec"]["template"]["spec"]


def _types(pod: Any) -> set[str]:
    required = pod["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    ((expression,),) = (term["matchExpressions"] for term in required["nodeSelectorTerms"])
    assert (expression["key"], expression["operator"]) == ("node.kubernetes.io/instance-type", "In")
    return set(expression["values"])


def test_each_plugin_runs_on_the_types_that_have_its_devices(deployment: Deployment) -> None:
    assert _types(_pod(deployment, "nvidia")) == {kind.name for kind in INSTANCE_TYPES.values() if kind.gpus}
    assert _types(_pod(deployment, "efa")) == {kind.name for kind in INSTANCE_TYPES.values() if kind.efa_interfaces}


@pytest.mark.parametrize("what", ["nvidia", "efa"])
def test_no_taint_of_a_gpu_group_keeps_a_plugin_away(deployment: Deployment, what: str) -> None:
    tolerated = {one["key"] for one in _pod(deployment, what)["tolerations"] if one["operator"] == "Exists"}
    assert {GPU_TAINT[0], RETIRING_TAINT[0]} <= tolerated


@pytest.mark.parametrize(
    ("what", "folders"),
    [
        ("nvidia", {"/var/lib/kubelet/device-plugins"}),
        ("efa", {"/var/lib/kubelet/device-plugins", "/dev/infiniband"}),
    ],
)
def test_a_plugin_has_the_folders_it_needs_and_no_power(deployment: Deployment, what: str, folders: set[str]) -> None:
    pod = _pod(deployment, what)
    (container,) = pod["containers"]
    assert {volume["hostPath"]["path"] for volume in pod["volumes"]} == folders
    assert {mount["mountPath"] for mount in container["volumeMounts"]} == folders
    security = container["securityContext"]
    assert "privileged" not in security
    assert security["allowPrivilegeEscalation"] is False
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    assert security["readOnlyRootFilesystem"] is True
    assert set(container["resources"]["limits"]) == {"cpu", "memory"}
    assert pod["automountServiceAccountToken"] is False


def test_only_the_namespace_of_the_plugins_is_privileged_and_it_talks_to_nobody(deployment: Deployment) -> None:
    namespace = deployment.one("kubernetes:core/v1:Namespace").inputs["metadata"]
    assert namespace["labels"]["pod-security.kubernetes.io/enforce"] == "privileged"
    for what in ("nvidia", "efa"):
        assert _plugin(deployment, what).inputs["metadata"]["namespace"] == namespace["name"] == "device-plugins"
    policy = deployment.one("kubernetes:networking.k8s.io/v1:NetworkPolicy").inputs["spec"]
    assert policy == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


def test_each_plugin_runs_its_own_image(deployment: Deployment) -> None:
    images = [_pod(deployment, what)["containers"][0]["image"] for what in ("nvidia", "efa")]
    assert images == ["registry.test/nvidia:1", "registry.test/efa:1"]
