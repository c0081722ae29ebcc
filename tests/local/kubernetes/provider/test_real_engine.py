"""The provider under the real Pulumi engine, on a real API server."""

from __future__ import annotations

import base64
import json
import re
import threading
import time

import pytest
from kubernetes_project import Cluster, Project
from waiting import wait_until

from trainyard.local.engine import EngineError
from trainyard.local.kubernetes.provider.waiting import DEFAULT_READY_SECONDS

SECRET_MARK = "1b47061264138c4ac30d75fd1eb44270"

NAMESPACE = """
team = kubernetes.core.v1.Namespace("team", metadata={"name": namespace}, opts=on)
inside = team.metadata.name
"""

SETTINGS = (
    NAMESPACE
    + """
settings = kubernetes.core.v1.ConfigMap(
    "settings", metadata={"name": "settings", "namespace": inside}, data={"steps": "%s"}, opts=on
)
quota = kubernetes.core.v1.ResourceQuota(
    "quota", metadata={"namespace": inside}, spec={"hard": {"requests.cpu": "%s"}}, opts=on
)
"""
)


def test_objects_live_and_change_as_the_program_says(project: Project, cluster: Cluster):
    first = project.run("preview", SETTINGS % (1, "1000m"))
    assert first.changes["create"] == 5
    assert f'namespaces "{project.namespace}" not found' in project.log("preview")
    project.run("up", SETTINGS % (1, "1000m"))
    home = f"/api/v1/namespaces/{project.namespace}"
    assert cluster.get(f"{home}/configmaps/settings")["data"] == {"steps": "1"}
    quota = project.resource("quota")
    assert re.fullmatch(rf"{project.namespace}/quota-[0-9a-f]{{8}}", quota["id"])
    assert quota["outputs"]["metadata"]["annotations"] == {"pulumi.com/autonamed": "true"}
    assert cluster.get(f"{home}/resourcequotas/{quota['id'].split('/')[1]}")["spec"]["hard"] == {"requests.cpu": "1"}

    assert set(project.run("up", SETTINGS % (1, "1000m")).changes) == {"same"}
    assert set(project.engine.run("refresh").changes) == {"same"}
    assert set(project.run("preview", SETTINGS % (1, "1000m")).changes) == {"same"}

    changed = project.run("up", SETTINGS % (2, "3"))
    assert project.steps(changed, "quota") == ["update"]
    assert project.steps(changed, "settings") == ["delete-replaced", "replace", "create-replacement"]
    assert project.resource("quota")["id"] == quota["id"]
    assert cluster.get(f"{home}/configmaps/settings")["data"] == {"steps": "2"}

    project.engine.run("destroy")
    with pytest.raises(Exception, match="not found"):
        cluster.get(home)


def test_a_definition_and_an_object_of_it_are_made_in_one_run(project: Project, cluster: Cluster):
    group = f"{project.namespace}.example.com"
    body = (
        NAMESPACE
        + f"""
definition = kubernetes.apiextensions.v1.CustomResourceDefinition(
    "definition",
    metadata={{"name": "runs.{group}"}},
    spec={{
        "group": "{group}", "scope": "Namespaced", "names": {{"plural": "runs", "kind": "Run"}},
        "versions": [{{"name": "v1", "served": True, "storage": True, "schema": {{"openAPIV3Schema": {{
            "type": "object", "properties": {{"spec": {{"type": "object", "required": ["steps"], "properties": {{
                "steps": {{"type": "integer"}}}}}}}}}}}}}}],
    }},
    opts=on,
)
run = kubernetes.apiextensions.CustomResource(
    "run", api_version="{group}/v1", kind="Run", metadata={{"name": "first", "namespace": inside}},
    spec={{"steps": %s}}, opts=pulumi.ResourceOptions(provider=provider, depends_on=[definition]),
)
"""
    )
    project.run("preview", body % 3)
    assert f"does not serve {group}/v1/Run yet" in project.log("preview")
    project.run("up", body % 3)
    path = f"/apis/{group}/v1/namespaces/{project.namespace}/runs/first"
    assert cluster.get(path)["spec"] == {"steps": 3}
    assert set(project.run("up", body % 3).changes) == {"same"}
    with pytest.raises(EngineError, match=r"run .*spec\.steps has to be of type integer, not string"):
        project.run("preview", body % "'many'")


def test_what_is_not_ready_fails_with_its_reason_stays_in_the_state_and_recovers(project: Project, cluster: Cluster):
    body = (
        NAMESPACE
        + """
quota = kubernetes.core.v1.ResourceQuota(
    "quota", spec={"hard": {"pods": "0"}}, opts=on, metadata={
        # Until a controller has counted, nothing is held against it.
        "name": "none", "namespace": inside, "annotations": {"pulumi.com/waitFor": "jsonpath={.status.hard.pods}=0"}}
)
kubernetes.apps.v1.Deployment(
    "server",
    metadata={"name": "server", "namespace": inside, "annotations": %s},
    spec={"replicas": %s, "selector": {"matchLabels": {"app": "server"}}, "template": {
        "metadata": {"labels": {"app": "server"}}, "spec": {"containers": [{"name": "main", "image": "none"}]}}},
    opts=Options(provider=provider, depends_on=[quota], custom_timeouts=%s),
)
"""
    )
    with pytest.raises(EngineError, match=r"(?s)creating server.*not ready after 3 s"):
        project.run("up", body % ("{}", 1, "pulumi.CustomTimeouts(create='3s')"))
    assert project.resource("server")["id"] == f"{project.namespace}/server"
    path = f"/apis/apps/v1/namespaces/{project.namespace}/deployments/server"
    wait_until(lambda: "exceeded quota" in json.dumps(cluster.get(path)["status"]))  # which a controller has to see
    with pytest.raises(EngineError, match=r"(?s)updating server.*not ready after 2 s.*exceeded quota: none"):
        project.run("up", body % ("{'pulumi.com/timeoutSeconds': '2'}", 1, "None"))
    assert "exceeded quota" in project.resource("server")["initErrors"][0]
    project.run("up", body % ("{}", 0, "None"))
    assert "initErrors" not in project.resource("server")


def test_without_nodes_pods_are_made_and_not_waited_for(project: Project, cluster: Cluster):
    template = '{"metadata": {"labels": {"app": "a"}}, "spec": {"containers": [{"name": "m", "image": "none"}]%s}}'
    body = (
        NAMESPACE
        + f"""
def spec(**more):
    return {{"selector": {{"matchLabels": {{"app": "a"}}}}, "template": {template % ""}, **more}}
here = {{"namespace": inside}}
kubernetes.apps.v1.Deployment("web", metadata=here, spec=spec(replicas=2), opts=on)
kubernetes.apps.v1.StatefulSet("store", metadata=here, spec=spec(serviceName="store", replicas=3), opts=on)
kubernetes.apps.v1.DaemonSet("agent", metadata=here, spec=spec(), opts=on)
kubernetes.batch.v1.Job(
    "once", metadata=here, spec={{"template": {template % ', "restartPolicy": "Never"'}}}, opts=on
)
kubernetes.core.v1.Service(
    "front", metadata=here, spec={{"selector": {{"app": "a"}}, "ports": [{{"port": 80}}]}}, opts=on
)
"""
    )
    started = time.monotonic()
    project.run("up", body)
    assert time.monotonic() - started < DEFAULT_READY_SECONDS
    assert len(cluster.get(f"/api/v1/namespaces/{project.namespace}/pods")["items"]) == 4
    assert set(project.run("up", body).changes) == {"same"}


def test_a_conflict_names_the_other_manager_and_can_be_forced(project: Project, cluster: Cluster):
    body = (
        NAMESPACE
        + """
kubernetes.core.v1.ServiceAccount(
    "trainer", metadata={"name": "trainer", "namespace": inside, "annotations": %s, "labels": {"tier": "%s"}}, opts=on
)
"""
    )
    project.run("up", body % ("{}", "one"))
    path = f"/api/v1/namespaces/{project.namespace}/serviceaccounts/trainer"
    cluster.patch(path, {"metadata": {"labels": {"tier": "two"}}}, manager="autopilot")
    with pytest.raises(EngineError, match=r"(?s)trainer.*autopilot.*patchForce"):
        project.run("up", body % ("{}", "three"))
    project.run("up", body % ("{'pulumi.com/patchForce': 'true'}", "three"))
    assert cluster.get(path)["metadata"]["labels"]["tier"] == "three"


def test_a_refresh_finds_what_others_changed_and_the_next_run_mends_it(project: Project, cluster: Cluster):
    body = (
        NAMESPACE
        + """
kubernetes.core.v1.LimitRange(
    "limits", metadata={"name": "limits", "namespace": inside},
    spec={"limits": [{"type": "Container", "default": {"cpu": "1000m"}}]}, opts=on,
)
kubernetes.core.v1.ServiceAccount("gone", metadata={"name": "gone", "namespace": inside}, opts=on)
"""
    )
    project.run("up", body)
    home = f"/api/v1/namespaces/{project.namespace}"
    cluster.patch(f"{home}/limitranges/limits", {"spec": {"limits": [{"type": "Container", "default": {"cpu": "7"}}]}})
    cluster.delete(f"{home}/serviceaccounts/gone")
    refreshed = project.engine.run("refresh")
    assert refreshed.changes.get("update") == 1
    assert refreshed.changes.get("delete") == 1
    assert project.resource("limits")["inputs"]["spec"]["limits"][0]["default"] == {"cpu": "7"}
    with pytest.raises(EngineError, match="somebody"):
        project.run("up", body)
    mended = project.run("up", body, options="enable_patch_force=True")
    assert project.steps(mended, "limits") == ["update"]
    assert cluster.get(f"{home}/limitranges/limits")["spec"]["limits"][0]["default"] == {"cpu": "1"}


def test_an_object_is_imported_by_its_id_and_never_taken_by_accident(project: Project, cluster: Cluster):
    project.run("up", NAMESPACE)
    home = f"/api/v1/namespaces/{project.namespace}"
    cluster.post(f"{home}/serviceaccounts", {"metadata": {"name": "found", "labels": {"a": "b"}}})
    body = NAMESPACE + (
        'kubernetes.core.v1.ServiceAccount("found", metadata={"name": "found", "namespace": inside, '
        '"labels": {"a": "b"}}, opts=Options(provider=provider%s))\n'
    )
    with pytest.raises(EngineError, match=r"found exists already. Import it \(`pulumi import"):
        project.run("up", body % "")
    taken = project.run("up", body % f", import_='{project.namespace}/found'")
    assert project.steps(taken, "found") == ["import"]
    assert set(project.run("up", body % "").changes) == {"same"}


def test_a_deletion_waits_for_finalizers(project: Project, cluster: Cluster):
    body = (
        NAMESPACE
        + """
kubernetes.core.v1.ConfigMap(
    "held", metadata={"name": "held", "namespace": inside, "finalizers": ["example.com/hold"]}, opts=on
)
"""
    )
    project.run("up", body)
    path = f"/api/v1/namespaces/{project.namespace}/configmaps/held"
    released: list[float] = []

    def release() -> None:
        wait_until(lambda: cluster.get(path)["metadata"].get("deletionTimestamp"))
        time.sleep(2)  # in which who does not wait has ended
        released.append(time.monotonic())
        cluster.patch(path, {"metadata": {"finalizers": None}})

    thread = threading.Thread(target=release)
    thread.start()
    project.run("up", NAMESPACE)
    assert time.monotonic() > released[0]
    thread.join()
    with pytest.raises(Exception, match="not found"):
        cluster.get(path)


def test_secrets_are_marked_in_the_state_and_drift_of_string_data_is_seen(project: Project, cluster: Cluster):
    body = NAMESPACE + (
        'kubernetes.core.v1.Secret("token", metadata={"name": "token", "namespace": inside}, '
        'string_data={"key": "hush-hush"}, opts=on)\n'
    )
    project.run("up", body)
    state = project.resource("token")
    recorded = json.dumps([state["inputs"], state["outputs"]])
    assert "hush-hush" not in recorded
    assert base64.b64encode(b"hush-hush").decode() not in recorded
    assert SECRET_MARK in json.dumps(state["outputs"]["data"])
    path = f"/api/v1/namespaces/{project.namespace}/secrets/token"
    assert base64.b64decode(cluster.get(path)["data"]["key"]) == b"hush-hush"
    cluster.patch(path, {"data": {"key": base64.b64encode(b"else").decode()}})
    assert project.engine.run("refresh").changes.get("update") == 1


def test_a_preview_before_there_is_a_cluster_and_wrong_fields_in_one_before_there_is_a_namespace(project: Project):
    later = NAMESPACE + (
        'late = kubernetes.Provider("late", kubeconfig=team.status.apply(lambda _: "never read in a preview"))\n'
        'kubernetes.core.v1.ServiceAccount("early", metadata={"namespace": inside}, opts=Options(provider=late))\n'
    )
    assert project.run("preview", later).changes["create"] == 5
    wrong = NAMESPACE + (
        'kubernetes.core.v1.ConfigMap("wrong", metadata={"namespace": inside, "label": {}}, data={"a": 3}, opts=on)'
    )
    with pytest.raises(EngineError) as failed:
        project.run("preview", wrong)
    assert "metadata.label is no field of it; there are labels" in str(failed.value)
    assert "data.a has to be of type string, not integer" in str(failed.value)


def test_what_the_api_server_calls_immutable_is_replaced(project: Project, cluster: Cluster):
    body = (
        NAMESPACE
        + """
service = kubernetes.core.v1.Service(
    "peers", metadata={"namespace": inside}, spec={"clusterIP": "None", "selector": {"a": "b"}}, opts=on
)
kubernetes.discovery.v1.EndpointSlice(
    "slice", metadata={"name": "slice", "namespace": inside}, address_type="%s", endpoints=[], ports=[], opts=on
)
"""
    )
    project.run("up", body % "IPv4")
    changed = project.run("up", body % "FQDN")
    assert project.steps(changed, "slice") == ["delete-replaced", "replace", "create-replacement"]
    path = f"/apis/discovery.k8s.io/v1/namespaces/{project.namespace}/endpointslices/slice"
    assert cluster.get(path)["addressType"] == "FQDN"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (
            'kubernetes.core.v1.NamespacePatch("p", metadata={"name": "default"}, opts=on)',
            "it changes a part of an object that somebody else made",
        ),
        ('kubernetes.core.v1.NamespaceList("l", items=[], opts=on)', "declare the objects one by one"),
        ('kubernetes.helm.v3.Release("r", chart="nginx", opts=on)', "need Helm"),
        ('kubernetes.yaml.v2.ConfigGroup("g", yaml="a: b", opts=on)', "YAML files are not emulated"),
        ('kubernetes.Provider("p", kubeconfig="{}", render_yaml_to_directory="x")', "never written as files"),
        ('kubernetes.Provider("p", kubeconfig="{}", enable_server_side_apply=False)', "client-side apply is not"),
        ('kubernetes.Provider("p", kubeconfig="{}")', "has no current-context"),
    ],
)
def test_what_is_not_emulated_is_refused_in_words(project: Project, body: str, said: str):
    with pytest.raises(EngineError, match=re.escape(said)):
        project.run("preview", body)
