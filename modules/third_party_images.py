"""The images and charts of others that a cluster runs, each with its version and where that was read.

    images_for("1.35")      -> all, with the cluster autoscaler of that Kubernetes version

A digest pins what a tag only names. Those known here were read in public programs (secondary), and the mirror copies by
them. Where there is none, the first mirroring pins it: the copy's tag cannot be changed any more, and the build's log
prints the digest to put in here. No registry could be asked, so that a tag exists is only as sure as its `read` says.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class ThirdPartyImage:
    """One image or OCI chart.

    Attributes:
        name: what it is called here, and the end of its repository's name in the mirror.
        source: registry and repository it comes from.
        tag: version there, and in the mirror.
        kind: an image to run, or a Helm chart kept in a registry.
        digest: of the tag's manifest, `sha256:` and 64 hexadecimal digits; None where nobody has told it yet.
        read: where the version was read, and when.
    """

    name: str
    source: str
    tag: str
    read: str
    kind: Literal["image", "chart"] = "image"
    digest: str | None = None

    @property
    def reference(self) -> str:
        """What is copied: by digest where one is known."""
        return f"{self.source}@{self.digest}" if self.digest else f"{self.source}:{self.tag}"


THIRD_PARTY_IMAGES = (
    ThirdPartyImage(
        "nvidia-device-plugin",
        "nvcr.io/nvidia/k8s-device-plugin",
        "v0.18.2",
        "public programs that pin it (secondary), 2026-11",
    ),
    ThirdPartyImage(
        "efa-device-plugin",
        "public.ecr.aws/eks/aws-efa-k8s-device-plugin",
        "v0.5.20",
        "rendered charts of aws/eks-charts (secondary), from a regional registry and not this one, 2026-11",
    ),
    # The versions of JobSet and Kueue are those that the rehearsal builds from source.
    ThirdPartyImage(
        "jobset",
        "registry.k8s.io/jobset/jobset",
        "v0.11.0",
        "module sigs.k8s.io/jobset, and charts that run the image (secondary), 2026-11",
    ),
    ThirdPartyImage(
        "jobset-chart",
        "registry.k8s.io/jobset/charts/jobset",
        "0.11.0",
        "as the image; programs that install its neighbours 0.10.0 and 0.11.1 (secondary), 2026-11",
        kind="chart",
    ),
    ThirdPartyImage(
        "kueue",
        "registry.k8s.io/kueue/kueue",
        "v0.12.3",
        "module sigs.k8s.io/kueue, 2026-11",
    ),
    ThirdPartyImage(
        "kueue-chart",
        "registry.k8s.io/kueue/charts/kueue",
        "0.12.3",
        "as the image; Kueue's release checks of 0.11.6 and 0.14.6 show the form, 2026-11",
        kind="chart",
    ),
    ThirdPartyImage(
        "cuda-base",
        "docker.io/nvidia/cuda",
        "13.0.2-base-ubuntu24.04",
        "training_images/Dockerfile, and public programs that run it (secondary), 2026-11",
    ),
)
"""What every cluster runs, whatever its version, and the base of the training image."""

CLUSTER_AUTOSCALERS = {
    "1.34": ThirdPartyImage(
        "cluster-autoscaler",
        "registry.k8s.io/autoscaling/cluster-autoscaler",
        "v1.34.5",
        "notes of the release cluster-autoscaler-1.34.5 of kubernetes/autoscaler, 2026-11",
    ),
    "1.35": ThirdPartyImage(
        "cluster-autoscaler",
        "registry.k8s.io/autoscaling/cluster-autoscaler",
        "v1.35.2",
        "public programs that pin it (secondary), 2026-11",
        digest="sha256:aac369dc283927a623deb1af54696efcc722ae79255aa07788422e495bab887d",
    ),
}
"""By Kubernetes version: its minor version has to be the cluster's."""


def images_for(kubernetes_version: str) -> tuple[ThirdPartyImage, ...]:
    """All images and charts for a cluster of this version, such as `1.35`.

    Raises:
        ValueError: where no cluster autoscaler is known for the version.
    """
    if kubernetes_version not in CLUSTER_AUTOSCALERS:
        raise ValueError(
            f"no cluster autoscaler is known for Kubernetes {kubernetes_version!r}; "
            f"there is one for {', '.join(CLUSTER_AUTOSCALERS)}"
        )
    return (*THIRD_PARTY_IMAGES, CLUSTER_AUTOSCALERS[kubernetes_version])
