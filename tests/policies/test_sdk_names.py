"""Types and properties that rules and their cases name exist in pulumi-aws. A misspelt one would pass for ever."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest

from trainyard.policies import rules as rules_package
from trainyard.policies.cases import cases_of
from trainyard.policies.registry import RULES
from trainyard.policies.rule import Rule

# What a case may write beside the properties of a type: what state and engine add.
_ADDED = {"id"}
# This one searches values, whatever they are called.
_ANY_NAME = {"residency-input-region"}
_GETTER = re.compile(r'^    @pulumi\.getter(?:\(name="(\w+)"\))?\n(?:    @.*\n)*    def (\w+)', re.MULTILINE)


@cache
def _properties() -> dict[str, frozenset[str]]:
    """The properties of every resource type, read from the SDK's sources: importing them all takes 450 MB."""
    package = find_spec("pulumi_aws")
    assert package
    assert package.submodule_search_locations
    found = {}
    for source in Path(package.submodule_search_locations[0]).glob("**/*.py"):
        text = source.read_text(encoding="utf-8")
        if token := re.search(r"\.__init__\(\s*'(aws:[^']+)',\s*resource_name,", text):
            found[token[1]] = frozenset(named or plain for named, plain in _GETTER.findall(text))
    return found


def _strings(node: ast.AST) -> Iterator[str]:
    for inside in ast.walk(node):
        if isinstance(inside, ast.Constant) and isinstance(inside.value, str):
            yield inside.value


def _type_names() -> list[tuple[str, str]]:
    """Every AWS type that a rule's module, or one about who reaches what, names."""
    named = set()
    rules = Path(rules_package.__file__).parent
    for source in sorted([*rules.glob("*.py"), *rules.with_name("reach").glob("*.py")]):
        for text in _strings(ast.parse(source.read_text(encoding="utf-8"))):
            if re.fullmatch(r"aws:[a-z0-9]+/\w+:[A-Z]\w+", text):
                named.add((source.stem, text))
    return sorted(named)


def test_the_reader_sees_what_the_sdk_has() -> None:
    assert {"vpcConfig", "deletionProtection", "version"} <= _properties()["aws:eks/cluster:Cluster"]
    assert len(_properties()) > 1000


@pytest.mark.parametrize(("module", "name"), _type_names())
def test_types_that_rules_name_exist(module: str, name: str) -> None:
    deprecated = re.sub(r"V2\b", "", name)

    assert name in _properties() or deprecated in _properties(), f"{module}.py names a type that pulumi-aws lacks"


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_properties_that_cases_name_exist(rule: Rule) -> None:
    wrong = {
        f"{resource.type}.{name}"
        for case in cases_of(rule)
        for resource in case.resources
        for name in resource.props
        if (known := _properties().get(resource.type)) and name not in known | _ADDED
    }

    assert rule.id in _ANY_NAME or wrong == set()
