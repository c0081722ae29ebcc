"""Viewers see what lies in no namespace, change nothing, and find no secret."""

from __future__ import annotations

import pytest
from mocked_pulumi import run

from trainyard.modules.cluster_viewers import ClusterViewers, ClusterViewersArgs


def test_viewers_only_look_and_at_no_secret() -> None:
    deployment = run(lambda: ClusterViewers("yard", ClusterViewersArgs("yard:viewers")))
    role = deployment.one("kubernetes:rbac.authorization.k8s.io/v1:ClusterRole").inputs
    assert {verb for rule in role["rules"] for verb in rule["verbs"]} == {"get", "list", "watch"}
    seen = {(group, kind) for rule in role["rules"] for group in rule["apiGroups"] for kind in rule["resources"]}
    assert {("", "nodes"), ("", "persistentvolumes"), ("storage.k8s.io", "storageclasses")} <= seen
    assert not any("*" in (group, kind) or kind in ("secrets", "configmaps") for group, kind in seen)


def test_the_group_of_the_access_entries_has_the_role() -> None:
    deployment = run(lambda: ClusterViewers("yard", ClusterViewersArgs("yard:viewers")))
    role = deployment.one("kubernetes:rbac.authorization.k8s.io/v1:ClusterRole").inputs
    binding = deployment.one("kubernetes:rbac.authorization.k8s.io/v1:ClusterRoleBinding").inputs
    assert binding["subjects"] == [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "yard:viewers"}]
    assert binding["roleRef"]["name"] == role["metadata"]["name"]


@pytest.mark.parametrize("group", ["", "system:masters"])
def test_groups_that_eks_refuses_are_refused(group: str) -> None:
    with pytest.raises(ValueError, match="begins with system:"):
        ClusterViewersArgs(group)
