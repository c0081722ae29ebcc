"""Each group's ConfigMap holds a template that renders, for that group and no other."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from mocked_pulumi import Deployment, run

from trainyard.modules.job_manifest import ClaimMount, JobRequest, render
from trainyard.modules.job_templates import MANIFEST_KEY, JobGroup, JobTemplates, JobTemplatesArgs

CONFIG_MAP = "kubernetes:core/v1:ConfigMap"
GROUPS = [
    JobGroup("p5", "p5.48xlarge", 4, ends_at=datetime(2031, 1, 29, 11, 30, tzinfo=UTC)),
    JobGroup("g5", "g5.12xlarge", 8, spot=True),
]


@pytest.fixture(scope="module")
def deployment() -> Deployment:
    args = JobTemplatesArgs(
        namespace="vision",
        groups=GROUPS,
        claims=[ClaimMount("datasets", "/datasets")],
        facts={"image": "registry.test/trainer"},
    )
    return run(lambda: JobTemplates("yard-vision", args))


@pytest.mark.parametrize(("group", "gpus", "budget"), [("p5", "8", True), ("g5", "4", False)])
def test_a_groups_template_renders_to_a_job_of_that_group(
    deployment: Deployment, group: str, gpus: str, budget: bool
) -> None:
    held = deployment.one(CONFIG_MAP, f"yard-vision-{group}").inputs
    assert held["metadata"]["name"] == f"job-{group}"
    assert held["metadata"]["namespace"] == "vision"
    manifests = render(held["data"][MANIFEST_KEY], JobRequest("run", "r.test/t:1", nodes=2))
    assert {manifest["metadata"]["namespace"] for manifest in manifests} == {"vision"}
    assert ("PodDisruptionBudget" in {manifest["kind"] for manifest in manifests}) is budget
    pod = manifests[-1]["spec"]["template"]["spec"]
    assert pod["nodeSelector"] == {"trainyard.dev/group": group}
    assert pod["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == gpus
    assert "/datasets" in {mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]}


def test_jobs_on_a_capacity_block_and_no_others_end_before_its_nodes_are_drained(deployment: Deployment) -> None:
    """The block ends at 11:30, is drained at 10:45, and a pod takes ten minutes to save."""
    request, now = JobRequest("run", "r.test/t:1"), datetime(2031, 1, 29, 9, 45, tzinfo=UTC)
    ends = {}
    for group in ("p5", "g5"):
        template = deployment.one(CONFIG_MAP, f"yard-vision-{group}").inputs["data"][MANIFEST_KEY]
        ends[group] = render(template, request, now)[-1]["spec"].get("activeDeadlineSeconds")
    assert ends == {"p5": 3000, "g5": None}


def test_a_submitter_finds_the_templates_by_label_and_the_facts_beside_them(deployment: Deployment) -> None:
    for held in deployment.of_type(CONFIG_MAP):
        assert held.inputs["metadata"]["labels"]["trainyard.dev/job-template"] == "true"
        assert held.inputs["data"]["image"] == "registry.test/trainer"


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"groups": []}, "at least one"),
        ({"groups": [GROUPS[0], GROUPS[0]]}, "each name once"),
        ({"groups": [JobGroup("cpu", "m7i.large", 1)]}, "no GPU"),
        ({"facts": {"job.yaml": "x"}}, "the template's own entry"),
    ],
)
def test_wrong_arguments_are_refused(args: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        JobTemplatesArgs(**{"namespace": "vision", "groups": GROUPS, **args})
