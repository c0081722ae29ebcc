"""What the API server says to the objects of a team: it takes the platform's own jobs, and refuses careless ones."""

from __future__ import annotations

import copy
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes_project import Cluster
from waiting import wait_until

from trainyard.local.kubernetes.provider.connection import ApiError
from trainyard.modules.job_manifest import JobRequest, JobShape, job_template, render
from trainyard.modules.team_namespace import (
    TeamNamespaceArgs,
    limit_range,
    namespace_labels,
    network_policies,
    quota_hard,
)

NODES = 2
ARGS = TeamNamespaceArgs(
    team=f"team-{uuid.uuid4().hex[:8]}", gpu_quota=16, cpu_quota=512, memory_gib=4096, vpc_cidr="10.64.0.0/16"
)
PODS = f"/api/v1/namespaces/{ARGS.team}/pods?dryRun=All"


@pytest.fixture(scope="module")
def cluster(administrator_kubeconfig: Path) -> Iterator[Cluster]:
    """The cluster, with the team's namespace in it."""
    cluster = Cluster(administrator_kubeconfig)
    inside = f"/api/v1/namespaces/{ARGS.team}"
    cluster.post("/api/v1/namespaces", {"metadata": {"name": ARGS.team, "labels": namespace_labels(ARGS)}})
    _make(cluster, f"{inside}/resourcequotas", "team", {"hard": quota_hard(ARGS)})
    # What a controller has not counted yet, the API server does not hold against anybody.
    wait_until(lambda: cluster.get(f"{inside}/resourcequotas/team").get("status", {}).get("used"), every=0.2)
    _make(cluster, f"{inside}/limitranges", "team", {"limits": limit_range(ARGS)})
    for name, spec in network_policies(ARGS).items():
        _make(cluster, f"/apis/networking.k8s.io/v1/namespaces/{ARGS.team}/networkpolicies", name, spec)
    cluster.post(f"{inside}/serviceaccounts", {"metadata": {"name": "trainer"}, "automountServiceAccountToken": False})
    yield cluster
    cluster.delete(inside)


def _make(cluster: Cluster, path: str, name: str, spec: Any) -> None:
    cluster.post(path, {"metadata": {"name": name}, "spec": spec})


def manifests(instance_type: str = "p5.48xlarge", nodes: int = NODES) -> list[dict[str, Any]]:
    shape = JobShape(namespace=ARGS.team, group="gpu", instance_type=instance_type, maximum_nodes=64)
    request = JobRequest("first", "registry.example/trainer:1", nodes=nodes, arguments=("--config", "gpt2-124m"))
    return render(job_template(shape), request)


def pod(name: str = "p0", instance_type: str = "p5.48xlarge") -> dict[str, Any]:
    """A pod as the Job would make it."""
    template = copy.deepcopy(manifests(instance_type)[-1]["spec"]["template"])
    return {"metadata": {"name": name, "labels": template["metadata"]["labels"]}, "spec": template["spec"]}


def _pods(cluster: Cluster, job: str) -> list[dict[str, Any]]:
    selector = f"batch.kubernetes.io%2Fjob-name%3D{job}"
    return cluster.get(f"/api/v1/namespaces/{ARGS.team}/pods?labelSelector={selector}")["items"]


PATHS = {
    "Service": "/api/v1/namespaces/{}/services?dryRun=All&fieldValidation=Strict",
    "PodDisruptionBudget": "/apis/policy/v1/namespaces/{}/poddisruptionbudgets?dryRun=All&fieldValidation=Strict",
    "Job": "/apis/batch/v1/namespaces/{}/jobs?dryRun=All&fieldValidation=Strict",
}


@pytest.mark.parametrize("instance_type", ["p5.48xlarge", "p4d.24xlarge", "g5.xlarge"])
def test_the_rendered_job_and_what_belongs_to_it_are_taken(cluster: Cluster, instance_type: str) -> None:
    documents = manifests(instance_type)
    assert {document["kind"] for document in documents} == set(PATHS)
    for document in documents:
        cluster.post(PATHS[document["kind"]].format(ARGS.team), document)


@pytest.mark.parametrize("instance_type", ["p5.48xlarge", "p5en.48xlarge", "g5.xlarge"])
def test_a_pod_of_the_job_passes_pod_security_quota_and_limits(cluster: Cluster, instance_type: str) -> None:
    made = cluster.post(PODS, pod(instance_type=instance_type))
    assert made["spec"]["serviceAccountName"] == "trainer"
    assert made["status"]["qosClass"] == "Guaranteed"


def test_the_job_controller_makes_all_pods_of_the_job(cluster: Cluster) -> None:
    job = manifests()[-1]
    path = f"/apis/batch/v1/namespaces/{ARGS.team}/jobs"
    cluster.post(path, job)
    try:
        wait_until(lambda: len(_pods(cluster, "first")) == NODES, every=0.2)
        label = "batch.kubernetes.io/job-completion-index"
        indexes = {made["metadata"]["labels"][label] for made in _pods(cluster, "first")}
        assert indexes == {"0", "1"}
    finally:
        cluster.delete(f"{path}/first?propagationPolicy=Background")


def test_a_privileged_pod_is_refused(cluster: Cluster) -> None:
    wrong = pod()
    wrong["spec"]["containers"][0]["securityContext"] = {"privileged": True}
    with pytest.raises(ApiError, match=r'violates PodSecurity "restricted'):
        cluster.post(PODS, wrong)


def test_a_pod_with_a_host_path_is_refused(cluster: Cluster) -> None:
    wrong = pod()
    wrong["spec"]["volumes"].append({"name": "host", "hostPath": {"path": "/"}})
    with pytest.raises(ApiError, match="hostPath"):
        cluster.post(PODS, wrong)


def test_a_pod_that_does_not_say_what_it_needs_is_refused(cluster: Cluster) -> None:
    wrong = pod(instance_type="g5.xlarge")
    wrong["spec"]["containers"][0]["resources"] = {"limits": {"nvidia.com/gpu": "1"}}
    with pytest.raises(ApiError, match=r"must specify .*memory|no limit is specified|No limit is specified"):
        cluster.post(PODS, wrong)


def test_gpus_beyond_the_quota_are_refused(cluster: Cluster) -> None:
    wrong = pod()
    resources = wrong["spec"]["containers"][0]["resources"]
    for amounts in resources.values():
        amounts["nvidia.com/gpu"] = "17"
    with pytest.raises(ApiError, match=r"exceeded quota: team.*nvidia\.com/gpu"):
        cluster.post(PODS, wrong)


def test_a_load_balancer_is_refused(cluster: Cluster) -> None:
    open_to_all = {"metadata": {"name": "open"}, "spec": {"type": "LoadBalancer", "ports": [{"port": 80}]}}
    with pytest.raises(ApiError, match="exceeded quota"):
        cluster.post(f"/api/v1/namespaces/{ARGS.team}/services?dryRun=All", open_to_all)
