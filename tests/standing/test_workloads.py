"""The workloads layer as it stands: each team's namespace, what it may use, and who reaches its pods."""

from __future__ import annotations

import kubernetes
import pytest
import yaml

from trainyard.modules.gpu_group import EFA_RESOURCE, GPU_RESOURCE
from trainyard.modules.instance_types import INSTANCE_TYPES
from trainyard.modules.job_templates import MANIFEST_KEY


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


def test_each_gpu_group_has_a_template_per_team_that_asks_for_all_its_nodes_have(core, settings, outputs):
    for team in settings.teams:
        for group in settings.gpu_groups:
            name = outputs["job_templates"][team.name][group.name]
            pods = str(list(yaml.safe_load_all(core.read_namespaced_config_map(name, team.name).data[MANIFEST_KEY])))
            kind = INSTANCE_TYPES[group.instance_type]
            assert f"'{GPU_RESOURCE}': '{kind.gpus}'" in pods, name
            assert (f"'{EFA_RESOURCE}': '{kind.efa_interfaces}'" in pods) == bool(kind.efa_interfaces), name


def test_device_plugins_are_placed_on_nodes_with_gpus(standing):
    apps = kubernetes.client.AppsV1Api(standing.kubernetes)
    images = [
        container.image
        for one in apps.list_daemon_set_for_all_namespaces().items
        for container in one.spec.template.spec.containers
    ]
    wanted = standing.outputs["third_party_images"]
    assert {wanted["nvidia-device-plugin"], wanted["efa-device-plugin"]} <= set(images)
