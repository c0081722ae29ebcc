"""EKS access policies as roles of the API server's own authorization.

EKS decides by rules of its own that cannot be seen in a cluster; here each policy is a role, bound to a group that only
the authenticator hands out. So an identity has what its access entry says at the moment of its request, and nothing is
left behind when the entry goes. `AmazonEKSAdminPolicy` for the namespace `team-a` is the group
`eks:AmazonEKSAdminPolicy:team-a` there, bound to the role `admin`.
"""

from __future__ import annotations

import fnmatch
import json
import ssl
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_VIEWER_OF_ALL = "eks:admin-view"
ROLES = {
    "AmazonEKSClusterAdminPolicy": "cluster-admin",
    "AmazonEKSAdminPolicy": "admin",
    "AmazonEKSEditPolicy": "edit",
    "AmazonEKSViewPolicy": "view",
    "AmazonEKSAdminViewPolicy": _VIEWER_OF_ALL,
}
"""The cluster role that stands for each policy. Source: EKS user guide, "Review access policy permissions", whose
tables name the same resources as the user-facing roles of Kubernetes, read 2026-11."""

_RBAC = "rbac.authorization.k8s.io"
_SEEN_WITHIN_SECONDS = 30.0
"""So long a new binding is waited for: the API server decides by a cache of its own, which follows."""
_ANSWER_WITHIN_SECONDS = 30


@dataclass(frozen=True)
class Grant:
    """One associated policy: in all the cluster, or in the namespaces that match `namespaces` (`*` for any text)."""

    policy: str
    namespaces: tuple[str, ...] = ()

    @classmethod
    def of(cls, association: Mapping[str, Any]) -> Grant:
        """From an entry of `list_associated_access_policies`."""
        scope = association["accessScope"]
        namespaces = tuple(scope.get("namespaces") or ()) if scope["type"] == "namespace" else ()
        return cls(association["policyArn"].rsplit("/", 1)[1], namespaces)


class AccessPolicies:
    """Groups for grants, bound in the cluster that `kubeconfig` (an administrator's, with client certificate) names."""

    def __init__(self, kubeconfig: Path) -> None:
        said = json.loads(kubeconfig.read_text())
        cluster, user = said["clusters"][0]["cluster"], said["users"][0]["user"]
        context = ssl.create_default_context(cafile=cluster["certificate-authority"])
        context.load_cert_chain(user["client-certificate"], user["client-key"])
        self.endpoint: str = cluster["server"]
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        )
        self._bound: set[tuple[str, str]] = set()
        self._in_force: set[str] = set()
        self._lock = threading.Lock()

    def groups(self, grants: Iterable[Grant]) -> list[str]:
        """The groups of an identity with these grants; their rights are in force when this returns.

        Policies without a role here, those of EKS's own components, give nothing.
        """
        found: list[str] = []
        awaited: list[tuple[str, str]] = []
        with self._lock:
            for grant in grants:
                if grant.policy not in ROLES:
                    continue
                for place in self._places(grant):
                    found.append(group_name(grant.policy, place))
                    if self._bind(grant.policy, place):
                        self._in_force.discard(found[-1])
                    if found[-1] not in self._in_force:
                        awaited.append((found[-1], place))
        deadline = time.monotonic() + _SEEN_WITHIN_SECONDS
        for group, place in awaited:
            while not self._is_in_force(group, place) and time.monotonic() < deadline:
                time.sleep(0.02)
            self._in_force.add(group)
        return found

    def _is_in_force(self, group: str, namespace: str) -> bool:
        """Whether the API server lets the group do what every policy allows, in `namespace` or, if empty, in all."""
        asked = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {
                "user": group,
                "groups": [group],
                "resourceAttributes": {"verb": "list", "resource": "pods", "namespace": namespace},
            },
        }
        answer = self._request("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", asked)
        return bool(answer["status"].get("allowed"))

    def _places(self, grant: Grant) -> list[str]:
        if not grant.namespaces:
            return [""]
        there = [one["metadata"]["name"] for one in self._request("GET", "/api/v1/namespaces")["items"]]
        return [name for name in there if any(fnmatch.fnmatchcase(name, pattern) for pattern in grant.namespaces)]

    def _bind(self, policy: str, namespace: str) -> bool:
        """Bind the policy's group; whether that was needed. A namespace that was made anew has lost its bindings."""
        if not namespace and (policy, "") in self._bound:
            return False
        role, group = ROLES[policy], group_name(policy, namespace)
        if role == _VIEWER_OF_ALL:
            self._create("/clusterroles", _viewer_of_all())
        kind = "RoleBinding" if namespace else "ClusterRoleBinding"
        collection = f"/namespaces/{namespace}/rolebindings" if namespace else "/clusterrolebindings"
        made = self._create(
            collection,
            {
                "apiVersion": f"{_RBAC}/v1",
                "kind": kind,
                "metadata": {"name": group, "labels": {"eks.amazonaws.com/component": "access-policy"}},
                "roleRef": {"apiGroup": _RBAC, "kind": "ClusterRole", "name": role},
                "subjects": [{"apiGroup": _RBAC, "kind": "Group", "name": group}],
            },
        )
        self._bound.add((policy, namespace))
        return made

    def _create(self, collection: str, content: Mapping[str, Any]) -> bool:
        try:
            self._request("POST", f"/apis/{_RBAC}/v1{collection}", content)
        except urllib.error.HTTPError as refused:
            if refused.code in (404, 409):  # the namespace has just gone, or the object is there
                return False
            raise
        return True

    def _request(self, method: str, path: str, content: Mapping[str, Any] | None = None) -> Any:
        request = urllib.request.Request(  # noqa: S310  # the API server, by https
            self.endpoint + path,
            data=json.dumps(content).encode() if content is not None else None,
            method=method,
            headers={"Content-Type": "application/json"},
        )
        with self._opener.open(request, timeout=_ANSWER_WITHIN_SECONDS) as answer:
            return json.load(answer)


def group_name(policy: str, namespace: str = "") -> str:
    """The group that has the permissions of `policy`; nobody can give it otherwise: EKS refuses groups in `eks:`."""
    return ":".join(filter(None, ("eks", policy, namespace)))


def _viewer_of_all() -> dict[str, Any]:
    reads = ["get", "list", "watch"]
    return {
        "apiVersion": f"{_RBAC}/v1",
        "kind": "ClusterRole",
        "metadata": {"name": _VIEWER_OF_ALL},
        "rules": [
            {"apiGroups": ["*"], "resources": ["*"], "verbs": reads},
            {"nonResourceURLs": ["*"], "verbs": ["get"]},
        ],
    }
