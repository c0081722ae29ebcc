"""The rules over a Terraform plan find what they find in Pulumi's terms, and say what they did not read."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trainyard.policies.cases import Case, cases_of
from trainyard.policies.evaluation import evaluate_all
from trainyard.policies.graph import Graph, Resource
from trainyard.policies.in_force import InForce
from trainyard.policies.registry import RULES
from trainyard.policies.rule import Result, Rule, Scope, Verdict, evaluate
from trainyard.policies.state import evaluate_state, graph_of
from trainyard.policies.terraform.plan import NotAPlanError, graph_of_plan, unread
from trainyard.policies.terraform.writer import Written, write_plan
from trainyard.policies.values import UNKNOWN

# What Terraform cannot say, or not so: the case's name, and why.
_OTHERWISE = {
    "an environment that compliance has not listed may use no region": "of the AWS Native provider",
    "a namespace of its own, by name, by reference and by the provider": "Terraform's provider has no namespace",
    # These do not say that the value is written; in a plan what nobody wrote is the provider's to choose.
    "a replica whose region is computed": "written or not",
    "a peer whose region is computed": "written or not",
    "a target from another stack": "written or not",
}
# Types that Terraform has none for, or had under another name.
_NOT_IN_TERRAFORM = ("kubernetes:helm.sh/v4:", "aws:s3/")
EXPORT = Path(__file__).with_name("residency_export.json")


def read_back(written: Written, environment: str, scope: Scope) -> Graph:
    document = json.loads(json.dumps(written.document))
    return graph_of_plan(document, environment, "inputs" if scope is Scope.RESOURCE else "outputs")


def found(results: list[Result], names: Mapping[str, str]) -> Counter[tuple[Any, ...]]:
    """What is found where, by the names that the resources have in Pulumi."""

    def called(resource: Resource) -> str:
        # A provider has no name in Terraform, but perhaps an alias.
        return resource.type if resource.type.startswith("pulumi:") else names.get(resource.name, resource.name)

    return Counter(
        (called(one.resource), one.rule.id, one.verdict, tuple(sorted(finding.place for finding in one.findings)))
        for one in results
        if one.findings
    )


def judged(document: dict[str, Any], environment: str) -> list[Result]:
    sides = (graph_of_plan(document, environment, "inputs"), graph_of_plan(document, environment, "outputs"))
    return list(evaluate_all(InForce(), *sides))


def as_written(case: Case, rule: Rule) -> tuple[Graph, Graph]:
    """Inputs and outputs of a case. What a stack rule sees has what the provider will choose, too."""
    graph = case.graph()
    if rule.scope is Scope.RESOURCE:
        return graph, graph
    inputs = (
        replace(
            one,
            props={
                name: value
                for name, value in one.props.items()
                if value is not UNKNOWN or name in one.property_dependencies
            },
        )
        for one in graph.resources
    )
    return Graph(inputs), graph


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_a_rule_finds_in_a_plan_what_it_finds_in_its_cases(rule: Rule) -> None:
    compared = 0
    for case in cases_of(rule):
        inputs, outputs = as_written(case, rule)
        written = write_plan(inputs, outputs)
        if case.name in _OTHERWISE or written.left_out:
            assert all(
                one.type.startswith(_NOT_IN_TERRAFORM) or one.type.endswith(("Patch", "List"))
                for one in written.left_out
            )
            continue
        names = {address: outputs.by_urn[urn].name for urn, address in written.addresses.items()}
        plan = read_back(written, outputs.resources[0].environment, rule.scope)

        assert found(list(evaluate([rule], plan)), names) == found(list(evaluate([rule], outputs)), {}), case.name
        compared += 1
    assert compared


def test_an_exported_state_as_a_plan_is_judged_alike() -> None:
    export = json.loads(EXPORT.read_text())
    for row in export["deployment"]["resources"]:
        row["inputs"] = row["inputs"] or row["outputs"]  # the file holds what stack rules look at
    inputs, outputs = graph_of(export, "inputs"), graph_of(export)
    environment = outputs.resources[0].environment
    written = write_plan(inputs, outputs)
    names = {address: outputs.by_urn[urn].name for urn, address in written.addresses.items()}

    in_state = found(list(evaluate_state(RULES, export, ())), {})
    document = json.loads(json.dumps(written.document))
    in_plan = found(judged(document, environment), names)

    assert in_state
    assert in_plan == in_state


def plan(*resources: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A plan as Terraform writes it. A resource is its address, what is planned, and how it was written."""
    changes, configured = [], []
    for one in resources:
        kind, name = one["address"].removeprefix("data.").split(".")[:2]
        mode = "data" if one["address"].startswith("data.") else "managed"
        change = {"actions": one.get("actions", ["create"]), "before": None, "after": one.get("after", {})}
        change |= {"after_unknown": one.get("unknown", {})}
        changes.append({"address": one["address"], "mode": mode, "type": kind, "name": name, "change": change})
        bare = one["address"].split("[")[0]
        row = {"address": bare, "mode": mode, "type": kind, "name": name, "provider_config_key": "aws"}
        configured.append(row | {"expressions": one.get("expressions", {})} | one.get("config", {}))
    document = {
        "format_version": "1.2",
        "planned_values": {"root_module": {}},
        "resource_changes": [one for one in changes if one["mode"] == "managed"],
        "configuration": {
            "provider_config": {
                "aws": {
                    "name": "aws",
                    "full_name": "registry.terraform.io/hashicorp/aws",
                    "expressions": {"region": {"references": ["var.region"]}},
                }
            },
            "root_module": {"resources": list({one["address"]: one for one in configured}.values())},
        },
        "variables": {"region": {"value": "us-east-1"}},
    }
    return document | more


def of(address: str, document: dict[str, Any], side: Any = "outputs") -> Resource:
    (resource,) = [one for one in graph_of_plan(document, "prod-us", side).resources if one.name == address]
    return resource


def test_blocks_maps_and_names_become_pulumi_s() -> None:
    bucket = {
        "address": "aws_s3_bucket_server_side_encryption_configuration.data",
        "after": {
            "bucket": "data",
            "expected_bucket_owner": None,
            "rule": [
                {
                    "apply_server_side_encryption_by_default": [{"kms_master_key_id": "k", "sse_algorithm": "aws:kms"}],
                    "bucket_key_enabled": True,
                }
            ],
        },
    }
    key = {"address": "aws_kms_key.k", "after": {"tags": {"data_class": "personal"}, "enable_key_rotation": True}}
    document = plan(bucket, key)

    assert of("aws_s3_bucket_server_side_encryption_configuration.data", document).props == {
        "bucket": "data",
        "rules": [
            {
                "applyServerSideEncryptionByDefault": {"kmsMasterKeyId": "k", "sseAlgorithm": "aws:kms"},
                "bucketKeyEnabled": True,
            }
        ],
    }
    assert of("aws_kms_key.k", document).props["tags"] == {"data_class": "personal"}


def test_a_pod_template_is_read_from_typed_resources_and_from_manifests() -> None:
    template = {
        "metadata": [{"labels": {"app.kubernetes.io/name": "x"}}],
        "spec": [
            {"host_pid": True, "container": [{"name": "c", "image": "i", "env": [{"name": "A_B", "value": "1"}]}]}
        ],
    }
    typed = {
        "address": "kubernetes_deployment_v1.x",
        "after": {"metadata": [{"name": "x"}], "spec": [{"replicas": "1", "template": [template]}]},
    }
    manifest = {
        "address": "kubernetes_manifest.y",
        "after": {"manifest": {"apiVersion": "jobset.x-k8s.io/v1alpha2", "kind": "JobSet", "metadata": {"name": "y"}}},
    }
    document = plan(typed, manifest)

    spec = of("kubernetes_deployment_v1.x", document).props["spec"]
    assert spec["template"]["spec"]["hostPID"] is True
    assert spec["template"]["spec"]["containers"][0]["env"] == [{"name": "A_B", "value": "1"}]
    assert of("kubernetes_manifest.y", document).type == "kubernetes:jobset.x-k8s.io/v1alpha2:JobSet"


def test_what_goes_and_what_is_only_asked_for_is_not_judged() -> None:
    document = plan(
        {"address": "aws_kms_key.old", "actions": ["delete"], "after": None},
        {"address": "data.aws_kms_key.other"},
        {"address": "aws_kms_key.again", "actions": ["delete", "create"], "after": {"enable_key_rotation": False}},
    )

    assert [one.name for one in graph_of_plan(document).resources] == ["terraform", "aws", "aws_kms_key.again"]


def test_an_unknown_value_comes_from_what_its_expression_refers_to() -> None:
    keys = [{"address": f'aws_kms_key.k["{name}"]', "unknown": {"arn": True, "id": True}} for name in "ab"]
    refers = {"kms_master_key_id": {"references": ["aws_kms_key.k", "each.key"]}}
    topics = [
        {"address": f'aws_sns_topic.t["{name}"]', "unknown": {"kms_master_key_id": True}, "expressions": refers}
        for name in "ab"
    ]
    document = plan(*keys, *topics)
    graph = graph_of_plan(document)
    topic = of('aws_sns_topic.t["a"]', document)

    assert topic.props["kmsMasterKeyId"] is UNKNOWN
    assert [one.name for one in graph.origins(of('aws_sns_topic.t["a"]', document), "kmsMasterKeyId")] == [
        'aws_kms_key.k["a"]'
    ]


def test_a_local_value_leads_nowhere_for_sure() -> None:
    key = {"address": "aws_kms_key.k", "unknown": {"arn": True}}
    refers = {"kms_master_key_id": {"references": ["aws_kms_key.k.arn", "aws_kms_key.k", "local.key"]}}
    topic = {"address": "aws_sns_topic.t", "unknown": {"kms_master_key_id": True}, "expressions": refers}
    document = plan(key, topic)
    graph = graph_of_plan(document)

    assert graph.refers(of("aws_sns_topic.t", document), "kmsMasterKeyId", of("aws_kms_key.k", document)) is None


def test_what_another_state_says_is_none_of_this_plan_s() -> None:
    refers = {"kms_master_key_id": {"references": ["data.terraform_remote_state.base.outputs", "data.x.y"]}}
    topic = {"address": "aws_sns_topic.t", "unknown": {"kms_master_key_id": True}, "expressions": refers}
    document = plan(topic)
    origins = graph_of_plan(document).origins(of("aws_sns_topic.t", document), "kmsMasterKeyId")

    assert "pulumi:pulumi:StackReference" in {one.type for one in origins}


def test_modules_are_followed_by_argument_and_by_output() -> None:
    """A plan that Terraform 1.11 made, of its own resource type alone."""
    document = json.loads(Path(__file__).with_name("terraform_modules.json").read_text())
    text = json.dumps(document).replace("terraform_data", "aws_sns_topic")
    text = text.replace('"triggers_replace"', '"kms_master_key_id"').replace('"input"', '"policy"')
    read = json.loads(text)
    graph = graph_of_plan(read)
    inside = of('module.m["one"].aws_sns_topic.c[0]', read)
    outside = of('aws_sns_topic.b["l"]', read)

    assert [one.name for one in graph.origins(inside, "policy")] == ['aws_sns_topic.a["l"]']
    assert [one.name for one in graph.origins(outside, "kmsMasterKeyId")] == ['module.m["one"].aws_sns_topic.c[0]']


def test_what_the_provider_chooses_is_no_input_but_an_unknown_block_is() -> None:
    address = "aws_launch_template.t"
    document = plan({"address": address, "unknown": {"image_id": True, "metadata_options": True, "arn": True}})

    assert of(address, document, "inputs").props == {"metadataOptions": UNKNOWN}
    assert of(address, document).props == {"imageId": UNKNOWN, "metadataOptions": UNKNOWN, "arn": UNKNOWN}


def test_the_provider_s_region_is_judged_by_the_environment() -> None:
    def verdicts(region: str) -> set[Verdict]:
        document = plan({"address": "aws_kms_key.k"}, variables={"region": {"value": region}})
        return {one.verdict for one in judged(document, "prod-us") if one.rule.id == "residency-provider-region"}

    assert verdicts("us-east-1") == {Verdict.PASSED}
    assert verdicts("eu-west-1") == {Verdict.VIOLATION}


def test_kinds_that_are_not_in_the_table_are_said() -> None:
    document = plan(
        {"address": "aws_quantum_computer.q[0]"},
        {"address": "aws_quantum_computer.q[1]"},
        {"address": "google_storage_bucket.b"},
        {"address": "random_id.r"},
    )

    result = unread(document)
    assert result
    assert result.rule.advice
    (finding,) = result.findings
    assert finding.message == (
        "3 resources of kinds that were not read: aws_quantum_computer (2), google_storage_bucket (1)"
    )
    assert unread(plan({"address": "random_id.r"})) is None


def test_what_terraform_puts_off_is_said() -> None:
    put_off = {
        "reason": "instance_count_unknown",
        "resource_change": {"address": "aws_kms_key.k", "type": "aws_kms_key"},
    }
    result = unread(plan(deferred_changes=[put_off]))

    assert result
    assert "aws_kms_key, put off (1)" in result.findings[0].message


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({}, "terraform show -json"),
        ({"format_version": "1.0", "values": {}}, "terraform show -json"),
        (plan(format_version="2.0"), "only 1.x"),
        (plan(errored=True), "broke off"),
        (plan(complete=False), "leaves resources out"),
        (plan(resource_changes="none"), "resource_changes"),
        (plan(resource_changes=[{"address": "a.b", "type": "a", "change": {"after": []}}]), "resource_changes"),
        (plan({"address": "aws_kms_key.k"}, configuration={"root_module": {"resources": 5}}), "not as terraform"),
        ([], "no Terraform plan"),
    ],
)
def test_what_is_no_plan_is_refused_with_what_to_give(wrong: Any, said: str) -> None:
    with pytest.raises(NotAPlanError, match=said):
        graph_of_plan(wrong)


def paths(value: Any, above: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    below = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [above] * bool(above) + [path for key, one in below for path in paths(one, (*above, key))]


REAL = Path(__file__).with_name("terraform_modules.json").read_text().replace("terraform_data", "aws_sns_topic")
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inside: st.lists(inside, max_size=2) | st.dictionaries(st.text(max_size=5), inside, max_size=2),
    max_leaves=4,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(where=st.sampled_from(paths(json.loads(REAL))), what=ANYTHING)
def test_a_plan_with_anything_in_it_is_read_or_refused(where: tuple[Any, ...], what: Any) -> None:
    document = json.loads(REAL)
    holder = document
    for step in where[:-1]:
        holder = holder[step]
    holder[where[-1]] = what

    try:
        graphs = [graph_of_plan(document, "prod-us", "inputs"), graph_of_plan(document, "prod-us", "outputs")]
    except NotAPlanError as refused:
        assert str(refused)  # noqa: PT017
    else:
        assert all(isinstance(one.props, Mapping) for graph in graphs for one in graph.resources)
