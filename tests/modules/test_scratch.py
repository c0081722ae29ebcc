"""Volumes of the scratch class are fast, encrypted under the team's key, tagged, and where their pod is."""

from __future__ import annotations

from typing import Any

import pytest
from mocked_pulumi import ACCOUNT, REGION, run

from trainyard.modules.scratch import Scratch, ScratchArgs

KEY = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/compute"


def test_a_volume_is_encrypted_under_the_given_key_and_tagged() -> None:
    args = ScratchArgs(KEY, iops_per_gib=100, volume_tags={"owner": "ml", "data-class": "internal"})
    made = run(lambda: Scratch("yard", args)).one("kubernetes:storage.k8s.io/v1:StorageClass").inputs
    parameters = made["parameters"]
    assert made["provisioner"] == "ebs.csi.aws.com"
    assert (parameters["type"], parameters["iopsPerGB"]) == ("io2", "100")
    assert (parameters["encrypted"], parameters["kmsKeyId"]) == ("true", KEY)
    tags = {value for key, value in parameters.items() if key.startswith("tagSpecification_")}
    assert tags == {"owner=ml", "data-class=internal"}


def test_a_volume_is_made_in_its_pods_zone_and_goes_with_its_claim() -> None:
    made = run(lambda: Scratch("yard", ScratchArgs(KEY))).one("kubernetes:storage.k8s.io/v1:StorageClass").inputs
    assert made["volumeBindingMode"] == "WaitForFirstConsumer"
    assert made["reclaimPolicy"] == "Delete"
    assert made["metadata"]["name"] == "scratch-io2"


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"iops_per_gib": 0}, "1 to 1000"),
        ({"iops_per_gib": 1001}, "1 to 1000"),
        ({"volume_tags": {"a=b": "c"}}, "no '='"),
        ({"volume_tags": {"owner": ""}}, "neither is empty"),
    ],
)
def test_wrong_arguments_are_refused(args: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ScratchArgs(KEY, **args)
