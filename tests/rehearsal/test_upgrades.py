"""Changes that reach running nodes, in the `local` environment: all is updated, and nothing replaced or ended."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import kubernetes
import pytest
import yaml

from trainyard.local.engine import Result
from trainyard.local.paths import ROOT
from trainyard.local.rehearsal import Rehearsal

SETTINGS = ROOT / "stacks" / "environments" / "Pulumi.local.yaml"
FIRST, NEXT = "1.34", "1.35"
OLD_RELEASE, NEW_RELEASE = "1.34.1-20251120", "1.34.2-20260120"
GROUP = "p4d"
SCALED_UP = 2
"""What the autoscaler has meanwhile raised the group to."""


class Platform:
    """The environment with settings that change, and the account it stands in."""

    def __init__(self, rehearsal: Rehearsal) -> None:
        self.rehearsal = rehearsal
        self.settings: dict[str, Any] = yaml.safe_load(rehearsal.config.read_text())
        self._seen: set[str] = set()

    def up(self, change: Callable[[dict[str, Any]], None]) -> Result:
        """Bring the environment up with other settings."""
        changed = copy.deepcopy(self.settings)
        change(changed["config"])
        self.settings = changed
        self.rehearsal.config.write_text(yaml.safe_dump(changed, sort_keys=False))
        return self.rehearsal.up()

    def client(self, service: str) -> Any:
        return boto3.client(
            service,
            "us-east-1",
            endpoint_url=self.rehearsal.endpoint,
            aws_access_key_id="testing",
            aws_secret_access_key="testing",
        )

    @property
    def scaling_group(self) -> str:
        return self.rehearsal.outputs()["gpu_auto_scaling_groups"][GROUP]

    def desired(self) -> int:
        found = self.client("autoscaling").describe_auto_scaling_groups(AutoScalingGroupNames=[self.scaling_group])
        return found["AutoScalingGroups"][0]["DesiredCapacity"]

    def node_group(self, group: str = GROUP) -> dict[str, Any]:
        eks, cluster = self.client("eks"), "trainyard-local"
        for name in eks.list_nodegroups(clusterName=cluster)["nodegroups"]:
            found = eks.describe_nodegroup(clusterName=cluster, nodegroupName=name)["nodegroup"]
            if found["labels"]["trainyard.dev/group"] == group:
                return found
        raise AssertionError(f"there is no node group {group}")

    def job_templates(self) -> dict[str, Any]:
        """The first team's templates as they stand in the cluster, by name."""
        config = kubernetes.config.new_client_from_config(self.rehearsal.kubernetes_environment()["KUBECONFIG"])
        team = self.settings["config"]["trainyard:teams"][0]["name"]
        found = kubernetes.client.CoreV1Api(config).list_namespaced_config_map(
            team, label_selector="trainyard.dev/job-template=true"
        )
        return {one.metadata.name: one for one in found.items}

    def new_updates(self, group: str = GROUP) -> list[dict[str, Any]]:
        """The updates that EKS was asked for since the last call."""
        eks, name = self.client("eks"), self.node_group(group)["nodegroupName"]
        asked = {"name": "trainyard-local", "nodegroupName": name}
        found = set(eks.list_updates(**asked)["updateIds"]) - self._seen
        self._seen |= found
        return [eks.describe_update(**asked, updateId=one)["update"] for one in sorted(found)]


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """`local` on the older Kubernetes, its p4d group on an older image and scaled up to two nodes."""
    folder = tmp_path_factory.mktemp("upgrades")
    config = folder / "Pulumi.local.yaml"
    config.write_text(SETTINGS.read_text())
    with Rehearsal("local", folder / "rehearsal", config=config, throw_away=True) as rehearsal:
        platform = Platform(rehearsal)

        def before(settings: dict[str, Any]) -> None:
            settings["trainyard:kubernetes"]["version"] = FIRST
            _group(settings)["release_version"] = OLD_RELEASE

        platform.up(before)
        platform.client("autoscaling").set_desired_capacity(
            AutoScalingGroupName=platform.scaling_group, DesiredCapacity=SCALED_UP
        )
        yield platform


def _group(settings: dict[str, Any]) -> dict[str, Any]:
    return next(one for one in settings["trainyard:gpu_groups"] if one["name"] == GROUP)


def _kinds(result: Result, kind: str) -> dict[str, str]:
    """Operations on resources of a type, by the resource's name."""
    return {urn.rsplit("::", 1)[-1]: what for what, urn in result.steps if urn.split("$")[-1].split("::")[0] == kind}


def _only_updates(result: Result) -> None:
    assert {what for what, _ in result.steps} == {"update"}, result.steps


def test_the_account_tells_the_size_that_the_autoscaler_set(platform):
    assert platform.desired() == SCALED_UP
    assert platform.node_group()["scalingConfig"]["desiredSize"] == SCALED_UP
    preview = platform.rehearsal.preview()
    assert set(preview.changes) == {"same"}, "a size that the autoscaler set would be set back"


def test_another_image_updates_its_group_alone_and_in_place(platform):
    before = platform.node_group()
    platform.new_updates()

    changed = platform.up(lambda settings: _group(settings).update(release_version=NEW_RELEASE))

    _only_updates(changed)
    assert list(_kinds(changed, "aws:eks/nodeGroup:NodeGroup")) == ["trainyard-local-p4d-nodes"]
    assert [what for what, _ in changed.steps] == ["update"]
    after = platform.node_group()
    assert after["releaseVersion"] == NEW_RELEASE
    assert after["nodegroupArn"] == before["nodegroupArn"]
    assert after["resources"] == before["resources"]
    assert platform.desired() == SCALED_UP
    _one_version_update(platform.new_updates())


def test_another_root_volume_is_a_new_version_of_the_same_launch_template(platform):
    before = platform.node_group()
    platform.new_updates()

    changed = platform.up(lambda settings: _group(settings).update(root_volume_gib=300))

    _only_updates(changed)
    assert {urn.rsplit("::", 1)[-1] for _, urn in changed.steps} == {"trainyard-local-p4d-nodes"}
    after = platform.node_group()
    assert after["launchTemplate"]["id"] == before["launchTemplate"]["id"]
    assert int(after["launchTemplate"]["version"]) == int(before["launchTemplate"]["version"]) + 1
    data = platform.client("ec2").describe_launch_template_versions(
        LaunchTemplateId=after["launchTemplate"]["id"], Versions=[after["launchTemplate"]["version"]]
    )["LaunchTemplateVersions"][0]["LaunchTemplateData"]
    assert data["BlockDeviceMappings"][0]["Ebs"]["VolumeSize"] == 300
    assert after["resources"] == before["resources"]
    assert platform.desired() == SCALED_UP
    _one_version_update(platform.new_updates())


def test_another_kubernetes_version_takes_addons_and_nodes_along(platform):
    before = {group: platform.node_group(group) for group in (GROUP, "g5-spot", "p5-block", "system")}
    platform.new_updates()

    def newer(settings: dict[str, Any]) -> None:
        settings["trainyard:kubernetes"]["version"] = NEXT
        _group(settings).pop("release_version")

    changed = platform.up(newer)

    held = [(what, urn) for what, urn in changed.steps if "aws:ecr" not in urn]
    assert {what for what, _ in held} == {"update"}, held
    assert set(_kinds(changed, "aws:eks/cluster:Cluster").values()) == {"update"}
    eks = platform.client("eks")
    assert eks.describe_cluster(name="trainyard-local")["cluster"]["version"] == NEXT
    proxy = eks.describe_addon(clusterName="trainyard-local", addonName="kube-proxy")["addon"]
    assert proxy["addonVersion"].startswith(f"v{NEXT}.")
    for group, was in before.items():
        now = platform.node_group(group)
        assert now["version"] == NEXT, group
        assert now["nodegroupArn"] == was["nodegroupArn"]
        assert now["resources"] == was["resources"], group
    assert platform.desired() == SCALED_UP
    _one_version_update(platform.new_updates())


def test_other_bounds_do_not_set_the_size_back(platform):
    """The provider sends the three sizes together, the desired one as the state remembers it; so the project has the
    state refreshed first."""
    platform.new_updates()
    templates = platform.job_templates()

    changed = platform.up(lambda settings: _group(settings).update(maximum_nodes=6))

    _only_updates(changed)
    assert platform.node_group()["scalingConfig"] == {"minSize": 0, "maxSize": 6, "desiredSize": SCALED_UP}
    assert [one["type"] for one in platform.new_updates()] == ["ConfigUpdate"]
    assert platform.desired() == SCALED_UP
    # Whoever submits a job meanwhile finds a template at all times: it is the same object with other contents.
    after = platform.job_templates()
    assert {name: found.metadata.uid for name, found in after.items()} == {
        name: found.metadata.uid for name, found in templates.items()
    }
    assert {name for name, found in after.items() if found.data != templates[name].data} == {f"job-{GROUP}"}


def _one_version_update(updates: list[dict[str, Any]]) -> None:
    assert [one["type"] for one in updates] == ["VersionUpdate"], updates
