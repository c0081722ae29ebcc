"""The platform: read top to bottom, this is its architecture.

Data is what lives long and is protected. The cluster that computes on it and the workloads inside the cluster stand on
it and can be taken down and put up again. One stack holds all three, or three stacks hold one each.

(Not called platform.py: Pulumi starts Python inside this folder, where that name would hide the standard library's.)
"""

from __future__ import annotations

import pulumi
import pulumi_aws as aws

from trainyard.stacks.cluster import ClusterLayer, cluster
from trainyard.stacks.data import DataLayer, data
from trainyard.stacks.layers import export, from_stack
from trainyard.stacks.settings import Settings
from trainyard.stacks.workloads import workloads


def _require_account(settings: Settings, aws_provider: aws.Provider) -> None:
    """Ask the provider once, so that credentials for another account are one message and not a traceback for each part
    that asks. Raises `pulumi.RunError`."""
    if settings.account_id is None:
        return
    try:
        aws.get_caller_identity(opts=pulumi.InvokeOptions(provider=aws_provider))
    except Exception as refused:
        if "account" not in str(refused).lower():
            raise
        raise pulumi.RunError(
            f"{settings.environment} belongs into account {settings.account_id} (setting account_id), and these "
            f"credentials do not lead there: {str(refused).strip()}"
        ) from None


def platform(settings: Settings) -> None:
    """Declare one environment, or one layer of it, and export what its users and the next layers need to know."""
    aws_provider = aws.Provider(
        "aws",
        region=settings.region,
        allowed_account_ids=[settings.account_id] if settings.account_id else None,
        default_tags=aws.ProviderDefaultTagsArgs(tags=settings.tags),
    )
    _require_account(settings, aws_provider)
    pulumi.export("environment", settings.environment)
    pulumi.export("region", settings.region)

    if settings.holds("data"):
        data_layer = data(settings, aws_provider)
        export(data_layer)
    else:
        data_layer = from_stack(DataLayer, settings, "data")

    if settings.holds("cluster"):
        cluster_layer = cluster(settings, data_layer, aws_provider)
        export(cluster_layer)
    elif settings.holds("workloads"):
        cluster_layer = from_stack(ClusterLayer, settings, "cluster")
    else:
        return

    if settings.holds("workloads"):
        export(workloads(settings, data_layer, cluster_layer, aws_provider))
