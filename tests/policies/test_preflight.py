"""The rules' table of types and regions is the program's own, and what its modules write passes the rules."""

from __future__ import annotations

import pytest
import yaml

from trainyard.modules.instance_types import INSTANCE_TYPES, InstanceType, network_interfaces
from trainyard.modules.job_manifest import JobRequest, JobShape, job_template, render
from trainyard.policies.graph import Graph, Resource
from trainyard.policies.preflight import offerings
from trainyard.policies.rule import Verdict, judge
from trainyard.policies.rules.capacity import MOST_BLOCK_NODES
from trainyard.policies.rules.gpu_pods import takes_all_efa
from trainyard.policies.rules.lustre_size import EFA_STEP_GIB
from trainyard.policies.rules.placement import efa_layout
from trainyard.stacks.offerings import GPU_TYPES

WITH_GPUS = [kind for kind in INSTANCE_TYPES.values() if kind.gpus]
by_type = pytest.mark.parametrize("kind", WITH_GPUS, ids=lambda kind: kind.name)


def test_the_table_of_types_is_the_modules_table() -> None:
    written = {name: (row.gpus, row.cards, row.efa, row.rdma) for name, row in offerings().types.items()}

    assert written == {kind.name: (kind.gpus, kind.network_cards, kind.efa_interfaces, kind.rdma) for kind in WITH_GPUS}


def test_the_table_of_regions_is_the_stacks_table() -> None:
    assert dict(offerings().regions) == dict(GPU_TYPES)


def test_limits_are_those_of_the_modules() -> None:
    from trainyard.modules import gpu_capacity, lustre

    assert gpu_capacity.MOST_BLOCK_INSTANCES == MOST_BLOCK_NODES
    assert dict(lustre.EFA_STEP_GIB) == dict(EFA_STEP_GIB)


def _template(kind: InstanceType) -> Resource:
    interfaces = [
        {"networkCardIndex": one.card, "deviceIndex": one.device, "interfaceType": one.kind}
        for one in network_interfaces(kind)
    ]
    props = {"instanceType": kind.name, "networkInterfaces": interfaces}
    return Resource("urn:pulumi:dev::p::t::nodes", "aws:ec2/launchTemplate:LaunchTemplate", "nodes", props)


@by_type
def test_the_modules_layout_of_every_type_passes(kind: InstanceType) -> None:
    template = _template(kind)

    assert judge(efa_layout, template, Graph([template])).findings == ()


@pytest.mark.parametrize("kind", [kind for kind in WITH_GPUS if kind.rdma], ids=lambda kind: kind.name)
def test_one_interface_less_does_not(kind: InstanceType) -> None:
    template = _template(kind)
    template.props["networkInterfaces"].pop()

    assert judge(efa_layout, template, Graph([template])).verdict is Verdict.VIOLATION


def _held(kind: InstanceType, text: str) -> Resource:
    metadata = {
        "labels": {"trainyard.dev/job-template": "true"},
        "annotations": {"trainyard.dev/instance-type": kind.name},
    }
    props = {"metadata": metadata, "data": {"job.yaml": text}}
    return Resource("urn:pulumi:dev::p::c::job", "kubernetes:core/v1:ConfigMap", "job", props)


@by_type
def test_the_modules_job_template_for_every_type_passes_and_so_does_its_job(kind: InstanceType) -> None:
    template = job_template(JobShape("vision", "gpu", kind.name, maximum_nodes=2))
    held = _held(kind, template)
    assert judge(takes_all_efa, held, Graph([held])).findings == ()

    rendered = _held(kind, yaml.safe_dump_all(render(template, JobRequest("run", "r.test/t:1", nodes=2))))
    assert judge(takes_all_efa, rendered, Graph([rendered])).findings == ()


def test_a_template_from_which_efa_was_taken_does_not() -> None:
    kind = INSTANCE_TYPES["p5.48xlarge"]
    text = job_template(JobShape("vision", "gpu", kind.name, maximum_nodes=2))
    held = _held(kind, text.replace("vpc.amazonaws.com/efa: '32'", "vpc.amazonaws.com/efa: '8'"))

    (finding,) = judge(takes_all_efa, held, Graph([held])).findings
    assert finding.verdict is Verdict.VIOLATION
    assert "8 EFA interfaces are asked for; p5.48xlarge has 32" in finding.message
