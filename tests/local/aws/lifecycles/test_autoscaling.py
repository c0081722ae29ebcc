"""Schedules and tags of the Auto Scaling groups that node groups have."""

from __future__ import annotations

import pytest
from aws_lifecycle import Lifecycle, Step
from aws_program import Program, Resource
from eks_programs import BASE, cluster, nodes

from trainyard.local.aws.errors import AwsError

SCHEDULE = "aws:autoscaling/schedule:Schedule"
TAG = "aws:autoscaling/tag:Tag"
HINT = "k8s.io/cluster-autoscaler/node-template/resources/nvidia.com/gpu"


def group(r: dict[str, Resource]) -> str:
    return r["nodes"]["resources"][0]["autoscalingGroups"][0]["name"]


class TestLife(Lifecycle):
    steps = {  # noqa: RUF012
        **BASE,
        "cluster": Step("aws:eks/cluster:Cluster", lambda r: cluster(r, name="scaled")),
        "nodes": Step(
            "aws:eks/nodeGroup:NodeGroup", lambda r: nodes(r, nodeGroupName="g", instanceTypes=["g5.xlarge"])
        ),
        "nightly": Step(
            SCHEDULE,
            lambda r: {
                "autoscalingGroupName": group(r),
                "scheduledActionName": "nightly",
                "recurrence": "0 20 * * *",
                "timeZone": "Asia/Dubai",
                "minSize": 0,
                "maxSize": 4,
                "desiredCapacity": 0,
            },
            lambda r: {
                "autoscalingGroupName": group(r),
                "scheduledActionName": "nightly",
                "recurrence": "0 21 * * *",
                "minSize": 0,
                "maxSize": 3,
                "desiredCapacity": 1,
            },
            lambda it: f"{it['autoscalingGroupName']}/{it.id}",
        ),
        "block-starts": Step(
            SCHEDULE,
            lambda r: {
                "autoscalingGroupName": group(r),
                "scheduledActionName": "block-starts",
                "startTime": "2027-03-01T11:30:00Z",
                "minSize": -1,
                "maxSize": -1,
                "desiredCapacity": 4,
            },
            None,
            lambda it: f"{it['autoscalingGroupName']}/{it.id}",
        ),
        "hint": Step(
            TAG,
            lambda r: {
                "autoscalingGroupName": group(r),
                "tag": {"key": HINT, "value": "8", "propagateAtLaunch": False},
            },
            lambda r: {
                "autoscalingGroupName": group(r),
                "tag": {"key": HINT, "value": "4", "propagateAtLaunch": True},
            },
        ),
    }


def test_two_groups_may_have_actions_of_one_name(program: Program):
    for name, step in BASE.items():
        program.up(step.token, name, **step.first(program.resources))
    r = program.resources
    program.up("aws:eks/cluster:Cluster", "cluster", **cluster(r, name="two-groups"))
    for name, size in (("a", 1), ("b", 2)):
        made = program.up("aws:eks/nodeGroup:NodeGroup", f"nodes-{name}", **nodes(r, instanceTypes=["g5.xlarge"]))
        program.up(
            SCHEDULE,
            name,
            autoscalingGroupName=made["resources"][0]["autoscalingGroups"][0]["name"],
            scheduledActionName="start",
            startTime="2027-03-01T11:30:00Z",
            minSize=0,
            maxSize=4,
            desiredCapacity=size,
        )
    program.destroy("b")
    kept = program.refresh("a")
    assert kept is not None
    assert kept["desiredCapacity"] == 1
    program.destroy_all()


def test_there_are_no_schedules_of_groups_that_do_not_exist(program: Program):
    with pytest.raises(AwsError, match="'nowhere' not found"):
        program.up(
            SCHEDULE, "s", autoscalingGroupName="nowhere", scheduledActionName="s", recurrence="0 0 * * *", minSize=0
        )
