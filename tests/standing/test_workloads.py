"""The workloads layer as it stands: each team's namespace, what it may use, and who reaches its pods."""

from __future__ import annotations

import kubernetes
import pytest


@pytest.fixture
def core(standing):
    return kubernetes.client.CoreV1Api(standing.kubernetes)


def test_every_team_has_its_namespace(core, settings, outputs):
    there = {one.metadata.name for one in core.list_namespace().items}
    assert {team.name for team in settings.teams} <= there
    assert sorted(outputs["team_namespaces"]) == sorted(team.name for team in settings.teams)


def test_each_teams_trainer_has_the_role_of_its_team(client, outputs, settings):
    eks = client("eks")
    for team in settings.teams:
        found = eks.list_pod_identity_associations(
            clusterName=outputs["cluster_name"], namespace=team.name, serviceAccount="trainer"
        )["associations"]
        assert len(found) == 1, team.name
        whole = eks.describe_pod_identity_association(
            clusterName=outputs["cluster_name"], associationId=found[0]["associationId"]
        )["association"]
        assert whole["roleArn"] == outputs["training_role_arns"][team.name]


def test_pods_of_teams_are_held_to_a_pod_security_standard(core, settings):
    for team in settings.teams:
        labels = core.read_namespace(team.name).metadata.labels
        assert labels.get("pod-security.kubernetes.io/enforce") == team.pod_security


def test_no_team_takes_more_gpus_than_its_quota(core, settings):
    for team in settings.teams:
        hard = [one.spec.hard for one in core.list_namespaced_resource_quota(team.name).items]
        assert any(one.get("requests.nvidia.com/gpu") == str(team.gpu_quota) for one in hard), team.name


def test_teams_do_not_reach_each_others_pods(standing, settings):
    networking = kubernetes.client.NetworkingV1Api(standing.kubernetes)
    for team in settings.teams:
        closed = [
            one
            for one in networking.list_namespaced_network_policy(team.name).items
            if not one.spec.pod_selector.match_labels
            and not one.spec.ingress
            and {"Ingress", "Egress"} <= set(one.spec.policy_types)
        ]
        assert closed, f"{team.name} has no default-deny policy"
