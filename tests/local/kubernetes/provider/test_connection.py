"""How the provider gets to a cluster, and what it says where it does not."""

from __future__ import annotations

import json
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes_project import Cluster

from trainyard.local.aws.errors import HalfMadeError, ProviderError
from trainyard.local.kubernetes.provider.configuration import (
    Configuration,
    check_configuration,
    configuration_replaces,
)
from trainyard.local.kubernetes.provider.connection import ApiError, Connection, UnreachableError
from trainyard.local.kubernetes.provider.kubeconfig import KubeconfigError, read_kubeconfig
from trainyard.local.kubernetes.provider.provider import Provider, Told

ACCOUNT = "kubernetes:core/v1:ServiceAccount"


def kubeconfig(user: dict[str, Any] | None = None, server: str = "https://127.0.0.1:1", **cluster: Any) -> str:
    return json.dumps(
        {
            "current-context": "it",
            "contexts": [{"name": "it", "context": {"cluster": "it", "user": "me"}}],
            "clusters": [{"name": "it", "cluster": {"server": server, **cluster}}],
            "users": [{"name": "me", "user": user or {}}],
        }
    )


def token_command(folder: Path, seconds: int, body: str = "") -> dict[str, Any]:
    """A command that prints a token of its own at each call, and notes the call."""
    script, calls = folder / "token.py", folder / "calls"
    expires = (datetime.now(UTC) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")
    script.write_text(
        body
        or f"""
import json, time
with open({str(calls)!r}, "a") as file: file.write("x")
count = len(open({str(calls)!r}).read())
print(json.dumps({{"status": {{"token": f"t{{count}}", "expirationTimestamp": {expires!r}}}}}))
"""
    )
    return {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": sys.executable, "args": [str(script)]}}


def test_a_commands_token_is_asked_for_once_by_many_threads(tmp_path: Path):
    credential = read_kubeconfig(kubeconfig(token_command(tmp_path, 900))).credential
    found: list[str | None] = []
    threads = [threading.Thread(target=lambda: found.append(credential.header())) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(found) == {"Bearer t1"}


def test_a_token_about_to_expire_is_renewed(tmp_path: Path):
    credential = read_kubeconfig(kubeconfig(token_command(tmp_path, 30))).credential
    assert [credential.header(), credential.header()] == ["Bearer t1", "Bearer t2"]


def test_a_command_that_fails_or_is_not_there_is_named(tmp_path: Path):
    failing = token_command(tmp_path, 0, "import sys; sys.exit('no such cluster: trainyard-dev')")
    with pytest.raises(ProviderError, match=r"(?s)failed with status 1: no such cluster: trainyard-dev"):
        read_kubeconfig(kubeconfig(failing)).credential.header()
    absent = {"exec": {"command": "no-such-command", "installHint": "Install it."}}
    with pytest.raises(ProviderError, match=r"`no-such-command`, which is not on the PATH. Install it."):
        read_kubeconfig(kubeconfig(absent)).credential.header()


def test_no_cluster_outside_this_machine_is_ever_touched():
    with pytest.raises(KubeconfigError, match="only works on a rehearsal's cluster"):
        read_kubeconfig(kubeconfig(server="https://ABC.gr7.us-east-1.eks.amazonaws.com"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{}", "has no current-context"),
        (json.dumps({"current-context": "a"}), "has no context 'a'; there is none"),
        ("/no/such/file", "cannot be read: No such file"),
        ("a: [\n", "neither JSON nor YAML"),
        (kubeconfig({"auth-provider": {"name": "gcp"}}), "use exec"),
        (kubeconfig(**{"certificate-authority": "/none"}), "certificate-authority '/none' cannot be read"),
    ],
)
def test_a_kubeconfig_that_is_no_good_is_told_of_before_it_is_used(text: str, said: str):
    ((name, reason),) = check_configuration({"kubeconfig": text})
    assert name == "kubeconfig"
    assert said in reason


def test_an_option_that_does_not_exist_is_refused():
    ((name, reason),) = check_configuration({"kubeconfig": kubeconfig(), "namspace": "a"})
    assert name == "namspace"
    assert "there are kubeconfig, context, cluster, namespace" in reason


def test_only_another_cluster_replaces_what_is_in_it():
    old = {"kubeconfig": kubeconfig({"token": "a"})}
    assert configuration_replaces(old, {"kubeconfig": kubeconfig({"token": "b"})}) == []
    assert configuration_replaces(old, {"kubeconfig": kubeconfig(server="https://127.0.0.1:2")}) == ["kubeconfig"]
    fixed = {"clusterIdentifier": "it"}
    assert configuration_replaces(old | fixed, {"kubeconfig": kubeconfig(server="https://[::1]"), **fixed}) == []


def test_an_unreachable_server_and_a_wrong_credential_are_told_apart(provider_kubeconfig: Path):
    with pytest.raises(UnreachableError, match=r"no API server answers at https://127.0.0.1:1: .*refused"):
        Connection(read_kubeconfig(kubeconfig())).request("GET", "/version")
    settings = yaml.safe_load(provider_kubeconfig.read_text())
    settings["users"][0]["user"] = {"token": "wrong"}
    with pytest.raises(ApiError, match="does not accept the kubeconfig's credentials"):
        Connection(read_kubeconfig(yaml.safe_dump(settings))).request("GET", "/api/v1/namespaces")


class Heard:
    """What the provider said to the person."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.told = Told(self.lines.append, self.lines.append, self.lines.append)


def test_without_its_cluster_objects_are_deleted_only_where_the_program_says_so():
    heard = Heard()
    with pytest.raises(UnreachableError):
        Provider(Configuration(kubeconfig())).delete(ACCOUNT, "default/a", {}, heard.told)
    Provider(Configuration(kubeconfig(), delete_unreachable=True)).delete(ACCOUNT, "default/a", {}, heard.told)
    assert "taken out of the state (deleteUnreachable)" in heard.lines[0]


def test_a_preview_without_the_cluster_says_what_it_did_not_check():
    heard = Heard()
    provider = Provider(Configuration(kubeconfig()))
    inputs, problems = provider.check(ACCOUNT, "a", {"metadata": {"name": "a"}}, {})
    assert problems == []
    assert inputs["metadata"] == {"name": "a", "namespace": "default"}
    _, outputs = provider.create(ACCOUNT, inputs, heard.told, preview=True)
    assert outputs["metadata"]["name"] == "a"
    assert "not checked: no API server answers" in heard.lines[0]


def test_cancelling_ends_a_wait_and_keeps_what_was_made(provider_kubeconfig: Path, cluster: Cluster):
    heard, cancelled = Heard(), threading.Event()
    told = Told(lambda _: cancelled.set(), heard.told.info, heard.told.warning)  # as soon as it says what it waits for
    provider = Provider(Configuration(str(provider_kubeconfig)), cancelled)
    token = "kubernetes:core/v1:PersistentVolumeClaim"
    spec = {
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": "none",
        "resources": {"requests": {"storage": "1Gi"}},
    }
    inputs, _ = provider.check(token, "claim", {"spec": spec}, {})
    with pytest.raises(HalfMadeError, match=r"cancelled while waiting .*the claim is Pending") as stopped:
        provider.create(token, inputs, told, preview=False)
    namespace, name = stopped.value.resource_id.split("/")
    path = f"/api/v1/namespaces/{namespace}/persistentvolumeclaims/{name}"
    assert cluster.get(path)["spec"]["storageClassName"] == "none"
    Provider(Configuration(str(provider_kubeconfig))).delete(token, stopped.value.resource_id, inputs, heard.told)
    Provider(Configuration(str(provider_kubeconfig))).delete(token, stopped.value.resource_id, inputs, heard.told)
    with pytest.raises(ApiError, match="not found"):
        cluster.get(path)
