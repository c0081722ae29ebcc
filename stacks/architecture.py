"""The platform: read top to bottom, this is its architecture.

Data is what lives long and is protected. The cluster that computes on it and the workloads inside the cluster stand on
it and can be taken down and put up again.

(Not called platform.py: Pulumi starts Python inside this folder, where that name would hide the standard library's.)
"""

from __future__ import annotations

import dataclasses

import pulumi
import pulumi_aws as aws

from trainyard.stacks.data import data
from trainyard.stacks.settings import Settings


def platform(settings: Settings) -> None:
    """Declare one environment, and export what its users and the next layers need to know."""
    aws_provider = aws.Provider(
        "aws",
        region=settings.region,
        default_tags=aws.ProviderDefaultTagsArgs(tags=settings.tags),
    )

    data_layer = data(settings, aws_provider)

    pulumi.export("environment", settings.environment)
    pulumi.export("region", settings.region)
    for field in dataclasses.fields(data_layer):
        pulumi.export(field.name, getattr(data_layer, field.name))
