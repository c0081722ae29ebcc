"""User data as a node reads it, and what the autoscaler is told of an empty group."""

from __future__ import annotations

import base64
from email import message_from_bytes
from email.message import Message

import yaml

from trainyard.modules.node_config import node_template_tags, user_data


def _parts(encoded: str | None) -> dict[str, str]:
    assert encoded is not None
    message: Message = message_from_bytes(base64.b64decode(encoded))
    assert message.is_multipart()
    parts = message.get_payload()
    assert isinstance(parts, list)
    return {part.get_content_type(): str(part.get_payload()) for part in parts if isinstance(part, Message)}


def test_local_disks_become_one_array() -> None:
    parts = _parts(user_data(local_disks=8, image_cache=False))
    config = yaml.safe_load(parts["application/node.eks.aws"])
    assert (config["apiVersion"], config["kind"]) == ("node.eks.aws/v1alpha1", "NodeConfig")
    assert config["spec"]["instance"]["localStorage"] == {"strategy": "RAID0"}
    assert set(parts) == {"application/node.eks.aws"}


def test_the_image_cache_is_mounted_and_the_array_not_over_it() -> None:
    parts = _parts(user_data(local_disks=8, image_cache=True))
    config = yaml.safe_load(parts["application/node.eks.aws"])
    assert config["spec"]["instance"]["localStorage"] == {"strategy": "RAID0", "disabledMounts": ["Containerd"]}
    script = parts["text/x-shellscript"]
    assert script.startswith("#!/bin/bash")
    assert "/dev/xvdb /var/lib/containerd" in script


def test_without_disks_the_cache_is_all_there_is_and_without_both_nothing() -> None:
    assert set(_parts(user_data(local_disks=0, image_cache=True))) == {"text/x-shellscript"}
    assert user_data(local_disks=0, image_cache=False) is None


def test_the_autoscaler_is_told_labels_taints_and_devices() -> None:
    tags = node_template_tags(
        labels={"team": "vision"}, taints={"nvidia.com/gpu": "true:NoSchedule"}, resources={"nvidia.com/gpu": "8"}
    )
    prefix = "k8s.io/cluster-autoscaler/node-template"
    assert tags == {
        f"{prefix}/label/team": "vision",
        f"{prefix}/taint/nvidia.com/gpu": "true:NoSchedule",
        f"{prefix}/resources/nvidia.com/gpu": "8",
    }
