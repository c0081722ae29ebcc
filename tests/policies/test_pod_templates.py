"""Pods are found wherever an object of Kubernetes may have them."""

from __future__ import annotations

from typing import Any

import pytest

from trainyard.policies.graph import Resource
from trainyard.policies.pod_templates import has_pods, is_placeholder, pods, setting, unread
from trainyard.policies.values import UNKNOWN, NotKnownYetError, Value, dotted

TEMPLATE = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "trainer"}]}}
HOLDERS: dict[str, dict[str, Any]] = {
    "core/v1:Pod": TEMPLATE,
    "core/v1:PodTemplate": {"template": TEMPLATE},
    "core/v1:ReplicationController": {"spec": {"template": TEMPLATE}},
    "apps/v1:Deployment": {"spec": {"template": TEMPLATE}},
    "apps/v1beta1:Deployment": {"spec": {"template": TEMPLATE}},
    "extensions/v1beta1:DaemonSet": {"spec": {"template": TEMPLATE}},
    "apps/v1:StatefulSet": {"spec": {"template": TEMPLATE}},
    "apps/v1:ReplicaSetPatch": {"spec": {"template": TEMPLATE}},
    "batch/v1:Job": {"spec": {"template": TEMPLATE}},
    "batch/v1beta1:CronJob": {"spec": {"jobTemplate": {"spec": {"template": TEMPLATE}}}},
    "apps/v1:DeploymentList": {"items": [{"spec": {"template": TEMPLATE}}]},
    "jobset.x-k8s.io/v1alpha2:JobSet": {"spec": {"replicatedJobs": [{"template": {"spec": {"template": TEMPLATE}}}]}},
    "kubeflow.org/v1:PyTorchJob": {"spec": {"pytorchReplicaSpecs": {"Worker": {"template": TEMPLATE}}}},
    "kubeflow.org/v2beta1:MPIJob": {"spec": {"mpiReplicaSpecs": {"Launcher": {"template": TEMPLATE}}}},
    "leaderworkerset.x-k8s.io/v1:LeaderWorkerSet": {"spec": {"leaderWorkerTemplate": {"workerTemplate": TEMPLATE}}},
    "ray.io/v1:RayCluster": {"spec": {"workerGroupSpecs": [{"template": TEMPLATE}]}},
    "batch.volcano.sh/v1alpha1:Job": {"spec": {"tasks": [{"template": TEMPLATE}]}},
    "serving.knative.dev/v1:Service": {"spec": {"template": TEMPLATE}},
    "example.com/v1:Fleet": {"spec": {"deep": [{"er": {"template": TEMPLATE}}]}},
}


def made(kind: str, props: dict[str, Any]) -> Resource:
    return Resource(f"urn:pulumi:dev::p::kubernetes:{kind}::it", f"kubernetes:{kind}", "it", props)


def read(resource: Resource) -> list[Value]:
    return [one for pod in pods(resource) for one in pod.spec["containers"].items()]


@pytest.mark.parametrize("kind", HOLDERS)
def test_a_pod_is_found_in_every_kind(kind: str) -> None:
    resource = made(
        kind, {"metadata": {"namespace": "vision"}, **HOLDERS[kind]} if "Pod" not in kind else HOLDERS[kind]
    )
    (pod,) = pods(resource)

    assert has_pods(resource.type)
    assert pod.spec.raw == TEMPLATE["spec"]
    assert pod.metadata.raw == TEMPLATE["metadata"]
    assert pod.partial is kind.endswith("Patch")


@pytest.mark.parametrize(
    "kind",
    [
        "core/v1:Service",
        "core/v1:Namespace",
        "helm.sh/v3:Release",
        "scheduling.k8s.io/v1:PriorityClass",
        "yaml:ConfigFile",
    ],
)
def test_other_built_in_kinds_have_none(kind: str) -> None:
    assert not has_pods(f"kubernetes:{kind}")
    assert list(pods(made(kind, {"spec": {"template": TEMPLATE}}))) == []


def test_a_jobs_settings_are_those_around_the_template() -> None:
    for kind in ("batch/v1:Job", "batch/v1beta1:CronJob", "jobset.x-k8s.io/v1alpha2:JobSet"):
        (pod,) = pods(made(kind, HOLDERS[kind]))

        assert pod.controller.raw == {"template": TEMPLATE}, kind


@pytest.mark.parametrize("kind", [kind for kind in HOLDERS if "/v1:Fleet" not in kind and kind != "core/v1:Pod"])
def test_no_part_of_the_way_to_a_pod_is_passed_over_while_unknown(kind: str) -> None:
    def hidden(value: Any, depth: int) -> Any:
        if depth == 0 or value is TEMPLATE:
            return UNKNOWN
        if isinstance(value, list):
            return [hidden(item, depth - 1) for item in value]
        return {key: hidden(item, depth - 1) for key, item in value.items()}

    for depth in range(1, 4):
        props = {key: hidden(item, depth - 1) for key, item in HOLDERS[kind].items() if key != "metadata"}
        with pytest.raises(NotKnownYetError):
            read(made(kind, props))


def test_what_is_unknown_in_a_custom_resource_without_pods_is_none() -> None:
    pool = made("karpenter.sh/v1:NodePool", {"spec": {"limits": {"cpu": UNKNOWN}, "weight": UNKNOWN}})

    assert list(pods(pool)) == []


def test_a_job_templates_pods_are_found_and_what_is_no_yaml_is_told() -> None:
    labels = {"trainyard.dev/job-template": "true"}
    job = "apiVersion: batch/v1\nkind: Job\nspec: {template: {spec: {containers: [{image: '${IMAGE}'}]}}}"
    text = f"kind: Service\n---\n{job}"
    held = made("core/v1:ConfigMap", {"metadata": {"labels": labels}, "data": {"job.yaml": text, "odd": "kind: ["}})
    (pod,) = pods(held)
    image = read(held)[0]["image"]

    assert dotted(image.path) == "data.job.yaml.spec.template.spec.containers[0].image"
    assert is_placeholder(image, pod)
    assert [dotted(at.path) for at, _ in unread(held)] == ["data.odd"]


@pytest.mark.parametrize("nested", ["[" * 100_000, "- " * 100_000, "{a: " * 50_000, "? " * 100_000])
def test_a_text_that_is_nested_too_deep_is_no_yaml(nested: str) -> None:
    data = {"job.yaml": f"kind: Job\nspec: {nested}", "other": f"kind: Job\nspec:\n  {nested}"}
    held = made("core/v1:ConfigMap", {"metadata": {"labels": {"trainyard.dev/job-template": "true"}}, "data": data})

    assert list(pods(held)) == []
    assert {dotted(at.path) for at, _ in unread(held)} == {"data.job.yaml", "data.other"}


def test_a_containers_own_setting_comes_before_the_pods() -> None:
    spec = {"securityContext": {"runAsUser": 1, "runAsGroup": 2}, "containers": [{"securityContext": {"runAsUser": 3}}]}
    (pod,) = pods(made("core/v1:Pod", {"spec": spec}))
    (container,) = pod.spec["containers"].items()

    assert [setting(container, pod, name).raw for name in ("runAsUser", "runAsGroup", "runAsNonRoot")] == [3, 2, None]
    assert isinstance(setting(container, pod, "runAsNonRoot"), Value)
