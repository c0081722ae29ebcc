"""When objects of each kind are ready, and what is said until then."""

from __future__ import annotations

from typing import Any

import pytest

from trainyard.local.aws.errors import ProviderError
from trainyard.local.kubernetes.provider.kinds import Kind
from trainyard.local.kubernetes.provider.readiness import has_rule, judge, judge_without_nodes, timeout_seconds

DEPLOYMENT = Kind("apps/v1", "Deployment")
SET = Kind("apps/v1", "StatefulSet")
DAEMON_SET = Kind("apps/v1", "DaemonSet")
JOB = Kind("batch/v1", "Job")
POD = Kind("v1", "Pod")
CLAIM = Kind("v1", "PersistentVolumeClaim")
DEFINITION = Kind("apiextensions.k8s.io/v1", "CustomResourceDefinition")


def live(status: Any = None, spec: Any = None, **annotations: str) -> dict[str, Any]:
    named = {f"pulumi.com/{key}": value for key, value in annotations.items()}
    return {"metadata": {"generation": 2, "annotations": named}, "spec": spec or {}, "status": status or {}}


def condition(type_: str, status: str = "True", **more: str) -> dict[str, Any]:
    return {"conditions": [{"type": type_, "status": status, **more}]}


SEEN = {"observedGeneration": 2}


@pytest.mark.parametrize(
    ("kind", "object_"),
    [
        (DEPLOYMENT, live({**SEEN, "replicas": 1, "updatedReplicas": 1, "availableReplicas": 1})),
        (DEPLOYMENT, live(SEEN, {"replicas": 0})),
        (DAEMON_SET, live(SEEN)),
        (DAEMON_SET, live({**SEEN, "desiredNumberScheduled": 1, "numberReady": 1, "updatedNumberScheduled": 1})),
        (SET, live({**SEEN, "readyReplicas": 1, "updatedReplicas": 1})),
        (JOB, live(condition("Complete"))),
        (JOB, live(spec={"suspend": True})),
        (POD, live(condition("Ready"))),
        (POD, live({"phase": "Succeeded"})),
        (CLAIM, live({"phase": "Bound"})),
        (DEFINITION, live(condition("Established"))),
        (Kind("v1", "ConfigMap"), live()),
        (DEPLOYMENT, live(skipAwait="true")),
        (Kind("example.com/v1", "Run"), live(condition("Synced"), waitFor="condition=Synced")),
        (Kind("example.com/v1", "Run"), live({"phase": "On"}, waitFor="jsonpath={.status.phase}=On")),
    ],
)
def test_ready(kind: Kind, object_: dict[str, Any]):
    assert judge(kind, object_).ready


@pytest.mark.parametrize(
    ("kind", "object_", "said"),
    [
        (DEPLOYMENT, live({"observedGeneration": 1, "availableReplicas": 1}), "has not seen it yet"),
        (DEPLOYMENT, live({**SEEN, "updatedReplicas": 1}, {"replicas": 2}), "0 of 2 pods available, 1 of the newest"),
        (DEPLOYMENT, live({**SEEN, **condition("ReplicaFailure", message="quota")}), "cannot be made: quota"),
        (DAEMON_SET, live({**SEEN, "desiredNumberScheduled": 3, "numberReady": 1}), "ready on 1 of 3 nodes"),
        (SET, live({**SEEN, "readyReplicas": 1}, {"replicas": 3}), "1 of 3 pods ready"),
        (CLAIM, live({"phase": "Pending"}), "the claim is Pending"),
        (POD, live(condition("PodScheduled", "False", message="no GPU")), "cannot be scheduled: no GPU"),
        (
            POD,
            live({"containerStatuses": [{"name": "a", "state": {"waiting": {"reason": "ImagePullBackOff"}}}]}),
            "container a: ImagePullBackOff",
        ),
        (
            Kind("example.com/v1", "Run"),
            live(condition("Synced"), waitFor='["condition=Synced", "condition=Ready"]'),
            "condition=Ready",
        ),
    ],
)
def test_not_ready_yet(kind: Kind, object_: dict[str, Any], said: str):
    state = judge(kind, object_)
    assert (state.ready, state.failed) == (False, False)
    assert said in state.reason


def test_what_never_gets_ready_is_not_waited_for():
    state = judge(JOB, live(condition("Failed", reason="BackoffLimitExceeded", message="too often")))
    assert state.failed
    assert "BackoffLimitExceeded: too often" in state.reason
    assert judge(CLAIM, live({"phase": "Lost"})).failed


def test_an_expression_that_is_not_emulated_is_refused():
    with pytest.raises(ProviderError, match=r"condition=Type=Status or jsonpath="):
        judge(JOB, live(waitFor="jsonpath={.status.conditions[0].type}"))


def test_the_resources_own_timeout_goes_before_the_annotation_before_the_default():
    assert timeout_seconds(live(timeoutSeconds="5"), 3.0, 9.0) == 3.0
    assert timeout_seconds(live(timeoutSeconds="5"), 0.0, 9.0) == 5.0
    assert timeout_seconds(live(), 0.0, 9.0) == 9.0
    with pytest.raises(ProviderError, match="'soon'; a number"):
        timeout_seconds(live(timeoutSeconds="soon"), 0.0, 9.0)


def test_only_kinds_with_a_rule_are_waited_for():
    assert has_rule(DEPLOYMENT, live())
    assert not has_rule(DEPLOYMENT, live(skipAwait="true"))
    assert not has_rule(Kind("v1", "ConfigMap"), live())


def test_where_no_node_is_pods_only_have_to_be_made():
    assert judge_without_nodes(DEPLOYMENT, live({**SEEN, "updatedReplicas": 2}, {"replicas": 2})).ready
    assert not judge_without_nodes(DEPLOYMENT, live({**SEEN, "updatedReplicas": 1}, {"replicas": 2})).ready
    assert not judge_without_nodes(JOB, live()).ready
    assert not judge_without_nodes(CLAIM, live({"phase": "Pending"})).ready
