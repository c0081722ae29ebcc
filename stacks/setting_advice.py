"""What may be meant, and had better be known: settings that are right, and surprise.

for one in advice(settings):
    pulumi.log.warn(str(one))
"""

from __future__ import annotations

from collections.abc import Iterator

from trainyard.stacks.setting_errors import Problem
from trainyard.stacks.setting_model import Settings
from trainyard.stacks.setting_quota_checks import most_gpus


def advice(settings: Settings, namespace: str = "trainyard") -> Iterator[Problem]:
    """Each with the key of the setting and what follows from it."""
    asked, there = sum(team.gpu_quota for team in settings.teams), most_gpus(settings)
    if asked > there:
        yield Problem(
            f"{namespace}:teams",
            f"Their GPU quotas add up to {asked}, and all GPU groups grow to {there}. That may be meant: a quota is a "
            "ceiling, and pods beyond what there is wait until others end.",
        )
    if settings.network.existing is None and not settings.kubernetes.public_access_cidrs:
        blocks = ", ".join(map(str, settings.kubernetes.private_access_cidrs))
        yield Problem(
            f"{namespace}:kubernetes.private_access_cidrs",
            f"The API answers {blocks} alone, and this program makes no way from there into the new VPC. Before what "
            'stands in Kubernetes can be made, join the VPC to that network: docs/environments.md, "The first up".',
        )
