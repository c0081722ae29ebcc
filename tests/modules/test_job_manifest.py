"""A rendered job asks for all that its node has, cannot be bent by what is put in, and ends before its nodes do."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import yaml

from trainyard.modules.efa_proof import NCCL_LOG_VARIABLES, device_check, guarded_launch
from trainyard.modules.instance_types import INSTANCE_TYPES
from trainyard.modules.job_manifest import ClaimMount, JobRequest, JobShape, job_template, render

P5 = JobShape(namespace="vision", group="p5", instance_type="p5.48xlarge", maximum_nodes=4)
LLAMA = JobRequest("llama", "registry.test/trainer:1", nodes=4, arguments=("--config", "gpt2-124m"))


def _rendered(shape: JobShape = P5, request: JobRequest = LLAMA, **more: Any) -> dict[str, dict[str, Any]]:
    return {manifest["kind"]: manifest for manifest in render(job_template(shape), request, **more)}


def _pod(**shape: Any) -> dict[str, Any]:
    return _rendered(JobShape(**{**vars(P5), **shape}))["Job"]["spec"]["template"]["spec"]


GPU_TYPES = [kind for kind in INSTANCE_TYPES.values() if kind.gpus]


@pytest.mark.parametrize("kind", GPU_TYPES, ids=lambda kind: kind.name)
def test_a_pod_asks_for_everything_that_its_node_has(kind) -> None:
    pod = _pod(instance_type=kind.name)
    (container,) = pod["containers"]
    requests = container["resources"]["requests"]
    assert requests == container["resources"]["limits"]
    assert requests["nvidia.com/gpu"] == str(kind.gpus)
    assert f"--nproc-per-node={kind.gpus}" in container["args"]
    assert requests.get("vpc.amazonaws.com/efa") == (str(kind.efa_interfaces) if kind.efa_interfaces else None)
    assert requests.get("hugepages-2Mi") == ("5120Mi" if kind.efa_interfaces else None)
    # Something is left for the kubelet and the agents, and little is lost.
    assert 0.7 * kind.vcpus <= int(requests["cpu"]) < kind.vcpus
    gib = int(requests["memory"].removesuffix("Mi")) / 1024 + (5 if kind.efa_interfaces else 0)
    assert 0.75 * kind.memory_gib <= gib < 0.95 * kind.memory_gib


def test_a_pod_with_efa_looks_whether_all_of_it_is_there_and_one_without_does_not() -> None:
    (check,) = _pod()["initContainers"]
    assert check["resources"]["requests"]["vpc.amazonaws.com/efa"] == "32"
    assert check["command"][2] == device_check(32)
    without = _pod(instance_type="g5.xlarge")
    assert "initContainers" not in without
    assert "command" not in without["containers"][0]


def test_a_job_with_efa_is_guarded_and_its_arguments_still_reach_the_launcher() -> None:
    (container,) = _pod()["containers"]
    # What follows the program is the shell's own name, as in `sh -c PROGRAM trainer-launch ARGUMENTS`.
    assert container["command"] == ["/usr/bin/tini", "--", "/bin/sh", "-c", guarded_launch(), "trainer-launch"]
    assert container["args"][0] == "--nnodes=4"
    environment = {one["name"]: one.get("value") for one in container["env"]}
    assert NCCL_LOG_VARIABLES.items() <= environment.items()


@pytest.mark.parametrize(
    ("nodes", "asked", "done"), [(4, "refuse", "refuse"), (4, "warn", "warn"), (1, "refuse", "warn")]
)
def test_a_job_says_what_becomes_of_it_without_efa_and_one_node_needs_no_network(nodes, asked, done) -> None:
    rendered = _rendered(request=JobRequest("llama", "r.test/t:1", nodes, without_efa=asked))
    (container,) = rendered["Job"]["spec"]["template"]["spec"]["containers"]
    assert {"name": "TRAINYARD_WITHOUT_EFA", "value": done} in container["env"]


def test_kubernetes_replaces_nothing_in_the_programs() -> None:
    """It reads `$(NAME)` as a variable of the container, and two dollar signs as one."""
    pod = _pod()
    for container in (*pod["containers"], *pod["initContainers"]):
        program = next(word for word in container["command"] if "\n" in word or word.startswith("set --"))
        assert "$$" not in program
        names = {variable["name"] for variable in container.get("env", [])}
        assert not names & set(re.findall(r"\$\(([^)]*)\)", program))


def test_a_template_shows_its_programs_line_by_line() -> None:
    assert 'trainer-launch "$@" &' in [line.strip() for line in job_template(P5).splitlines()]


def test_pods_find_each_other_by_the_name_of_the_first() -> None:
    rendered = _rendered()
    job, service = rendered["Job"], rendered["Service"]
    pod = job["spec"]["template"]
    arguments = pod["spec"]["containers"][0]["args"]
    assert job["spec"]["completionMode"] == "Indexed"
    assert job["spec"]["completions"] == job["spec"]["parallelism"] == 4
    assert "--nnodes=4" in arguments
    # An indexed job's pods have the host name NAME-INDEX below the Service's.
    assert "--master-addr=llama-0.llama" in arguments
    assert pod["spec"]["subdomain"] == service["metadata"]["name"] == "llama"
    assert service["spec"]["publishNotReadyAddresses"] is True
    assert service["spec"]["selector"].items() <= pod["metadata"]["labels"].items()
    assert arguments[-3:] == ["--", "--config", "gpt2-124m"]


def test_a_disruption_is_no_failure_and_wrong_arguments_are_not_tried_again() -> None:
    spec = _rendered()["Job"]["spec"]
    evicted, saved_and_gone, refused = spec["podFailurePolicy"]["rules"]
    assert evicted["action"] == "Ignore"
    assert evicted["onPodConditions"][0]["type"] == "DisruptionTarget"
    assert saved_and_gone == {
        "action": "Ignore",
        "onExitCodes": {"containerName": "trainer", "operator": "In", "values": [75]},
    }
    assert refused == {
        "action": "FailJob",
        "onExitCodes": {"containerName": "trainer", "operator": "In", "values": [2]},
    }
    assert spec["backoffLimit"] == 4 * LLAMA.failures_per_node
    assert spec["podReplacementPolicy"] == "Failed"
    assert spec["template"]["metadata"]["annotations"] == {"cluster-autoscaler.kubernetes.io/safe-to-evict": "false"}


def test_an_update_of_the_nodes_evicts_nobody_but_on_spot_the_pods_are_told() -> None:
    budget = _rendered()["PodDisruptionBudget"]
    assert budget["spec"]["minAvailable"] == 4
    assert budget["spec"]["selector"]["matchLabels"] == {"trainyard.dev/job": "llama"}
    assert "PodDisruptionBudget" not in _rendered(JobShape(**{**vars(P5), "spot": True}))


@pytest.mark.parametrize(("spot", "longest"), [(True, 120), (False, 900)])
def test_the_launcher_is_done_before_its_pod_is_killed_and_the_pod_before_its_node(spot: bool, longest: int) -> None:
    pod = _pod(spot=spot)
    (patience,) = (word for word in pod["containers"][0]["args"] if word.startswith("--shutdown-timeout="))
    assert 30 < int(patience.partition("=")[2]) < pod["terminationGracePeriodSeconds"] < longest


def test_a_pod_is_restricted_and_writes_only_where_it_may() -> None:
    pod = _pod(claims=(ClaimMount("datasets", "/datasets"), ClaimMount("lustre", "/lustre", read_only=False)))
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    for container in (*pod["containers"], *pod["initContainers"]):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
    mounts = {mount["mountPath"]: mount.get("readOnly", False) for mount in pod["containers"][0]["volumeMounts"]}
    assert mounts == {
        **dict.fromkeys(("/dev/shm", "/home/trainer", "/tmp", "/scratch", "/lustre"), False),
        "/datasets": True,
    }
    shared = next(volume for volume in pod["volumes"] if volume["name"] == "shared-memory")
    assert shared["emptyDir"]["medium"] == "Memory"


def test_nothing_is_said_to_libfabric_or_nccl_but_to_tell_what_they_do() -> None:
    for instance_type in ("p5.48xlarge", "g5.xlarge"):
        names = {variable["name"] for variable in _pod(instance_type=instance_type)["containers"][0]["env"]}
        assert not {name for name in names if name.startswith(("FI_", "NCCL_", "RDMAV_")) and "DEBUG" not in name}


def test_values_cannot_change_the_manifest() -> None:
    hostile = ("x\n  privileged: true", "${IMAGE}", "- a: b", "$(NODE_RANK)")
    container = _rendered(request=JobRequest("llama", "r.test/t:1", 1, hostile))["Job"]["spec"]["template"]["spec"][
        "containers"
    ][0]
    assert container["args"][-4:] == list(hostile)
    assert container["image"] == "r.test/t:1"


def test_no_placeholder_is_left() -> None:
    """The shell's own variables have no braces around a bare name."""
    assert not re.findall(r"\$\{[A-Z_]+\}", yaml.safe_dump_all(render(job_template(P5), LLAMA), width=10_000))


def test_a_job_on_a_capacity_block_ends_a_grace_period_before_its_nodes() -> None:
    now = datetime(2031, 1, 15, 12, tzinfo=UTC)
    shape = JobShape(**{**vars(P5), "ends_at": now + timedelta(hours=2)})
    job = _rendered(shape, now=now)["Job"]["spec"]
    grace = job["template"]["spec"]["terminationGracePeriodSeconds"]
    assert job["activeDeadlineSeconds"] == 7200 - grace
    assert "activeDeadlineSeconds" not in _rendered(now=now)["Job"]["spec"]
    with pytest.raises(ValueError, match="no time left"):
        _rendered(shape, now=now + timedelta(hours=2))


def test_more_nodes_than_the_group_has_are_refused() -> None:
    with pytest.raises(ValueError, match="nodes is 5, but the group p5 has 4 at most"):
        render(job_template(P5), JobRequest("llama", "r.test/t:1", nodes=5))


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"name": "Llama"}, "lower-case letters"),
        ({"name": "7b"}, "begins with a letter"),
        ({"name": "a" * 51}, "50 at most"),
        ({"image": "r.test/t"}, "ends in a tag or a digest"),
        ({"nodes": 0}, "at least 1"),
        ({"failures_per_node": -1}, "at least 0"),
        ({"without_efa": "ignore"}, "refuse or warn"),
    ],
)
def test_a_wrong_request_is_refused(request_: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        JobRequest(**{"name": "llama", "image": "r.test/t:1", **request_})


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ({"instance_type": "m7i.large"}, "no GPU"),
        ({"instance_type": "p9.large"}, "not in the table"),
        ({"maximum_nodes": 0}, "1 or more"),
        ({"ends_at": datetime(2031, 1, 1)}, "no time zone"),
        ({"claims": (ClaimMount("a", "/x"), ClaimMount("b", "/x"))}, "stands once"),
        ({"claims": (ClaimMount("a", "x"),)}, "absolute"),
    ],
)
def test_a_wrong_shape_is_refused(shape: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        JobShape(**{**vars(P5), **shape})
