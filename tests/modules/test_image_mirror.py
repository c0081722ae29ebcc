"""What is copied from where, and what the copying may do."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pulumi
import pytest
from iam_evaluation import Request, allows
from mocked_pulumi import ACCOUNT, REGION, Deployment, run

from trainyard.modules.image_mirror import ImageMirror, ImageMirrorArgs, buildspec
from trainyard.modules.third_party_images import CLUSTER_AUTOSCALERS, THIRD_PARTY_IMAGES, images_for

KEY, LOGS_KEY = (f"arn:aws:kms:{REGION}:{ACCOUNT}:key/{purpose}" for purpose in ("compute", "logs"))
REGISTRY = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com"
ARGS = ImageMirrorArgs(
    prefix="yard", images=images_for("1.35"), key_arn=KEY, logs_key_arn=LOGS_KEY, tags={"owner": "ml"}
)


@pytest.fixture(scope="module")
def deployment() -> Deployment:
    def program() -> None:
        mirror = ImageMirror("yard", ARGS)
        pulumi.export("autoscaler", mirror.mirrored_image("cluster-autoscaler"))

    return run(program)


def test_each_image_has_a_repository_and_a_reference(deployment: Deployment) -> None:
    names = {one.inputs["name"] for one in deployment.of_type("aws:ecr/repository:Repository")}
    assert names == {f"yard/mirror/{image.name}" for image in images_for("1.35")}
    version = CLUSTER_AUTOSCALERS["1.35"].tag
    assert deployment.outputs["autoscaler"] == f"{REGISTRY}/yard/mirror/cluster-autoscaler:{version}"


def test_it_copies_each_to_its_place_without_a_privileged_container(deployment: Deployment) -> None:
    project = deployment.one("aws:codebuild/project:Project").inputs
    assert project["environment"]["privilegedMode"] is False
    assert project["source"]["type"] == "NO_SOURCE"
    (commands,) = json.loads(project["source"]["buildspec"])["phases"]["build"]["commands"]
    for image in images_for("1.35"):
        assert f"copy {image.reference} {REGISTRY}/yard/mirror/{image.name}:{image.tag}" in commands.splitlines()


def test_it_may_fill_the_mirror_and_nothing_else(deployment: Deployment) -> None:
    policy = deployment.one("aws:iam/rolePolicy:RolePolicy").inputs["policy"]
    mirror = f"arn:aws:ecr:{REGION}:{ACCOUNT}:repository/yard/mirror/kueue"
    assert allows(policy, Request("ecr:PutImage", mirror))
    assert not allows(policy, Request("ecr:PutImage", f"arn:aws:ecr:{REGION}:{ACCOUNT}:repository/yard/trainer"))
    assert not allows(policy, Request("ecr:BatchDeleteImage", mirror))
    assert not allows(policy, Request("s3:GetObject", "arn:aws:s3:::yard-data/1"))


def test_what_nobody_mirrors_is_refused_by_name() -> None:
    def program() -> None:
        ImageMirror("yard", ARGS).mirrored_image("calico")

    with pytest.raises(ValueError, match="nothing named 'calico' is mirrored; there is nvidia-device-plugin"):
        run(program)


_CRANE = """#!/bin/sh
# A registry in a folder: a reference is a file that holds its digest.
name() { printf %s "$1" | tr '/:@' '___'; }
case $1 in
  digest) cat "$REGISTRY_FOLDER/$(name "$2")" ;;
  copy) cp "$REGISTRY_FOLDER/$(name "$2")" "$REGISTRY_FOLDER/$(name "$3")" ;;
esac
"""


def _build(folder: Path, upstream: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run the commands of the build with a `crane` that keeps its registry in a folder."""
    registry = folder / "registry"
    registry.mkdir(exist_ok=True)
    (folder / "crane").write_text(_CRANE)
    (folder / "crane").chmod(0o755)
    for reference, digest in upstream.items():
        (registry / reference.translate(str.maketrans("/:@", "___"))).write_text(digest)
    targets = {image.name: f"here/{image.name}:{image.tag}" for image in THIRD_PARTY_IMAGES}
    phases: Any = buildspec(THIRD_PARTY_IMAGES, targets)["phases"]
    return subprocess.run(
        ["sh", "-e", "-c", "\n".join(phases["build"]["commands"])],
        cwd=folder,
        env={"PATH": f"{folder}:{os.environ['PATH']}", "REGISTRY_FOLDER": str(registry)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_everything_is_copied_once_and_a_tag_that_moves_upstream_is_told(tmp_path: Path) -> None:
    upstream = {image.reference: f"sha256:{index}" for index, image in enumerate(THIRD_PARTY_IMAGES)}
    first = _build(tmp_path, upstream)
    assert first.returncode == 0, first.stderr
    assert first.stdout.count("mirrored ") == len(THIRD_PARTY_IMAGES)
    again = _build(tmp_path, upstream)
    assert (again.returncode, again.stdout) == (0, "")
    moved = _build(tmp_path, {THIRD_PARTY_IMAGES[0].reference: "sha256:other"})
    assert moved.returncode == 0
    assert "changed upstream, copy left alone" in moved.stdout
    assert _build(tmp_path, {}).stdout == moved.stdout, "the copy is what it was"


def test_an_image_that_is_gone_upstream_fails_the_build_after_the_others(tmp_path: Path) -> None:
    missing, *others = (image.reference for image in THIRD_PARTY_IMAGES)
    built = _build(tmp_path, dict.fromkeys(others, "sha256:1"))
    assert built.returncode == 1
    assert f"not mirrored: {missing}" in built.stdout
    assert built.stdout.count("mirrored ") >= len(others)


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"images": []}, "is empty"), ({"images": [THIRD_PARTY_IMAGES[0], THIRD_PARTY_IMAGES[0]]}, "twice")],
)
def test_wrong_arguments_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(ARGS, **changes)


def test_the_autoscaler_is_of_the_clusters_version() -> None:
    for version, image in CLUSTER_AUTOSCALERS.items():
        assert image.tag.startswith(f"v{version}.")
        assert image in images_for(version)
    with pytest.raises(ValueError, match=r"there is one for 1\.34, 1\.35"):
        images_for("1.30")


def test_every_image_says_where_its_version_was_read() -> None:
    for image in images_for("1.35"):
        assert image.read.endswith("2026-11")
        assert image.tag not in ("", "latest")
