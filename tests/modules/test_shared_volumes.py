"""A volume belongs to one team's claim, outlives it, and gives no more than was said."""

from __future__ import annotations

from typing import Any

import pytest
from mocked_pulumi import Deployment, run

from trainyard.modules.shared_volumes import BucketVolume, LustreVolume, SharedVolumes, SharedVolumesArgs

LUSTRE = LustreVolume("fs-0123456789abcdef0", "fs-0123456789abcdef0.fsx.us-east-1.amazonaws.com", "abcdefgh", 4800)
BUCKETS = [
    BucketVolume("datasets", "yard-datasets", "us-east-1"),
    BucketVolume("imagenet", "yard-datasets", "us-east-1", prefix="imagenet/"),
]


@pytest.fixture(scope="module")
def deployment() -> Deployment:
    return run(lambda: SharedVolumes("yard-vision", SharedVolumesArgs("vision", LUSTRE, BUCKETS)))


def _volume(deployment: Deployment, what: str) -> Any:
    return deployment.one("kubernetes:core/v1:PersistentVolume", f"yard-vision-{what}").inputs


def _claim(deployment: Deployment, what: str) -> Any:
    return deployment.one("kubernetes:core/v1:PersistentVolumeClaim", f"yard-vision-{what}").inputs


@pytest.mark.parametrize("what", ["lustre", "datasets", "imagenet"])
def test_volume_and_claim_name_each_other_and_no_class_comes_between(deployment: Deployment, what: str) -> None:
    volume, claim = _volume(deployment, what), _claim(deployment, what)
    held_for = volume["spec"]["claimRef"]
    assert (held_for["namespace"], held_for["name"]) == ("vision", what)
    assert (claim["metadata"]["namespace"], claim["metadata"]["name"]) == ("vision", what)
    assert claim["spec"]["volumeName"] == volume["metadata"]["name"] == f"vision-{what}"
    assert volume["spec"]["storageClassName"] == claim["spec"]["storageClassName"] == ""
    assert volume["spec"]["accessModes"] == claim["spec"]["accessModes"]
    assert volume["spec"]["persistentVolumeReclaimPolicy"] == "Retain"


def test_lustre_is_mounted_by_its_own_name_with_locks_that_hold_between_nodes(deployment: Deployment) -> None:
    spec = _volume(deployment, "lustre")["spec"]
    assert spec["csi"] == {
        "driver": "fsx.csi.aws.com",
        "volumeHandle": LUSTRE.file_system_id,
        "volumeAttributes": {"dnsname": LUSTRE.dns_name, "mountname": "abcdefgh"},
    }
    assert spec["mountOptions"] == ["flock"]
    assert spec["accessModes"] == ["ReadWriteMany"]
    assert spec["capacity"] == {"storage": "4800Gi"}


def test_a_bucket_is_read_only_and_read_with_the_pods_own_role(deployment: Deployment) -> None:
    for what in ("datasets", "imagenet"):
        spec = _volume(deployment, what)["spec"]
        assert spec["accessModes"] == ["ReadOnlyMany"]
        assert "read-only" in spec["mountOptions"]
        assert spec["csi"]["volumeAttributes"] == {"bucketName": "yard-datasets", "authenticationSource": "pod"}
    assert "prefix imagenet/" in _volume(deployment, "imagenet")["spec"]["mountOptions"]
    assert not [
        option for option in _volume(deployment, "datasets")["spec"]["mountOptions"] if option.startswith("prefix")
    ]


def test_two_volumes_on_one_bucket_are_two_mounts(deployment: Deployment) -> None:
    handles = {_volume(deployment, what)["spec"]["csi"]["volumeHandle"] for what in ("datasets", "imagenet")}
    assert handles == {"vision-datasets", "vision-imagenet"}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SharedVolumesArgs("vision"), "neither a file system nor a bucket"),
        (lambda: SharedVolumesArgs("vision", buckets=[BUCKETS[0], BUCKETS[0]]), "stands once"),
        (lambda: BucketVolume("lustre", "b", "us-east-1"), "the file system's"),
        (lambda: BucketVolume("b", "b", "us-east-1", prefix="x"), "ends in a slash"),
        (lambda: LustreVolume("fs-1", "d", "m", 600), "begins at 1200"),
    ],
)
def test_wrong_arguments_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
