"""GPUs cost by the second: somebody is told, idle nodes go, and each bill says whose it is."""

from __future__ import annotations

from collections.abc import Iterator

from trainyard.policies.gpu_groups import has_gpus, is_reserved
from trainyard.policies.graph import Graph, Resource
from trainyard.policies.pod_templates import GPU, Pod, containers, each_pod, has_pods
from trainyard.policies.preflight import NODE_GROUPS, number, template_of
from trainyard.policies.rule import Finding, Severity, each, resource_rule, stack_rule, unverified, violation
from trainyard.policies.values import UNKNOWN, Value

_BUDGETS = frozenset({"aws:budgets/budget:Budget"})
_SUBSCRIBERS = ("subscriberEmailAddresses", "subscriberSnsTopicArns")
_GPU_TAINTS = (GPU, "nvidia.com/gpu.present")
_COST_KEYS = ("cost-centre", "cost-center", "costcentre", "costcenter")

_COST = {"NIST 800-53": ("SC-6", "CM-8"), "ISO 27001": ("A.5.9", "A.8.6")}


@stack_rule(
    "cost-gpu-has-budget",
    title="A stack with GPU nodes has a budget",
    severity=Severity.MEDIUM,
    applies=NODE_GROUPS,
    controls=_COST,
    why="One forgotten node of eight GPUs costs as much in a month as a year of all the rest, and no alarm is red.",
    remedy="""
aws.budgets.Budget(name, budget_type="COST", time_unit="MONTHLY", limit_amount="20000", limit_unit="USD",
    notifications=[{"notification_type": "ACTUAL", "comparison_operator": "GREATER_THAN", "threshold": 80,
                    "threshold_type": "PERCENTAGE", "subscriber_email_addresses": ["ml-platform@example.com"]}])
""",
)
def gpu_has_budget(group: Resource, graph: Graph) -> Iterator[Finding]:
    gpus = has_gpus(group, graph)
    kinds = [one["budgetType"].raw for one in graph.of(_BUDGETS)]
    if gpus is False or "COST" in kinds:
        return
    if gpus is None or UNKNOWN in kinds:
        yield unverified("whether these nodes have GPUs, and whether a budget is there, is not known yet")
    else:
        yield violation("nodes with GPUs, and the stack has no budget of costs")


@resource_rule(
    "cost-budget-notifies",
    title="A budget tells somebody before it is spent, and when it will be",
    severity=Severity.MEDIUM,
    applies=_BUDGETS,
    controls=_COST,
    why="A budget stops nothing; it is worth what its notifications are. A forecast comes weeks before the bill.",
    remedy="""
"notifications": [{"notification_type": kind, "comparison_operator": "GREATER_THAN", "threshold": threshold,
                   "threshold_type": "PERCENTAGE", "subscriber_sns_topic_arns": [topic.arn]}
                  for kind, threshold in (("ACTUAL", 80), ("FORECASTED", 100))]
""",
)
def budget_notifies(budget: Resource) -> Iterator[Finding]:
    if budget["budgetType"].text() not in ("COST", "USAGE"):
        return
    notifications = budget["notifications"]
    told = {one["notificationType"].text() for one in notifications.items() if _in_time(one)}
    if "ACTUAL" not in told:
        yield violation("nobody is told before the budget is spent (ACTUAL, at most 100 %)", notifications)
    if "FORECASTED" not in told:
        yield violation("nobody is told that the budget will be spent (FORECASTED, at most 100 %)", notifications)


def _in_time(notification: Value) -> bool:
    """Whether a notification reaches somebody at 100 % or before. One without a reader does not count."""
    if not any(notification[key].items() for key in _SUBSCRIBERS):
        return False
    threshold, kind = notification["threshold"], notification["thresholdType"].text()
    if notification["comparisonOperator"].text() == "LESS_THAN":
        return False
    return kind == "ABSOLUTE_VALUE" or (number(threshold) or 0) <= 100


@stack_rule(
    "cost-gpu-idles-to-zero",
    title="A group of GPU nodes goes to zero when idle, unless its capacity is paid for anyway",
    severity=Severity.MEDIUM,
    applies=NODE_GROUPS,
    controls=_COST,
    why=(
        "The autoscaler takes no group below its minimum. A warm node may be worth it for a notebook; for training, "
        "which waits for hours anyway, it is not. Capacity Blocks and reservations cost the same when idle."
    ),
    remedy="""
scaling_config={"min_size": 0, "max_size": 4, "desired_size": 0}
""",
    advice=True,
)
def gpu_idles_to_zero(group: Resource, graph: Graph) -> Iterator[Finding]:
    gpus = has_gpus(group, graph)
    least = group["scalingConfig"]["minSize"]
    if gpus is False or number(least) == 0 or is_reserved(group, graph):
        return
    if gpus is None:
        yield unverified("whether these nodes have GPUs is not known yet", least)
    else:
        yield violation(f"{least.raw} nodes with GPUs run whether anybody needs them or not", least)


@stack_rule(
    "cost-gpu-nodes-tagged",
    title="GPU nodes and their disks carry the tag that says who pays",
    severity=Severity.LOW,
    applies=NODE_GROUPS,
    controls=_COST,
    why="A node group's tags, and a provider's, do not reach its instances: only the launch template's do.",
    remedy="""
aws.ec2.LaunchTemplate(name, tag_specifications=[{"resource_type": what, "tags": {**tags, "cost-centre": "ml-training"}}
                                                 for what in ("instance", "volume")])
""",
)
def gpu_nodes_tagged(group: Resource, graph: Graph) -> Iterator[Finding]:
    gpus = has_gpus(group, graph)
    if gpus is False:
        return
    template = template_of(group, graph)
    if gpus is None:
        yield unverified("whether these nodes have GPUs is not known yet", group["amiType"])
        return
    specifications = template["tagSpecifications"] if template else Value(None, ("launchTemplate",), group.urn)
    untagged = {"instance", "volume"}

    def tagged(specification: Value) -> Iterator[Finding]:
        named = [key.lower() for key, value in specification["tags"].fields().items() if value.present]
        kind = specification["resourceType"].text() or ""
        if any(key in _COST_KEYS for key in named):
            untagged.discard(kind)
        yield from ()

    yield from each(specifications.items(), tagged)
    if untagged:
        yield violation(f"{' and '.join(sorted(untagged))} get no tag cost-centre", specifications)


@stack_rule(
    "cost-gpu-nodes-for-gpu-pods",
    title="Only pods that ask for GPUs tolerate the taint of GPU nodes; agents of every node may",
    severity=Severity.LOW,
    applies=has_pods,
    controls=_COST,
    why=(
        "One small pod keeps a node of eight GPUs from going away. A launcher that has to stand beside its workers may "
        "be right all the same."
    ),
    remedy="""
"tolerations": []              # the taint nvidia.com/gpu is tolerated where resources ask for GPUs, and nowhere else
""",
    advice=True,
)
def gpu_nodes_for_gpu_pods(resource: Resource, _: Graph) -> Iterator[Finding]:
    def check(pod: Pod) -> Iterator[Finding]:
        # A DaemonSet's pods go with the node; the autoscaler does not count them.
        if pod.kind == "DaemonSet" or pod.partial or _asks_for_gpus(pod):
            return

        def tolerated(toleration: Value) -> Iterator[Finding]:
            key, exists = toleration["key"].text(), toleration["operator"].text() == "Exists"
            if toleration["effect"].text() == "PreferNoSchedule":
                return
            if key in _GPU_TAINTS or (exists and not key):
                yield violation(
                    f"the pod may stand on nodes with GPUs ({key or 'any taint'}), and asks for none", toleration
                )

        yield from each(pod.spec["tolerations"].items(), tolerated)

    yield from each_pod(resource, check)


def _asks_for_gpus(pod: Pod) -> bool:
    sides = [one["resources"][side] for one in containers(pod) for side in ("limits", "requests")]
    return any(side[GPU].present for side in sides) or bool(pod.spec["resourceClaims"].items())
