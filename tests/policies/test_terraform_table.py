"""Every Pulumi name in the table of Terraform's types is one that the SDK has. A misspelt one would hide a property."""

from __future__ import annotations

import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest

from trainyard.policies.cases import cases_of
from trainyard.policies.registry import RULES
from trainyard.policies.terraform.names import camel, snake
from trainyard.policies.terraform.table import Kind, all_kinds, by_pulumi, by_terraform

_GETTER = re.compile(r'^    @pulumi\.getter(?:\(name="(\w+)"\))?\n(?:    @.*\n)*    def (\w+)', re.MULTILINE)
KINDS = all_kinds()
AWS = [kind for kind in KINDS if kind.pulumi.startswith("aws:")]


@cache
def _package(name: str) -> Path:
    found = find_spec(name)
    assert found
    assert found.submodule_search_locations
    return Path(found.submodule_search_locations[0])


@cache
def _resources() -> dict[str, tuple[frozenset[str], Path]]:
    """The properties of every resource type, and the folder of its service. From the sources: importing is dear."""
    found = {}
    for source in _package("pulumi_aws").glob("*/*.py"):
        text = source.read_text(encoding="utf-8")
        if token := re.search(r"\.__init__\(\s*'(aws:[^']+)',\s*resource_name,", text):
            found[token[1]] = (frozenset(named or plain for named, plain in _GETTER.findall(text)), source.parent)
    return found


@cache
def _nested(folder: Path) -> frozenset[str]:
    """The names of all properties of the objects that a service's resources hold."""
    source = folder / "outputs.py"
    text = source.read_text(encoding="utf-8") if source.exists() else ""
    return frozenset(named or plain for named, plain in _GETTER.findall(text))


@pytest.mark.parametrize("kind", AWS, ids=lambda kind: kind.terraform)
def test_a_row_names_what_pulumi_aws_has(kind: Kind) -> None:
    properties, folder = _resources()[kind.pulumi]

    assert {path[0] for path in kind.paths()} | kind.computed <= properties
    assert {name for path in kind.paths() for name in path[1:]} <= _nested(folder)


@pytest.mark.parametrize("token", sorted({one.pulumi for one in KINDS if one.pulumi.startswith("kubernetes:")}))
def test_an_object_is_one_that_pulumi_kubernetes_has(token: str) -> None:
    group, name = token.removeprefix("kubernetes:").split(":")
    folder = _package("pulumi_kubernetes") / re.sub(r"\.k8s\.io|\.authorization", "", group)

    assert re.search(rf"'kubernetes:{re.escape(group)}:{name}'", (folder / f"{name}.py").read_text(encoding="utf-8"))


def test_every_type_of_aws_that_a_rule_has_a_case_for_is_in_the_table() -> None:
    """Those of former versions of pulumi-aws (`V2`) have the same type in Terraform as today's."""
    named = {one.type for rule in RULES for case in cases_of(rule) for one in case.resources}
    missing = sorted(one for one in named if re.match(r"aws:(?!.*V2$)", one) and by_pulumi(one) is None)

    assert missing == [], (
        "add a row with `pulumi` to policies/terraform/types.yaml and run tools/terraform/make_table.py"
    )


def test_each_type_is_there_once_in_either_direction() -> None:
    assert len({kind.pulumi for kind in AWS}) == len(AWS)
    for kind in AWS:
        assert by_pulumi(kind.pulumi) == by_terraform(kind.terraform)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.terraform)
def test_a_name_at_the_top_leads_there_and_back(kind: Kind) -> None:
    for name in {path[0] for path in kind.paths()} | kind.computed:
        terraform = kind.terraform_name(name)
        assert kind.pulumi_names(terraform) in ((name,), ("metadata", "spec", "data")), terraform


@pytest.mark.parametrize(
    ("terraform", "pulumi"),
    [("kms_key_id", "kmsKeyId"), ("cidr_ipv4", "cidrIpv4"), ("name", "name"), ("x_amzn_mtls", "xAmznMtls")],
)
def test_a_name_is_spelt_as_either_side_does(terraform: str, pulumi: str) -> None:
    assert camel(terraform) == pulumi
    assert snake(pulumi) == terraform
