"""Job templates of a team: for each group of GPU nodes a ConfigMap with a manifest that asks for all its type has.

    JobTemplates(
        "platform-vision",
        JobTemplatesArgs(
            namespace="vision",
            groups=[JobGroup("p5", "p5.48xlarge", maximum_nodes=4), JobGroup("g5", "g5.xlarge", 8, spot=True)],
            facts={"image": repository_url, "checkpoints": checkpoints_uri},
        ),
        pulumi.ResourceOptions(provider=kubernetes_provider),
    )

Jobs themselves are no resources of a program: an update would wait for one that runs for a week. Whoever submits a job
reads the template and fills it in with `job_manifest.render`; `trainyard` does so, and so can any other client.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import pulumi
import pulumi_kubernetes as kubernetes

from trainyard.modules.gpu_capacity import DRAINED_BEFORE_END
from trainyard.modules.job_manifest import ClaimMount, JobShape, job_template
from trainyard.modules.node_labels import GROUP_LABEL, INSTANCE_TYPE_LABEL, TEAM_LABEL

TEMPLATE_LABEL = "trainyard.dev/job-template"
MANIFEST_KEY = "job.yaml"
"""The ConfigMap's entry that holds the template; the others are facts."""


@dataclass(frozen=True)
class JobGroup:
    """A group of GPU nodes, as its jobs see it.

    Attributes:
        name: value of the nodes' label `trainyard.dev/group`.
        instance_type: from `instance_types`.
        maximum_nodes: how many it may have.
        spot: whether its nodes go at two minutes' notice.
        ends_at: when its Capacity Block ends, with a time zone. Jobs end before its nodes are drained.
    """

    name: str
    instance_type: str
    maximum_nodes: int
    spot: bool = False
    ends_at: datetime | None = None


@dataclass(frozen=True)
class JobTemplatesArgs:
    """Whose jobs, on which groups, with what at hand.

    Attributes:
        namespace: the team's.
        groups: each gives one template, called `job-` and its name.
        service_account: under whose IAM role the pods work.
        claims: volume claims of the namespace, mounted in each pod.
        facts: what a submitter needs besides, such as the image's repository or the place of checkpoints.
        labels: of the ConfigMaps.
    """

    namespace: pulumi.Input[str]
    groups: Sequence[JobGroup]
    service_account: str = "trainer"
    claims: Sequence[ClaimMount] = ()
    facts: Mapping[str, pulumi.Input[str]] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = [group.name for group in self.groups]
        if not names or len(set(names)) < len(names):
            raise ValueError(f"the groups are {', '.join(names) or 'none'}; there is at least one, and each name once")
        if MANIFEST_KEY in self.facts:
            raise ValueError(f"a fact is called {MANIFEST_KEY}, which is the template's own entry")
        for group in self.groups:
            self.shape(group, "any")

    def shape(self, group: JobGroup, namespace: str) -> JobShape:
        """What the jobs on one group have in common. Raises ValueError where the group is no GPU group."""
        return JobShape(
            namespace=namespace,
            group=group.name,
            instance_type=group.instance_type,
            maximum_nodes=group.maximum_nodes,
            service_account=self.service_account,
            spot=group.spot,
            ends_at=group.ends_at - DRAINED_BEFORE_END if group.ends_at else None,
            claims=tuple(self.claims),
        )


class JobTemplates(pulumi.ComponentResource):
    """One ConfigMap for each group."""

    config_map_names: dict[str, pulumi.Output[str]]
    """By group."""

    def __init__(self, name: str, args: JobTemplatesArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("trainyard:job_templates:JobTemplates", name, None, opts)
        namespace = pulumi.Output.from_input(args.namespace)
        self.config_map_names = {}
        for group in args.groups:
            manifest = namespace.apply(lambda team, group=group: job_template(args.shape(group, team)))
            made = kubernetes.core.v1.ConfigMap(
                f"{name}-{group.name}",
                metadata={
                    "name": f"job-{group.name}",
                    "namespace": namespace,
                    "labels": {
                        **args.labels,
                        TEMPLATE_LABEL: "true",
                        GROUP_LABEL: group.name,
                        TEAM_LABEL: namespace,
                    },
                    "annotations": {INSTANCE_TYPE_LABEL: group.instance_type},
                },
                data={MANIFEST_KEY: manifest, **args.facts},
                opts=pulumi.ResourceOptions(parent=self),
            )
            self.config_map_names[group.name] = made.metadata.name
        self.register_outputs({"config_map_names": self.config_map_names})
